"""Synthetic agents do an agent's work with the real engine and keep a whole history."""

import random
from pathlib import Path

from stayline.domain.objects import ApplicationType as App
from stayline.lab.agent import Behaviour, SyntheticAgent
from stayline.link.messages.contact import Party
from tests.integration.workspace.world import World, run, until

QUICK = Behaviour(accept_after=(0.0, 0.01), answer_after=(0.0, 0.02))


def agent_in(world: World, behaviour: Behaviour = QUICK) -> SyntheticAgent:
    engine = world.engine("agent01")
    agent = SyntheticAgent(
        engine._settings, "agent01", "right", place="P", behaviour=behaviour, random=random.Random(1)
    )
    world.engines.append(agent.engine)
    return agent


def answers(world: World, session: str) -> int:
    return sum(entry.party is Party.AGENT for entry in world.core.chats[session].entries)


def test_it_accepts_and_answers_through_failures_without_loss_or_double(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        agent = agent_in(world)
        await agent.start()
        assert world.core.media["agent01"][0].ready
        number = world.core.offer("agent01")
        await until(lambda: agent.owned == [number] and agent.whole, "owned and joined")
        for count, kind in enumerate((App.INTERACTION_SERVER_PROXY, App.CHAT_SERVER, None), start=1):
            if kind is not None:
                await world.serving(kind).kill()
            world.core.says(number, f"question {count}")
            await until(lambda count=count: answers(world, number) == count, f"answer {count}")  # type: ignore[misc]
        await until(lambda: agent.whole, "whole again")
        seen = [fact for fact in agent.facts if fact["fact"] == "seen"]
        assert [fact["seq"] for fact in seen] == list(range(1, 7))
        sent = {fact["message"] for fact in agent.facts if fact["fact"] == "sent"}
        acked = {fact["message"] for fact in agent.facts if fact["fact"] == "acked"}
        assert len(sent) == 3
        assert acked == sent
        await agent.stop(logout=True)
        assert world.core.sessions == {}

    run(tmp_path, story)


def test_it_finishes_chats_when_told_to(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        behaviour = Behaviour(
            accept_after=(0, 0), answer_after=(0, 0), finish_after=(0.0, 0.1), disposition="solved"
        )
        agent = agent_in(world, behaviour)
        await agent.start()
        number = world.core.offer("agent01")
        await until(lambda: number not in world.core.interactions, "done")
        assert world.core.chats[number].ended
        await until(lambda: [f["fact"] for f in agent.facts].count("gone") == 1, "gone")
        await agent.stop()

    run(tmp_path, story)


def test_a_quiet_agent_accepts_and_sends_nothing_more(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        agent = agent_in(world)
        await agent.start()
        number = world.core.offer("agent01")
        await until(lambda: agent.owned == [number] and agent.whole, "owned and joined")
        agent.quiet()
        world.core.says(number, "anybody there?")
        other = world.core.offer("agent01", customer="Grace")
        await until(lambda: agent.view.card(other), "offered")
        card = agent.view.card(number)
        assert card is not None
        assert [line.text for line in card.transcript] == ["anybody there?"]
        assert agent.owned == [number]
        await agent.stop()

    run(tmp_path, story)
