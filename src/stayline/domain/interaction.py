"""The life cycle of an interaction as one table, and the records that it speaks of.

An interaction is always in exactly one of five states; whoever it is with is an agent *session*. The step function
that follows the table is in ``domain/ownership.py``.
"""

import enum

import msgspec


class State(enum.StrEnum):
    """Where an interaction is (design rule 1)."""

    QUEUED = "queued"
    OFFERED = "offered"
    OWNED = "owned"
    WORKBIN = "workbin"
    STOPPED = "stopped"


class Event(enum.StrEnum):
    """What can happen to an interaction; the journal's ``event``."""

    SUBMIT = "submit"
    OFFER = "offer"
    ACCEPT = "accept"
    REJECT = "reject"
    OFFER_TIMEOUT = "offer-timeout"
    TRANSFER = "transfer"
    PARK = "park"
    PULL = "pull"
    SESSION_LOST_TIMEOUT = "session-lost-timeout"
    NOT_RESTORED = "not-restored"
    LOGOUT_REQUEUE = "logout-requeue"
    HANDLING_TIMEOUT = "handling-timeout"
    ROUTING_TIMEOUT = "routing-timeout"
    CHANGE = "change"
    DONE = "done"
    STOP = "stop"


class Action(enum.StrEnum):
    """What follows from a committed transition."""

    ROUTE = "look for an agent"
    ARM_OFFER = "start the delivering timeout"
    ARM_HANDLING = "start the handling timeout anew"
    TELL_OFFERED = "tell the session that it is offered"
    TELL_CHANGED = "tell the session how it is now"
    TELL_GONE = "tell the previous session that it is gone"
    TELL_OWNER = "tell media servers who owns it"
    HOLD_BACK = "do not offer it to the previous session for a while"
    NOT_READY = "set the previous session not ready"


class Guard(enum.StrEnum):
    """What a command must match before its transition is allowed."""

    NONE = "anybody the server lets ask"
    OFFER = "the session and version of the standing offer"
    HOLDER = "the session it is with"
    HOLDER_IF_AGENT = "the session it is with, when an agent asks"
    WORKBIN = "the agent whose workbin holds it"


class Transition(msgspec.Struct, frozen=True):
    """One edge of the table; ``why`` is the reason in words, used when the command brings none."""

    new: State
    guard: Guard
    actions: tuple[Action, ...]
    why: str


_RETURN = (Action.TELL_GONE, Action.TELL_OWNER, Action.ROUTE)
_END = (Action.TELL_GONE, Action.TELL_OWNER)
_NOT_RESTORED = "the agent's link was lost, and interactions of this medium are not restored"

