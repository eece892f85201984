"""Logins, losses and ends in any order: how many sessions an agent can have, and whose they are."""

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stayline.domain.errors import RefusedError
from stayline.domain.second_login import Policy, opening_of, ticket_objection
from stayline.domain.session import AgentSession, SessionEvent, SessionState, advance

INSTALLATIONS = ["here", "there", "elsewhere", ""]
happenings = st.lists(
    st.tuples(
        st.sampled_from(["login", "login", "login", "lose", "end"]),
        st.sampled_from(INSTALLATIONS),
        st.integers(0, 3),
    ),
    max_size=30,
)


def login(sessions: dict[str, AgentSession], workspace: str, policy: Policy, id: str) -> AgentSession | None:
    """What a login makes of the agent's sessions; None when it is refused."""
    before = dict(sessions)
    try:
        taken, event = opening_of(list(sessions.values()), "", workspace, policy)
    except RefusedError:
        assert policy is Policy.REFUSED
        assert any(s.state is SessionState.LIVE for s in before.values())
        assert all(s.workspace != workspace or not workspace for s in before.values())
        return None
    new = taken or AgentSession(
        id=id,
        tenant="T",
        agent="ann",
        place="P",
        media=(),
        state=SessionState.LIVE,
        since=0.0,
        opened_at=0.0,
        version=0,
        epoch=0,
        term=0,
    )
    after = advance(taken, event, msgspec.structs.replace(new, workspace=workspace), 1.0, epoch=1, term=1)
    if workspace and any(s.workspace == workspace for s in before.values()):
        assert taken is not None, "the same installation never opens a second session"
        assert taken.workspace == workspace
        assert event is SessionEvent.RETURN
    if any(s.state is SessionState.LOST for s in before.values()):
        assert taken is not None, "a lost session is never left beside a new one"
    sessions[after.id] = after
    return after


@given(st.sampled_from(Policy), happenings)
def test_one_session_for_an_agent_or_one_for_an_installation(
    policy: Policy, story: list[tuple[str, str, int]]
) -> None:
    sessions: dict[str, AgentSession] = {}
    ids = (f"s{n}" for n in itertools.count(1))
    for what, workspace, which in story:
        if what == "login":
            opened = login(sessions, workspace, policy, next(ids))
            if opened is not None:
                assert ticket_objection(opened, workspace, policy) is None
                assert opened.state is SessionState.LIVE
        elif sessions:
            chosen = list(sessions.values())[which % len(sessions)]
            if what == "end":
                del sessions[chosen.id]
            elif chosen.state is SessionState.LIVE:
                sessions[chosen.id] = advance(chosen, SessionEvent.LOSE, chosen, 2.0, epoch=1, term=1)
        named = [s.workspace for s in sessions.values() if s.workspace]
        assert len(named) == len(set(named))
        if policy is not Policy.SECOND_SESSION:
            assert len(sessions) <= 1
