"""A cable with faults: a TCP relay in this process that can be reset, cut, muted, slowed and frozen.

It sits between two sides of a link that do not know of it. What a relay cannot do is to withhold the kernel's own
answers (a dropped SYN, an unacknowledged byte): see the lab's wide-area network for those.
"""

import asyncio
import enum
import socket
import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

_HELD_BYTES = 1_048_576
"""Bytes that may wait in one direction of one link; then its sender has to wait."""

_CONNECT_SECONDS = 5.0
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Towards(enum.Enum):
    """A direction: ``SERVER`` is what the client says, ``CLIENT`` what the server answers."""

    SERVER = "server"
    CLIENT = "client"


BOTH_WAYS = (Towards.SERVER, Towards.CLIENT)


@dataclass
class Way:
    """One direction of all links: seconds of ``delay``; ``silent``: what comes in is thrown away; ``frozen``: nothing
    is read, until the sender's buffers are full. ``carried`` and ``lost`` count bytes."""

    delay: float = 0.0
    silent: bool = False
    frozen: bool = False
    carried: int = 0
    lost: int = 0


class FaultProxy:
    """Relays connections to ``host:port``. ``listen``: where to listen; port 0 takes a free one. From the first
    :meth:`open` on, the attributes ``host`` and ``port`` say where. Faults hold for standing and for new links,
    until :meth:`heal`."""

    def __init__(self, host: str, port: int, *, listen: str = "127.0.0.1", listen_port: int = 0) -> None:
        self.host = listen
        self.port = listen_port
        self.ways = {towards: Way() for towards in Towards}
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()

    @property
    def links(self) -> int:
        """Links that stand, on either side."""
        return len(self._links)

    async def open(self) -> None:
        """Listen, or listen again on the same port after :meth:`cut`. Raises OSError."""
        if self._server is not None:
            return
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, self.host, self.port, reuse_address=True)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End everything."""
        self.cut()
        await asyncio.gather(*(link.connecting for link in self._links), return_exceptions=True)

    # -- faults

    def cut(self) -> None:
        """The cable is cut where everybody sees it: the port is closed, all links are reset."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.reset()

    def reset(self) -> None:
        """Reset all links on both sides; new ones pass."""
        for link in list(self._links):
            link.reset()

    def silence(self, ways: Iterable[Towards] = BOTH_WAYS) -> None:
        """From now on what is said in these directions arrives nowhere, nor does a close; connections stay open."""
        for towards in ways:
            self.ways[towards].silent = True

    def half_open(self, gone: Towards) -> None:
        """The side ``gone`` loses its connections; the other side is not told and talks into the void. Links that stand
        only: new ones pass."""
        for link in list(self._links):
            link.half_open(gone)

    def slow(self, seconds: float, ways: Iterable[Towards] = BOTH_WAYS) -> None:
        """Everything said in these directions arrives that much later."""
        for towards in ways:
            self.ways[towards].delay = seconds

    def freeze(self, ways: Iterable[Towards] = BOTH_WAYS) -> None:
        """Nothing is read any more in these directions; nothing is lost either."""
        for towards in ways:
            self.ways[towards].frozen = True
        self._apply()

    def heal(self) -> None:
        """No faults any more. Links that lost something are reset: their streams cannot be continued."""
        for way in self.ways.values():
            way.delay, way.silent, way.frozen = 0.0, False, False
        for link in list(self._links):
            if link.broken:
                link.reset()
        self._apply()

    def _apply(self) -> None:
        for link in self._links:
            for end in link.ends.values():
                end.obey()

    def _accept(self) -> "_End":
        link = _Link(self, self._target, self._links)
        self._links.add(link)
        return link.ends[Towards.CLIENT]