TRANSITIONS: dict[tuple[State | None, Event], Transition] = {
    (None, Event.SUBMIT): Transition(State.QUEUED, Guard.NONE, (Action.ROUTE,), "submitted to its queue"),
    (State.QUEUED, Event.OFFER): Transition(
        State.OFFERED,
        Guard.NONE,
        (Action.ARM_OFFER, Action.TELL_OFFERED),
        "longest idle ready agent with capacity",
    ),
    (State.QUEUED, Event.ROUTING_TIMEOUT): Transition(
        State.QUEUED,
        Guard.NONE,
        (Action.ROUTE,),
        "no agent could take it within the routing timeout; everybody is asked anew",
    ),
    (State.OFFERED, Event.ACCEPT): Transition(
        State.OWNED,
        Guard.OFFER,
        (Action.ARM_HANDLING, Action.TELL_CHANGED, Action.TELL_OWNER),
        "the agent accepted the offer",
    ),
    (State.OFFERED, Event.REJECT): Transition(
        State.QUEUED,
        Guard.OFFER,
        (Action.HOLD_BACK, Action.TELL_GONE, Action.ROUTE),
        "the agent rejected the offer",
    ),
    (State.OFFERED, Event.OFFER_TIMEOUT): Transition(
        State.QUEUED,
        Guard.OFFER,
        (Action.HOLD_BACK, Action.NOT_READY, Action.TELL_GONE, Action.ROUTE),
        "the offer was not answered in time",
    ),
    (State.OFFERED, Event.SESSION_LOST_TIMEOUT): Transition(
        State.QUEUED, Guard.HOLDER, _RETURN, "the agent's session was not restored in time"
    ),
    (State.OFFERED, Event.NOT_RESTORED): Transition(
        State.QUEUED, Guard.HOLDER, (Action.HOLD_BACK, *_RETURN), _NOT_RESTORED
    ),
    (State.OFFERED, Event.LOGOUT_REQUEUE): Transition(
        State.QUEUED, Guard.HOLDER, _RETURN, "the agent logged out"
    ),
    (State.OWNED, Event.TRANSFER): Transition(
        State.QUEUED, Guard.HOLDER, _RETURN, "the agent transferred it"
    ),
    (State.OWNED, Event.SESSION_LOST_TIMEOUT): Transition(
        State.QUEUED, Guard.HOLDER, _RETURN, "the agent's session was not restored in time"
    ),
    (State.OWNED, Event.NOT_RESTORED): Transition(
        State.QUEUED, Guard.HOLDER, (Action.HOLD_BACK, *_RETURN), _NOT_RESTORED
    ),
    (State.OWNED, Event.LOGOUT_REQUEUE): Transition(
        State.QUEUED, Guard.HOLDER, _RETURN, "the agent logged out"
    ),
    (State.OWNED, Event.HANDLING_TIMEOUT): Transition(
        State.QUEUED,
        Guard.HOLDER,
        (Action.HOLD_BACK, *_RETURN),
        "its owner did nothing with it for longer than the handling timeout",
    ),
    (State.OWNED, Event.PARK): Transition(
        State.WORKBIN, Guard.HOLDER, _END, "the agent put it into the workbin"
    ),
    (State.WORKBIN, Event.PULL): Transition(
        State.OWNED,
        Guard.WORKBIN,
        (Action.ARM_HANDLING, Action.TELL_CHANGED, Action.TELL_OWNER),
        "the agent took it from the workbin",
    ),
    (State.OWNED, Event.DONE): Transition(State.STOPPED, Guard.HOLDER, _END, "the agent marked it done"),
    **{
        (state, Event.STOP): Transition(State.STOPPED, Guard.NONE, _END, "stopped by its media server")
        for state in (State.QUEUED, State.OFFERED, State.OWNED, State.WORKBIN)
    },
    **{
        (state, Event.CHANGE): Transition(
            state,
            Guard.HOLDER_IF_AGENT,
            (Action.ARM_HANDLING, Action.TELL_CHANGED),
            "properties were changed",
        )
        for state in (State.QUEUED, State.OFFERED, State.OWNED, State.WORKBIN)
    },
}
"""(state, event) -> transition. What is not here is illegal."""


class Interaction(msgspec.Struct, frozen=True, kw_only=True):
    """The one record of an interaction. Times are Unix seconds, 0: not yet.

    ``owner``/``session`` are set exactly while it is offered or owned; ``offer_version`` is the version that the
    standing offer made; ``handled_at`` is when its owner last did something with it, and ``handling_timeout`` how many
    seconds of silence it stands (as configured when it was taken; 0: any); ``epoch``/``term`` say which primary
    wrote it.
    """

    id: str
    tenant: str
    media: str
    queue: str
    state: State
    version: int
    epoch: int
    term: int
    type: str = "Inbound"
    subtype: str = "InboundNew"
    subject: str = ""
    contact: str = ""
    customer: str = ""
    chat_session: str = ""
    workbin: str = ""
    owner: str = ""
    session: str = ""
    last_owner: str = ""
    properties: dict[str, str] = {}
    disposition: str = ""
    online: bool = True
    created_at: float = 0.0
    queued_at: float = 0.0
    offered_at: float = 0.0
    offer_version: int = 0
    offer_deadline: float = 0.0
    owned_at: float = 0.0
    handled_at: float = 0.0
    handling_timeout: float = 0.0
    ended_at: float = 0.0


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to happen. ``epoch``/``term`` are those of the primary that decides; ``session``/``agent``
    the agent session that asks, is offered to, or is lost; ``version`` that of the offer being answered;
    ``deadline`` (Unix seconds) until when an offer stands; ``handling`` the handling timeout (seconds, 0: none) of an
    owner who takes it."""

    event: Event
    actor: str
    epoch: int
    term: int
    agent: str = ""
    session: str = ""
    version: int = 0
    queue: str = ""
    deadline: float = 0.0
    handling: float = 0.0
    set: dict[str, str] = {}
    delete: tuple[str, ...] = ()
    disposition: str | None = None
    online: bool | None = None
    why: str = ""
    key: str = ""


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One committed transition. ``seq`` is given at commit; the chain of an interaction's entries has no gap."""

    interaction: str
    version: int
    event: Event
    from_state: str
    to_state: State
    agent: str
    session: str
    previous_agent: str
    previous_session: str
    queue: str
    actor: str
    key: str
    why: str
    epoch: int
    term: int
    at: float
    seq: int = 0
