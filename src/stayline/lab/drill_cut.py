"""A cable that can be cut: TCP relays between the Workspaces and their Configuration Servers."""

import asyncio
import contextlib

from stayline.link.bootstrap import Node
from stayline.workspace.settings import ServerAddress

_CHUNK = 65_536


class Cable:
    """One relay for each node. While it is cut, connections are dropped and new ones refused."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes
        self._servers: list[asyncio.Server] = []
        self._ports: list[int] = [0] * len(nodes)
        self._links: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> list[ServerAddress]:
        """Where the nodes are reached through this cable."""
        return [
            ServerAddress(node.application, "127.0.0.1", port)
            for node, port in zip(self._nodes, self._ports, strict=True)
        ]

    async def join(self) -> None:
        """Lay the cable, or mend it: the same ports again."""
        for number, node in enumerate(self._nodes):

            def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, node: Node = node) -> None:
                task = asyncio.get_running_loop().create_task(_relay(reader, writer, node))
                self._links.add(task)
                task.add_done_callback(self._links.discard)

            server = await asyncio.start_server(carry, "127.0.0.1", self._ports[number])
            self._ports[number] = server.sockets[0].getsockname()[1]
            self._servers.append(server)

    async def cut(self) -> None:
        """Cut it."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, node: Node) -> None:
    """Carry bytes both ways until either side ends."""
    writers = [writer]
    try:
        there, towards = await asyncio.open_connection(node.host, node.port)
        writers.append(towards)
        ways = {
            asyncio.create_task(_pump(reader, towards)),
            asyncio.create_task(_pump(there, writer)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
    except OSError:
        return  # the server refuses: so does the cable
    finally:
        for one in writers:
            one.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