class _Link:
    """One relayed connection: the client's end and the server's end."""

    def __init__(self, proxy: FaultProxy, target: tuple[str, int], links: "set[_Link]") -> None:
        # Bytes that arrive at the client's end go towards the server.
        self.ends = {
            Towards.CLIENT: _End(self, proxy.ways[Towards.SERVER]),
            Towards.SERVER: _End(self, proxy.ways[Towards.CLIENT]),
        }
        self.broken = False
        self._target = target
        self._links = links
        loop = asyncio.get_running_loop()
        self.connecting = loop.create_task(self._connect(), name="fault-proxy")

    def other(self, end: "_End") -> "_End":
        """The end across."""
        client, server = self.ends[Towards.CLIENT], self.ends[Towards.SERVER]
        return server if end is client else client

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await asyncio.get_running_loop().create_connection(
                    lambda: self.ends[Towards.SERVER], *self._target
                )
        except (OSError, TimeoutError):
            self.reset()  # the server refuses: so does the cable

    def reset(self) -> None:
        """Both sides see a reset."""
        self.connecting.cancel()
        for end in self.ends.values():
            end.reset()
        if self.ends[Towards.SERVER].transport is None:
            self.ends[Towards.SERVER].lost = True
        self.note_lost()

    def half_open(self, gone: Towards) -> None:
        """One side's connection is reset, the other one's stays."""
        self.broken = True
        for end in self.ends.values():
            end.deaf = True
        self.ends[gone].reset()

    def note_lost(self) -> None:
        """Forget the link when both ends are gone."""
        if all(end.lost for end in self.ends.values()):
            self._links.discard(self)


class _End(asyncio.Protocol):
    """One connection. ``way`` is where its bytes go; ``deaf``: they go nowhere, since the link is half open."""

    def __init__(self, link: _Link, way: Way) -> None:
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self.deaf = False
        self._link = link
        self._way = way
        self._holds: set[str] = set()
        self._queue: deque[tuple[float, bytes | None]] = deque()
        self._queued = 0
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """This side is connected; what is said is read when the other side is, too."""
        self.transport = cast(asyncio.Transport, transport)
        other = self._link.other(self)
        if other.transport is None:
            self._hold("alone", True)
        elif other.lost and not other.deaf:
            self.transport.abort()
        else:
            other._hold("alone", False)
        self.obey()

    def data_received(self, data: bytes) -> None:
        """Something was said here."""
        if self.deaf or self._way.silent:
            self._way.lost += len(data)
            self._link.broken = True
        elif self._way.delay > 0 or self._queue:
            self._later(data)
        else:
            self._pass(data)

    def eof_received(self) -> bool:
        """This side closes: told to the other one behind what was said before."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """This side is gone."""
        self.lost = True
        if self.deaf or self._way.silent or self._way.frozen:
            self._link.broken = True
        elif self._queue:
            self._later(None)
        else:
            self._link.other(self).close()
        self._link.note_lost()

    def pause_writing(self) -> None:
        """This side reads too slowly: the other one has to wait."""
        self._link.other(self)._hold("full", True)

    def resume_writing(self) -> None:
        """It reads again."""
        self._link.other(self)._hold("full", False)

    def obey(self) -> None:
        """Read, or do not, as the faults of the moment say."""
        self._hold("frozen", self._way.frozen)

    def close(self) -> None:
        """Close after what was written has been taken."""
        if self.transport is not None and not self.lost:
            self.transport.close()

    def reset(self) -> None:
        """Cut so that this side sees a reset."""
        self._queue.clear()
        if self.transport is None or self.lost:
            return
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        self.transport.abort()

    # -- carrying

    def _hold(self, why: str, holds: bool) -> None:
        if holds:
            self._holds.add(why)
        else:
            self._holds.discard(why)
        if self.transport is None or self.lost or self.transport.is_closing():
            return
        if self._holds:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _pass(self, data: bytes) -> None:
        other = self._link.other(self)
        if other.transport is not None and not other.lost:
            self._way.carried += len(data)
            other.transport.write(data)

    def _later(self, data: bytes | None) -> None:
        due = self._loop.time() + self._way.delay
        self._queue.append((due, data))
        self._queued += len(data or b"")
        self._hold("queue", self._queued > _HELD_BYTES)
        if len(self._queue) == 1:
            self._loop.call_at(due, self._due)

    def _due(self) -> None:
        now = self._loop.time()
        while self._queue and self._queue[0][0] <= now + 0.001:
            _, data = self._queue.popleft()
            self._queued -= len(data or b"")
            if data is None:
                self._link.other(self).close()
            elif self._way.silent or self.deaf:
                self._way.lost += len(data)
                self._link.broken = True
            else:
                self._pass(data)
        self._hold("queue", self._queued > _HELD_BYTES)
        if self._queue:
            self._loop.call_at(max(self._queue[0][0], now), self._due)
