"""A link kept as the original keeps it: constant delays, and no ear for what a server says about when to come."""

import asyncio
from collections.abc import Awaitable, Callable

from stayline.domain.errors import StaylineError
from stayline.link.peer import Peer
from stayline.link.pool import Node, Random, shuffled

MOVE_SECONDS = 5.0
"""A move of site is spread over this."""

AGAIN_SECONDS = 2.0
"""The server that was lost is tried again within this."""

PAUSE_SECONDS = 10.0
"""After every server of the pool failed."""

PATIENCE_SECONDS = 5.0
"""An attempt is given up after this, whatever the server has said meanwhile."""


class OriginalLink:
    """Keeps one link to any server of a pool. ``open_`` sets a link up completely or raises StaylineError; ``turned``
    is called when it stands and when it is gone. ``given_up`` counts attempts that ran out of patience."""

    def __init__(
        self, open_: Callable[[Node], Awaitable[Peer]], turned: Callable[[], None], random: Random
    ) -> None:
        self.peer: Peer | None = None
        self.given_up = 0
        self._open = open_
        self._turned = turned
        self._random = random
        self._nodes: tuple[Node, ...] = ()
        self._task: asyncio.Task[None] | None = None

    def use(self, nodes: tuple[Node, ...], spread: float) -> None:
        """Use these servers from now on; other ones than before are gone to at once, within ``spread`` seconds."""
        if set(nodes) == set(self._nodes):
            return
        self._nodes = nodes
        self._drop()
        self._task = asyncio.get_running_loop().create_task(self._keep(nodes, spread * self._random()))

    async def stop(self) -> None:
        """Hang up and stay away."""
        task = self._task
        self._drop()
        if task is not None:
            await asyncio.wait([task])

    def _drop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        if self.peer is not None:
            self.peer.hang_up()
            self._down()

    def _down(self) -> None:
        self.peer = None
        self._turned()

    async def _keep(self, nodes: tuple[Node, ...], wait: float) -> None:
        """For ever: the list in one random order, its pauses, and the lost server again before any other."""
        await asyncio.sleep(wait)
        order = shuffled(list(nodes), self._random)
        while True:
            for node in order:
                peer = await self._try(node)
                if peer is None:
                    continue
                await self._stay(peer)
                await asyncio.sleep(AGAIN_SECONDS * self._random())
                others = [one for one in nodes if one != node]
                order = [node, *shuffled(others, self._random)]
                break
            else:
                await asyncio.sleep(PAUSE_SECONDS)

    async def _try(self, node: Node) -> Peer | None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._open(node)
        except TimeoutError:
            self.given_up += 1
        except StaylineError:
            pass  # refused, or a closed port: the next one, whatever the refusal said about when
        return None

    async def _stay(self, peer: Peer) -> None:
        self.peer = peer
        self._turned()
        await peer.closed
        if self.peer is peer:
            self._down()
