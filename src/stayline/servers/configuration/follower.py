"""What this Configuration Server knows, and why it may (or may not) change it.

It follows the database of its own site by polling one row, and keeps what it knows when the database goes away. What
the other site's server tells (``offer``) is taken as well when it is newer: during a switch-over the own database may
be away for long, and nobody must miss the change of site because of that.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import asyncpg
import msgspec
import structlog

from stayline.domain.errors import Refusal, RefusedError
from stayline.domain.objects import ConfigObject
from stayline.domain.revision import position
from stayline.domain.topology import Configuration
from stayline.link.messages.configuration import ChangeRecord
from stayline.store.configuration import (
    Judge,
    Key,
    NewChange,
    Standing,
    Step,
    Stored,
    follow,
    history,
    load,
    not_writable,
    standing,
    write_change,
)
from stayline.store.database import LOST, Connection, connect, describe, hang_up
from stayline.store.migrate import migrate

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.25
"""How often the revision is looked at: what the other site changed is known here this much later, at most."""

AWAY_SECONDS = 1.0
"""A database that is back within this time was not away: its server keeps calling itself current."""

POLL_TIMEOUT = 3.0
"""Seconds for a poll; longer means that the database is away."""

MIGRATE_TIMEOUT = 120.0
"""Seconds for bringing the tables to this release, which may have to wait for another process that does it."""

WAITING_CHANGES = 64
"""Changes that may wait for their turn."""


@dataclass(frozen=True)
class Availability:
    """Whether changes can be made here, whether what is known is up to date, and the reason in a sentence."""

    writable: bool
    current: bool
    why: str
    epoch: int = 0
    active_site: str = ""


class Follower:
    """See the module. ``on_stored`` is called when the configuration is another one, ``on_availability`` when that
    changed; ``kept`` gives the number of revisions to keep in memory."""

    def __init__(
        self,
        dsn: str,
        site: str,
        instance: str,
        *,
        kept: Callable[[], int],
        on_stored: Callable[[], None],
        on_availability: Callable[[], None],
    ) -> None:
        self._dsn = dsn
        self._site = site
        self._instance = instance
        self._kept = kept
        self._on_stored = on_stored
        self._on_availability = on_availability
        self._reader: Connection | None = None
        self._writer: Connection | None = None
        self._standing: Standing | None = None
        self._seen_at = 0.0
        self._away_why = "not looked at yet"
        self._seen_epoch = 0
        self._helped = False
        # What is known came from the other server: without password hashes that are new.
        self._borrowed = False
        self._waiting = 0
        self._polling = asyncio.Lock()
        self._changing = asyncio.Lock()
        self.loaded = asyncio.Event()
        self.stored = Stored()
        self.availability = Availability(False, False, "starting")

    # -- following ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow for ever."""
        try:
            while True:
                await self.poll()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    await hang_up(connection)

    async def poll(self) -> None:
        """Look once; never raises for a database that is away."""
        async with self._polling:
            try:
                if self._reader is None or self._reader.is_closed():
                    await self._connect()
                async with asyncio.timeout(POLL_TIMEOUT):
                    await self._look()
            except (*LOST, asyncpg.PostgresError, RefusedError) as error:
                await self._away(error)
            self._judge()

    async def _connect(self) -> None:
        self._reader = await connect(self._dsn, self._instance, timeout=POLL_TIMEOUT)
        async with asyncio.timeout(MIGRATE_TIMEOUT):
            await self._migrate(self._reader)

    async def _look(self) -> None:
        assert self._reader is not None
        now = await standing(self._reader)
        if now.revision and not self._changing.locked():
            async with self._changing:
                await self._catch_up(self._reader, now)
        self._standing, self._seen_at, self._away_why = now, time.monotonic(), ""

    async def _catch_up(self, conn: Connection, now: Standing) -> None:
        """Take what the database has, unless what is known is newer and the database not the truth."""
        known, kept = self.stored, self._kept()
        same = (now.revision, now.mark) == (known.revision, known.mark)
        if same and not self._borrowed:
            return
        authority = not_writable(now, self._site) is None and now.epoch >= self._seen_epoch
        if not authority and position(now.mark, now.revision) < position(known.mark, known.revision):
            return
        if self._borrowed or not known.revision:
            newest = await load(conn, kept)
        else:
            newest = await follow(conn, known, kept)
        if self.stored is not known and not authority:
            # The other server told something meanwhile: the next look compares with that.
            return
        self._borrowed = False
        if same:
            self.stored = newest
        self._accept(newest)

    async def _migrate(self, conn: Connection) -> None:
        """Bring the tables to this release, where this site's database may be written."""
        if await conn.fetchval("SELECT pg_is_in_recovery()"):
            return
        with contextlib.suppress(asyncpg.UndefinedTableError):
            if not_writable(await standing(conn), self._site) is not None:
                return
        for name in await migrate(conn):
            log.info("configuration.migrated", migration=name)

    async def _away(self, error: BaseException) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await hang_up(reader, timeout=0.2)
        why = error.refusal.reason if isinstance(error, RefusedError) else describe(error)
        if not self._away_why:
            log.warning("configuration.database_away", why=why)
        self._away_why = why

    def _accept(self, newest: Stored) -> None:
        if (newest.revision, newest.mark) == (self.stored.revision, self.stored.mark):
            return
        log.info(
            "configuration.revision", revision=newest.revision, mark=newest.mark, objects=len(newest.objects)
        )
        self.stored = newest
        self.loaded.set()
        self._on_stored()

    def _judge(self) -> None:
        """Work out the availability and tell when it changed."""
        now, away = self._standing, bool(self._away_why)
        recently = bool(self._seen_at) and time.monotonic() - self._seen_at < AWAY_SECONDS
        epoch = max(now.epoch if now else 0, self._seen_epoch)
        site = now.site if now and now.epoch >= self._seen_epoch else ""
        if now is None or away:
            why = f"the database of {self._site} is away: {self._away_why}"
            judged = Availability(False, recently or self._helped, why, epoch, site)
        else:
            refusal = self._refusal(now)
            follows = now.follows and now.epoch >= self._seen_epoch
            why = refusal.reason if refusal else f"the database of {self._site} is the primary"
            judged = Availability(refusal is None, follows or self._helped, why, epoch, site)
        if judged != self.availability:
            if judged.writable != self.availability.writable:
                log.info("configuration.writable", writable=judged.writable, why=judged.why)
            self.availability = judged
            self._on_availability()

    def _refusal(self, now: Standing) -> Refusal | None:
        if now.epoch < self._seen_epoch:
            return Refusal(
                code="config.read_only",
                reason=f"Mastership has moved (epoch {self._seen_epoch}); {self._site} still has epoch {now.epoch}.",
                retryable=True,
                fix="Ask the Configuration Server of the active site.",
                epoch=self._seen_epoch,
            )
        return not_writable(now, self._site)

    def saw_epoch(self, epoch: int) -> None:
        """Another server acts under this epoch: until the own database has it too, nothing is changed here."""
        if epoch > self._seen_epoch:
            self._seen_epoch = epoch
            self._judge()

    # -- what the other site's server knows -----------------------------------------------------------------------

    def offer(self, told: Configuration, mark: str, *, authority: bool, current: bool) -> None:
        """The state of the other Configuration Server; taken when it is newer, or the truth. ``current`` false (or
        the link lost): it is no help at the moment."""
        self._helped = current
        here = (self.stored.mark, self.stored.revision)
        newer = position(mark, told.revision) > position(*here)
        if (
            not self.availability.writable
            and told.revision
            and (newer or (authority and here != (mark, told.revision)))
        ):
            self._borrowed = True
            self._accept(self._merged(told, mark))
        self._judge()

    def _merged(self, told: Configuration, mark: str) -> Stored:
        """What was told has no password hashes: those known here stay."""
        objects: dict[Key, ConfigObject] = {}
        for obj in told.objects:
            before = self.stored.objects.get((str(obj.type), obj.name))
            hashed = before.password_hash if before is not None else ""
            objects[(str(obj.type), obj.name)] = msgspec.structs.replace(obj, password_hash=hashed)
        known = self.stored.objects
        differing = {k for k in objects.keys() | known.keys() if objects.get(k) != known.get(k)}
        step = Step(told.revision, mark, frozenset(differing))
        steps = self.stored.steps if self.stored.revision < told.revision else ()
        return Stored(told.revision, mark, objects, (*steps, step)[-self._kept() :])

    # -- changing -------------------------------------------------------------------------------------------------

    async def change(self, change: NewChange, judge: Judge) -> int:
        """Write one change and return its revision. Raises RefusedError (``config.read_only`` ...)."""
        if not self.availability.writable:
            # It may have become writable since the last look: just after a promotion this is the hurried question.
            await self.poll()
        if self._away_why or self._standing is None:
            raise RefusedError(self._unavailable(self._away_why))
        refusal = self._refusal(self._standing)
        if refusal is not None:
            raise RefusedError(refusal)
        if self._waiting >= WAITING_CHANGES:
            reason = f"{WAITING_CHANGES} changes are waiting already."
            raise RefusedError(Refusal(code="config.busy", reason=reason, retryable=True, retry_after=1.0))
        self._waiting += 1
        try:
            async with self._changing:
                return await self._write(change, judge)
        finally:
            self._waiting -= 1

    async def _write(self, change: NewChange, judge: Judge) -> int:
        try:
            if self._writer is None or self._writer.is_closed():
                self._writer = await connect(self._dsn, self._instance, timeout=POLL_TIMEOUT)
            revision, newest = await write_change(
                self._writer, change, self._site, self.stored, self._kept(), judge
            )
        except (asyncpg.LockNotAvailableError, asyncpg.ReadOnlySQLTransactionError) as error:
            raise RefusedError(self._unavailable(describe(error))) from error
        except LOST as error:
            writer, self._writer = self._writer, None
            if writer is not None:
                await hang_up(writer, timeout=0.2)
            raise RefusedError(self._unavailable(describe(error))) from error
        self._accept(newest)
        return revision

    def _unavailable(self, why: str) -> Refusal:
        return Refusal(
            code="config.unavailable",
            reason=f"The database of {self._site} cannot take the change: {why}.",
            retryable=True,
            retry_after=0.5,
            fix="Repeat it with the same key; it has effect at most once.",
        )

    async def history(self, limit: int, type_: str, name: str) -> list[ChangeRecord]:
        """The newest changes. Raises RefusedError ``config.unavailable`` while the database is away."""
        async with self._polling:
            try:
                if self._reader is None or self._reader.is_closed():
                    self._reader = await connect(self._dsn, self._instance, timeout=POLL_TIMEOUT)
                return await history(self._reader, limit, type_, name)
            except (*LOST, asyncpg.PostgresError) as error:
                raise RefusedError(self._unavailable(describe(error))) from error
