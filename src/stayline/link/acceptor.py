"""Taking connections off a port no faster than their TLS handshakes are finished.

What is not taken yet waits in the kernel and costs this process nothing; who left meanwhile is dropped before TLS.
"""

import asyncio
import errno
import socket
import ssl
from collections import deque
from collections.abc import Callable

import structlog

from stayline.link.lobby import Lobby
from stayline.link.wire import LINGER_SECONDS

log = structlog.get_logger(__name__)

BACKLOG = 2_048
"""Connections that may wait in the kernel (its own limit, ``net.core.somaxconn``, may be lower)."""

STALLED_SECONDS = 0.5
"""A handshake that takes longer waits for the network or for a client that says no more, not for us: it goes on, but
no longer keeps others out."""

MAX_UNFINISHED = 1_024
"""Handshakes under way altogether, the stalled ones included."""

_AT_ONCE = 64
_PAUSE_SECONDS = 0.25
"""After an error of accepting that time may heal (no descriptors left)."""

_NO_ROOM_SECONDS = 0.02
"""Until the next look whether those who were let into the lobby have spoken."""

_NOT_YET = (BlockingIOError, InterruptedError)
_GONE_ALREADY = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.ECONNRESET})
_TCP_INFO = getattr(socket, "TCP_INFO", None)
_ESTABLISHED = 1


class Acceptor:
    """Accepts on all addresses of one host and port and makes each connection, once TLS stands, a protocol of
    ``make()``. ``handshakes``: TLS handshakes at a time (see :meth:`allow`), which begin with the client's first word;
    ``timeout``: seconds for that word, and for a handshake. ``abandoned`` counts connections whose client had left
    before TLS, ``failed`` handshakes that failed and clients that said nothing."""

    def __init__(
        self, make: Callable[[], asyncio.Protocol], tls: ssl.SSLContext, *, handshakes: int, timeout: float
    ) -> None:
        self.handshakes = handshakes
        self.timeout = timeout
        self.abandoned = 0
        self.failed = 0
        self._make = make
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._reading: set[socket.socket] = set()
        self._busy: set[asyncio.Task[None]] = set()
        self._unfinished: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._lobby = Lobby(self._spoke, self._said_nothing, timeout=timeout)
        self._spoken: deque[socket.socket] = deque()  # Out of the lobby, while no handshake could begin.

    def allow(self, handshakes: int) -> None:
        """That many handshakes at a time from now on."""
        self.handshakes = handshakes
        self._resume()

    @property
    def at_work(self) -> int:
        """Handshakes that count against the bound at the moment."""
        return len(self._busy)

    @property
    def is_open(self) -> bool:
        """Whether it listens: from when the port is bound until it is closed."""
        return bool(self._sockets)

    async def open(self, host: str, port: int) -> int:
        """Listen; the port (a free one for 0). Raises OSError."""
        self._sockets = await _listen(host, port)
        self._resume()
        return int(self._sockets[0].getsockname()[1])

    def close(self) -> None:
        """Close the port. Handshakes under way go on; what becomes of them is up to the protocol. Connections without
        one are closed, as those that still wait in the kernel."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            self._stop_reading(one)
            one.close()
        self._lobby.close()
        while self._spoken:
            self._spoken.popleft().close()

    # -- accepting

    def _resume(self) -> None:
        while self._spoken and not self._is_full():
            self._begin_unless_left(self._spoken.popleft())
        if self._pause is not None or self._is_full():
            return
        for one in self._sockets:
            if one not in self._reading:
                self._reading.add(one)
                self._loop.add_reader(one.fileno(), self._accept, one)

    def _stop_reading(self, listening: socket.socket) -> None:
        if listening in self._reading:
            self._reading.discard(listening)
            self._loop.remove_reader(listening.fileno())

    def _is_full(self) -> bool:
        return len(self._busy) >= self.handshakes or len(self._unfinished) >= MAX_UNFINISHED

    def _accept(self, listening: socket.socket) -> None:
        """The port has connections: take some, as many as may be shaken hands with."""
        for _ in range(_AT_ONCE):
            if self._is_full():
                self._stop_reading(listening)
                return
            if not self._lobby.has_room:
                self._rest(_NO_ROOM_SECONDS)
                return
            try:
                connection, _ = listening.accept()
            except _NOT_YET:
                return
            except OSError as error:
                if error.errno in _GONE_ALREADY:
                    self.abandoned += 1
                    continue
                log.error("port.accept_failed", why=error.strerror or str(error), again_in=_PAUSE_SECONDS)
                self._rest(_PAUSE_SECONDS)
                return
            connection.setblocking(False)
            if has_spoken(connection):
                self._begin_unless_left(connection)
            else:
                self._lobby.enter(connection)

    def _rest(self, seconds: float) -> None:
        """Nobody can be taken now; another attempt later."""
        for one in self._sockets:
            self._stop_reading(one)
        self._pause = self._loop.call_later(seconds, self._rested)

    def _rested(self) -> None:
        self._pause = None
        self._resume()

    def _spoke(self, connection: socket.socket) -> None:
        """A client in the lobby says its first word, or has left."""
        if self._is_full():
            self._spoken.append(connection)
        else:
            self._begin_unless_left(connection)

    def _said_nothing(self) -> None:
        self.failed += 1
        log.debug("link.handshake_failed", why="the client said nothing")

    # -- one handshake

    def _begin_unless_left(self, connection: socket.socket) -> None:
        if has_left(connection):
            self.abandoned += 1
            connection.close()
        else:
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        task = self._loop.create_task(self._shake(connection), name="tls-handshake")
        self._busy.add(task)
        self._unfinished.add(task)
        stalled = self._loop.call_later(STALLED_SECONDS, self._no_longer_busy, task)

        def ended(_: object) -> None:
            stalled.cancel()
            self._unfinished.discard(task)
            self._no_longer_busy(task)

        task.add_done_callback(ended)

    def _no_longer_busy(self, task: "asyncio.Task[None]") -> None:
        self._busy.discard(task)
        self._resume()

    async def _shake(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._make,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=self.timeout,
                ssl_shutdown_timeout=LINGER_SECONDS,
            )
        except (OSError, TimeoutError) as error:  # among them every ssl.SSLError
            self.failed += 1
            log.debug("link.handshake_failed", why=str(error) or type(error).__name__)


def has_spoken(connection: socket.socket) -> bool:
    """Whether there is something to read on a non-blocking connection, be it that its client has left."""
    try:
        connection.recv(1, socket.MSG_PEEK)
    except _NOT_YET:
        return False
    except OSError:
        return True
    return True


def has_left(connection: socket.socket) -> bool:
    """Whether the client of an accepted connection has closed or reset it, be it after it had said something."""
    try:
        if _TCP_INFO is not None:
            return connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] != _ESTABLISHED
        connection.setblocking(False)
        return connection.recv(1, socket.MSG_PEEK) == b""
    except _NOT_YET:
        return False
    except OSError:
        return True


async def _listen(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on all addresses of ``host``, on one port. Raises OSError."""
    infos = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    opened: list[socket.socket] = []
    try:
        for family, kind, proto, _, address in dict.fromkeys(infos):
            one = socket.socket(family, kind, proto)
            opened.append(one)
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address[0], port, *address[2:]))
            one.listen(BACKLOG)
            port = one.getsockname()[1]
    except BaseException:
        for one in opened:
            one.close()
        raise
    return opened
