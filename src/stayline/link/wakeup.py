"""Noticing that this machine slept: the wall clock has moved on, the monotonic one has not.

After a sleep every link may be dead without anybody having said so, and what was waited for is long due.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

SLEPT_SECONDS = 10.0
"""So much more on the wall clock than on the monotonic one means that the machine slept. (A wall clock that is set
forward by more looks the same; looking at every link does no harm then.)"""

LOOK_SECONDS = 2.0
"""Seconds between two looks at the clocks."""

ANSWER_SECONDS = 2.0
"""Seconds in which a link must be heard after a sleep."""


class Sleep:
    """Compares two clocks. Pure: the times are given (seconds)."""

    def __init__(self, wall: float, monotonic: float) -> None:
        self._wall = wall
        self._monotonic = monotonic

    def look(self, wall: float, monotonic: float) -> float:
        """Seconds slept since the last look; 0.0 when the machine was awake."""
        slept = (wall - self._wall) - (monotonic - self._monotonic)
        self._wall, self._monotonic = wall, monotonic
        return slept if slept >= SLEPT_SECONDS else 0.0


class WakeUp:
    """Calls ``woke`` with the seconds slept. ``wall`` gives Unix seconds, ``monotonic`` seconds that do not pass during
    a sleep, ``every`` seconds between two looks."""

    def __init__(
        self,
        woke: Callable[[float], None],
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        every: float = LOOK_SECONDS,
    ) -> None:
        self._woke = woke
        self._wall = wall
        self._monotonic = monotonic
        self._every = every
        self._sleep = Sleep(wall(), monotonic())
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look from now on, until :meth:`stop`."""
        if self._timer is None:
            self._sleep.look(self._wall(), self._monotonic())
            self._arm()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every, self._look)

    def _look(self) -> None:
        self._arm()
        slept = self._sleep.look(self._wall(), self._monotonic())
        if slept:
            log.info("link.woke", slept=round(slept, 1), why="the wall clock went on without this machine")
            self._woke(slept)
