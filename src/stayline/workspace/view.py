"""Everything a user interface shows, as frozen values.

The engine replaces the whole view on every change; a page compares by what it was told changed. All times are
Unix seconds, 0 means "not (yet)". Nothing here is ever edited by a user interface: it calls the engine.
"""

import enum

import msgspec

from stayline.domain.controls import ControlState
from stayline.link.messages.contact import Contact, EntryKind, HistoryItem, Party
from stayline.link.messages.interaction import MediaState, Ownership


class Phase(enum.StrEnum):
    """Where the agent's session stands."""

    OFFLINE = "offline"
    """Not logged in."""
    CONNECTING = "connecting"
    """Logged in with a password or restored from the file, no agent session confirmed by the core yet."""
    READY = "ready"
    """The core has confirmed the session and what it owns: everything works."""
    RESTRICTED = "restricted"
    """The Interaction Server link (or the core behind it) is away: interactions stay open, controls are
    limited."""
    ENDED = "ended"
    """The session is over (taken elsewhere, token expired): ``banner`` says why; the agent must log in
    again."""


class LinkView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One link, in words for the status bar.

    ``up`` is true only when requests work (a proxy whose core is away counts as down, with ``why``);
    ``connected`` also while the server is there and only what is behind it is away.
    ``application`` is what it is connected to or tries now; ``since`` when ``up`` last changed;
    ``next_attempt_at`` when the next attempt starts (0: one is under way, or up). ``attempts`` failed ones
    since it was last up. ``held_until``: a server lets it in, but only then. ``leaving_at``: the server is being
    drained, and the link goes to another one then. ``fix``: what an administrator must do. ``searching``: which servers
    may be used is being found out. ``as_of`` (configuration only): when what is used was last known to be right, 0
    while it is.
    """

    name: str
    up: bool
    connected: bool = False
    application: str = ""
    site: str = ""
    since: float = 0.0
    why: str = ""
    next_attempt_at: float = 0.0
    attempts: int = 0
    held_until: float = 0.0
    leaving_at: float = 0.0
    fix: str = ""
    searching: bool = False
    as_of: float = 0.0

    @property
    def until(self) -> float:
        """When what it waits for comes (0: it waits for nothing that has a time)."""
        return self.held_until or self.next_attempt_at or self.leaving_at


class LinksView(msgspec.Struct, frozen=True, kw_only=True):
    """The links of a Workspace. ``statistics`` only where it is connected to a Stat Server."""

    config: LinkView
    interaction: LinkView
    contact: LinkView
    chats: list[LinkView] = []
    statistics: LinkView | None = None

    def words(self) -> str:
        """The status bar in one line: ``Site_A · IxnProxy_A_2 · UCS_Proxy_A_1 · Chat_A_1``."""
        links = [self.interaction, self.contact, *self.chats]
        site = next((link.site for link in links if link.up and link.site), "") or "no site"
        return " · ".join([site, *(link.application if link.up else f"{link.name}: away" for link in links)])


class BannerKind(enum.StrEnum):
    """How loud a banner is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Banner(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong, since when, what is limited (``text``), what happens next and when (``next``,
    ``next_at``), all in an agent's words; ``detail`` is the technical reason. ``turn``: at ``next_at`` it is this
    desk's turn at a server that lets others in first."""

    kind: BannerKind
    text: str
    since: float
    next: str = ""
    next_at: float = 0.0
    detail: str = ""
    turn: bool = False


class NoticeView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened and must not be missed, until dismissed (e.g. an interaction went back to its
    queue, a message could not be sent: ``kept_text`` holds what the agent had typed)."""

    id: str
    kind: BannerKind
    text: str
    at: float
    interaction: str = ""
    kept_text: str = ""


class EntryState(enum.StrEnum):
    """Delivery state of a transcript entry."""

    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"


class EntryView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a transcript. ``mine``: written by this agent. ``why`` only for failed ones."""

    id: str
    kind: EntryKind
    party: Party
    name: str
    text: str
    at: float
    state: EntryState
    seq: int = 0
    mine: bool = False
    why: str = ""


class InteractionCard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One interaction on the desk.

    ``confirmed`` is false while the core has not said (again) that it is this agent's. ``busy`` names the
    request under way ("accepting", "done", ...; empty: none). ``offer_deadline`` only while offered.
    ``contact``/``history`` are None until loaded; ``unsent`` counts messages not yet acknowledged.
    ``chat_up`` false with ``chat_why``: the chat session cannot be used right now.
    """

    id: str
    media: str
    state: Ownership
    version: int
    customer: str
    subject: str
    queue: str
    created_at: float
    owned_at: float = 0.0
    offer_deadline: float = 0.0
    properties: dict[str, str] = {}
    disposition: str = ""
    contact_id: str = ""
    contact: Contact | None = None
    history: list[HistoryItem] | None = None
    transcript: list[EntryView] = []
    online: bool = True
    customer_present: bool = True
    customer_typing: bool = False
    chat_up: bool = False
    chat_why: str = ""
    unread: int = 0
    unsent: int = 0
    draft: str = ""
    confirmed: bool = True
    busy: str = ""
    controls: dict[str, ControlState] = {}


class CaseField(msgspec.Struct, frozen=True, kw_only=True):
    """A case information field the agent may see or edit; ``key`` is the name in ``properties``."""

    key: str
    label: str
    editable: bool = True


class WorkspaceView(msgspec.Struct, frozen=True, kw_only=True):
    """The whole desk of one agent.

    ``interactions``: offers first (oldest deadline first), then owned ones, oldest first. ``queues``:
    transfer targets by medium. ``dispositions``: code -> label. ``controls``: agent-level controls "ready",
    "not-ready", "logout". ``not_ready_reasons`` to choose from (free text is allowed too).
    ``restricted_since`` 0 outside restricted mode.
    """

    agent: str
    display_name: str
    tenant: str
    place: str
    phase: Phase
    media: list[MediaState]
    interactions: list[InteractionCard]
    links: LinksView
    banner: Banner | None
    site: str
    epoch: int
    queues: dict[str, list[str]] = {}
    dispositions: dict[str, str] = {}
    case_fields: list[CaseField] = []
    not_ready_reasons: list[str] = []
    controls: dict[str, ControlState] = {}
    notices: list[NoticeView] = []
    restricted_since: float = 0.0

    def card(self, interaction: str) -> InteractionCard | None:
        """The card with this id."""
        return next((card for card in self.interactions if card.id == interaction), None)
