"""Named timers at a point in time. What they do is decided when they fire, from the records as they are then."""

import asyncio
from collections.abc import Callable


class Timers:
    """At most one timer for each name; arming it again moves it. ``clock`` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._handles: dict[str, asyncio.TimerHandle] = {}

    def arm(self, name: str, at: float, action: Callable[[], None]) -> None:
        """Call ``action`` at ``at`` (Unix seconds; the past: soon)."""
        self.disarm(name)
        delay = max(0.0, at - self._clock())
        self._handles[name] = asyncio.get_running_loop().call_later(delay, self._fire, name, action)

    def disarm(self, name: str) -> None:
        """Forget a timer; unknown names are no error."""
        handle = self._handles.pop(name, None)
        if handle is not None:
            handle.cancel()

    def is_armed(self, name: str) -> bool:
        """Whether the timer is to fire."""
        return name in self._handles

    def stop(self) -> None:
        """Forget all."""
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()

    def _fire(self, name: str, action: Callable[[], None]) -> None:
        self._handles.pop(name, None)
        action()
