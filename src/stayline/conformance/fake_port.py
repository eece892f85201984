"""A port that really opens and closes, and stays the same server's: while it is closed it is bound, and refuses."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Coroutine

HOST = "127.0.0.1"
BACKLOG = 512

_RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"
"""SO_LINGER on, 0 seconds: closing resets."""

_ESTABLISHED = 1
_GONE_ALREADY = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.ECONNRESET})


class FakePort:
    """``serve(connection)``, set by its server before it opens, takes each connection and closes it in the end."""

    def __init__(self) -> None:
        self.serve: Callable[[socket.socket], Coroutine[None, None, None]] = _not_served
        self._reserved: socket.socket | None = bound(0)
        self.number: int = self._reserved.getsockname()[1]
        self._listening: socket.socket | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted."""
        return self._listening is not None

    def open(self) -> None:
        """Listen."""
        if self._listening is None:
            listening, self._reserved = self._reserved or bound(self.number), None
            listening.listen(BACKLOG)
            self._listening = listening
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def close(self) -> None:
        """Close: who connects is refused."""
        if self._listening is None:
            return
        # In this order: the descriptor may be another socket's as soon as it is closed.
        asyncio.get_running_loop().remove_reader(self._listening)
        self._listening.close()
        self._listening = None
        # Where the system does not give it back at once, nobody listens on it all the same.
        with contextlib.suppress(OSError):
            self._reserved = bound(self.number)

    def drop(self) -> None:
        """Give up connections that are not links yet."""
        for task in self._serving:
            task.cancel()

    async def end(self) -> None:
        """Close for good and wait for every task."""
        self.close()
        self.drop()
        if self._serving:
            await asyncio.wait(list(self._serving))
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    def _accept(self, listening: socket.socket) -> None:
        """The port has connections: take those that there are."""
        for _ in range(BACKLOG):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _GONE_ALREADY:
                    continue
                raise
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            serving = asyncio.get_running_loop().create_task(self.serve(connection), name="fake port")
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)


async def _not_served(connection: socket.socket) -> None:
    """A port without a server."""
    connection.close()


def bound(port: int) -> socket.socket:
    """A socket bound to a port of this machine (0: any), not listening. Raises OSError when it is taken."""
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setblocking(False)
    try:
        one.bind((HOST, port))
    except OSError:
        one.close()
        raise
    return one


def reset_on_close(connection: socket.socket) -> None:
    """Closing this connection resets it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


async def speaks(connection: socket.socket) -> bool:
    """Whether the client says anything (True) or hangs up without a word. What it says stays unread."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(connection, readable)
    try:
        await ready
    finally:
        loop.remove_reader(connection)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except ConnectionError:
        return False


def hung_up(connection: socket.socket) -> bool:
    """Whether the client has left, told by the state of its connection: nothing is read for it."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED
