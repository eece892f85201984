"""Events one after the other: what arises while one is being worked on waits for it."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

E = TypeVar("E")

MAX_WAITING = 10_000
"""Events of one turn; more can only be a loop of ours."""


class Turn(Generic[E]):
    """Calls ``work`` with one event at a time, in the order in which they were given.

    A machine's action may cause the next event at once (a link that is hung up is down): worked on inside the first,
    it would be followed by the rest of actions that are no longer right. Not for use from several threads.
    """

    def __init__(self, work: Callable[[E], None]) -> None:
        self._work = work
        self._waiting: deque[E] = deque()
        self._busy = False

    def __call__(self, event: E) -> None:
        """Work on it now, or after what is being worked on. Raises RuntimeError when events breed without end."""
        self._waiting.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            for _ in range(MAX_WAITING):
                if not self._waiting:
                    return
                self._work(self._waiting.popleft())
            raise RuntimeError(f"{MAX_WAITING} events in one turn, the last one {self._waiting[-1]!r}")
        finally:
            self._busy = False
            self._waiting.clear()
