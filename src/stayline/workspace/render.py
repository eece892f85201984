"""The view, made from the engine's parts. Cards that did not change are the same objects as before."""

from collections.abc import Callable
from dataclasses import dataclass, field

from stayline.domain.controls import ENABLED, ControlState, Link, Media, controls, stage_of
from stayline.link.configuration import ConfigurationClient
from stayline.link.machine.plan import Link as PlannedLink
from stayline.link.messages.interaction import MediaState, Ownership
from stayline.link.standby_link import StandbyLink
from stayline.workspace import catalogue as catalogue_module
from stayline.workspace.banner import banner_of
from stayline.workspace.catalogue import Catalogue
from stayline.workspace.chats import Chats
from stayline.workspace.conductor import Conductor
from stayline.workspace.contacts import Contacts
from stayline.workspace.desk import Case, Desk
from stayline.workspace.links import configuration_shown, shown
from stayline.workspace.session import AgentSession
from stayline.workspace.view import (
    InteractionCard,
    LinksView,
    NoticeView,
    Phase,
    WorkspaceView,
)

_KNOWN_MEDIA = frozenset(media.value for media in Media)
_AWAY = "This is possible when the Interaction Server link is back."


@dataclass
class Parts:
    """Everything a view is made from; the engine owns it and marks in ``dirty`` which cards to make anew."""

    clock: Callable[[], float]
    session: AgentSession
    desk: Desk
    chats: Chats
    contacts: Contacts
    conductor: Conductor
    client: ConfigurationClient
    catalogue: Catalogue = catalogue_module.EMPTY
    user: str = ""
    display_name: str = ""
    tenant: str = ""
    phase: Phase = Phase.OFFLINE
    media: list[MediaState] = field(default_factory=list)
    drafts: dict[str, str] = field(default_factory=dict)
    notices: list[NoticeView] = field(default_factory=list)
    restricted_since: float = 0.0
    started_at: float = 0.0
    dirty: set[str] = field(default_factory=set)
    cards: dict[str, InteractionCard] = field(default_factory=dict)

    @property
    def interaction(self) -> StandbyLink:
        """The link to an Interaction Server Proxy."""
        return self.conductor.links[PlannedLink.INTERACTION]

    @property
    def contact(self) -> StandbyLink:
        """The link to a Contact Server Proxy."""
        return self.conductor.links[PlannedLink.CONTACT]

    @property
    def chat(self) -> StandbyLink:
        """The link to a Chat Server."""
        return self.conductor.links[PlannedLink.CHAT]

    @property
    def epoch(self) -> int:
        """The highest one known: from the next hello on, servers of a lower one are refused."""
        return max(self.conductor.view.epoch, self.session.view.epoch)


def up_links(parts: Parts, case: Case) -> frozenset[Link]:
    """The links that an interaction can use now: restricted until the core has confirmed it (I17)."""
    up: set[Link] = set()
    if parts.session.confirmed and parts.interaction.up and case.confirmed:
        up.add(Link.INTERACTION)
    if parts.contact.up:
        up.add(Link.CONTACT)
    chat = parts.chats.session_of(case.interaction.id)
    if parts.chat.up and chat is not None and chat.joined:
        up.add(Link.MEDIA)
    return frozenset(up)


def controls_of(parts: Parts, case: Case) -> dict[str, ControlState]:
    """Every control of an interaction, from the one table."""
    view = case.interaction
    media = Media(view.media) if view.media in _KNOWN_MEDIA else Media.CHAT
    chat = parts.chats.session_of(view.id)
    online = view.online and not (chat is not None and chat.ended)
    stage = stage_of(
        media, owned=case.owned, online=online, outbound=view.properties.get("Type") == "Outbound"
    )
    return controls(media, stage, up_links(parts, case))


def agent_controls(parts: Parts) -> dict[str, ControlState]:
    """Agent-level controls."""
    able = ENABLED if parts.session.confirmed and parts.interaction.up else ControlState(False, _AWAY)
    return dict.fromkeys(("ready", "not-ready", "logout"), able)


