"""Requests and events of the Interaction Server.

Agents' requests come through an Interaction Server Proxy, which sets the channel; media servers speak directly.
Method name -> (parameters, result) is said at each class. Every request that changes something carries an
idempotency key in the frame; a repeated key gets the recorded result again and changes nothing.
"""

import msgspec

from stayline.domain.interaction import State
from stayline.link.messages.envelope import Identity

Ownership = State
"""Where an interaction is, as the links say it: the very states of the domain."""


class MediaState(msgspec.Struct, frozen=True):
    """Readiness of an agent for one medium; ``reason`` is the agent's not-ready reason."""

    media: str
    ready: bool
    reason: str = ""


class InteractionView(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An interaction as its agent sees it.

    ``version`` grows by one with each committed transition. ``offer_seconds`` (offered only) is how long the offer
    still stands, in seconds, counted from sending. ``online`` is false when the chat session has ended.
    ``grant`` lets the owner join the chat session at any Chat Server without it asking anybody.
    """

    id: str
    tenant: str
    media: str
    state: Ownership
    version: int
    queue: str
    owner: str = ""
    subject: str = ""
    contact: str = ""
    customer: str = ""
    chat_session: str = ""
    online: bool = True
    created_at: float = 0.0
    owned_at: float = 0.0
    offer_seconds: float = 0.0
    properties: dict[str, str] = {}
    disposition: str = ""
    grant: str = ""
    epoch: int = 0
    term: int = 0


class Snapshot(msgspec.Struct, kw_only=True):
    """Everything true of one agent session at journal position ``as_of``: replaces what the Workspace believed."""

    session: str
    agent: str
    place: str
    media: list[MediaState]
    interactions: list[InteractionView]
    as_of: int
    epoch: int
    term: int


class Missed(msgspec.Struct, kw_only=True):
    """One transition of an interaction of the session that happened while it was away."""

    seq: int
    interaction: str
    event: str
    why: str


class AgentLogin(msgspec.Struct, kw_only=True):
    """``agent.login`` -> :class:`SessionOpened`. The agent is the token's user.

    ``workspace`` names the installation (the same after a restart of it): a login from the same one is never a second
    login. ``restore``: media whose interactions shall be owned again after a lost link (None: all), as the option
    ``eservices.session-restore-mediatype`` says; the others go back to their queues when the session is resumed
    after a loss. ``asked_at``: Unix seconds of this installation's clock, growing with each asking; one that was held
    up on its way takes nothing from a later one."""

    place: str
    media: list[MediaState]
    workspace: str = ""
    restore: list[str] | None = None
    asked_at: float = 0.0


class AgentResume(msgspec.Struct, kw_only=True):
    """``agent.resume`` -> :class:`SessionOpened`: not a login. ``last_seq`` is the last event seen. ``restore`` as in
    :class:`AgentLogin`; None leaves it as it was. ``asked_at`` as in :class:`AgentLogin`."""

    ticket: str
    last_seq: int
    restore: list[str] | None = None
    asked_at: float = 0.0


class SessionOpened(msgspec.Struct, kw_only=True):
    """``ticket`` resumes this session on any proxy of the active site; ``restore_timeout`` is the server's
    ``agent-session-restore-timeout`` in seconds. ``missed`` is the story since ``last_seq``; ``gap``: it is too old to
    be told, the snapshot is all there is."""

    session: str
    ticket: str
    restore_timeout: float
    snapshot: Snapshot
    missed: list[Missed] = []
    gap: bool = False


class AgentLogout(msgspec.Struct, kw_only=True):
    """``agent.logout`` -> :class:`Done`. Refused while interactions are owned, unless ``requeue``."""

    reason: str = ""
    requeue: bool = False


class SetMedia(msgspec.Struct, kw_only=True):
    """``agent.media`` -> :class:`Done`: ready or not ready for media (empty list: all of the session)."""

    ready: bool
    media: list[str] = []
    reason: str = ""


class Done(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A committed change. ``seq`` is its journal position, ``version`` the interaction's new version."""

    seq: int = 0
    version: int = 0


class Accept(msgspec.Struct, kw_only=True):
    """``interaction.accept`` -> :class:`InteractionView`. ``version`` is that of the offer."""

    interaction: str
    version: int


class Reject(msgspec.Struct, kw_only=True):
    """``interaction.reject`` -> :class:`Done`: back to its queue; not offered to this session again for a while."""

    interaction: str
    version: int
    reason: str = ""


class Transfer(msgspec.Struct, kw_only=True):
    """``interaction.transfer`` -> :class:`Done`: to a queue."""

    interaction: str
    queue: str
    reason: str = ""


class MarkDone(msgspec.Struct, kw_only=True):
    """``interaction.done`` -> :class:`Done`: ends the interaction (the chat session with it)."""

    interaction: str
    disposition: str = ""


class ChangeProperties(msgspec.Struct, kw_only=True):
    """``interaction.change`` -> :class:`Done`. Case information, disposition, chat session state (``online``)."""

    interaction: str
    set: dict[str, str] = {}
    delete: list[str] = []
    disposition: str | None = None
    online: bool | None = None


class Submit(msgspec.Struct, kw_only=True):
    """``interaction.submit`` (media server) -> :class:`Done`. The submitter chooses ``id``; repeating it is
    harmless."""

    id: str
    tenant: str
    media: str
    queue: str
    type: str = "Inbound"
    subtype: str = "InboundNew"
    subject: str = ""
    contact: str = ""
    customer: str = ""
    chat_session: str = ""
    properties: dict[str, str] = {}


class Stop(msgspec.Struct, kw_only=True):
    """``interaction.stop`` (media server) -> :class:`Done`. ``only_unanswered``: leave it when an agent owns it."""

    interaction: str
    reason: str
    only_unanswered: bool = False


class GetOwner(msgspec.Struct, kw_only=True):
    """``interaction.owner`` (media server) -> :class:`OwnerChanged`."""

    interaction: str


class OwnerChanged(msgspec.Struct, kw_only=True):
    """Event ``interaction.owner`` to every media server: who owns it now (empty: nobody)."""

    interaction: str
    chat_session: str
    agent: str
    version: int
    state: Ownership


class Offered(msgspec.Struct):
    """Event ``interaction.offered``: the countdown is ``interaction.offer_seconds``."""

    interaction: InteractionView


class Changed(msgspec.Struct):
    """Event ``interaction.changed``: an interaction of this session, as it is now."""

    interaction: InteractionView


class Gone(msgspec.Struct, kw_only=True):
    """Event ``interaction.gone``: no longer this session's, and why (revoked, transferred, done, stopped)."""

    interaction: str
    version: int
    event: str
    why: str


class AgentStatus(msgspec.Struct, kw_only=True):
    """Event ``agent.status``."""

    media: list[MediaState]


class TicketRenewed(msgspec.Struct, kw_only=True):
    """Event ``session.ticket``: use this ticket from now on; the old one expires."""

    session: str
    ticket: str


class Statement(msgspec.Struct, kw_only=True):
    """Event ``server.mastership`` (core -> its proxies): the signed statement for hellos and polls."""

    statement: str


class SessionEnded(msgspec.Struct, kw_only=True):
    """Event ``session.ended``: the session is over (taken elsewhere, timed out, logged out by the server)."""

    session: str
    code: str
    why: str


class ChannelOpen(msgspec.Struct, kw_only=True):
    """Event ``channel.open`` (proxy -> core), before the channel's first request."""

    identity: Identity
    application: str
    instance: str


class ChannelClose(msgspec.Struct, kw_only=True):
    """Event ``channel.close``. Proxy -> core: the client's link is gone. Core -> proxy: hang up on that client."""

    why: str


class RestoreChannel(msgspec.Struct, kw_only=True):
    """One client that a proxy kept through a failover of the core; ``ticket`` empty: connected, not logged in."""

    channel: int
    identity: Identity
    application: str
    instance: str
    ticket: str
    last_seq: int


class RestoreChannels(msgspec.Struct):
    """``channels.restore`` (proxy -> new primary) -> :class:`RestoredChannels`: all its clients in bulk."""

    channels: list[RestoreChannel]


class RestoredChannel(msgspec.Struct, kw_only=True):
    """The outcome for one channel: opened, or the refusal."""

    channel: int
    opened: SessionOpened | None = None
    code: str = ""
    reason: str = ""


class RestoredChannels(msgspec.Struct):
    """Same order as asked."""

    channels: list[RestoredChannel]


class CoreAway(msgspec.Struct, kw_only=True):
    """Event ``core.away`` (proxy -> client): the core is unreachable since ``since`` (Unix seconds)."""

    since: float
    why: str


class CoreBack(msgspec.Struct, kw_only=True):
    """Event ``core.back`` (proxy -> client): requests work again; ``opened`` is the restored session, if there was
    one, ``code``/``reason`` why it could not be restored."""

    epoch: int
    term: int
    opened: SessionOpened | None = None
    code: str = ""
    reason: str = ""


class Leaving(msgspec.Struct, kw_only=True):
    """Event ``server.leaving``: this server stops on command; do not come back here before ``retry_after`` s.

    ``slot`` > 0: it is being drained. The link goes on working; this client shall leave by itself that many seconds
    after this event and connect to another server. ``slot`` 0: leave now."""

    why: str
    retry_after: float = 0.0
    slot: float = 0.0


class GetJournal(msgspec.Struct, kw_only=True):
    """``interaction.journal`` -> list of :class:`JournalRow`, oldest first: the history of ownership, read only.
    For supervisors, operators and administrators, and for servers."""

    interaction: str
    limit: int = 500


class JournalRow(msgspec.Struct, kw_only=True):
    """One committed transition. ``agent``/``session`` had it afterwards, ``previous_...`` before (empty: nobody);
    ``actor`` caused it: ``agent:NAME``, ``application:NAME`` or ``server``; ``at`` is Unix seconds."""

    seq: int
    interaction: str
    version: int
    event: str
    from_state: str
    to_state: str
    agent: str
    session: str
    previous_agent: str
    previous_session: str
    queue: str
    actor: str
    why: str
    epoch: int
    term: int
    at: float
