"""An engine without servers, for tests of the page: the same protocol, realistic content, faults at will."""

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from stayline.domain.controls import Link, Media, controls, stage_of
from stayline.domain.errors import LinkLostError, Refusal, refuse
from stayline.link.messages.contact import EntryKind, Party
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
    Phase,
    WorkspaceView,
)
from tests.browser.sample_contact import CONTACT, history

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
        self,
        user: str,
        password: str,
        place: str = "",
        media: Sequence[str] = ("chat",),
        source: str = "",
    ) -> None:
        """Password "stayline"."""
        await self._called("login", user, place, source)
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
