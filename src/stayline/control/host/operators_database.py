"""The database of a site when the operator runs it (given by DSN): its host agent watches and records, no
more."""

import asyncio
from collections.abc import Callable

import structlog

from stayline.control.host.first_start import bring_configuration
from stayline.control.host.placement import Decision, Duty, Move
from stayline.control.host.plan import HostPlan
from stayline.control.postgres.config import Upstream
from stayline.control.postgres.external import ExternalDatabase
from stayline.domain.errors import refuse
from stayline.link.messages.control import (
    DatabaseRole,
    DatabaseStatus,
    DemotionToken,
    FollowReport,
    Promote,
)

LOOK_EVERY = 1.0
"""Seconds between two looks at the server."""

log = structlog.get_logger("stayline.host.database")


class OperatorsDatabase:
    """The operations of :class:`SiteDatabase`; the role is what the server itself and the mastership row
    say."""

    def __init__(self, plan: HostPlan) -> None:
        """``plan.database_dsn`` says where it is."""
        peer = plan.peer.site if plan.peer else plan.site
        self._plan = plan
        self._database = ExternalDatabase(plan.site, peer, plan.database_dsn, plan.replication)
        self._seen: DatabaseStatus | None = None
        self.settled = asyncio.Event()
        self.deciding = Decision(Move.WAIT, "the operator's database was not asked yet")
        self.changed: list[Callable[[str], None]] = []
        self.superseded: list[Callable[[str], None]] = []
        self.rejoined: list[Callable[[str], None]] = []

    @property
    def dsn(self) -> str:
        """For the services of this site."""
        return self._plan.database_dsn

    @property
    def duty(self) -> Duty | None:
        """Primary or replica, as last seen; None: it did not answer yet."""
        if self._seen is None or self._seen.role is DatabaseRole.DOWN:
            return None
        return Duty.PRIMARY if self._seen.role is DatabaseRole.PRIMARY else Duty.REPLICA

    @property
    def epoch(self) -> int:
        """Of the newest mastership row seen."""
        return self._seen.epoch if self._seen is not None else 0

    @property
    def is_primary(self) -> bool:
        """Whether it takes writes and the mastership is this site's."""
        return (
            self.duty is Duty.PRIMARY and self._seen is not None and self._seen.master_site == self._plan.site
        )

    async def status(self) -> DatabaseStatus:
        """What the server says now."""
        before = self._seen
        self._seen = found = await self._database.status()
        if before is not None and (before.role, before.epoch) != (found.role, found.epoch):
            self._tell(f"database of {self._plan.site} is {found.role}, epoch {found.epoch}: {found.why}")
        return found

    async def settle(self) -> None:
        """Wait until the server answers; a primary gets tables, first epoch and configuration."""
        while not self.settled.is_set():
            found = await self.status()
            self.deciding = Decision(Move.WAIT, found.why)
            if found.role is DatabaseRole.PRIMARY:
                if self._plan.first or found.epoch > 0:
                    await self._database.establish(
                        "first start of the centre", f"host agent {self._plan.host}"
                    )
                    found = await self.status()
                if found.master_site == self._plan.site:
                    await bring_configuration(self._plan, self.dsn)
            if found.role in (DatabaseRole.PRIMARY, DatabaseRole.REPLICA):
                self.settled.set()
                self._tell(f"database of {self._plan.site} is {found.role}: {found.why}")
                return
            await asyncio.sleep(LOOK_EVERY)

    async def watch(self) -> None:
        """Look for ever, so that a change of role is noticed; cores notice it themselves by their
        election."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            was = self.is_primary
            found = await self.status()
            if was and found.role is DatabaseRole.REPLICA:
                for callback in self.superseded:
                    callback(f"the operator's database of {self._plan.site} became a replica")

    async def demote(self, why: str) -> DemotionToken:
        """Succeeds once the operator has made it a replica."""
        return await self._database.demote(why)

    async def reinstate(self, why: str) -> DatabaseStatus:
        """Succeeds while (or once again) it takes writes under this site's mastership."""
        found = await self.status()
        if not self.is_primary:
            raise refuse(
                "database.external",
                f"The database of {self._plan.site} is run by the operator and is no primary ({why}).",
                retryable=True,
                fix="Have its administrator make it the primary again, then run the command again.",
            )
        return found

    async def promote(self, order: Promote) -> DatabaseStatus:
        """Records the mastership once the operator has promoted it."""
        self._seen = await self._database.promote(order)
        return self._seen

    async def follow(self, primary_host: str, timeout: float) -> FollowReport:
        """Succeeds once it receives from the other site's primary."""
        peer = self._plan.peer
        if peer is None or peer.host != primary_host:
            raise refuse(
                "database.peer_unknown", f"This host cannot follow {primary_host}.", field="primary_host"
            )
        upstream = Upstream(site=peer.site, host=peer.address, port=peer.database_port)
        return await self._database.follow(upstream, timeout)

    async def fence(self, why: str, timeout: float) -> None:
        """The servers here are stopped by the host agent; of the database it can only say what is to be
        done."""
        log.warning(
            "not fenced",
            why=f"the operator runs the database of {self._plan.site}: make it a replica",
            reason=why,
        )

    async def close(self) -> None:
        """Nothing of ours runs."""

    async def leave(self) -> None:
        """Nothing of ours runs."""

    def _tell(self, sentence: str) -> None:
        log.info("database role", role=str(self.duty), epoch=self.epoch, why=sentence)
        for callback in self.changed:
            callback(sentence)
