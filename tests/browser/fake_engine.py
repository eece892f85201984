"""An engine without servers, for tests of the page: the same protocol, realistic content, faults at will."""

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from stayline.domain.controls import Link, Media, controls, stage_of
from stayline.domain.errors import LinkLostError, Refusal, refuse
from stayline.link.messages.contact import Contact, EntryKind, HistoryItem, Party
from stayline.link.messages.interaction import MediaState, Ownership
from stayline.workspace.protocol import Subscriber, Trace
from stayline.workspace.view import (
    Banner,
    BannerKind,
    CaseField,
    EntryState,
    EntryView,
    InteractionCard,
    LinksView,
    LinkView,
    NoticeView,
    Phase,
    WorkspaceView,
)

ALL_UP = frozenset(Link)


def links(*, interaction: bool = True, contact: bool = True, now: float = 0.0) -> LinksView:
    """Links of a desk at Site_A."""
    ixn = LinkView(name="Interaction Server", up=True, application="IxnProxy_A_2", site="Site_A")
    ucs = LinkView(name="Contact Server", up=True, application="UCS_Proxy_A_1", site="Site_A")
    if not interaction:
        ixn = msgspec.structs.replace(
            ixn,
            up=False,
            application="IxnProxy_A_3",
            since=now - 35,
            why="Connection reset.",
            next_attempt_at=now + 4,
        )
    if not contact:
        ucs = msgspec.structs.replace(ucs, up=False, since=now - 35, why="Connection refused.")
    return LinksView(
        config=LinkView(name="Configuration Server", up=True, application="Config_A", site="Site_A"),
        interaction=ixn,
        contact=ucs,
        chats=[LinkView(name="Chat Server", up=True, application="Chat_A_1", site="Site_A")],
    )


