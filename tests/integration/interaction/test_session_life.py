"""Agent sessions: taken over, lost, resumed, expired; on real links and a real database."""

import asyncio
from pathlib import Path

import pytest

from stayline.domain.errors import RefusedError
from stayline.link.messages.interaction import (
    ChangeProperties,
    Done,
    GetJournal,
    JournalRow,
    MarkDone,
    Ownership,
    SessionEnded,
    Stop,
)

from ..conftest import Database
from .centre import centre, until

pytestmark = pytest.mark.postgres


def test_second_login_takes_the_session_over(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            await place.start_primary()
            async with place.proxy() as proxy, place.proxy("Proxy_2") as other, place.media() as media:
                old = await proxy.agent("agent01")
                session = (await old.login("P1")).session
                await media.submit("i1")
                await old.accept((await old.offered())[0])
                new = await other.agent("agent01")
                opened = await new.login("P2")
                assert opened.session == session
                assert [(v.id, v.state) for v in opened.snapshot.interactions] == [("i1", Ownership.OWNED)]
                await until(lambda: old.heard("session.ended", SessionEnded))
                assert old.heard("session.ended", SessionEnded)[0].code == "session.taken"
                with pytest.raises(RefusedError) as caught:
                    await old.ask("interaction.done", MarkDone(interaction="i1"), Done)
                assert caught.value.refusal.code == "session.none"
                # The old link going away must not lose the session that is elsewhere now.
                old.hang_up()
                await media.ask("interaction.change", ChangeProperties(interaction="i1", online=False), Done)
                assert (await new.ask("interaction.done", MarkDone(interaction="i1"), Done)).seq > 0

    asyncio.run(scenario())


@pytest.mark.parametrize("mode", ["false", "true"])
def test_second_login_otherwise(database: Database, tmp_path: Path, mode: str) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn, allow_multiple_agent_connections=mode) as place:
            core = await place.start_primary()
            async with place.proxy() as proxy:
                old, new = await proxy.agent("agent01"), await proxy.agent("agent01")
                first = await old.login("P1")
                if mode == "true":
                    assert (await new.login("P2")).session != first.session
                    assert core.report().sessions == 2
                else:
                    with pytest.raises(RefusedError) as caught:
                        await new.login("P2")
                    assert caught.value.refusal.code == "session.exists"
                # A lost session is always taken over, never left to die beside a new one.
                old.hang_up()
                await until(lambda: core.report().lost_sessions == 1)
                third = await proxy.agent("agent01")
                assert (await third.login("P3")).session == first.session

    asyncio.run(scenario())


def test_lost_link_is_resumed_with_the_story_of_what_was_missed(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            core = await place.start_primary()
            async with place.proxy() as proxy, place.proxy("Proxy_2") as other, place.media() as media:
                agent = await proxy.agent("agent01")
                opened = await agent.login("P1")
                for id in ("i1", "i2"):
                    await media.submit(id)
                for offer in await agent.offered(2):
                    await agent.accept(offer)
                seen = max(seq for _, _, seq, _ in proxy.events)
                agent.hang_up()
                await until(lambda: core.report().lost_sessions == 1)
                await media.ask("interaction.stop", Stop(interaction="i1", reason="gone"), Done)
                back = await other.agent("agent01")
                again = await back.resume(opened.ticket, seen)
                assert again.session == opened.session
                assert [(v.id, v.state) for v in again.snapshot.interactions] == [("i2", Ownership.OWNED)]
                assert [(m.interaction, m.event) for m in again.missed] == [("i1", "stop")]
                assert again.missed[0].why == "stopped: gone"
                assert again.snapshot.as_of >= again.missed[0].seq > seen
                thief = await other.agent("agent02")
                with pytest.raises(RefusedError) as caught:
                    await thief.resume(opened.ticket)
                assert caught.value.refusal.code == "ticket.other_agent"
                with pytest.raises(RefusedError) as caught:
                    await back.resume(opened.ticket[:-4] + "AAAA")
                assert caught.value.refusal.code == "token.invalid"

    asyncio.run(scenario())


def test_not_restored_in_time_is_requeued_once_and_the_late_owner_is_told(
    database: Database, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn, agent_session_restore_timeout="1") as place:
            core = await place.start_primary()
            async with place.proxy() as proxy, place.media() as media:
                agent = await proxy.agent("agent01")
                opened = await agent.login("P1")
                await media.submit("i1")
                await agent.accept((await agent.offered())[0])
                agent.hang_up()
                await until(lambda: core.report().interactions == {"queued": 1})
                assert core.report().sessions == 0
                heir = await proxy.agent("agent02")
                await heir.login("P2")
                await heir.accept((await heir.offered())[0])
                late = await proxy.agent("agent01")
                with pytest.raises(RefusedError) as caught:
                    await late.resume(opened.ticket)
                assert caught.value.refusal.code == "session.closed"
                assert "i1 is with agent02" in caught.value.refusal.reason
                rows = await media.ask("interaction.journal", GetJournal(interaction="i1"), list[JournalRow])
                assert [r.event for r in rows].count("session-lost-timeout") == 1
                assert rows[3].previous_agent == "agent01"

    asyncio.run(scenario())


def test_a_proxy_that_dies_loses_only_its_own_agents_sessions(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            core = await place.start_primary()
            async with place.proxy() as stays:
                async with place.proxy("Proxy_2") as dies:
                    await (await stays.agent("agent01")).login("P1")
                    for n in range(2, 6):
                        await (await dies.agent(f"agent0{n}")).login(f"P{n}")
                    assert (core.report().sessions, core.report().lost_sessions) == (5, 0)
                await until(lambda: core.report().lost_sessions == 4)
                assert core.report().sessions == 5

    asyncio.run(scenario())
