"""Which process of a pair is primary: a lock that dies with its session, and a term that never repeats.

A backup waits in the lock's queue inside PostgreSQL, so a killed primary is replaced as soon as the server notices
that its connection is gone (milliseconds). A frozen primary keeps its connection: :meth:`Election.fence_holder` ends
its sessions. Whatever it does after that fails, because every write checks the term (:func:`fence_write`).
"""

import asyncio

import asyncpg
import structlog

from stayline.domain.errors import RefusedError, refuse
from stayline.domain.mastership import Term, may_lead
from stayline.store.database import (
    LOST,
    Connection,
    check_application_name,
    connect,
    describe,
    hang_up,
    is_in_recovery,
)
from stayline.store.mastership import FENCE_LOCK, SESSION_LOCK, newest_mastership, pair_key

__all__ = ["Election", "Term", "fence_write"]

_log = structlog.get_logger("store.election")

_LOOK = 0.1
"""Seconds between two looks at a database that is passive or away."""

_QUEUE = "2s"
"""How long one wait in the lock's queue lasts before the database is asked again whether this site is still active."""

_PROBE = 0.5
"""Seconds between two probes of the session that holds the lock."""

_PROBE_TIMEOUT = 2.0

_IN_FLIGHT = "1s"
"""How long a new primary waits for write transactions of the old one before it ends their sessions."""

_TERMINATE_MS = 2_000


class Election:
    """One candidate of a pair. ``instance`` names all database sessions of this process (``application_name``).

    :meth:`campaign` once; then ``lost`` resolves with a sentence when the term is over; then :meth:`close`.
    """

    def __init__(self, dsn: str, pair: str, site: str, instance: str) -> None:
        check_application_name(instance)
        self.pair = pair
        self.site = site
        self.instance = instance
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.waiting_for = "not started"
        self._key = pair_key(pair)
        self._dsn = dsn
        self._conn: Connection | None = None
        self._probe: asyncio.Task[None] | None = None

    async def campaign(self) -> Term:
        """Wait until this process is the pair's primary and return its term; for ever, if need be.

        ``waiting_for`` says in a sentence what is missing. Raises only RefusedError ``database.credentials``.
        """
        while True:
            try:
                term = await self._try()
            except RefusedError as error:
                if not error.refusal.retryable:
                    raise
                self._wait_for(error.refusal.reason)
                await self._drop()
            except (*LOST, asyncpg.PostgresError) as error:
                self._wait_for(f"The database went away: {describe(error)}")
                await self._drop()
            except asyncio.CancelledError:
                await self._drop()
                raise
            else:
                if term is not None:
                    return term
            await asyncio.sleep(_LOOK)

    async def fence_holder(self, reason: str) -> int:
        """End every database session of the process that holds the pair's lock; how many there were.

        Returns when they are gone: what they had not committed never will be. Never touches this process's own
        sessions. Raises RefusedError ``database.unreachable``.
        """
        conn = await connect(self._dsn, self.instance)
        try:
            holder = await conn.fetchval(_HOLDER, SESSION_LOCK, self._key)
            if holder is None or holder == self.instance:
                return 0
            ended = await conn.fetch(_TERMINATE_INSTANCE, holder, _TERMINATE_MS)
        finally:
            await hang_up(conn)
        _log.warning("holder fenced", pair=self.pair, holder=holder, sessions=len(ended), why=reason)
        return len(ended)

    async def close(self) -> None:
        """Let the lock go; the next candidate gets it at once."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        await self._drop()
        self._over("closed by its own process")

    # Inside

    async def _try(self) -> Term | None:
        """One round: None when the lock was not free in time."""
        conn = self._conn
        if conn is None or conn.is_closed():
            conn = self._conn = await connect(self._dsn, self.instance)
        await self._check_active(conn)
        self._wait_for("Another process of the pair holds the lock.")
        if not await self._queue(conn):
            return None
        # Active while it waited? The site may have been demoted and promoted again meanwhile.
        await self._check_active(conn)
        term = await self._take_term(conn)
        conn.add_termination_listener(lambda _: self._over("the database session that holds the lock ended"))
        self._probe = asyncio.get_running_loop().create_task(self._keep_probing(conn))
        _log.info(
            "elected",
            pair=self.pair,
            instance=self.instance,
            epoch=term.epoch,
            term=term.term,
            why="holds the lock",
        )
        return term

    async def _check_active(self, conn: Connection) -> None:
        refusal = may_lead(
            own_site=self.site,
            in_recovery=await is_in_recovery(conn),
            newest=await newest_mastership(conn),
        )
        if refusal is not None:
            raise RefusedError(refusal)

    async def _queue(self, conn: Connection) -> bool:
        await conn.execute(f"SET lock_timeout = '{_QUEUE}'")
        try:
            await conn.execute("SELECT pg_advisory_lock($1, $2)", SESSION_LOCK, self._key, timeout=10.0)
        except asyncpg.LockNotAvailableError:
            return False
        return True

    async def _take_term(self, conn: Connection) -> Term:
        """Take the next term alone: no write transaction of an older one is under way, and none will get through."""
        for _ in range(3):
            try:
                async with conn.transaction():
                    await conn.execute(f"SET LOCAL lock_timeout = '{_IN_FLIGHT}'")
                    await conn.execute("SELECT pg_advisory_xact_lock($1, $2)", FENCE_LOCK, self._key)
                    return await self._next_term(conn)
            except asyncpg.LockNotAvailableError:
                ended = await conn.fetch(_TERMINATE_WRITERS, FENCE_LOCK, self._key, _TERMINATE_MS)
                _log.warning(
                    "old writers ended",
                    pair=self.pair,
                    sessions=len(ended),
                    why="they lost the lock and still have a write transaction open",
                )
        raise refuse(
            "core.writers_stay",
            f"Old write transactions of pair {self.pair} do not end.",
            retryable=True,
            retry_after=_LOOK,
        )

    async def _next_term(self, conn: Connection) -> Term:
        newest = await newest_mastership(conn)
        if newest is None or newest.site != self.site:
            raise refuse("core.passive", f"{self.site} lost mastership during the election.", retryable=True)
        term = await conn.fetchval(_NEXT_TERM, self.pair, newest.epoch, self.site, self.instance)
        return Term(pair=self.pair, epoch=newest.epoch, term=term, site=self.site)

    async def _keep_probing(self, conn: Connection) -> None:
        """A connection can die without a word; the lock may then be somebody else's."""
        while not self.lost.done():
            await asyncio.sleep(_PROBE)
            try:
                await conn.fetchval("SELECT 1", timeout=_PROBE_TIMEOUT)
            except (*LOST, asyncpg.PostgresError) as error:
                self._over(f"the database session that holds the lock does not answer: {describe(error)}")
                return

    def _over(self, why: str) -> None:
        if not self.lost.done():
            self.lost.set_result(why)

    def _wait_for(self, why: str) -> None:
        if why != self.waiting_for:
            self.waiting_for = why
            _log.info("not elected yet", pair=self.pair, instance=self.instance, why=why)

    async def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None and not conn.is_closed():
            await hang_up(conn)