class FakeEngine:
    """See the module. ``calls`` records what the page asked; ``refusals`` maps an action to a refusal;
    ``lost`` names actions that get no answer."""

    def __init__(self, user: str = "agent01") -> None:
        self.trace: Trace | None = None
        self.calls: list[tuple[Any, ...]] = []
        self.refusals: dict[str, Refusal] = {}
        self.lost: set[str] = set()
        self.up = ALL_UP
        self.restorable = False
        self.revision = 0
        self.user = user
        self.closed = False
        self._subscribers: list[Subscriber] = []
        self._ids = itertools.count(1)
        self.view = WorkspaceView(
            agent=user,
            display_name="",
            tenant="Environment",
            place="",
            phase=Phase.OFFLINE,
            media=[],
            interactions=[],
            links=links(),
            banner=None,
            site="Site_A",
            epoch=1,
        )

    # What tests do to it -------------------------------------------------------------------------------

    def show(self, **changes: Any) -> None:
        """Replace parts of the view and tell the pages."""
        view = msgspec.structs.replace(self.view, **changes)
        cards = [self._with_controls(card) for card in view.interactions]
        self.view = msgspec.structs.replace(view, interactions=cards)
        self.revision += 1
        for subscriber in list(self._subscribers):
            subscriber(frozenset({"list"}))

    def put(self, card: InteractionCard) -> None:
        """Add a card, or replace the one with its id."""
        others = [one for one in self.view.interactions if one.id != card.id]
        same = next((n for n, one in enumerate(self.view.interactions) if one.id == card.id), len(others))
        self.show(interactions=[*others[:same], card, *others[same:]])

    def edit(self, interaction: str, **changes: Any) -> None:
        """Change fields of one card."""
        self.put(msgspec.structs.replace(self.card(interaction), **changes))

    def take_away(self, interaction: str) -> None:
        """The interaction leaves the desk."""
        self.show(interactions=[card for card in self.view.interactions if card.id != interaction])

    def say(self, interaction: str, text: str, *, party: Party = Party.CUSTOMER, at: float = 0.0) -> None:
        """Somebody writes."""
        card = self.card(interaction)
        mine = party is Party.AGENT
        entry = EntryView(
            id=f"m{next(self._ids)}",
            kind=EntryKind.MESSAGE,
            party=party,
            name=self.view.display_name if mine else card.customer,
            text=text,
            at=at or time.time(),
            state=EntryState.SENT,
            mine=mine,
        )
        unread = card.unread + (not mine)
        self.edit(interaction, transcript=[*card.transcript, entry], unread=unread, customer_typing=False)

    def card(self, interaction: str) -> InteractionCard:
        """The card; it must be there."""
        card = self.view.card(interaction)
        assert card is not None
        return card

    def restrict(self) -> None:
        """The Interaction Server link is away."""
        now = time.time()
        self.up = frozenset({Link.CONTACT, Link.MEDIA})
        text = "Your Interaction Server link is away: transfer, end, done and changes to the case are not possible."
        banner = Banner(
            kind=BannerKind.WARNING,
            text=text,
            since=now - 35,
            next="Your open chats stay with you and you can go on writing. Trying the next proxy of Site_A.",
            next_at=now + 4,
        )
        self.show(
            phase=Phase.RESTRICTED,
            links=links(interaction=False, now=now),
            banner=banner,
            restricted_since=now - 35,
            interactions=[msgspec.structs.replace(card, confirmed=False) for card in self.view.interactions],
        )

    def recover(self) -> None:
        """Everything is back."""
        self.up = ALL_UP
        cards = [msgspec.structs.replace(card, confirmed=True) for card in self.view.interactions]
        self.show(phase=Phase.READY, links=links(), banner=None, restricted_since=0.0, interactions=cards)

    def _with_controls(self, card: InteractionCard) -> InteractionCard:
        media = Media(card.media)
        stage = stage_of(media, owned=card.state is Ownership.OWNED, online=card.online)
        return msgspec.structs.replace(card, controls=controls(media, stage, self.up))

    async def _called(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        await asyncio.sleep(0)
        if name in self.lost:
            raise LinkLostError(Refusal(code="link.timeout", reason="No answer in time.", retryable=True))
        if name in self.refusals:
            refusal = self.refusals[name]
            raise refuse(refusal.code, refusal.reason, fix=refusal.fix, field=refusal.field)

    # The protocol --------------------------------------------------------------------------------------

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Be told about changes."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    @property
    def watchers(self) -> int:
        """Pages that listen."""
        return len(self._subscribers)

    async def login(
        self, user: str, password: str, place: str = "", media: Sequence[str] = ("chat",)
    ) -> None:
        """Password "stayline"."""
        await self._called("login", user, place)
        if password != "stayline":
            raise refuse("login.wrong", "The user name or the password is wrong.")
        self.start(place or "Place_01")

    def start(self, place: str = "Place_01") -> None:
        """Be logged in."""
        possible = controls(Media.CHAT, stage_of(Media.CHAT, owned=False, online=True), ALL_UP)["accept"]
        self.show(
            display_name="Nora Lindqvist",
            place=place,
            phase=Phase.READY,
            media=[MediaState(media="chat", ready=True)],
            queues={"chat": ["chat.support", "chat.sales"]},
            dispositions={"solved": "Solved", "callback": "Call back", "spam": "Spam"},
            case_fields=[
                CaseField(key="Subject", label="Subject"),
                CaseField(key="OrderNumber", label="Order number"),
                CaseField(key="Product", label="Product"),
                CaseField(key="Language", label="Language", editable=False),
            ],
            not_ready_reasons=["Break", "Lunch", "Training"],
            controls=dict.fromkeys(("ready", "not-ready", "logout"), possible),
        )

    async def restore(self) -> bool:
        """As set by the test."""
        if self.restorable:
            self.start()
        return self.restorable

    async def set_ready(self, ready: bool, reason: str = "", media: Sequence[str] = ()) -> None:
        """Ready or not."""
        await self._called("set_ready", ready, reason)
        self.show(media=[MediaState(media="chat", ready=ready, reason=reason)])

    async def accept(self, interaction: str) -> None:
        """Accept."""
        await self._called("accept", interaction)
        self.edit(interaction, state=Ownership.OWNED, owned_at=time.time(), offer_deadline=0.0, chat_up=True)

    async def reject(self, interaction: str, reason: str = "") -> None:
        """Reject."""
        await self._called("reject", interaction, reason)
        self.take_away(interaction)

    async def send(self, interaction: str, text: str) -> str:
        """Send."""
        await self._called("send", interaction, text)
        self.say(interaction, text, party=Party.AGENT)
        self.edit(interaction, draft="")
        return "sent"

    def typing(self, interaction: str) -> None:
        """Typing."""
        self.calls.append(("typing", interaction))

    async def end_chat(self, interaction: str) -> None:
        """End."""
        await self._called("end_chat", interaction)
        self.edit(interaction, online=False)

    async def transfer(self, interaction: str, queue: str, reason: str = "") -> None:
        """Transfer."""
        await self._called("transfer", interaction, queue, reason)
        self.take_away(interaction)

    async def done(self, interaction: str, disposition: str = "") -> None:
        """Done."""
        await self._called("done", interaction, disposition)
        self.take_away(interaction)

    async def change(
        self,
        interaction: str,
        set: Mapping[str, str] = {},
        delete: Sequence[str] = (),
        *,
        disposition: str | None = None,
    ) -> None:
        """Case information."""
        await self._called("change", interaction, dict(set), tuple(delete), disposition)
        card = self.card(interaction)
        properties = {key: value for key, value in {**card.properties, **set}.items() if key not in delete}
        self.edit(
            interaction,
            properties=properties,
            disposition=card.disposition if disposition is None else disposition,
        )

    async def update_contact(
        self, interaction: str, set: Mapping[str, str], delete: Sequence[str] = ()
    ) -> None:
        """Contact."""
        await self._called("update_contact", interaction, dict(set), tuple(delete))
        contact = self.card(interaction).contact
        assert contact is not None
        self.edit(
            interaction, contact=msgspec.structs.replace(contact, attributes={**contact.attributes, **set})
        )

    async def load_history(self, interaction: str) -> None:
        """Contact and history."""
        await self._called("load_history", interaction)
        self.edit(interaction, contact=CONTACT, history=history())

    def save_draft(self, interaction: str, text: str) -> None:
        """Draft."""
        self.calls.append(("save_draft", interaction, text))
        self.edit(interaction, draft=text)

    def mark_read(self, interaction: str) -> None:
        """Read."""
        self.calls.append(("mark_read", interaction))
        self.edit(interaction, unread=0)

    def dismiss_notice(self, notice: str) -> None:
        """Dismiss."""
        self.calls.append(("dismiss_notice", notice))
        self.show(notices=[one for one in self.view.notices if one.id != notice])

    async def logout(self, requeue: bool = False) -> None:
        """Log out."""
        await self._called("logout", requeue)
        self.show(phase=Phase.OFFLINE, interactions=[])

    async def close(self) -> None:
        """Stop."""
        self.closed = True


CONTACT = Contact(
    id="c1",
    tenant="Environment",
    attributes={
        "FirstName": "Maria",
        "LastName": "Keller",
        "EmailAddress": "maria.keller@example.org",
        "PhoneNumber": "+41 44 555 01 23",
    },
)


def history() -> list[HistoryItem]:
    """Three earlier interactions."""
    now = time.time()
    rows = [
        ("h1", "chat", "Delivery to another address", "chat.sales", "Tomás Reyes", now - 3 * 86400, "solved"),
        (
            "h2",
            "email",
            "Invoice for order 20418",
            "email.support",
            "Nora Lindqvist",
            now - 19 * 86400,
            "solved",
        ),
        ("h3", "sms", "Reminder about the appointment", "sms.support", "", now - 210 * 86400, ""),
    ]
    return [
        HistoryItem(
            interaction=key,
            media=media,
            subject=subject,
            state="stopped",
            queue=queue,
            agent=agent,
            created_at=at,
            ended_at=at + 600,
            disposition=disposition,
            chat_session="",
        )
        for key, media, subject, queue, agent, at, disposition in rows
    ]


def offer(
    key: str = "o1", customer: str = "Jonas Weber", *, seconds: float = 24.0, media: str = "chat"
) -> InteractionCard:
    """An offer that stands for ``seconds``."""
    now = time.time()
    return InteractionCard(
        id=key,
        media=media,
        state=Ownership.OFFERED,
        version=2,
        customer=customer,
        subject="Router does not come back after the update",
        queue="chat.support",
        created_at=now - 41,
        offer_deadline=now + seconds,
    )


def owned(
    key: str = "i1", customer: str = "Maria Keller", *, subject: str = "Order 20733 arrived damaged"
) -> InteractionCard:
    """An owned chat without messages."""
    now = time.time()
    return InteractionCard(
        id=key,
        media="chat",
        state=Ownership.OWNED,
        version=3,
        customer=customer,
        subject=subject,
        queue="chat.support",
        created_at=now - 500,
        owned_at=now - 460,
        properties={
            "Subject": subject,
            "OrderNumber": "20733",
            "Product": "Desk lamp Linnea",
            "Language": "English",
        },
        contact_id="c1",
        chat_up=True,
    )


def joined(engine: FakeEngine, interaction: str) -> None:
    """Both sides have joined."""
    card = engine.card(interaction)
    at = time.time() - 455
    entry = EntryView(
        id=f"j-{interaction}",
        kind=EntryKind.JOINED,
        party=Party.AGENT,
        name=engine.view.display_name,
        text="",
        at=at,
        state=EntryState.SENT,
    )
    engine.edit(interaction, transcript=[entry, *card.transcript])


def fill(engine: FakeEngine) -> None:
    """A desk in the middle of a working day: four chats, one of them ended, one customer away."""
    now = time.time()
    engine.put(owned())
    joined(engine, "i1")
    talk = [
        (Party.CUSTOMER, "Hello, my desk lamp arrived today and the glass shade is broken.", 450),
        (Party.CUSTOMER, "I can send a photo if that helps.", 438),
        (Party.AGENT, "Good morning Maria, I am sorry to hear that. Let me look at your order.", 410),
        (
            Party.AGENT,
            "I see order 20733 from Tuesday. We can send a new shade tomorrow, or refund the lamp. Which do you prefer?",
            380,
        ),
        (
            Party.CUSTOMER,
            "A new shade would be perfect, thank you! Is it the same address?\n\nI am at home on Thursday and Friday.",
            312,
        ),
        (Party.AGENT, "Yes, to Seestrasse 14. You will get it on Thursday before noon.", 260),
        (Party.CUSTOMER, "Great. And what do I do with the broken glass?", 95),
    ]
    for party, text, ago in talk:
        engine.say("i1", text, party=party, at=now - ago)
    engine.edit("i1", unread=0, contact=CONTACT, history=history(), customer_typing=True)
    engine.put(owned("i2", "Amara Okafor", subject="Cannot log in after password change"))
    engine.say("i2", "It still says my password is wrong, although I have just changed it.", at=now - 42)
    engine.say("i2", "Are you there?", at=now - 7)
    engine.put(owned("i3", "Bartholomew Featherstonehaugh-Cholmondeley", subject="Change of address"))
    engine.say("i3", "Thank you very much, that was quick.", at=now - 400)
    engine.say("i3", "You are welcome. Have a good day!", party=Party.AGENT, at=now - 390)
    engine.edit("i3", online=False, unread=0)
    engine.put(owned("i4", "Yuki Tanaka", subject="Where is my parcel?"))
    engine.say("i4", "One moment, I am looking for the number of the parcel.", at=now - 130)
    engine.edit("i4", customer_present=False, unread=0)


def notice(
    text: str = "The chat with Jonas Weber went back to its queue: the offer was not accepted in time.",
) -> NoticeView:
    """Something that happened."""
    return NoticeView(id="n1", kind=BannerKind.WARNING, text=text, at=time.time())
