"""A silent owner loses the interaction: the timer follows from the row, also at a new primary."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from stayline.domain.interaction import Interaction, State
from stayline.domain.session import AgentSession, SessionState
from stayline.servers.interaction.tenure import Tenure
from stayline.store.interaction_state import Loaded

from .desk import FakeWriter

OWNED_AT = 1_000.0
LIMIT = 60.0


def rows(online: bool) -> Loaded:
    session = AgentSession(
        id="s",
        tenant="T",
        agent="ann",
        place="P",
        media=(),
        state=SessionState.LOST,
        since=OWNED_AT,
        opened_at=900.0,
        version=1,
        epoch=1,
        term=1,
    )
    chat = Interaction(
        id="i1",
        tenant="T",
        media="chat",
        queue="q",
        state=State.OWNED,
        owner="ann",
        session="s",
        chat_session="c",
        online=online,
        handled_at=OWNED_AT,
        handling_timeout=LIMIT,
        version=3,
        epoch=1,
        term=1,
    )
    return Loaded([chat], [session], [], [], {}, 0)


def take_over(loaded: Loaded, clock: Callable[[], float]) -> tuple[Tenure, FakeWriter]:
    writer = FakeWriter()
    rules = SimpleNamespace(
        restore_timeout=100_000.0,
        reoffer_delay=5.0,
        routing_timeout=1_200.0,
        queue_groups=dict,
        groups_of=lambda _: frozenset(),
    )

    async def find(id: str) -> None:
        return None

    nothing = cast(Any, None)
    tenure = Tenure(
        loaded,
        writer,
        cast(Any, SimpleNamespace(find=find)),
        cast(Any, rules),
        nothing,
        nothing,
        epoch=1,
        term=2,
        clock=clock,
        lost=lambda why: None,
    )
    tenure.start()
    return tenure, writer


def test_a_new_primary_ends_what_was_due_meanwhile() -> None:
    async def scenario() -> None:
        tenure, writer = take_over(rows(online=False), lambda: OWNED_AT + LIMIT)
        async with asyncio.timeout(5):
            while not writer.writes:  # noqa: ASYNC110 - the timer needs a turn of the loop
                await asyncio.sleep(0)
            while len(tenure.background):  # noqa: ASYNC110
                await asyncio.sleep(0)
        (write,) = writer.writes
        (step,) = write.steps
        assert (step.entry.event.value, step.entry.previous_session) == ("handling-timeout", "s")
        found = tenure.model.interaction("i1")
        assert found is not None
        assert found.state is State.QUEUED
        await tenure.stop()

    asyncio.run(scenario())


def test_who_did_something_in_time_keeps_it_and_so_does_who_chats() -> None:
    async def scenario() -> None:
        for loaded, now in (
            (rows(online=False), OWNED_AT + LIMIT - 5),
            (rows(online=True), OWNED_AT + 2 * LIMIT),
        ):
            tenure, writer = take_over(loaded, lambda now=now: now)  # type: ignore[misc]
            for _ in range(50):
                await asyncio.sleep(0)
            assert tenure._timers.is_armed("handling:i1") == (now < OWNED_AT + LIMIT)
            assert not [w for w in writer.writes if w.steps]
            await tenure.stop()

    asyncio.run(scenario())
