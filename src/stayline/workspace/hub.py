"""Tells pages what changed: gathered over one turn of the event loop, the view made only when somebody
looks."""

import asyncio
from collections.abc import Callable

import structlog

from stayline.workspace.protocol import Subscriber
from stayline.workspace.view import WorkspaceView

log = structlog.get_logger(__name__)


class Hub:
    """Holds the view. ``make`` makes a new one; ``revision`` grows with each change."""

    def __init__(self, make: Callable[[], WorkspaceView]) -> None:
        self.revision = 0
        self._make = make
        self._view: WorkspaceView | None = None
        self._subscribers: list[Subscriber] = []
        self._changed: set[str] = set()
        self._flush: asyncio.Handle | None = None

    @property
    def view(self) -> WorkspaceView:
        """The view as of now."""
        if self._view is None:
            self._view = self._make()
        return self._view

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Be told from now on, until the returned function is called."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def touch(self, *names: str) -> None:
        """These have changed."""
        self._view = None
        self.revision += 1
        self._changed.update(names)
        if self._flush is None and self._subscribers:
            self._flush = asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._flush = None
        changed, self._changed = frozenset(self._changed), set()
        for callback in list(self._subscribers):
            callback(changed)
