"""The life of an agent session: a login that survives its connections (ADR 1 section 5), as one table.

A lost session keeps its interactions until ``agent-session-restore-timeout`` has passed since it was lost. All time
limits follow from the record itself, so a new primary finds the same ones.

Who comes back over another link has lost one, whether the server had noticed that or not: a Workspace that moved to
another proxy before its old link was known dead is treated like one whose session was lost. Such an edge
*reconnects*: interactions of media that are not restored (``eservices.session-restore-mediatype``) go back to their
queues, so that what an agent keeps never depends on how fast a loss was seen. A takeover by another installation
while the session lives is no reconnection: nobody's link was lost, and the new desk gets everything.
"""

import enum

import msgspec

from stayline.domain.errors import refuse

LOST_OFFER_SECONDS = 5.0
"""How long an offer to a lost session stands: its agent cannot answer, and a customer waits."""

LATE_ANSWER_SECONDS = 5.0
"""How long an offer stands at least after its session came back, were its time over meanwhile."""

MAX_OFFER_EXTENSION = 60.0
"""However often the link flaps, an offer ends this long after its own deadline."""


class SessionState(enum.StrEnum):
    """Whether an agent is there."""

    LIVE = "live"
    LOST = "lost"
    CLOSED = "closed"


class SessionEvent(enum.StrEnum):
    """What can happen to a session."""

    LOGIN = "login"
    TAKE = "take"
    RETURN = "return"
    RESUME = "resume"
    LOSE = "lose"
    TAKEOVER = "takeover"
    MEDIA = "media"
    LOGOUT = "logout"
    EXPIRE = "expire"


class SessionTransition(msgspec.Struct, frozen=True):
    """One edge; ``requeue``: what the session holds goes back to its queues once this is committed; ``reconnects``:
    only what is of media that are not restored does."""

    new: SessionState
    requeue: bool
    why: str
    reconnects: bool = False


_LIVE, _LOST, _CLOSED = SessionState.LIVE, SessionState.LOST, SessionState.CLOSED

SESSION_TRANSITIONS: dict[tuple[SessionState | None, SessionEvent], SessionTransition] = {
    (None, SessionEvent.LOGIN): SessionTransition(_LIVE, False, "the agent logged in"),
    (_LIVE, SessionEvent.TAKE): SessionTransition(
        _LIVE, False, "a new login of the agent took the session over"
    ),
    (_LOST, SessionEvent.TAKE): SessionTransition(
        _LIVE,
        False,
        "a new login of the agent took the session over after its link was lost",
        reconnects=True,
    ),
    (_LIVE, SessionEvent.RETURN): SessionTransition(
        _LIVE, False, "the same installation logged in anew while its session was still live", reconnects=True
    ),
    (_LOST, SessionEvent.RETURN): SessionTransition(
        _LIVE, False, "the same installation logged in anew after its link was lost", reconnects=True
    ),
    (_LIVE, SessionEvent.RESUME): SessionTransition(
        _LIVE, False, "resumed on another link while still live", reconnects=True
    ),
    (_LOST, SessionEvent.RESUME): SessionTransition(
        _LIVE, False, "resumed after its link was lost", reconnects=True
    ),
    (_LIVE, SessionEvent.LOSE): SessionTransition(_LOST, False, "its link was lost"),
    (_LIVE, SessionEvent.TAKEOVER): SessionTransition(_LOST, False, "a new primary took over"),
    (_LOST, SessionEvent.TAKEOVER): SessionTransition(_LOST, False, "a new primary took over"),
    (_LIVE, SessionEvent.MEDIA): SessionTransition(_LIVE, False, "readiness was changed"),
    (_LIVE, SessionEvent.LOGOUT): SessionTransition(_CLOSED, True, "the agent logged out"),
    (_LOST, SessionEvent.EXPIRE): SessionTransition(_CLOSED, True, "it was not restored in time"),
}
"""(state, event) -> transition. What is not here is illegal."""


class Readiness(msgspec.Struct, frozen=True):
    """Whether the agent takes interactions of a medium; ``reason`` is why not."""

    media: str
    ready: bool
    reason: str = ""


