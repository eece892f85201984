"""Who has an agent's session: the same Workspace coming back, another installation, both at once; on a real core."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from stayline.domain.errors import RefusedError
from stayline.link.messages.interaction import (
    ChangeProperties,
    Done,
    Ownership,
    SessionEnded,
    SessionOpened,
)

from ..conftest import Database
from .centre import Agent, Media, centre, until
from .failover import restore

pytestmark = pytest.mark.postgres
POLICIES = ["true", "false", "force-logout"]
HERE, THERE = "installation-here", "installation-there"


async def working(agent: Agent, media: Media, workspace: str, place: str = "P1") -> SessionOpened:
    """Logged in and owner of a chat."""
    opened = await agent.login(place, workspace=workspace)
    await media.submit("i1")
    await agent.accept((await agent.offered())[0])
    return opened


def owned(opened: SessionOpened) -> list[str]:
    return [view.id for view in opened.snapshot.interactions if view.state is Ownership.OWNED]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("way", ["ticket", "login"])
def test_a_workspace_back_before_its_old_link_is_known_dead_is_the_same_session(
    database: Database, tmp_path: Path, policy: str, way: str
) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn, allow_multiple_agent_connections=policy) as place:
            core = await place.start_primary()
            async with place.proxy() as proxy, place.proxy("Proxy_2") as other, place.media() as media:
                old = await proxy.agent("agent01")
                first = await working(old, media, HERE)
                new = await other.agent("agent01")
                again = await (
                    new.resume(first.ticket) if way == "ticket" else new.login("P1", workspace=HERE)
                )
                assert again.session == first.session
                assert owned(again) == ["i1"]
                assert (core.report().sessions, core.report().lost_sessions) == (1, 0)
                await until(lambda: old.heard("session.ended", SessionEnded))
                # The old link is found dead at last: nobody loses anything by it.
                old.hang_up()
                assert (
                    await new.ask(
                        "interaction.change", ChangeProperties(interaction="i1", set={"a": "b"}), Done
                    )
                ).seq
                assert (core.report().sessions, core.report().lost_sessions) == (1, 0)

    asyncio.run(scenario())


@pytest.mark.parametrize("policy", POLICIES)
def test_another_installation_meets_the_policy(database: Database, tmp_path: Path, policy: str) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn, allow_multiple_agent_connections=policy) as place:
            core = await place.start_primary()
            async with place.proxy() as proxy, place.proxy("Proxy_2") as other, place.media() as media:
                here, there = await proxy.agent("agent01"), await other.agent("agent01")
                first = await working(here, media, HERE)
                if policy == "false":
                    with pytest.raises(RefusedError) as caught:
                        await there.login("P2", workspace=THERE)
                    assert caught.value.refusal.code == "session.exists"
                    assert owned(await here.resume(first.ticket)) == ["i1"]
                    return
                second = await there.login("P2", workspace=THERE)
                if policy == "true":
                    assert second.session != first.session
                    assert owned(second) == []
                    assert owned(await here.resume(first.ticket)) == ["i1"]
                    assert core.report().sessions == 2
                    return
                assert second.session == first.session
                assert owned(second) == ["i1"]
                # The first one did not hear it, comes back by its ticket, and does not get the session again.
                deaf = await proxy.agent("agent01")
                with pytest.raises(RefusedError) as caught:
                    await deaf.resume(first.ticket)
                assert caught.value.refusal.code == "session.taken"
                assert not caught.value.refusal.retryable
                assert owned(await there.resume(second.ticket)) == ["i1"]

    asyncio.run(scenario())


def test_where_several_are_allowed_who_lost_the_session_to_another_opens_one_beside_it(
    database: Database, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn, allow_multiple_agent_connections="true") as place:
            core = await place.start_primary()
            async with place.proxy() as proxy, place.media() as media:
                here = await proxy.agent("agent01")
                first = await working(here, media, HERE)
                here.hang_up()
                await until(lambda: core.report().lost_sessions == 1)
                there = await proxy.agent("agent01")
                assert (await there.login("P2", workspace=THERE)).session == first.session
                back = await proxy.agent("agent01")
                with pytest.raises(RefusedError) as caught:
                    await back.resume(first.ticket)
                assert caught.value.refusal.code == "session.closed"
                assert "P2" in caught.value.refusal.reason
                assert (await back.login("P1", workspace=HERE)).session != first.session
                assert core.report().sessions == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("policy", POLICIES)
def test_two_installations_at_the_very_same_time(database: Database, tmp_path: Path, policy: str) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn, allow_multiple_agent_connections=policy) as place:
            core = await place.start_primary()
            async with place.proxy() as proxy, place.proxy("Proxy_2") as other, place.media() as media:
                agents = {HERE: await proxy.agent("agent01"), THERE: await other.agent("agent01")}
                outcomes = await asyncio.gather(
                    *(a.login(f"P{n}", workspace=w) for n, (w, a) in enumerate(agents.items(), 1)),
                    return_exceptions=True,
                )
                opened = [o for o in outcomes if isinstance(o, SessionOpened)]
                refused = [o.refusal.code for o in outcomes if isinstance(o, RefusedError)]
                if policy == "true":
                    assert len({o.session for o in opened}) == core.report().sessions == 2
                    await both_work_apart(list(agents.values()), media)
                    return
                assert core.report().sessions == 1
                if policy == "false":
                    assert (len(opened), refused) == (1, ["session.exists"])
                    return
                # Both were answered, and exactly one of them still has it.
                assert len({o.session for o in opened}) == 1
                ended = [a for a in agents.values() if a.heard("session.ended", SessionEnded)]
                assert len(ended) == 1
                (winner,) = [a for a in agents.values() if a not in ended]
                await media.submit("i1")
                assert (await winner.offered())[0].id == "i1"

    asyncio.run(scenario())


async def both_work_apart(agents: list[Agent], media: Media) -> None:
    """Two sessions of one agent: what one owns the other can neither see nor change."""
    for number in (1, 2):
        await media.submit(f"i{number}")
    for agent in agents:
        await agent.accept((await agent.offered())[0])
    mine = {agent: (await agent.offered())[0].id for agent in agents}
    assert sorted(mine.values()) == ["i1", "i2"]
    for agent, other in (agents, reversed(agents)):
        with pytest.raises(RefusedError) as caught:
            await agent.ask(
                "interaction.change", ChangeProperties(interaction=mine[other], set={"a": "b"}), Done
            )
        assert caught.value.refusal.code == "interaction.not_yours"
        assert agent.opened is not None
        assert owned(await agent.resume(agent.opened.ticket)) == [mine[agent]]


def test_the_same_workspace_twice_at_the_very_same_time_is_one_session(
    database: Database, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn, allow_multiple_agent_connections="false") as place:
            core = await place.start_primary()
            async with place.proxy() as proxy, place.proxy("Proxy_2") as other:
                both = [await proxy.agent("agent01"), await other.agent("agent01")]
                opened = await asyncio.gather(*(a.login("P1", workspace=HERE) for a in both))
                assert opened[0].session == opened[1].session
                assert core.report().sessions == 1
                assert sum(bool(a.heard("session.ended", SessionEnded)) for a in both) == 1

    asyncio.run(scenario())


def test_a_new_primary_still_knows_whose_session_it_is(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn, allow_multiple_agent_connections="false") as place:
            await place.start_primary("Ixn_1")
            await place.start("Ixn_2")
            async with place.proxy() as proxy, place.proxy("Proxy_2") as other, place.media() as media:
                await until(lambda: len(proxy.pair.connected_to) == len(other.pair.connected_to) == 2)
                agent = await proxy.agent("agent01")
                first = await working(agent, media, HERE)
                await place.stop("Ixn_1")
                await until(lambda: proxy.pair.primary is not None and proxy.pair.primary.hello.term == 2)
                await until(lambda: other.pair.primary is not None and other.pair.primary.hello.term == 2)
                back = (await restore(proxy, [agent])).channels[0].opened
                assert back is not None
                assert (back.session, owned(back)) == (first.session, ["i1"])
                stranger = await other.agent("agent01")
                with pytest.raises(RefusedError) as caught:
                    await stranger.login("P2", workspace=THERE)
                assert caught.value.refusal.code == "session.exists"
                same = await other.agent("agent01")
                assert (await same.login("P3", workspace=HERE)).session == first.session
                connection = await asyncpg.connect(database.dsn)
                row = await connection.fetchrow("select workspace, place, version from agent_session")
                await connection.close()
                assert row is not None
                assert (row["workspace"], row["place"]) == (HERE, "P3")

    asyncio.run(scenario())
