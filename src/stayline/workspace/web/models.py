"""What each fragment of the desk is rendered from: small frozen values, equal when nothing visible changed.

The page's stream compares a fragment's model with the one it sent last and renders only what differs. So a
model holds everything its template shows, and nothing else: no clock reading, no draft.
"""

import msgspec

from stayline.domain.controls import ControlState
from stayline.link.messages.interaction import MediaState, Ownership
from stayline.workspace.view import (
    Banner,
    InteractionCard,
    LinksView,
    LinkView,
    NoticeView,
    Phase,
    WorkspaceView,
)
from stayline.workspace.web import wording
from stayline.workspace.web.card_models import MISSING
from stayline.workspace.web.wording import Chip


class AgentModel(msgspec.Struct, frozen=True, kw_only=True):
    """Top bar: who works here and whether offers come."""

    name: str
    place: str
    status: Chip
    media: list[MediaState]
    reasons: list[str]
    ready: ControlState
    not_ready: ControlState
    logout: ControlState
    owned: int


class BannerModel(msgspec.Struct, frozen=True, kw_only=True):
    """The banner; ``over``: only a new login helps."""

    banner: Banner | None
    over: bool


class OfferModel(msgspec.Struct, frozen=True, kw_only=True):
    """One offer with its countdown."""

    id: str
    media: str
    customer: str
    subject: str
    queue: str
    created_at: float
    deadline: float
    busy: str
    accept: ControlState
    reject: ControlState


class RowModel(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the interaction list."""

    id: str
    media: str
    customer: str
    line: str
    chip: Chip
    unread: int
    unsent: int
    typing: bool
    since: float
    waiting: bool
    held: bool
    chosen: bool


class StatusModel(msgspec.Struct, frozen=True, kw_only=True):
    """The status bar. Each line: the link, a sentence about it, and what comes at ``link.until``."""

    site: str
    links: LinksView
    lines: list[tuple[LinkView, str, str]]


class TitleModel(msgspec.Struct, frozen=True, kw_only=True):
    """Tab title and what is said aloud."""

    title: str
    announcement: str


def agent(view: WorkspaceView) -> AgentModel:
    """Model of the top bar."""
    return AgentModel(
        name=view.display_name or view.agent,
        place=view.place,
        status=wording.readiness(view),
        media=view.media,
        reasons=view.not_ready_reasons,
        ready=view.controls.get("ready", MISSING),
        not_ready=view.controls.get("not-ready", MISSING),
        logout=view.controls.get("logout", MISSING),
        owned=sum(card.state is Ownership.OWNED for card in view.interactions),
    )


def banner(view: WorkspaceView) -> BannerModel:
    """Model of the banner."""
    return BannerModel(banner=view.banner, over=view.phase in (Phase.OFFLINE, Phase.ENDED))


def offers(view: WorkspaceView) -> list[OfferModel]:
    """Models of the offers, in the engine's order (the one that ends first is first)."""
    return [
        OfferModel(
            id=card.id,
            media=card.media,
            customer=card.customer,
            subject=card.subject,
            queue=card.queue,
            created_at=card.created_at,
            deadline=card.offer_deadline,
            busy=card.busy,
            accept=card.controls.get("accept", MISSING),
            reject=card.controls.get("reject", MISSING),
        )
        for card in view.interactions
        if card.state is Ownership.OFFERED
    ]


def rows(view: WorkspaceView, chosen: str) -> list[RowModel]:
    """Models of the list of owned interactions."""
    return [_row(card, chosen) for card in view.interactions if card.state is not Ownership.OFFERED]


def _row(card: InteractionCard, chosen: str) -> RowModel:
    waiting = wording.waiting_since(card)
    return RowModel(
        id=card.id,
        media=card.media,
        customer=card.customer or "Unknown customer",
        line=wording.last_line(card),
        chip=wording.card_chip(card),
        unread=card.unread,
        unsent=card.unsent,
        typing=card.customer_typing,
        since=waiting or card.owned_at or card.created_at,
        waiting=bool(waiting),
        held=not card.confirmed,
        chosen=card.id == chosen,
    )


def status(view: WorkspaceView) -> StatusModel:
    """Model of the status bar."""
    links = view.links
    named = [(links.interaction, "Interaction Server"), (links.contact, "Contact Server")]
    named += [(chat, "Chat Server") for chat in links.chats]
    if links.statistics is not None:
        named.append((links.statistics, "Stat Server"))
    named.append((links.config, "Configuration Server"))
    lines = [(link, wording.link_words(link, what), wording.until_words(link)) for link, what in named]
    return StatusModel(site=wording.site_words(links, view.site), links=links, lines=lines)


def notices(view: WorkspaceView) -> list[NoticeView]:
    """Notices of the engine, newest last."""
    return view.notices


def title(view: WorkspaceView) -> TitleModel:
    """Tab title and announcement."""
    return TitleModel(title=wording.page_title(view), announcement=wording.announcement(view))
