"""Questions to the database beside the writer: old interactions, the journal, what a session missed."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar, cast

import asyncpg

from stayline.domain.errors import RefusedError
from stayline.domain.interaction import Interaction, JournalEntry
from stayline.store import interaction_history as history
from stayline.store.database import LOST, Connection, lost
from stayline.store.interaction_history import MissedRow

T = TypeVar("T")


class Reader:
    """Reads through a pool. Raises RefusedError ``database.lost`` (retryable) while the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find(self, id: str) -> Interaction | None:
        """One interaction, also a stopped one."""
        return await self._read(lambda connection: history.find_interaction(connection, id))

    async def missed(self, after: Mapping[str, int], until: int) -> dict[str, list[MissedRow]]:
        """What sessions missed since the journal position each had seen."""
        return await self._read(lambda connection: history.missed(connection, after, until))

    async def given_up(self, sessions: Sequence[str]) -> dict[str, list[str]]:
        """What closed sessions lost."""
        return await self._read(lambda connection: history.given_up(connection, sessions))

    async def journal(self, interaction: str, limit: int) -> list[JournalEntry]:
        """The history of one interaction, oldest first."""
        return await self._read(lambda connection: history.journal_of(connection, interaction, limit))

    async def _read(self, question: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            async with self._pool.acquire() as connection:
                # The pool lends a proxy of a connection, which has all its methods.
                return await question(cast(Connection, connection))
        except LOST as error:
            raise RefusedError(lost(error)) from error