class AgentSession(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a session. Times are Unix seconds; ``since`` is when it came into ``state``; ``ready_since``
    when it last became ready. ``exclusive`` is false only where an agent may have several sessions. ``workspace``
    names the installation that has it (empty: it did not say); ``restore`` are the media whose interactions it keeps
    over a lost link (None: all)."""

    id: str
    tenant: str
    agent: str
    place: str
    media: tuple[Readiness, ...]
    state: SessionState
    since: float
    opened_at: float
    version: int
    epoch: int
    term: int
    display_name: str = ""
    ready_since: float = 0.0
    exclusive: bool = True
    why: str = ""
    workspace: str = ""
    restore: tuple[str, ...] | None = None

    def restores(self, media: str) -> bool:
        """Whether interactions of ``media`` stay with the session over a lost link."""
        return self.restore is None or media in self.restore

    def ready_for(self, media: str) -> bool:
        """Whether the agent said to be ready for ``media`` (and is there)."""
        return self.state is SessionState.LIVE and any(m.ready for m in self.media if m.media == media)


def advance(
    session: AgentSession | None,
    event: SessionEvent,
    after: AgentSession,
    now: float,
    *,
    epoch: int,
    term: int,
    why: str = "",
) -> AgentSession:
    """The record after ``event`` at ``now``: ``after`` brings what the event changes (place, media ...), the table
    the state. Raises RefusedError ``session.closed``, ``session.lost`` or ``session.term_stale``."""
    transition = SESSION_TRANSITIONS.get((session.state if session else None, event))
    if transition is None:
        raise _illegal(session, event)
    if session is not None and (epoch, term) < (session.epoch, session.term):
        raise refuse(
            "session.term_stale",
            f"Session {session.id} was last written in epoch {session.epoch} term {session.term}.",
            epoch=session.epoch,
            term=session.term,
        )
    came_in = session is None or event not in (SessionEvent.MEDIA,)
    return msgspec.structs.replace(
        after,
        state=transition.new,
        since=now if came_in else after.since,
        ready_since=_ready_since(session, after, now),
        version=1 if session is None else session.version + 1,
        epoch=epoch,
        term=term,
        why=why or transition.why,
    )


def with_readiness(session: AgentSession, media: list[str], ready: bool, reason: str) -> AgentSession:
    """The session with ``media`` (empty: all of its media) set ready or not; ``reason`` is kept only for not ready.

    Raises RefusedError ``media.unknown`` when the agent did not log in with one of them.
    """
    known = {m.media for m in session.media}
    for name in media:
        if name not in known:
            raise refuse(
                "media.unknown",
                f"Agent {session.agent} is not logged in for {name!r}, only for {', '.join(sorted(known)) or 'none'}.",
                field="media",
            )
    chosen = set(media) or known
    changed = tuple(
        Readiness(m.media, ready, "" if ready else reason) if m.media in chosen else m for m in session.media
    )
    return msgspec.structs.replace(session, media=changed)


def reconnects(session: AgentSession, event: SessionEvent) -> bool:
    """Whether ``event`` brings the session back over a new link, so that what is not restored goes to its queues."""
    transition = SESSION_TRANSITIONS.get((session.state, event))
    return transition is not None and transition.reconnects


def restore_deadline(session: AgentSession, restore_timeout: float) -> float:
    """Until when (Unix seconds) a lost session may be resumed."""
    return session.since + restore_timeout


def offer_ends(offer_deadline: float, session: AgentSession | None) -> float:
    """When (Unix seconds) an offer to ``session`` ends; None: the session is gone, so at once."""
    if session is None or session.state is SessionState.CLOSED:
        return 0.0
    if session.state is SessionState.LOST:
        return min(session.since + LOST_OFFER_SECONDS, offer_deadline + MAX_OFFER_EXTENSION)
    return max(offer_deadline, min(session.since + LATE_ANSWER_SECONDS, offer_deadline + MAX_OFFER_EXTENSION))


def _ready_since(before: AgentSession | None, after: AgentSession, now: float) -> float:
    was = {m.media for m in before.media if m.ready} if before else set()
    became = any(m.ready and m.media not in was for m in after.media)
    return now if became else after.ready_since


def _illegal(session: AgentSession | None, event: SessionEvent) -> Exception:
    if session is None or session.state is SessionState.CLOSED:
        return refuse(
            "session.closed",
            f"The session is closed: {session.why if session else 'there is none'}.",
            fix="Log in again.",
        )
    return refuse(
        f"session.{session.state.value}",
        f"Session {session.id} is {session.state.value}: {event.value!r} is not possible.",
        retryable=True,
    )
