"""Repetitions cost, new actions earn: in the long run a tenth of what is sent is a repetition."""

import asyncio
from typing import Any, cast

import pytest

from stayline.domain.errors import RefusedError, refuse
from stayline.link.messages.interaction import Done
from stayline.workspace import requests as requests_module
from stayline.workspace.requests import BUDGET_BURST, BUDGET_RATE, Budget, Requests


def test_a_burst_is_free_then_repetitions_wait() -> None:
    budget = Budget(0.0)
    assert [budget.repeat(0.0) for _ in range(BUDGET_BURST)] == [0.0] * BUDGET_BURST
    assert budget.repeat(0.0) == pytest.approx(1 / BUDGET_RATE)


def test_ten_new_actions_earn_one_repetition() -> None:
    budget = Budget(0.0)
    for _ in range(BUDGET_BURST):
        budget.repeat(0.0)
    for _ in range(9):
        budget.sent()
    assert budget.repeat(0.0) > 0
    for _ in range(2):
        budget.sent()
    assert budget.repeat(0.0) == 0.0
    assert budget.repeat(0.0) > 0


def test_time_earns_as_well_up_to_the_burst() -> None:
    budget = Budget(0.0)
    for _ in range(BUDGET_BURST):
        budget.repeat(0.0)
    later = 1 / BUDGET_RATE + 0.001
    assert budget.repeat(later) == 0.0
    assert budget.repeat(later) > 0
    much_later = later + 1_000_000.0
    assert [budget.repeat(much_later) for _ in range(BUDGET_BURST)] == [0.0] * BUDGET_BURST
    assert budget.repeat(much_later) > 0


class Refusing:
    """A link whose server refuses ``times`` times for now, then carries out."""

    is_closed = False

    def __init__(self, times: int) -> None:
        self.left = times
        self.asked = 0

    async def request(self, *_: object, **__: object) -> Done:
        self.asked += 1
        if self.left:
            self.left -= 1
            raise refuse("link.busy", "Not now.", retryable=True, retry_after=0.001)
        return Done()


def test_an_action_repeated_beyond_the_budget_waits_and_is_answered_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests_module, "BUDGET_RATE", 20.0)
    monkeypatch.setattr(requests_module, "BUDGET_BURST", 2)

    async def story() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        requests = Requests(lambda *_: None, lambda: None, loop.time)
        peer = Refusing(times=6)
        requests.open(cast(Any, peer))
        begun = loop.time()
        await requests.act("agent.media", {}, interaction="", label="ready", timeout=10.0)
        return peer.asked, loop.time() - begun

    asked, took = asyncio.run(story())
    assert asked == 7
    assert took >= 4 / 20.0 * 0.9, "two repetitions were free, four had to be earned"


def test_a_refusal_for_good_costs_nothing() -> None:
    class Final(Refusing):
        async def request(self, *_: object, **__: object) -> Done:
            self.asked += 1
            raise refuse("queue.unknown", "No such queue.")

    async def story() -> int:
        requests = Requests(lambda *_: None, lambda: None, asyncio.get_running_loop().time)
        peer = Final(times=0)
        requests.open(cast(Any, peer))
        with pytest.raises(RefusedError, match="No such queue"):
            await requests.act("interaction.transfer", {}, interaction="", label="transferring", timeout=5.0)
        return peer.asked

    assert asyncio.run(story()) == 1
