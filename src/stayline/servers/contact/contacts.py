"""Requests about contacts: from agents behind proxies and from media servers."""

import uuid
from typing import NamedTuple

from stayline.domain.errors import refuse
from stayline.link.messages import contact as messages
from stayline.link.messages.envelope import Identity
from stayline.link.peer import Peer
from stayline.servers.contact.books import Books, granted
from stayline.store.contact import Change, candidate, find_contact, read_contact
from stayline.store.contact_history import read_history

MAX_KEY = 200
"""Characters of an idempotency key."""


class Caller(NamedTuple):
    """Who asks: a server (``identity`` None) or a person behind a proxy. ``tenant`` "" is any."""

    peer: Peer
    identity: Identity | None
    key: str

    @property
    def tenant(self) -> str:
        """The tenant that this caller is limited to."""
        return self.identity.tenant if self.identity else ""

    @property
    def scope(self) -> str:
        """Whose idempotency keys these are: a person's, whatever proxy they come through, or a server's."""
        return f"person/{self.identity.user}" if self.identity else f"server/{self.peer.hello.application}"


class Contacts:
    """Identify, read, change; history."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def identify(self, request: messages.Identify, caller: Caller) -> messages.Identified:
        """Find the contact of a customer, or create it."""
        if caller.tenant and caller.tenant != request.tenant:
            raise refuse("tenant.foreign", f"You belong to tenant {caller.tenant}.", field="tenant")
        one = candidate(request, uuid.uuid4().hex)
        async with self._books.reader() as connection:
            found = await find_contact(connection, one)
        if found is not None:
            return found
        if not request.create:
            return messages.Identified(contact=None)
        return await self._books.write(one, messages.Identified)

    async def get(self, request: messages.GetContact, caller: Caller) -> messages.Contact:
        """A contact of the caller's tenant."""
        async with self._books.reader() as connection:
            return granted(await read_contact(connection, request.contact, caller.tenant))

    async def update(self, request: messages.UpdateContact, caller: Caller) -> messages.Contact:
        """Change attributes, guarded by the version. Repeated with its key it gives the same answer."""
        if len(caller.key) > MAX_KEY:
            reason = f"An idempotency key has at most {MAX_KEY} characters, this one has {len(caller.key)}."
            raise refuse("message.malformed", reason, field="k")
        change = Change(request, caller.key, caller.tenant, caller.scope)
        return await self._books.write(change, messages.Contact)

    async def history(self, request: messages.GetHistory, caller: Caller) -> messages.History:
        """A page of past and present interactions."""
        async with self._books.reader() as connection:
            return await read_history(connection, request, caller.tenant)
