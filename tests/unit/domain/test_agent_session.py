"""The life of an agent session."""

import msgspec
import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.session import (
    LOST_OFFER_SECONDS,
    MAX_OFFER_EXTENSION,
    SESSION_TRANSITIONS,
    AgentSession,
    Readiness,
    SessionEvent,
    SessionState,
    advance,
    offer_ends,
    restore_deadline,
    with_readiness,
)

DRAFT = AgentSession(
    id="s",
    tenant="T",
    agent="a",
    place="P",
    media=(Readiness("chat", False, "coffee"),),
    state=SessionState.LIVE,
    since=0.0,
    opened_at=0.0,
    version=0,
    epoch=0,
    term=0,
)


def opened() -> AgentSession:
    return advance(None, SessionEvent.LOGIN, DRAFT, 100.0, epoch=1, term=1)


def lost() -> AgentSession:
    live = opened()
    return advance(live, SessionEvent.LOSE, live, 200.0, epoch=1, term=1)


def test_login_loss_resume_and_end() -> None:
    session = lost()
    assert (session.state, session.since, session.version) == (SessionState.LOST, 200.0, 2)
    assert restore_deadline(session, 120.0) == 320.0
    back = advance(session, SessionEvent.RESUME, session, 230.0, epoch=1, term=2)
    assert (back.state, back.since, back.term) == (SessionState.LIVE, 230.0, 2)
    closed = advance(session, SessionEvent.EXPIRE, session, 320.0, epoch=1, term=2)
    assert closed.state is SessionState.CLOSED
    with pytest.raises(RefusedError) as caught:
        advance(closed, SessionEvent.RESUME, closed, 321.0, epoch=1, term=2)
    assert caught.value.refusal.code == "session.closed"


def test_a_live_session_does_not_expire_and_an_old_term_decides_nothing() -> None:
    live = opened()
    with pytest.raises(RefusedError) as caught:
        advance(live, SessionEvent.EXPIRE, live, 400.0, epoch=1, term=1)
    assert caught.value.refusal.code == "session.live"
    with pytest.raises(RefusedError) as caught:
        advance(live, SessionEvent.LOSE, live, 400.0, epoch=0, term=9)
    assert caught.value.refusal.code == "session.term_stale"


def test_only_closing_edges_requeue() -> None:
    for transition in SESSION_TRANSITIONS.values():
        assert transition.requeue == (transition.new is SessionState.CLOSED)


def test_readiness_keeps_reason_only_while_not_ready() -> None:
    live = opened()
    ready = advance(live, SessionEvent.MEDIA, with_readiness(live, [], True, "x"), 110.0, epoch=1, term=1)
    assert ready.media == (Readiness("chat", True, ""),)
    assert (ready.ready_since, ready.since, ready.ready_for("chat")) == (110.0, 100.0, True)
    assert not ready.ready_for("email")
    again = advance(
        ready, SessionEvent.MEDIA, with_readiness(ready, ["chat"], True, ""), 120.0, epoch=1, term=1
    )
    assert again.ready_since == 110.0
    gone = advance(ready, SessionEvent.LOSE, ready, 130.0, epoch=1, term=1)
    assert not gone.ready_for("chat")
    with pytest.raises(RefusedError):
        with_readiness(live, ["email"], True, "")


def test_an_offer_ends_with_its_session_or_soon_after_its_loss() -> None:
    live = opened()
    assert offer_ends(130.0, None) == 0.0
    assert offer_ends(130.0, live) == 130.0
    assert offer_ends(230.0, lost()) == 200.0 + LOST_OFFER_SECONDS
    back = advance(lost(), SessionEvent.RESUME, lost(), 229.0, epoch=1, term=1)
    assert offer_ends(230.0, back) == 234.0  # came back a second before the end: some time to answer
    flapping = msgspec.structs.replace(back, since=10_000.0)
    assert offer_ends(230.0, flapping) == 230.0 + MAX_OFFER_EXTENSION
