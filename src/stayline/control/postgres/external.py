"""A database that the operator runs: we read it, migrate it and record mastership, and never touch its process.

Each step that only its administrator can take is refused with a sentence that says what to do; run again afterwards,
the same step sees that it was done and goes on.
"""

import asyncpg

from stayline.control.postgres.config import Upstream
from stayline.control.postgres.promotion import mastership_row
from stayline.control.postgres.roles import establish_by_dsn
from stayline.control.postgres.status import query_status
from stayline.domain.errors import RefusedError, StaylineError, refuse
from stayline.domain.mastership import may_promote
from stayline.link.messages.control import (
    DatabaseRole,
    DatabaseStatus,
    DemotionToken,
    FollowReport,
    Promote,
    ReplicationMode,
)
from stayline.store.database import LOST, connect, describe, hang_up, is_in_recovery
from stayline.store.mastership import insert_mastership, newest_mastership


class ExternalDatabase:
    """The operations of a :class:`~stayline.control.postgres.node.PostgresNode`, on a server given by DSN.

    The DSN's role owns the database; for the status it needs ``pg_monitor``. ``mode`` is what the operator says the
    server is set to: it is shown, not kept up.
    """

    def __init__(self, site: str, peer_site: str, dsn: str, mode: ReplicationMode) -> None:
        self.site = site
        self.peer_site = peer_site
        self.dsn = dsn
        self.mode = mode

    async def status(self) -> DatabaseStatus:
        """What the server says; ``why`` begins with the fact that it is the operator's."""
        try:
            conn = await connect(self.dsn, f"stayline-node {self.site}")
        except StaylineError as error:
            return self._down(error.refusal.reason)
        try:
            status = await query_status(conn, self.site, self.peer_site, self.mode, keeper=None)
            if status.role is DatabaseRole.PRIMARY:
                wait = "wait for the" if status.synchronous else "do not wait for a"
                status.why = f"commits {wait} replica."
            status.why = f"Run by the operator: {status.why}"
            return status
        except (*LOST, asyncpg.PostgresError) as error:
            return self._down(describe(error))
        finally:
            await hang_up(conn)

    async def establish(self, reason: str, by: str) -> None:
        """Migrate; epoch 1 for this site when no site ever was master."""
        await establish_by_dsn(self.dsn, self.site, reason, by)

    async def start(self) -> None:
        """Succeeds when the server answers."""
        status = await self.status()
        if status.role is DatabaseRole.DOWN:
            raise self._refusal("is not running", "start it")

    async def stop(self, mode: str = "fast") -> None:
        """Always refused."""
        raise self._refusal(f"is not stopped ({mode}) by Stayline", "stop it")

    async def demote(self, why: str) -> DemotionToken:
        """Succeeds when the server has become a replica."""
        conn = await connect(self.dsn, f"stayline-node {self.site}")
        try:
            if not await is_in_recovery(conn):
                raise self._refusal(f"is still primary ({why})", "switch the primary over to the other site")
            row = await conn.fetchrow(
                """SELECT system_identifier::text AS system_id, timeline_id AS timeline, checkpoint_lsn::text AS lsn
                   FROM pg_control_system(), pg_control_checkpoint()"""
            )
        finally:
            await hang_up(conn)
        assert row is not None
        return DemotionToken(system_id=row["system_id"], timeline=row["timeline"], lsn=row["lsn"])

    async def promote(self, order: Promote) -> DatabaseStatus:
        """Succeeds when the server accepts writes: then the mastership row is written."""
        conn = await connect(self.dsn, f"stayline-node {self.site}")
        try:
            if await is_in_recovery(conn):
                raise self._refusal("is still a replica", "promote it")
            newest = await newest_mastership(conn)
            refusal = may_promote(newest, order.epoch, order.site)
            if refusal is not None:
                raise RefusedError(refusal)
            if newest is None or newest.epoch < order.epoch:
                await insert_mastership(conn, mastership_row(order))
        finally:
            await hang_up(conn)
        return await self.status()

    async def follow(self, upstream: Upstream, timeout: float = 60.0) -> FollowReport:
        """Succeeds when the server receives from its primary."""
        status = await self.status()
        if status.role is not DatabaseRole.REPLICA or not status.streaming:
            raise self._refusal(
                f"does not follow {upstream.site}",
                f"make it a replica of {upstream.site} (within {timeout:g} s)",
            )
        return FollowReport(rewound=False)

    def _down(self, why: str) -> DatabaseStatus:
        return DatabaseStatus(
            role=DatabaseRole.DOWN,
            mode=self.mode,
            site=self.site,
            why=f"Run by the operator, does not answer: {why}",
        )

    def _refusal(self, what: str, fix: str) -> RefusedError:
        return refuse(
            "database.external",
            f"The database of {self.site} is run by the operator and {what}.",
            retryable=True,
            fix=f"Have its administrator {fix}, then run the command again.",
        )
