"""A request of a client that has left meanwhile takes no session away from where its agent is now."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.second_login import Policy
from stayline.domain.session import AgentSession, SessionState
from stayline.link.messages.envelope import Identity
from stayline.link.messages.interaction import AgentLogin, MediaState
from stayline.servers.interaction.askings import HELD_UP_SECONDS, Askings
from stayline.servers.interaction.channels import Channel, Channels
from stayline.servers.interaction.resumption import Resumption
from stayline.servers.interaction.sessions import Sessions, agent_key
from tests.unit.servers.interaction.desk import EMPTY, Desk

IDENTITY = Identity(user="ann", tenant="T", roles=[], expires=9e9)
SESSION = AgentSession(
    id="s1",
    tenant="T",
    agent="ann",
    display_name="Ann",
    place="P",
    media=(),
    state=SessionState.LIVE,
    since=0.0,
    opened_at=0.0,
    version=1,
    epoch=1,
    term=1,
    exclusive=True,
)


async def nobody_gave_up(sessions: list[str]) -> dict[str, list[str]]:
    return {}


class Proxy:
    """A link to a proxy; ``told`` are its events."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.hello = SimpleNamespace(application=f"Proxy_{generation}")
        self.told: list[str] = []

    def event(self, name: str, params: object, *, seq: int = 0, channel: int = 0) -> None:
        """Note it."""
        self.told.append(name)


class Centre:
    """An agent with a live session on a channel of one proxy, and an older link by way of another one."""

    def __init__(self) -> None:
        self.desk = Desk(EMPTY._replace(sessions=[SESSION]))
        self.channels = Channels()
        self.now_on, self.before_on = Proxy(1), Proxy(2)
        self.new = self.open(self.now_on)
        self.old = self.open(self.before_on)
        self.channels.bind(self.new, "s1")
        rules = cast(
            Any,
            SimpleNamespace(
                multiple_connections=Policy.TAKES_OVER,
                restore_timeout=60.0,
                check_agent=lambda *_: None,
                check_place=lambda *_: None,
            ),
        )
        nothing = cast(Any, SimpleNamespace(watch=lambda *_: None, disarm=lambda *_: None))
        self.sessions = Sessions(
            self.desk.ledger,
            rules,
            self.channels,
            nothing,
            nothing,
            nothing,
            changed=lambda _: None,
            new_id=lambda: "s2",
        )
        reader = cast(Any, SimpleNamespace(given_up=nobody_gave_up))
        self.resumption = Resumption(
            self.desk.ledger, rules, self.channels, self.sessions, nothing, reader, nothing
        )

    def open(self, proxy: Proxy) -> Channel:
        channel = self.channels.open(cast(Any, proxy), 1, IDENTITY, "Workspace")
        assert channel is not None
        return channel

    async def late(self, work: Any) -> str:
        """Begin ``work`` while somebody else works on the agent; its client leaves before it is its turn."""
        async with self.desk.ledger.locks.hold(agent_key("T", "ann")):
            task = asyncio.ensure_future(work)
            await asyncio.sleep(0)
            self.channels.close(cast(Any, self.before_on), 1)
        with pytest.raises(RefusedError) as caught:
            await task
        return caught.value.refusal.code


def check(centre: Centre, code: str) -> None:
    assert code == "channel.closed"
    assert centre.channels.carries("s1") is centre.new
    assert "session.ended" not in centre.now_on.told
    assert centre.desk.writer.writes == []


def test_a_resume_that_comes_too_late() -> None:
    async def scenario() -> None:
        centre = Centre()
        check(
            centre,
            await centre.late(centre.resumption.rejoin(centre.old, "s1", AgentLogin(place="P", media=[]))),
        )

    asyncio.run(scenario())


def test_a_login_that_comes_too_late() -> None:
    async def scenario() -> None:
        centre = Centre()
        params = AgentLogin(place="P", media=[MediaState("chat", True)])
        check(centre, await centre.late(centre.sessions.login(centre.old, params, None)))

    asyncio.run(scenario())


LOGIN = AgentLogin(place="P", media=[], workspace="w", asked_at=100.0)


def test_a_request_held_up_at_a_proxy_that_stood_still_takes_nothing_from_a_later_one() -> None:
    """Its channel is open still: the proxy has not read yet that its client has gone."""

    async def scenario() -> None:
        centre = Centre()
        centre.sessions.askings.note("s1", "w", 101.0, 1)
        with pytest.raises(RefusedError) as caught:
            await centre.resumption.rejoin(centre.old, "s1", LOGIN)
        assert caught.value.refusal.code == "session.superseded"
        with pytest.raises(RefusedError) as caught:
            await centre.sessions.login(centre.old, LOGIN, None)
        assert caught.value.refusal.code == "session.superseded"
        assert centre.channels.carries("s1") is centre.new
        assert centre.now_on.told == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("workspace", "asked_at"), [("w", 102.0), ("w", 0.0), ("w", 101.0 - HELD_UP_SECONDS), ("other", 50.0)]
)
def test_a_later_one_or_one_of_another_clock_is_heard(workspace: str, asked_at: float) -> None:
    askings = Askings()
    askings.note("s1", "w", 101.0, 1)
    assert askings.objection("s1", workspace, asked_at) is None


def test_a_clock_that_was_set_back_a_little_shuts_nobody_out() -> None:
    askings = Askings()
    askings.note("s1", "w", 101.0, 1)
    objection = askings.objection("s1", "w", 90.0)
    assert objection is not None
    assert objection.retryable
    assert objection.retry_after is not None
    assert askings.objection("s1", "w", 90.0 + objection.retry_after) is None


def test_what_is_remembered_is_bounded() -> None:
    askings = Askings()
    for number in range(5_000):
        askings.note(f"s{number}", "w", 10.0, 100)
    assert len(askings) <= 1_200
    assert askings.objection("s4999", "w", 9.0) is not None
