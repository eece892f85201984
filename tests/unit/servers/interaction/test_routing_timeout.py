"""Routing that finds nobody for long counts as failed: noted, and everybody is asked again; the times follow from the
row, also at a new primary."""

import asyncio

import msgspec
import pytest

from stayline.domain.interaction import Interaction, State
from stayline.domain.ownership import routing_ends
from stayline.servers.interaction.tenure import Tenure
from stayline.store.interaction_state import HeldBack, Loaded

from .test_handling_timeout import take_over

QUEUED_AT = 1_000.0
LIMIT = 1_200.0
WAITING = Interaction(
    id="i1",
    tenant="T",
    media="chat",
    queue="q",
    state=State.QUEUED,
    queued_at=QUEUED_AT,
    version=1,
    epoch=1,
    term=1,
)


@pytest.mark.parametrize(
    ("now", "ends"),
    [(QUEUED_AT, 2_200.0), (2_199.9, 2_200.0), (2_200.0, 3_400.0), (9_000.0, 9_400.0), (500.0, 2_200.0)],
)
def test_routing_fails_at_each_multiple_since_it_was_queued(now: float, ends: float) -> None:
    assert routing_ends(WAITING, LIMIT, now) == ends


async def settled(tenure: Tenure) -> None:
    async with asyncio.timeout(5):
        while len(tenure.background):  # noqa: ASYNC110 - work of the background needs turns of the loop
            await asyncio.sleep(0)


def test_it_is_noted_in_the_journal_keeps_its_place_and_frees_who_had_refused() -> None:
    async def scenario() -> None:
        now = [QUEUED_AT + LIMIT - 0.001]
        held = HeldBack(interaction="i1", session="s", at=now[0])
        tenure, writer = take_over(Loaded([WAITING], [], [], [held], {}, 0), lambda: now[0])
        now[0] = QUEUED_AT + LIMIT
        async with asyncio.timeout(5):
            while not writer.writes:  # noqa: ASYNC110 - the timer needs a turn of the loop
                await asyncio.sleep(0)
        await settled(tenure)
        (write,) = writer.writes
        (step,) = write.steps
        assert step.entry.event.value == "routing-timeout"
        after = tenure.model.interaction("i1")
        assert after is not None
        assert (after.state, after.queued_at, after.version) == (State.QUEUED, QUEUED_AT, 2)
        assert tenure.router.held_back("i1") == frozenset()
        await tenure.stop()

    asyncio.run(scenario())


def test_the_timer_runs_while_it_waits_and_only_then() -> None:
    async def scenario() -> None:
        tenure, _ = take_over(Loaded([WAITING], [], [], [], {}, 0), lambda: QUEUED_AT)
        assert tenure._timers.is_armed("routing:i1")
        tenure.router.watch(msgspec.structs.replace(WAITING, state=State.OFFERED))
        assert not tenure._timers.is_armed("routing:i1")
        tenure.router.watch(WAITING)
        assert tenure._timers.is_armed("routing:i1")
        await tenure.stop()

    asyncio.run(scenario())
