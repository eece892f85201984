"""Links kept as the original keeps them: constant delays, and no ear for what a server says about when to come."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

from stayline.domain.errors import RefusedError, StaylineError
from stayline.lab.storm_account import Account
from stayline.link.authority import TlsFiles
from stayline.link.machine.plan import Link, Plan
from stayline.link.machine.pool import Node, Random, shuffled
from stayline.link.machine.session import OVER
from stayline.link.messages.interaction import AgentLogin, AgentResume, MediaState, SessionOpened
from stayline.link.peer import BaseHandler, Peer
from stayline.link.standby_link import endpoint_of
from stayline.link.transport import connect

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


class OriginalPair:
    """An agent's two links, kept so. ``turned`` is called when one of them stands or is gone."""

    def __init__(self, account: Account, tls: TlsFiles, random: Random, turned: Callable[[], None]) -> None:
        self._account = account
        self._tls = tls
        self._interaction = OriginalLink(self._resume, turned, random)
        self._contact = OriginalLink(self._connect, turned, random)
        self._site = ""

    @property
    def whole(self) -> bool:
        """Whether the session is confirmed and the UCS link stands."""
        peers = (self._interaction.peer, self._contact.peer)
        return all(peer is not None and peer.hello.site == self._site for peer in peers)

    @property
    def given_up(self) -> int:
        """Attempts that ran out of patience."""
        return self._interaction.given_up + self._contact.given_up

    def use(self, plan: Plan, spread: float = MOVE_SECONDS) -> None:
        """The site that the plan names; another one than before is gone to within ``spread`` seconds."""
        self._site = plan.wanted
        cluster = plan.cluster_of(plan.wanted)
        pools = cluster.pools if cluster is not None else {}
        for kept, link in ((self._interaction, Link.INTERACTION), (self._contact, Link.CONTACT)):
            kept.use(pools[link].nodes if link in pools else (), spread)

    async def stop(self) -> None:
        """Hang up."""
        await asyncio.gather(self._interaction.stop(), self._contact.stop())

    async def _connect(self, node: Node) -> Peer:
        # The longest times that may be: it is the caller's patience that ends an attempt.
        wait = 2 * PATIENCE_SECONDS
        return await connect(
            endpoint_of(node),
            self._account.hello(),
            BaseHandler(),
            self._tls,
            connect_timeout=wait,
            hello_timeout=wait,
        )

    async def _resume(self, node: Node) -> Peer:
        peer = await self._connect(node)
        try:
            opened = await self._open(peer)
        except BaseException:  # also when cancelled: nobody else knows this link
            peer.abort("no session")
            raise
        account = self._account
        account.session, account.ticket = opened.session, opened.ticket
        account.last_seq = opened.snapshot.as_of
        return peer

    async def _open(self, peer: Peer) -> SessionOpened:
        account = self._account
        key = uuid.uuid4().hex
        if account.ticket:
            resume = AgentResume(ticket=account.ticket, last_seq=account.last_seq)
            try:
                return await peer.request("agent.resume", resume, SessionOpened, key=key)
            except RefusedError as error:
                if error.refusal.code not in OVER:
                    raise
                account.ticket = ""
        media = [MediaState(media="chat", ready=False)]
        login = AgentLogin(place=account.place, media=media, workspace=account.instance)
        return await peer.request("agent.login", login, SessionOpened, key=key)
