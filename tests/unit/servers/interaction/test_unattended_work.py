"""Work that nobody waits for is done in the end: however long the writer is busy, and without a tight circle."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stayline.domain.errors import Refusal
from stayline.domain.interaction import Event, Interaction, State
from stayline.domain.session import AgentSession, SessionState
from stayline.link.messages.envelope import Identity
from stayline.servers.interaction import background as background_module
from stayline.servers.interaction.background import Background
from stayline.servers.interaction.channels import Channel, Channels
from stayline.servers.interaction.sessions import Sessions
from stayline.servers.interaction.timers import Timers
from stayline.store.interaction import Write, Written
from stayline.store.interaction_state import Loaded

from .desk import Desk

BUSY = Refusal(code="store.busy", reason="10000 changes already wait to be committed.", retryable=True)


def session(id: str, agent: str = "ann") -> AgentSession:
    return AgentSession(
        id=id,
        tenant="T",
        agent=agent,
        place=f"place of {id}",
        media=(),
        state=SessionState.LIVE,
        since=900.0,
        opened_at=900.0,
        version=1,
        epoch=1,
        term=1,
    )


def owned(session_id: str) -> Interaction:
    return Interaction(
        id="i1",
        tenant="T",
        media="chat",
        queue="q",
        state=State.OWNED,
        owner="ann",
        session=session_id,
        version=3,
        epoch=1,
        term=1,
    )


class Floor:
    """Sessions over a :class:`Desk`; ``submitted`` counts what reached the writer."""

    def __init__(self, loaded: Loaded) -> None:
        self.desk = Desk(loaded)
        self.submitted = 0
        commit = self.desk.writer.submit

        async def counting(item: Write) -> Written:
            self.submitted += 1
            return await commit(item)

        self.desk.writer.submit = counting  # type: ignore[method-assign]
        self.background = Background()
        self.channels = Channels()
        self.sessions = Sessions(
            self.desk.ledger,
            cast(Any, SimpleNamespace(restore_timeout=120.0)),
            self.channels,
            self.background,
            Timers(self.desk.ledger.clock),
            cast(Any, SimpleNamespace(watch=lambda _: None, forget=lambda _: None)),
            changed=lambda _: None,
            new_id=lambda: "new",
        )

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():  # noqa: ASYNC110  (a turn of the loop is what is waited for)
                await asyncio.sleep(0)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def link() -> Channel:
    identity = Identity(user="ann", tenant="T", display_name="", roles=[], expires=0.0)
    return Channel(cast(Any, SimpleNamespace(event=lambda *_, **__: None)), 1, identity, "Workspace")


def test_a_lost_link_is_recorded_after_any_number_of_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_module, "RETRY_SECONDS", 0.0)

    async def scenario() -> None:
        floor = Floor(Loaded([], [session("s1")], [], [], {}, 0))
        channel = link()
        floor.sessions.attach(session("s1"), channel, "")
        floor.desk.writer.refusal = BUSY
        floor.sessions.channel_gone(channel)
        await floor.until(lambda: floor.submitted > 100)
        floor.desk.writer.refusal = None
        await floor.until(lambda: not len(floor.background))
        assert floor.desk.model.sessions["s1"].state is SessionState.LOST

    asyncio.run(scenario())


def test_a_busy_writer_is_not_asked_in_a_circle() -> None:
    async def scenario() -> None:
        floor = Floor(Loaded([owned("gone")], [], [], [], {}, 0))
        floor.desk.writer.refusal = BUSY
        await floor.sessions.requeue_all("gone", Event.LOGOUT_REQUEUE, "agent:ann")
        await turns(200)
        # Once for the one who waited, once in the background, which pauses now.
        assert floor.submitted == 2
        assert len(floor.background) == 1
        await floor.background.stop()

    asyncio.run(scenario())


def test_a_session_left_for_another_one_on_the_same_link_counts_as_lost() -> None:
    async def scenario() -> None:
        first, second = session("s1"), session("s2")
        floor = Floor(Loaded([], [first, second], [], [], {}, 0))
        channel = link()
        floor.sessions.attach(first, channel, "")
        floor.sessions.attach(second, channel, "")
        await floor.until(lambda: not len(floor.background))
        states = {id: found.state for id, found in floor.desk.model.sessions.items()}
        assert states == {"s1": SessionState.LOST, "s2": SessionState.LIVE}

    asyncio.run(scenario())
