"""Group commit: what arrives while a commit is under way goes into the next transaction together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import asyncpg
import structlog

from stayline.domain.errors import Refusal, RefusedError, refuse
from stayline.domain.mastership import Term
from stayline.store.database import LOST, Connection, connect, describe, hang_up
from stayline.store.election import fence_write

_log = structlog.get_logger("store.writer")

T = TypeVar("T")
R = TypeVar("R")

_RETRIES = 3
_AGAIN = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""The same statements may succeed in a new transaction."""

_REFUSED_BY_DATA = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)


class _UnfitError(Exception):
    """One item of a batch does not fit; the others are not to suffer for it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class GroupWriter(Generic[T, R]):
    """One connection, one transaction at a time, each fenced by the term.

    ``apply(conn, items)`` runs inside the transaction and returns one result or refusal for each item, in order. It
    may be called again with fewer items when the transaction has to be repeated, so it must not change anything but
    the database. ``fenced`` is set, and ``why`` says so, when this writer can never write again: a newer term, or a
    database that went away (then what was under way may or may not have been committed; its senders repeat it with
    their keys). Everything that waits gets RefusedError ``core.not_primary``.
    """

    def __init__(
        self,
        dsn: str,
        term: Term,
        apply: Callable[[Connection, list[T]], Awaitable[list[R | Refusal]]],
        *,
        instance: str,
        queue_limit: int = 10_000,
        batch_limit: int = 256,
    ) -> None:
        self.term = term
        self.fenced = asyncio.Event()
        self.why = ""
        self.transactions = 0
        self._dsn = dsn
        self._apply = apply
        self._instance = instance
        self._queue_limit = queue_limit
        self._batch_limit = batch_limit
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._work = asyncio.Event()
        self._closing = False
        self._conn: Connection | None = None
        self._loop: asyncio.Task[None] | None = None

    @property
    def queued(self) -> int:
        """Items that wait for the next transaction."""
        return len(self._waiting)

    async def open(self) -> None:
        """Connect and check the term once. Raises RefusedError as :func:`connect` and :func:`fence_write` do."""
        conn = await connect(self._dsn, self._instance, command_timeout=None)
        try:
            async with conn.transaction():
                await fence_write(conn, self.term)
        except BaseException:  # also when cancelled: nobody else would end this session
            conn.terminate()
            raise
        conn.add_termination_listener(lambda _: self._fence("the database session of the writer ended"))
        self._conn = conn
        self._loop = asyncio.create_task(self._run(conn), name="group-writer")
        self._loop.add_done_callback(self._ended)

    async def submit(self, item: T) -> R:
        """Commit ``item`` and return its result; nothing is true before this returns.

        Raises RefusedError with the refusal of ``apply``; ``core.not_primary`` (retryable; when it comes after the
        item was taken, the item may have been committed, so it is repeated with its key); ``store.busy`` (retryable)
        when the queue is full; ``store.refused`` when the database does not accept this item.
        """
        if self.fenced.is_set() or self._closing or self._loop is None:
            raise RefusedError(self._not_primary())
        if len(self._waiting) >= self._queue_limit:
            raise refuse(
                "store.busy",
                f"{len(self._waiting)} changes already wait to be committed.",
                retryable=True,
                retry_after=0.5,
                epoch=self.term.epoch,
                term=self.term.term,
            )
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        self._work.set()
        return await done

    async def close(self, timeout: float = 2.0) -> None:
        """Commit what waits, for at most ``timeout`` seconds, and close the connection; refuse the rest."""
        self._closing = True
        self._work.set()
        if self._loop is not None:
            await asyncio.wait({self._loop}, timeout=timeout)
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        self._fence("the writer was closed")
        if self._conn is not None and not self._conn.is_closed():
            await hang_up(self._conn)

    # Inside

    async def _run(self, conn: Connection) -> None:
        batch: list[tuple[T, asyncio.Future[R]]] = []
        why = "the writer ended unexpectedly"
        try:
            while not self.fenced.is_set():
                if not self._waiting:
                    if self._closing:
                        return
                    self._work.clear()
                    await self._work.wait()
                    continue
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batch_limit))]
                await self._commit(conn, batch)
        except RefusedError as error:
            why = error.refusal.reason
        except LOST as error:
            why = f"the database went away: {describe(error)}"
        except asyncpg.PostgresError as error:
            why = f"the database does not take a batch: {describe(error)}"
            _log.error(
                "writer failed", pair=self.term.pair, sqlstate=error.sqlstate, why=type(error).__name__
            )
        finally:
            # Whatever ended the loop, nobody waits for ever.
            if not self._closing or self._waiting:
                self._fence(why)
            self._refuse_all(batch)

    def _ended(self, loop: "asyncio.Task[None]") -> None:
        if not loop.cancelled() and (error := loop.exception()) is not None:
            _log.error("writer failed", pair=self.term.pair, why=type(error).__name__, exc_info=error)

    async def _commit(self, conn: Connection, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._transaction(conn, [item for item, _ in batch])
        except _UnfitError as error:
            if len(batch) > 1:
                # Find the one that does not fit by halves: the others are committed in a few transactions.
                middle = len(batch) // 2
                await self._commit(conn, batch[:middle])
                await self._commit(conn, batch[middle:])
                return
            _log.error("item refused", pair=self.term.pair, code=error.refusal.code, why=error.refusal.reason)
            results = [error.refusal]
        if len(results) != len(batch):
            raise refuse("store.results", f"{len(results)} results came for {len(batch)} changes.")
        for (_, done), result in zip(batch, results, strict=True):
            if done.done():
                continue  # Its sender went away; it is committed all the same.
            if isinstance(result, Refusal):
                done.set_exception(RefusedError(result))
            else:
                done.set_result(result)

    async def _transaction(self, conn: Connection, items: list[T]) -> list[R | Refusal]:
        for attempt in range(1, _RETRIES + 1):
            try:
                async with conn.transaction():
                    await fence_write(conn, self.term)
                    results = await self._applied(conn, items)
            except _AGAIN:
                if attempt == _RETRIES:
                    raise
            except _REFUSED_BY_DATA as error:
                # A deferred constraint speaks at the commit.
                raise _UnfitError(_by_data(error)) from error
            else:
                self.transactions += 1
                return results
        raise AssertionError("unreachable")

    async def _applied(self, conn: Connection, items: list[T]) -> list[R | Refusal]:
        try:
            return await self._apply(conn, items)
        except RefusedError as error:
            raise _UnfitError(error.refusal) from error

    def _fence(self, why: str) -> None:
        if self.fenced.is_set():
            return
        self.why = why
        self.fenced.set()
        self._work.set()
        if not self._closing:
            _log.warning(
                "writer fenced", pair=self.term.pair, epoch=self.term.epoch, term=self.term.term, why=why
            )
        waiting, self._waiting = list(self._waiting), deque()
        self._refuse_all(waiting)

    def _refuse_all(self, items: list[tuple[T, asyncio.Future[R]]]) -> None:
        for _, done in items:
            if not done.done():
                done.set_exception(RefusedError(self._not_primary()))

    def _not_primary(self) -> Refusal:
        return Refusal(
            code="core.not_primary",
            reason=f"This server is not primary of pair {self.term.pair}: {self.why or 'the writer is closed'}.",
            retryable=True,
            epoch=self.term.epoch,
            term=self.term.term,
        )


def _by_data(error: asyncpg.PostgresError) -> Refusal:
    # Not the error's text: it quotes the row, which is what a customer wrote.
    name = getattr(error, "constraint_name", "") or type(error).__name__
    return Refusal(code="store.refused", reason=f"The database does not accept this change ({name}).")
