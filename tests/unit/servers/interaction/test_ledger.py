"""Nothing is true before its commit, and nothing is said after the term is over."""

import asyncio
from functools import partial

import pytest

from stayline.domain.errors import Refusal, RefusedError
from stayline.domain.interaction import Command, Event, Interaction, State
from stayline.link.messages.envelope import EMPTY
from stayline.link.peer import Request
from stayline.servers.interaction.ledger import TermOverError
from stayline.servers.interaction.once import Once
from stayline.store.interaction import RequestResult
from stayline.store.interaction_state import MAX_RESULTS

from .desk import Desk, events

NEW = Interaction(
    id="i1", tenant="T", media="chat", queue="q", state=State.QUEUED, version=0, epoch=0, term=0
)


def command(event: Event, **fields: object) -> Command:
    return Command(**({"event": event, "actor": "server", "epoch": 1, "term": 1} | fields))  # type: ignore[arg-type]


def offer_to(number: int, interaction: Interaction) -> Command:
    return command(Event.OFFER, agent=f"a{number}", session=f"s{number}", deadline=9.0)


def test_memory_and_consequences_follow_the_commit() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.writer.gate.clear()
        asked = asyncio.create_task(desk.ledger.submit(NEW, command(Event.SUBMIT)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert desk.model.interaction("i1") is None
        assert desk.ledger.locks.is_held("interaction:i1")
        assert desk.told == []
        desk.writer.gate.set()
        recorded = await asked
        assert desk.model.interaction("i1") == recorded.step.after
        assert (desk.model.seq, events(desk.told)) == (1, ["submit"])

    asyncio.run(scenario())


def test_transitions_of_one_interaction_are_decided_one_after_the_other() -> None:
    async def scenario() -> None:
        desk = Desk()
        await desk.ledger.submit(NEW, command(Event.SUBMIT))
        desk.writer.gate.clear()
        offers = [desk.ledger.apply("i1", partial(offer_to, n)) for n in range(3)]
        running = asyncio.gather(*offers, return_exceptions=True)
        await asyncio.sleep(0)
        desk.writer.gate.set()
        outcomes = await running
        assert sum(isinstance(o, RefusedError) for o in outcomes) == 2
        found = desk.model.interaction("i1")
        assert found is not None
        assert (found.version, found.session) == (2, "s0")

    asyncio.run(scenario())


def test_a_lost_term_is_said_once_and_nothing_becomes_true() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.writer.refusal = Refusal(code="core.not_primary", reason="a newer term", retryable=True)
        with pytest.raises(TermOverError):
            await desk.ledger.submit(NEW, command(Event.SUBMIT))
        assert desk.over == ["a newer term"]
        assert desk.model.interaction("i1") is None
        assert desk.told == []

    asyncio.run(scenario())


def test_a_busy_writer_is_an_ordinary_refusal() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.writer.refusal = Refusal(code="store.busy", reason="full", retryable=True)
        with pytest.raises(RefusedError) as caught:
            await desk.ledger.submit(NEW, command(Event.SUBMIT))
        assert caught.value.refusal.code == "store.busy"
        assert desk.over == []
        assert not desk.ledger.locks.is_held("interaction:i1")

    asyncio.run(scenario())


def test_same_key_at_the_same_time_is_carried_out_once() -> None:
    async def scenario() -> None:
        desk = Desk()
        once = Once(desk.ledger)
        request = Request("interaction.submit", EMPTY, "key", 0)
        performed: list[str] = []

        async def perform(result: RequestResult) -> str:
            performed.append(result.key)
            await desk.ledger.submit(NEW, command(Event.SUBMIT), result)
            return "performed"

        async def replay(known: RequestResult) -> str:
            return f"recorded {known.seq} {known.version}"

        answers = await asyncio.gather(*(once.carry_out("media", request, perform, replay) for _ in range(4)))
        assert performed == ["key"]
        assert answers == ["performed"] + ["recorded 1 1"] * 3

        # Another scope may use the same key for something of its own.
        async def refuse_it(result: RequestResult) -> str:
            return "own"

        assert await once.carry_out("agent:x", request, refuse_it, replay) == "own"

    asyncio.run(scenario())


def test_a_refused_request_is_not_recorded() -> None:
    async def scenario() -> None:
        desk = Desk()
        once = Once(desk.ledger)
        request = Request("interaction.stop", EMPTY, "key", 0)

        async def perform(result: RequestResult) -> str:
            await desk.ledger.apply("unknown", lambda _: command(Event.STOP), result)
            return "never"

        async def replay(known: RequestResult) -> str:
            return "never"

        for _ in range(2):
            with pytest.raises(RefusedError) as caught:
                await once.carry_out("media", request, perform, replay)
            assert caught.value.refusal.code == "interaction.unknown"
        assert desk.model.results == {}

    asyncio.run(scenario())


def test_results_are_bounded_in_number_and_age() -> None:
    async def scenario() -> None:
        model = Desk().model
        for n in range(MAX_RESULTS + 10):
            model.remember(RequestResult(scope="s", key=str(n), method="m", at=float(n)))
        assert len(model.results) == MAX_RESULTS
        assert ("s", "9") not in model.results
        assert model.forget_results(110.0) == 100
        assert ("s", "109") not in model.results
        assert ("s", "110") in model.results

    asyncio.run(scenario())
