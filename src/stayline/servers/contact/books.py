"""The Contact Server's database while it is primary: questions on a pool, changes through the fenced writer."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg

from stayline.domain.errors import Refusal, RefusedError, refuse
from stayline.servers.contact.batch import Outcome, Work, store_batch
from stayline.store.database import LOST, lost, open_pool
from stayline.store.election import Term
from stayline.store.transcript import Connection, Stamp
from stayline.store.writer import GroupWriter

READERS = 4
"""Database connections for reading; writing has its own."""

READ_TIMEOUT = 10.0
"""Seconds that a question waits for a connection."""

T = TypeVar("T")


class Books:
    """Open for one term. ``fenced(why)`` is called when nothing can be written any more."""

    def __init__(self, dsn: str, instance: str, fenced: Callable[[str], None]) -> None:
        self._dsn = dsn
        self._instance = instance
        self._fenced = fenced
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._writer: GroupWriter[Work, Outcome] | None = None
        self._watch: asyncio.Task[None] | None = None

    async def open(self, term: Term) -> None:
        """Connect. Raises RefusedError when the database is away or the term is over."""

        async def apply(connection: Connection, work: list[Work]) -> list[Outcome | Refusal]:
            return await store_batch(connection, work, Stamp(term.epoch, term.term, time.time()))

        self._pool = await open_pool(self._dsn, self._instance, READERS)
        self._writer = GroupWriter[Work, Outcome](self._dsn, term, apply, instance=self._instance)
        await self._writer.open()
        self._watch = asyncio.create_task(self._watch_fence(self._writer), name="contact-fence")

    async def _watch_fence(self, writer: GroupWriter[Work, Outcome]) -> None:
        await writer.fenced.wait()
        self._fenced(f"it cannot write any more: {writer.why}")

    async def close(self) -> None:
        """Let everything go; what waits is refused, not answered."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._writer is not None:
            await self._writer.close()
        if self._pool is not None:
            self._pool.terminate()

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Connection]:
        """A connection for reading. What the loss of the database overtakes is asked again at the next primary."""
        if self._pool is None:
            raise _not_primary("its database is not open")
        try:
            async with self._pool.acquire(timeout=READ_TIMEOUT) as connection:
                yield connection
        except TimeoutError as error:
            reason = f"No answer of the database within {READ_TIMEOUT:g} s."
            raise refuse("store.busy", reason, retryable=True, retry_after=0.5) from error
        except LOST as error:
            raise _not_primary(lost(error).reason) from error

    async def write(self, work: Work, result: type[T]) -> T:
        """Commit; returns after the commit. Raises RefusedError with the refusal of the store."""
        if self._writer is None:
            raise _not_primary("its database is not open")
        outcome = await self._writer.submit(work)
        if not isinstance(outcome, result):
            raise TypeError(f"expected {result.__name__}, stored {type(outcome).__name__}")
        return outcome


def _not_primary(why: str) -> RefusedError:
    return refuse(
        "core.not_primary", f"This Contact Server cannot serve: {why}.", retryable=True, retry_after=0.2
    )


def granted(outcome: T | Refusal) -> T:
    """The outcome, or the refusal raised."""
    if isinstance(outcome, Refusal):
        raise RefusedError(outcome)
    return outcome