async def fence_write(conn: Connection, term: Term) -> None:
    """First statement of every write transaction of a primary; one round trip.

    From here to the end of the transaction no newer term can be taken. Raises RefusedError ``core.not_primary`` when
    one was, or when mastership moved; the transaction can then only be rolled back.
    """
    try:
        await conn.execute(
            _FENCE, FENCE_LOCK, pair_key(term.pair), term.pair, term.epoch, term.term, term.site
        )
    except asyncpg.PostgresError as error:
        if error.sqlstate != "SL001":
            raise
        raise refuse(
            "core.not_primary", describe(error), retryable=True, epoch=term.epoch, term=term.term
        ) from error


_FENCE = "SELECT fence_write($1, $2, $3, $4, $5, $6)"

_HOLDER = """
SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ExclusiveLock' AND l.objsubid = 2
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid = $1::bigint::oid AND l.objid = $2::bigint::oid
"""

_TERMINATE_INSTANCE = """
SELECT pg_terminate_backend(pid, $2) FROM pg_stat_activity
WHERE application_name = $1 AND datname = current_database() AND pid <> pg_backend_pid()
"""

_TERMINATE_WRITERS = """
SELECT pg_terminate_backend(l.pid, $3) FROM pg_locks l
WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ShareLock' AND l.objsubid = 2
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid = $1::bigint::oid AND l.objid = $2::bigint::oid AND l.pid <> pg_backend_pid()
"""

_NEXT_TERM = """
INSERT INTO election AS e (pair, epoch, term, site, holder) VALUES ($1, $2, 1, $3, $4)
ON CONFLICT (pair) DO UPDATE
   SET epoch = excluded.epoch, term = e.term + 1, site = excluded.site, holder = excluded.holder, taken_at = now()
RETURNING term
"""
