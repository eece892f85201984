"""What a login does while the agent has sessions, and what a ticket is worth after somebody else's login."""

import msgspec
import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.second_login import Policy, opening_of, ticket_objection
from stayline.domain.session import (
    SESSION_TRANSITIONS,
    AgentSession,
    SessionEvent,
    SessionState,
    reconnects,
)


def session(id: str, workspace: str = "", state: SessionState = SessionState.LIVE) -> AgentSession:
    return AgentSession(
        id=id,
        tenant="T",
        agent="ann",
        place=f"place of {id}",
        media=(),
        state=state,
        since=0.0,
        opened_at=0.0,
        version=1,
        epoch=1,
        term=1,
        workspace=workspace,
    )


@pytest.mark.parametrize("policy", Policy)
def test_whatever_the_policy(policy: Policy) -> None:
    live, lost = session("live", "here"), session("lost", "there", SessionState.LOST)
    assert opening_of([], "", "here", policy) == (None, SessionEvent.LOGIN)
    # The link's own session, before that of the installation, before a lost one.
    assert opening_of([lost, live], "lost", "here", policy) == (lost, SessionEvent.TAKE)
    assert opening_of([lost, live], "", "here", policy) == (live, SessionEvent.RETURN)
    assert opening_of([lost, live], "", "there", policy) == (lost, SessionEvent.RETURN)
    assert opening_of([lost, live], "", "third", policy) == (lost, SessionEvent.TAKE)
    # Who says no name is nobody's installation, not that of others who say none.
    nameless = session("nameless", "", SessionState.LOST)
    assert opening_of([nameless], "", "", policy) == (nameless, SessionEvent.TAKE)


def test_another_installation_while_the_session_lives() -> None:
    live = session("s", "here")
    assert opening_of([live], "", "there", Policy.SECOND_SESSION) == (None, SessionEvent.LOGIN)
    assert opening_of([live], "", "there", Policy.TAKES_OVER) == (live, SessionEvent.TAKE)
    with pytest.raises(RefusedError) as caught:
        opening_of([live], "", "", Policy.REFUSED)
    assert caught.value.refusal.code == "session.exists"
    assert "place of s" in caught.value.refusal.reason


def test_a_ticket_is_worth_nothing_once_another_installation_has_the_session() -> None:
    taken = session("s", "there")
    assert ticket_objection(taken, "there", Policy.TAKES_OVER) is None
    assert ticket_objection(taken, "", Policy.TAKES_OVER) is None
    assert ticket_objection(session("s", ""), "here", Policy.TAKES_OVER) is None
    codes = {policy: ticket_objection(taken, "here", policy) for policy in Policy}
    assert {policy: refusal.code for policy, refusal in codes.items() if refusal} == {
        Policy.SECOND_SESSION: "session.closed",
        Policy.REFUSED: "session.taken",
        Policy.TAKES_OVER: "session.taken",
    }


def test_which_edges_are_a_return_over_another_link() -> None:
    live, lost = session("s"), session("s", state=SessionState.LOST)
    back = (SessionEvent.RESUME, SessionEvent.RETURN)
    assert all(reconnects(s, event) for s in (live, lost) for event in back)
    assert reconnects(lost, SessionEvent.TAKE)
    assert not reconnects(live, SessionEvent.TAKE)
    others = set(SessionEvent) - {*back, SessionEvent.TAKE}
    assert not any(reconnects(s, event) for s in (live, lost) for event in others)
    assert not any(t.reconnects for t in SESSION_TRANSITIONS.values() if t.new is not SessionState.LIVE)


def test_what_is_restored() -> None:
    everything, chats = session("s"), msgspec.structs.replace(session("s"), restore=("chat",))
    nothing = msgspec.structs.replace(everything, restore=())
    assert everything.restores("email")
    assert chats.restores("chat")
    assert not chats.restores("email")
    assert not nothing.restores("chat")
