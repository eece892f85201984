"""A cable that can be cut: TCP relays between the Workspaces and their Configuration Servers."""

import asyncio

from stayline.lab.fault_proxy import FaultProxy
from stayline.link.bootstrap import Node
from stayline.workspace.settings import ServerAddress


class Cable:
    """One relay for each node. While it is cut, connections are dropped and new ones refused."""

    def __init__(self, nodes: list[Node]) -> None:
        self._applications = [node.application for node in nodes]
        self._relays = [FaultProxy(node.host, node.port) for node in nodes]

    @property
    def addresses(self) -> list[ServerAddress]:
        """Where the nodes are reached through this cable."""
        return [
            ServerAddress(application, "127.0.0.1", relay.port)
            for application, relay in zip(self._applications, self._relays, strict=True)
        ]

    async def join(self) -> None:
        """Lay the cable, or mend it: the same ports again."""
        for relay in self._relays:
            await relay.open()

    async def cut(self) -> None:
        """Cut it."""
        await asyncio.gather(*(relay.close() for relay in self._relays))
