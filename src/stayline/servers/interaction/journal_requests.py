"""The history of ownership, for whoever may see it: ``interaction.journal``, read only."""

from typing import Protocol

import msgspec

from stayline.domain.errors import refuse
from stayline.domain.interaction import Interaction, JournalEntry
from stayline.link.messages.envelope import Identity
from stayline.link.messages.interaction import GetJournal, JournalRow
from stayline.link.peer import Request
from stayline.store.interaction_history import MAX_JOURNAL

ALLOWED_ROLES = frozenset({"supervisor", "operator", "administrator"})


class JournalReader(Protocol):
    """As much of :class:`~stayline.servers.interaction.reader.Reader` as is needed here."""

    async def find(self, id: str) -> Interaction | None:
        """One interaction, also a stopped one."""

    async def journal(self, interaction: str, limit: int) -> list[JournalEntry]:
        """Its history, oldest first."""


class JournalRequests:
    """Answers from the database, so with committed transitions only."""

    def __init__(self, reader: "JournalReader") -> None:
        self._reader = reader

    async def for_person(self, identity: Identity, request: Request) -> list[JournalRow]:
        """Of the person's own tenant: of another one's interaction there is nothing to see. Raises RefusedError
        ``role.missing`` for plain agents."""
        if not ALLOWED_ROLES & set(identity.roles):
            raise refuse(
                "role.missing",
                f"{identity.user} may not read the journal: it needs one of {', '.join(sorted(ALLOWED_ROLES))}.",
            )
        found = await self._reader.find(request.read(GetJournal).interaction)
        if found is None or found.tenant != identity.tenant:
            return []
        return await self.for_server(request)

    async def for_server(self, request: Request) -> list[JournalRow]:
        """Oldest first, at most ``limit`` rows."""
        params = request.read(GetJournal)
        limit = min(max(1, params.limit), MAX_JOURNAL)
        rows = await self._reader.journal(params.interaction, limit)
        return [msgspec.convert(msgspec.to_builtins(row), JournalRow) for row in rows]