def card_of(parts: Parts, case: Case) -> InteractionCard:
    """One interaction as shown."""
    view = case.interaction
    chat = parts.chats.session_of(view.id)
    now = parts.clock()
    return InteractionCard(
        id=view.id,
        media=view.media,
        state=view.state,
        version=view.version,
        customer=view.customer or (chat.customer if chat else ""),
        subject=view.subject,
        queue=view.queue,
        created_at=view.created_at,
        owned_at=view.owned_at,
        offer_deadline=case.deadline,
        properties=view.properties,
        disposition=view.disposition,
        contact_id=view.contact,
        contact=parts.contacts.known.get(view.contact),
        history=parts.contacts.history.get(view.contact),
        transcript=chat.shown(parts.display_name) if chat else [],
        online=view.online and not (chat is not None and chat.ended),
        customer_present=chat.customer_present if chat else True,
        customer_typing=chat is not None and chat.typing_until > now,
        chat_up=chat is not None and chat.joined and parts.chat.up,
        chat_why=chat.problem if chat else "",
        unread=chat.unread if chat else 0,
        unsent=len(chat.outbox) if chat else 0,
        draft=parts.drafts.get(view.id, ""),
        confirmed=case.confirmed and parts.session.confirmed,
        busy=case.busy,
        controls=controls_of(parts, case),
    )


def cards_of(parts: Parts) -> list[InteractionCard]:
    """All cards: offers first, by deadline, then what is owned, oldest first."""
    for interaction in [key for key in parts.cards if key not in parts.desk.cases]:
        del parts.cards[interaction]
    for interaction, case in parts.desk.cases.items():
        if interaction in parts.dirty or interaction not in parts.cards:
            parts.cards[interaction] = card_of(parts, case)
    parts.dirty.clear()
    return sorted(parts.cards.values(), key=_order)


def _order(card: InteractionCard) -> tuple[int, float, str]:
    if card.state is Ownership.OFFERED:
        return 0, card.offer_deadline, card.id
    return 1, card.owned_at or card.created_at, card.id


def links_of(parts: Parts) -> LinksView:
    """All links."""
    statistics, site = None, parts.conductor.view.site
    if parts.conductor.view.plan.statistics is not None:
        statistics = shown(parts.conductor.links[PlannedLink.STATISTICS])
    return LinksView(
        config=configuration_shown(parts.client),
        interaction=shown(parts.interaction, site),
        contact=shown(parts.contact, site),
        chats=[shown(parts.chat, site)],
        statistics=statistics,
    )


def view_of(parts: Parts) -> WorkspaceView:
    """The whole desk."""
    links = links_of(parts)
    cards = cards_of(parts)
    over = parts.session.over
    site = parts.conductor.view.site
    trying = ""
    if parts.interaction.up and not parts.session.confirmed:
        trying = "The Interaction Server is confirming them; nothing you typed is lost."
    elif parts.interaction.core_away is not None:
        trying = "Your session is restored by itself as soon as it answers; nothing you typed is lost."
    banner = banner_of(
        parts.phase,
        links,
        cards,
        since=parts.restricted_since or parts.started_at,
        over=over.reason if over is not None else "",
        trying=trying,
        trying_at=parts.session.view.until,
    )
    return WorkspaceView(
        agent=parts.user,
        display_name=parts.display_name,
        tenant=parts.tenant,
        place=parts.session.place,
        phase=parts.phase,
        media=parts.media,
        interactions=cards,
        links=links,
        banner=banner,
        site=parts.interaction.site or site.site or site.plan.wanted,
        epoch=parts.epoch,
        queues=parts.catalogue.queues,
        dispositions=parts.catalogue.dispositions,
        case_fields=parts.catalogue.case_fields,
        not_ready_reasons=parts.catalogue.not_ready_reasons,
        controls=agent_controls(parts),
        notices=list(parts.notices),
        restricted_since=parts.restricted_since if parts.phase is Phase.RESTRICTED else 0.0,
    )
