"""Contacts and history of the interactions on the desk, read through a Contact Server Proxy."""

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError, StaylineError
from stayline.link.messages.contact import (
    Contact,
    GetContact,
    GetHistory,
    History,
    HistoryItem,
    UpdateContact,
)
from stayline.link.peer import Peer
from stayline.link.standby_link import StandbyLink

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 10.0
CALM_SECONDS = 0.25
"""What is wanted is read after a random part of this, when nothing has happened that makes everybody read."""

MAX_CONTACTS = 500
"""Contacts held at most; the oldest are read again when needed."""


class Contacts:
    """What is known of contacts. ``changed`` is told the id of a contact that came or changed."""

    def __init__(self, changed: Callable[[str], None], random: Callable[[], float]) -> None:
        self.known: dict[str, Contact] = {}
        self.history: dict[str, list[HistoryItem]] = {}
        self.link: StandbyLink | None = None
        self._changed = changed
        self._random = random
        self._spread = CALM_SECONDS
        self._wanted: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    # -- the link

    def link_up(self, peer: Peer) -> None:
        """A proxy answered: read what is wanted."""
        self._read_wanted()

    def link_down(self, why: str) -> None:
        """Nothing to forget: what was read stays on the screen."""

    def link_event(self, name: str, payload: msgspec.Raw, seq: int) -> None:
        """The core behind the proxy is back: read what is wanted."""
        if name == "core.back":
            self._read_wanted()

    def link_refused(self, refusal: Refusal) -> None:
        """Said by the Interaction Server's link as well."""

    def link_changed(self) -> None:
        """Shown by the engine."""

    async def stop(self) -> None:
        """End the reading task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # -- reading

    def spread(self, seconds: float) -> None:
        """Everybody moved to another site together: what is read next is spread over ``seconds``."""
        self._spread = max(CALM_SECONDS, seconds)

    def want(self, contacts: Sequence[str]) -> None:
        """These are on the desk: read those not known yet, as soon as the link allows it."""
        self._wanted |= {contact for contact in contacts if contact and contact not in self.known}
        if self._wanted:
            self._read_wanted()

    def _read_wanted(self) -> None:
        if self._wanted and self._peer() is not None and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._read(), name="contacts")

    async def _read(self) -> None:
        # After a site move every Workspace reads at once: the second wave is spread as well.
        await asyncio.sleep(self._spread * self._random())
        self._spread = CALM_SECONDS
        while self._wanted and self._peer() is not None:
            contact = self._wanted.pop()
            try:
                await self.load(contact, history=False)
            except LinkLostError as error:
                self._wanted.add(contact)
                log.info("workspace.contact_later", contact=contact, why=error.refusal.reason)
                await asyncio.sleep(0.5)
            except RefusedError as error:
                if error.refusal.retryable:
                    self._wanted.add(contact)
                log.info("workspace.contact_unread", contact=contact, why=error.refusal.reason)
                await asyncio.sleep(error.refusal.retry_after or 0.5)

    async def load(self, contact: str, *, history: bool) -> None:
        """Read a contact, with its history if asked. Raises RefusedError or LinkLostError."""
        peer = self._peer_or_raise()
        found = await peer.request("contact.get", GetContact(contact), Contact, timeout=ANSWER_SECONDS)
        self._remember(found)
        if history:
            ask = GetHistory(contact=contact)
            page = await peer.request("history.list", ask, History, timeout=ANSWER_SECONDS)
            self.history[contact] = page.items
        if self.link is not None:
            self.link.proven()
        self._changed(contact)

    def _remember(self, contact: Contact) -> None:
        self._wanted.discard(contact.id)
        self.known[contact.id] = contact
        while len(self.known) > MAX_CONTACTS:
            oldest = next(iter(self.known))
            del self.known[oldest]
            self.history.pop(oldest, None)

    async def update(self, contact: str, set: Mapping[str, str], delete: Sequence[str]) -> None:
        """Change attributes. Raises RefusedError (somebody else changed it meanwhile: it is read again
        first), or LinkLostError when the outcome is unknown after two attempts with the same key."""
        if contact not in self.known:
            await self.load(contact, history=False)
        request = UpdateContact(
            contact=contact, version=self.known[contact].version, set=dict(set), delete=list(delete)
        )
        try:
            updated = await self._twice(request)
        except RefusedError as error:
            if not error.refusal.retryable:
                await self._reread(contact)
            raise
        self._remember(updated)
        self._changed(contact)

    async def _twice(self, request: UpdateContact) -> Contact:
        key = uuid.uuid4().hex
        try:
            return await self._peer_or_raise().request(
                "contact.update", request, Contact, key=key, timeout=ANSWER_SECONDS
            )
        except LinkLostError:
            return await self._peer_or_raise().request(
                "contact.update", request, Contact, key=key, timeout=ANSWER_SECONDS
            )

    async def _reread(self, contact: str) -> None:
        try:
            await self.load(contact, history=False)
        except StaylineError as error:
            log.info("workspace.contact_unread", contact=contact, why=error.refusal.reason)

    def _peer(self) -> Peer | None:
        return self.link.peer if self.link is not None and self.link.up else None

    def _peer_or_raise(self) -> Peer:
        peer = self._peer()
        if peer is None:
            reason = "The Contact Server cannot be reached at the moment."
            raise LinkLostError(Refusal(code="link.lost", reason=reason, retryable=True))
        return peer
