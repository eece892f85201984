"""The database of a site under its host agent: which role it takes, keeps, and on command changes.

The role file is written before a role is given up and after one is taken, so that a host agent that dies in
between never starts a database as primary that another site may have followed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from stayline.control.host.faults import FAULTS, sentence
from stayline.control.host.first_start import bring_configuration
from stayline.control.host.placement import Decision, Duty, Move, RoleFile, Situation, decide
from stayline.control.host.plan import HostPlan
from stayline.control.host.revival import Revival
from stayline.control.host.role_record import RecordedReport, RoleRecord
from stayline.control.host.watching import Act, Look, judge_peer
from stayline.control.postgres.config import Upstream
from stayline.control.postgres.keeper import ReplicationKeeper
from stayline.control.postgres.node import PostgresNode
from stayline.domain.errors import refuse
from stayline.link.messages.control import (
    DatabaseRole,
    DatabaseStatus,
    DemotionToken,
    FollowReport,
    Promote,
)

ASK_EVERY = 0.25
"""Seconds between two looks at the peer while the role is not decided."""

WATCH_EVERY = 1.0
"""Seconds between two looks at the peer afterwards."""

FOLLOW_TIMEOUT = 60.0
"""Seconds until it must follow its peer, when it does so by itself."""

log = structlog.get_logger("stayline.host.database")

AskPeer = Callable[[], Awaitable[DatabaseStatus | None]]


class SiteDatabase:
    """See the module. ``changed`` is called with a sentence whenever the role changes."""

    def __init__(
        self, plan: HostPlan, folder: Path, node: PostgresNode, ask_peer: AskPeer, *, alone: bool
    ) -> None:
        """``ask_peer`` gives the other site's database status, None when its host agent does not answer."""
        self._plan = plan
        self._record = RoleRecord(folder)
        self._ask_peer = ask_peer
        self._alone = alone
        self._turn = asyncio.Lock()
        self._keeper: ReplicationKeeper | None = None
        self._revival = Revival(node, self._turn, self._may_run, self._tell)
        self._peer_epoch = 0
        self.node = node
        self.role = self._record.role()
        self.settled = asyncio.Event()
        self.deciding = Decision(Move.WAIT, "not decided yet")
        self.changed: list[Callable[[str], None]] = []
        self.superseded: list[Callable[[str], None]] = []
        """Called with a sentence when the other site turns out to be master: the cores here must stop at once."""
        self.rejoined: list[Callable[[str], None]] = []
        """Called with a sentence when it follows the other site again without having been told to."""
        node.mode = plan.replication
        node.on_exit.append(self._revival.crashed)

    @property
    def dsn(self) -> str:
        """For the services of this site."""
        return self.node.dsn

    @property
    def duty(self) -> Duty | None:
        """What this node is, as recorded; None: nothing yet."""
        return self.role.duty if self.role else None

    @property
    def epoch(self) -> int:
        """The highest epoch this node acted under, followed, or heard of from its peer."""
        return max(self.role.epoch if self.role else 0, self._peer_epoch)

    @property
    def is_primary(self) -> bool:
        """Whether this site's database is settled as primary."""
        return self.settled.is_set() and self.duty is Duty.PRIMARY

    async def status(self) -> DatabaseStatus:
        """The node's status; while the role is undecided or given up, with the recorded epoch and the reason."""
        found = await self.node.status()
        found.epoch = max(found.epoch, self.role.epoch if self.role else 0)
        if self.duty is Duty.FENCED and not self.node.running:
            found.role = DatabaseRole.FENCED
        if not self.settled.is_set():
            found.why = self.deciding.why
        elif self.role is not None and not self.node.running:
            found.why = self.role.why
        elif self.duty is Duty.REPLICA and (recorded := self._record.report()) is not None:
            found.why = " ".join(part for part in (found.why, recorded.loss(self.epoch)) if part)
        return found

    # -- at the start ---------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Take the right role, waiting for the peer where that is needed. Ends when the role is taken."""
        began = time.monotonic()
        await self.node.adopt()
        told, yielded = "", 0
        while not self.settled.is_set():
            peer = await self._ask()
            async with self._turn:
                if self.settled.is_set():  # a command was quicker
                    return
                self.deciding = decide(self._situation(peer, time.monotonic() - began))
                if self.deciding.why != told:
                    told = self.deciding.why
                    log.info("database decision", move=str(self.deciding.move), why=told)
                if self.deciding.move is not Move.WAIT:
                    await self._carry_out(self.deciding)
                    return
                if peer is not None and self.role is not None and peer.epoch > max(self.role.epoch, yielded):
                    await self._step_aside(self.deciding.why)
                    yielded = peer.epoch  # once: it is stopped from here on
            await asyncio.sleep(ASK_EVERY)

    def _situation(self, peer: DatabaseStatus | None, asked: float) -> Situation:
        return Situation(
            own=self.role,
            peer=peer,
            peer_exists=self._plan.peer is not None,
            asked=asked,
            running=self.node.running,
            first=self._plan.first,
            # A lab makes both sites at once: what has never been anywhere need not be asked for.
            alone=self._alone or (self._plan.lab and self._plan.first and self.role is None),
        )

    async def _carry_out(self, decision: Decision) -> None:
        move, why = decision.move, decision.why
        if move is Move.CREATE:
            await self.node.init_primary()
            await self._establish()
            self._take(Duty.PRIMARY, 1, why)
        elif move is Move.START_PRIMARY:
            await self.node.start()
            await self._establish()
            self._take(Duty.PRIMARY, self._recorded_epoch(), why)
        elif move is Move.START_REPLICA:
            await self.node.start()
            duty = Duty.PROMOTING if self.duty is Duty.PROMOTING else Duty.REPLICA
            self._take(duty, self._recorded_epoch(), why)
        elif move is Move.CLONE:
            await self.node.clone_from(self._upstream())
            self._take(Duty.REPLICA, (await self.node.status()).epoch, why)
        elif move is Move.FOLLOW:
            await self._follow(FOLLOW_TIMEOUT, why)

    def _recorded_epoch(self) -> int:
        return self.role.epoch if self.role else 1

    async def _establish(self) -> None:
        """Tables of this release, epoch 1, the configuration of a first start; all harmless when done before."""
        await self.node.establish("first start of the centre", f"host agent {self._plan.host}")
        await bring_configuration(self._plan, self.node.dsn)

    # -- on command -----------------------------------------------------------------------------------------

    async def demote(self, why: str) -> DemotionToken:
        """Stop the primary cleanly and keep it stopped. Raises RefusedError when it is not the primary."""
        async with self._turn:
            before = self.role
            if before is None or self.duty not in (Duty.PRIMARY, Duty.DEMOTED, Duty.FENCED):
                raise refuse(
                    "database.not_primary",
                    f"The database of {self._plan.site} is {self.duty}, not the primary.",
                )
            self._write(Duty.DEMOTED, before.epoch, why)
            await self._stop_keeper()
            try:
                token = await self.node.demote(why)
            except FAULTS as error:
                if self._writes:
                    self._write(before.duty, before.epoch, f"the demotion failed: {sentence(error)}")
                    if before.duty is Duty.PRIMARY:
                        self._start_keeper()
                raise
            self.settled.set()
            self._tell(f"database of {self._plan.site} demoted: {why}")
            return token

    async def reinstate(self, why: str) -> DatabaseStatus:
        """Undo a demotion, as long as the peer has not been promoted."""
        async with self._turn:
            peer = await self._ask()
            if self.duty is not Duty.DEMOTED or self.role is None:
                raise refuse("database.not_demoted", f"The database of {self._plan.site} was not demoted.")
            if peer is None or peer.role is DatabaseRole.PRIMARY or peer.epoch > self.role.epoch:
                reason = (
                    "the other host agent does not answer" if peer is None else "the other site was promoted"
                )
                raise refuse(
                    "database.not_reinstated",
                    f"The database of {self._plan.site} may not be primary again: {reason}.",
                    retryable=peer is None,
                )
            await self.node.reinstate(why)
            self._take(Duty.PRIMARY, self.role.epoch, why)
        return await self.status()

    async def promote(self, order: Promote) -> DatabaseStatus:
        """Make the replica here the primary of ``order.epoch``."""
        async with self._turn:
            before = self.role
            if before is None:
                raise refuse(
                    "database.not_there", f"There is no database at {self._plan.site} yet.", retryable=True
                )
            if self.duty is not Duty.PRIMARY:
                self._write(Duty.PROMOTING, before.epoch, order.reason)
            try:
                await self.node.promote(order)
            except FAULTS:
                if self.duty is Duty.PROMOTING and self.node.files.standby_signal.exists():
                    self._write(before.duty, before.epoch, before.why)
                raise
            self._take(Duty.PRIMARY, order.epoch, order.reason)
        return await self.status()

    async def follow(self, primary_host: str, timeout: float) -> FollowReport:
        """Become the replica of the other site. Repeated under the same epoch it gives the same report."""
        if self._plan.peer is None or primary_host != self._plan.peer.host:
            known = self._plan.peer.host if self._plan.peer else "nobody"
            raise refuse(
                "database.peer_unknown",
                f"This host can follow {known}, not {primary_host}.",
                field="primary_host",
            )
        async with self._turn:
            recorded = self._record.report()
            if (
                self.duty is Duty.REPLICA
                and recorded is not None
                and recorded.epoch == self._recorded_epoch()
            ):
                status = await self.node.status()
                if status.streaming:
                    return recorded.report
            return await self._follow(timeout, f"told to follow {primary_host}")

    async def fence(self, why: str, timeout: float) -> None:
        """Make sure that nobody writes here: a primary is stopped and stays so. A replica goes on."""
        async with self._turn:
            if self.duty in (Duty.PRIMARY, Duty.FENCED, Duty.DEMOTED):
                await self._step_aside(why, timeout)

    async def close(self) -> None:
        """Stop the database in order; its role stays what it is."""
        await self._end_tasks()
        if self.node.running:
            await self.node.stop("fast")

    async def leave(self) -> None:
        """Leave the database running for the next host agent."""
        await self._end_tasks()
        self.node.forget()

    # -- for as long as the host agent lives ----------------------------------------------------------------

    async def watch(self) -> None:
        """Look at the peer for ever: step aside when it is master, follow it when nobody else sees to that."""
        since = 0.0
        while True:
            await asyncio.sleep(WATCH_EVERY)
            peer = await self._ask()
            if peer is None or self.role is None or not self.settled.is_set() or self._turn.locked():
                continue
            try:
                since = await self._look(peer, self.role, since)
            except FAULTS as error:
                # Whatever it was: without this watch, two primaries would stay two.
                log.error("database watch", why=sentence(error))

    async def _look(self, peer: DatabaseStatus, role: RoleFile, since: float) -> float:
        """One look at a peer that answers, while no command is being carried out."""
        streaming = role.duty is Duty.REPLICA and (await self.node.status()).streaming
        look = Look(
            duty=role.duty,
            epoch=role.epoch,
            peer_role=peer.role,
            peer_epoch=peer.epoch,
            writes=self._writes,
            streaming=streaming,
            now=time.monotonic(),
        )
        verdict = judge_peer(look, since)
        if verdict.act is Act.NOTHING:
            return verdict.since
        async with self._turn:
            if self.role is not role:  # a command was quicker: what was seen is not true any more
                return 0.0
            log.warning("database repair", act=str(verdict.act), why=verdict.why)
            if verdict.act is Act.STEP_ASIDE:
                await self._step_aside(verdict.why)
                return verdict.since
            await self._follow(FOLLOW_TIMEOUT, verdict.why)
        for callback in self.rejoined if role.duty is not Duty.REPLICA else ():
            callback(verdict.why)
        return verdict.since

    # -- inside ---------------------------------------------------------------------------------------------

    @property
    def _writes(self) -> bool:
        """Whether a server runs here that is not a replica."""
        return self.node.running and not self.node.files.standby_signal.exists()

    async def _ask(self) -> DatabaseStatus | None:
        found = await self._ask_peer()
        if found is not None:
            self._peer_epoch = max(self._peer_epoch, found.epoch)
        return found

    async def _step_aside(self, why: str, timeout: float = 5.0) -> None:
        """Stop a primary that is not (or shall not be) one any more; the cores of a replica's site stop too."""
        if self.role is None:
            return
        if self.duty is Duty.PRIMARY:
            self._write(Duty.FENCED, self.role.epoch, why)
        for callback in self.superseded:
            callback(why)
        await self._stop_keeper()
        if self._writes:
            try:
                async with asyncio.timeout(timeout):
                    await self.node.demote(why)
            except FAULTS as error:
                log.warning("clean stop failed", why=f"{sentence(error)}; the database is stopped hard")
                await self.node.stop("immediate")
        self._tell(f"database of {self._plan.site} gave way as {self.duty}: {why}")

    async def _follow(self, timeout: float, why: str) -> FollowReport:
        await self._stop_keeper()
        report = await self.node.follow(self._upstream(), timeout)
        epoch = (await self.node.status()).epoch
        if report.lost_journal or report.lost_entries:
            log.error(
                "committed here only",
                journal=report.lost_journal,
                entries=report.lost_entries,
                why="these were acknowledged at this site and had not reached the other one when it took over",
            )
        self._record.write_report(RecordedReport(epoch=epoch, report=report))
        self._take(Duty.REPLICA, epoch, why)
        return report

    def _upstream(self) -> Upstream:
        peer = self._plan.peer
        if peer is None:
            raise refuse("database.peer_unknown", "This centre has one site: there is nobody to follow.")
        return Upstream(site=peer.site, host=peer.address, port=peer.database_port)

    def _take(self, duty: Duty, epoch: int, why: str) -> None:
        self._write(duty, epoch, why)
        self.settled.set()
        if duty is Duty.PRIMARY:
            self._start_keeper()
        self._tell(f"database of {self._plan.site} is {duty} of epoch {epoch}: {why}")

    def _tell(self, why: str) -> None:
        log.info("database role", role=str(self.duty), epoch=self.epoch, why=why)
        for callback in self.changed:
            callback(why)

    def _write(self, duty: Duty, epoch: int, why: str) -> None:
        self.role = RoleFile(duty=duty, epoch=epoch, at=time.time(), why=why)
        self._record.write_role(self.role)

    def _start_keeper(self) -> None:
        if self._keeper is None:
            self._keeper = ReplicationKeeper(self.node, self._plan.replication, self._plan.replication_away)
            self._keeper.start()

    async def _stop_keeper(self) -> None:
        if self._keeper is not None:
            keeper, self._keeper = self._keeper, None
            await keeper.stop()

    def _may_run(self) -> bool:
        """Whether a server that crashed shall run again as what it was."""
        return self.duty in (Duty.PRIMARY, Duty.REPLICA, Duty.PROMOTING)

    async def _end_tasks(self) -> None:
        await self._revival.stop()
        await self._stop_keeper()
