"""The start of a chat: contact, session, first message, interaction. Each step is idempotent, so the page repeats the
start, at any Chat Server, until it is told that it is done."""

import hashlib
from collections.abc import Callable

import structlog

from stayline.domain.contact import EMAIL, FIRST_NAME, LAST_NAME, PHONE, clean_attributes, display_name
from stayline.domain.errors import RefusedError, refuse
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.domain.topology import Configuration
from stayline.link.messages.contact import (
    ChatState,
    ChatSubmitted,
    CreateChat,
    Entry,
    EntryKind,
    Identified,
    Identify,
    Party,
    ResumeChat,
)
from stayline.link.messages.interaction import Done, Submit
from stayline.link.pair import PairLink
from stayline.servers.chat.protocol import Start, clean_text
from stayline.servers.chat.sessions import Sessions

log = structlog.get_logger(__name__)

STEP_TIMEOUT = 15.0
"""Seconds for each step; the page repeats the start."""

MEDIA = "chat"


def secret_hash(secret: str) -> str:
    """What is stored of a page's secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Beginning:
    """Starts chats."""

    def __init__(
        self,
        contact: PairLink,
        interaction: PairLink,
        sessions: Sessions,
        configuration: Callable[[], Configuration],
        tenant: Callable[[], str],
    ) -> None:
        self._contact = contact
        self._interaction = interaction
        self._sessions = sessions
        self._configuration = configuration
        self._tenant = tenant

    async def begin(self, start: Start, admit: Callable[[], None]) -> ChatState:
        """Do what is not done yet; the chat is durable and submitted when this returns.

        ``admit`` is called before a chat is made, and raises when it must not be.
        Raises ``queue.unknown``, ``contact.invalid`` (naming the field), ``chat.secret``, or what is retryable.
        """
        state = await self._existing(start)
        if state is None:
            admit()
            state = await self._create(start)
        if start.text and not state.ended:
            await self._first_message(start, state)
        if not state.submitted:
            state = await self._submit(state)
        return state

    async def resume(self, session: str, secret: str) -> ChatState:
        """The session of a page that has one; raises ``chat.unknown``, ``chat.secret``."""
        ask = ResumeChat(session=session, secret_hash=secret_hash(secret))
        return await self._contact.request("chat.resume", ask, ChatState, timeout=STEP_TIMEOUT)

    async def _existing(self, start: Start) -> ChatState | None:
        try:
            return await self.resume(start.session, start.secret)
        except RefusedError as error:
            if error.refusal.code != "chat.unknown":
                raise
            return None

    async def _create(self, start: Start) -> ChatState:
        queue = self._queue(start.queue)
        tenant = queue.tenant or self._tenant()
        attributes = contact_attributes(start)
        ask = Identify(tenant=tenant, media=MEDIA, attributes=attributes)
        found = await self._contact.request(
            "contact.identify", ask, Identified, key=f"identify:{start.session}", timeout=STEP_TIMEOUT
        )
        contact = found.contact
        stored = contact.attributes if contact is not None else {}
        customer = one_line(start.name) or display_name(stored) or "Customer"
        create = CreateChat(
            session=start.session,
            interaction=start.session,
            tenant=tenant,
            contact=contact.id if contact is not None else "",
            customer=customer,
            subject=one_line(start.subject) or clean_text(start.text).strip().split("\n")[0][:80],
            queue=queue.name,
            secret_hash=secret_hash(start.secret),
        )
        log.info("chat.create", session=start.session, queue=queue.name, why="a customer asked for it")
        return await self._contact.request(
            "chat.create", create, ChatState, key=f"create:{start.session}", timeout=STEP_TIMEOUT
        )

    def _queue(self, name: str) -> ConfigObject:
        queue = self._configuration().get(ObjectType.QUEUE, name)
        if queue is None or not queue.enabled or (queue.media and MEDIA not in queue.media):
            raise refuse(
                "queue.unknown", "There is no such queue for chats.", field="queue", fix="Correct data-queue."
            )
        return queue

    async def _first_message(self, start: Start, state: ChatState) -> None:
        entry = customer_message(start.id, start.text, state.customer)
        try:
            await self._sessions.append(start.session, entry, timeout=STEP_TIMEOUT)
        except RefusedError as error:
            if error.refusal.code != "chat.ended":
                raise

    async def _submit(self, state: ChatState) -> ChatState:
        if not state.ended:
            submit = Submit(
                id=state.interaction,
                tenant=state.tenant,
                media=MEDIA,
                queue=state.queue,
                subject=state.subject,
                contact=state.contact,
                customer=state.customer,
                chat_session=state.session,
            )
            await self._interaction.request(
                "interaction.submit", submit, Done, key=f"submit:{state.session}", timeout=STEP_TIMEOUT
            )
        return await self._contact.request(
            "chat.submitted",
            ChatSubmitted(state.session),
            ChatState,
            key=f"submitted:{state.session}",
            timeout=STEP_TIMEOUT,
        )


def contact_attributes(start: Start) -> dict[str, str]:
    """What the form says of the customer, as attributes of a contact. The last word of a name is the last name."""
    first, _, last = " ".join(start.name.split()).rpartition(" ")
    if not first:
        first, last = last, ""
    return clean_attributes(
        {EMAIL: start.email, PHONE: start.phone, FIRST_NAME: first, LAST_NAME: last},
    )


def one_line(text: str) -> str:
    """A name or subject as it is stored and shown to agents: no control characters, no line breaks, and nothing that
    turns the direction of what stands beside it."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def customer_message(id_: str, text: str, name: str) -> Entry:
    """An entry with what a customer wrote."""
    return Entry(id=id_, kind=EntryKind.MESSAGE, party=Party.CUSTOMER, name=name, text=clean_text(text))
