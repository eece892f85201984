"""An unanswered login is repeated with its key; an answered one never."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stayline.domain.errors import LinkLostError, Refusal, RefusedError
from stayline.link.messages.interaction import SessionOpened, Snapshot
from stayline.workspace import session as session_module
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

    def __init__(self, *answers: SessionOpened | Exception) -> None:
        self.is_closed = False
        self.keys: list[str] = []
        self._answers = list(answers)

    async def request(self, method: str, params: object, kind: object, **options: Any) -> SessionOpened:
        """The next answer."""
        assert method == "agent.login"
        self.keys.append(options["key"])
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def told() -> Any:
    """A user of the session that hears everything and does nothing."""
    nothing: Callable[..., None] = lambda *_: None  # noqa: E731
    return SimpleNamespace(
        session_opened=nothing, session_away=nothing, session_lost=nothing, session_over=nothing
    )


def log_in(peer: ScriptedPeer, monkeypatch: pytest.MonkeyPatch) -> AgentSession:
    monkeypatch.setattr(session_module, "RETRY_SECONDS", 0.0)
    session = AgentSession(told(), lambda: 0.0)
    asyncio.run(asyncio.wait_for(session._open(cast(Any, peer)), 5))
    return session


def test_an_unanswered_login_is_repeated_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = ScriptedPeer(LOST, LOST, OPENED)
    session = log_in(peer, monkeypatch)
    assert session.confirmed
    assert len(peer.keys) == 3
    assert len(set(peer.keys)) == 1


def test_a_login_whose_session_is_over_by_now_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = ScriptedPeer(LOST, CLOSED, OPENED)
    session = log_in(peer, monkeypatch)
    assert session.confirmed
    first, again, anew = peer.keys
    assert first == again != anew


def test_a_refusal_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = ScriptedPeer(PLACE)
    session = log_in(peer, monkeypatch)
    assert session.over is not None
    assert session.over.code == "place.taken"
