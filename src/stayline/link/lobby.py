"""Connections that were accepted and whose client has not said anything yet.

They cost a socket and nothing else, and take no handshake's place: whoever opens connections and says nothing keeps
nobody out.
"""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Callable

MAX_SILENT = 1_024
"""Connections held without a word."""

PATIENCE_SECONDS = 1.0
"""One that has said nothing for so long gives way to others, when there are :data:`MAX_SILENT`."""


class Lobby:
    """``spoke(connection)`` is called when one has something to read (or its client has left), ``gave_up()`` when one
    was closed because it said nothing for ``timeout`` seconds, or had to give way."""

    def __init__(
        self, spoke: Callable[[socket.socket], None], gave_up: Callable[[], None], *, timeout: float
    ) -> None:
        self.timeout = timeout
        self._spoke = spoke
        self._gave_up = gave_up
        self._loop = asyncio.get_running_loop()
        self._silent: OrderedDict[socket.socket, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._silent)

    @property
    def has_room(self) -> bool:
        """Whether one more may enter."""
        return len(self._silent) < MAX_SILENT or self._oldest() + PATIENCE_SECONDS <= self._loop.time()

    def enter(self, connection: socket.socket) -> None:
        """Hold a non-blocking connection until its client speaks. There must be room."""
        if len(self._silent) >= MAX_SILENT:
            self._end(next(iter(self._silent)))
        self._silent[connection] = self._loop.time()
        self._loop.add_reader(connection.fileno(), self._speaks, connection)
        if self._timer is None:
            self._timer = self._loop.call_later(self.timeout, self._look)

    def close(self) -> None:
        """Close them all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in list(self._silent):
            self._leave(connection)
            connection.close()

    def _oldest(self) -> float:
        return next(iter(self._silent.values()))

    def _speaks(self, connection: socket.socket) -> None:
        self._leave(connection)
        self._spoke(connection)

    def _leave(self, connection: socket.socket) -> None:
        del self._silent[connection]
        self._loop.remove_reader(connection.fileno())

    def _end(self, connection: socket.socket) -> None:
        self._leave(connection)
        connection.close()
        self._gave_up()

    def _look(self) -> None:
        """End those whose time is over; the oldest come first."""
        self._timer = None
        now = self._loop.time()
        while self._silent and self._oldest() + self.timeout <= now:
            self._end(next(iter(self._silent)))
        if self._silent:
            self._timer = self._loop.call_at(self._oldest() + self.timeout, self._look)
