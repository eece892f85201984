"""An unanswered login is repeated with its key; an answered one never."""

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from stayline.domain.errors import LinkLostError, Refusal, RefusedError
from stayline.link.messages.interaction import AgentLogin, SessionOpened, Snapshot
from stayline.workspace.session import AgentSession

LOST = LinkLostError(Refusal(code="link.timeout", reason="no answer", retryable=True))
CLOSED = RefusedError(Refusal(code="session.closed", reason="over"))
PLACE = RefusedError(Refusal(code="place.taken", reason="used by ben"))

OPENED = SessionOpened(
    session="s1",
    ticket="t1",
    restore_timeout=120.0,
    snapshot=Snapshot(
        session="s1", agent="ann", place="P", media=[], interactions=[], as_of=1, epoch=1, term=1
    ),
)


class ScriptedPeer:
    """Answers requests in order; ``keys`` are those of the logins."""

    is_closed = False
    hello = SimpleNamespace(epoch=1)

    def __init__(self, *answers: SessionOpened | Exception) -> None:
        self.keys: list[str] = []
        self.asked: list[AgentLogin] = []
        self._answers = list(answers)

    async def request(self, method: str, params: AgentLogin, kind: object, **options: Any) -> SessionOpened:
        """The next answer."""
        assert method == "agent.login"
        self.keys.append(options["key"])
        self.asked.append(params)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def log_in(peer: ScriptedPeer) -> AgentSession:
    """A session that is opened over a link to ``peer``, as far as its answers go."""

    async def story() -> AgentSession:
        settled = asyncio.Event()
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731
        told = SimpleNamespace(
            session_opened=lambda _: settled.set(),
            session_over=lambda _: settled.set(),
            session_away=nothing,
            session_lost=nothing,
            session_changed=nothing,
        )
        session = AgentSession(cast(Any, told), time.time, random=lambda: 0.0, installation="this one")
        session.begin_as("P", [])
        view = SimpleNamespace(generation=1)
        session.link = cast(Any, SimpleNamespace(peer=peer, view=view, proven=lambda: None))
        session.link_up(cast(Any, peer))
        await asyncio.wait_for(settled.wait(), 5)
        session.stop()
        await session.finished()
        return session

    return asyncio.run(story())


def test_an_unanswered_login_is_repeated_with_its_key() -> None:
    peer = ScriptedPeer(LOST, LOST, OPENED)
    session = log_in(peer)
    assert session.session == "s1"
    assert len(peer.keys) == 3
    assert len(set(peer.keys)) == 1


def test_a_login_whose_session_is_over_by_now_is_made_anew() -> None:
    peer = ScriptedPeer(LOST, CLOSED, OPENED)
    session = log_in(peer)
    assert session.session == "s1"
    first, again, anew = peer.keys
    assert first == again != anew


def test_a_refusal_is_an_answer() -> None:
    peer = ScriptedPeer(PLACE)
    session = log_in(peer)
    assert session.over is not None
    assert session.over.code == "place.taken"


def test_a_login_says_which_installation_it_comes_from() -> None:
    peer = ScriptedPeer(OPENED)
    log_in(peer)
    assert [(login.workspace, login.place) for login in peer.asked] == [("this one", "P")]
