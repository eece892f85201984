"""A host agent over a link: what a plan and a status page ask of it."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from stayline.domain.errors import LinkLostError
from stayline.link.authority import TlsFiles
from stayline.link.messages.control import (
    DatabaseStatus,
    Demote,
    DemotionToken,
    Drain,
    Drained,
    Fence,
    Follow,
    FollowReport,
    HostStatus,
    Promote,
    StartStop,
)
from stayline.link.messages.envelope import Hello
from stayline.link.peer import BaseHandler, Peer
from stayline.link.transport import Endpoint, connect

T = TypeVar("T")

CONNECT_SECONDS = 2.0
"""A host agent that does not take a connection within this time counts as unreachable."""

STATUS_SECONDS = 3.0

ACT_SECONDS = 20.0
"""For starting and stopping servers: the longest graceful stop and some room."""

DATABASE_SECONDS = 90.0
"""For role changes of a database; a rebuild of a large one is the operator's to wait for, by running it again."""


class HostClient:
    """One host agent. The link is opened when first needed and again whenever it was lost.

    Every method raises ``StaylineError`` saying why. A request that was not answered because the link was lost is
    not repeated here: the plan's steps may all be done twice, so its caller decides.
    """

    def __init__(
        self, name: str, endpoint: Callable[[], Endpoint], hello: Callable[[], Hello], tls: TlsFiles
    ) -> None:
        self.name = name
        self.last: HostStatus | None = None
        self.last_at = 0.0
        self._endpoint = endpoint
        self._hello = hello
        self._tls = tls
        self._peer: Peer | None = None
        self._opening = asyncio.Lock()

    async def _link(self) -> Peer:
        async with self._opening:
            if self._peer is None or self._peer.is_closed:
                self._peer = await connect(
                    self._endpoint(),
                    self._hello(),
                    BaseHandler(),
                    self._tls,
                    connect_timeout=CONNECT_SECONDS,
                    hello_timeout=CONNECT_SECONDS,
                )
            return self._peer

    async def _call(self, method: str, params: object, result: type[T], timeout: float) -> T:
        peer = await self._link()
        try:
            return await peer.request(method, params, result, timeout=timeout)
        except LinkLostError:
            # A host agent that is frozen keeps its connection; the next call must not wait on it again.
            peer.abort(f"{method} was not answered")
            raise

    async def status(self) -> HostStatus:
        """What runs there, and the database."""
        self.last = await self._call("host.status", None, HostStatus, STATUS_SECONDS)
        self.last_at = time.time()
        return self.last

    async def start(self, applications: list[str], why: str) -> HostStatus:
        """Start what does not run yet."""
        return await self._call(
            "host.start", StartStop(applications=applications, why=why), HostStatus, ACT_SECONDS
        )

    async def stop(self, applications: list[str], why: str) -> HostStatus:
        """Stop on command."""
        return await self._call(
            "host.stop", StartStop(applications=applications, why=why), HostStatus, ACT_SECONDS
        )

    async def drain(self, order: Drain) -> Drained:
        """Empty a server there, or take that back."""
        return await self._call("host.drain", order, Drained, ACT_SECONDS)

    async def fence(self, why: str) -> HostStatus:
        """Stop all servers and a primary database there."""
        return await self._call("host.fence", Fence(why=why), HostStatus, ACT_SECONDS)

    async def demote(self, why: str) -> DemotionToken:
        """Stop the primary cleanly."""
        return await self._call("database.demote", Demote(why=why), DemotionToken, DATABASE_SECONDS)

    async def reinstate(self, why: str) -> DatabaseStatus:
        """Take a demotion back: primary again, as long as the other site was not promoted."""
        return await self._call("database.reinstate", Demote(why=why), DatabaseStatus, DATABASE_SECONDS)

    async def promote(
        self, epoch: int, site: str, token: DemotionToken | None, *, forced: bool, reason: str, by: str
    ) -> None:
        """Make the replica there the primary of ``epoch``."""
        params = Promote(epoch=epoch, site=site, token=token, forced=forced, reason=reason, by=by)
        await self._call("database.promote", params, DatabaseStatus, DATABASE_SECONDS)

    async def follow(self, primary_host: str) -> FollowReport:
        """Make the database there a replica of the one of ``primary_host``."""
        return await self._call(
            "database.follow", Follow(primary_host=primary_host), FollowReport, DATABASE_SECONDS
        )

    async def close(self) -> None:
        """Hang up."""
        if self._peer is not None:
            await self._peer.close()
