"""A day at the Interaction Server: real PostgreSQL, real links, one primary."""

import asyncio
import uuid
from pathlib import Path

import pytest

from stayline.domain.errors import RefusedError
from stayline.link.messages.interaction import (
    AgentLogout,
    AgentStatus,
    Changed,
    ChangeProperties,
    Done,
    GetJournal,
    GetOwner,
    Gone,
    InteractionView,
    JournalRow,
    MarkDone,
    OwnerChanged,
    Ownership,
    Reject,
    SessionEnded,
    SetMedia,
    Stop,
    Transfer,
)
from stayline.link.tokens import TokenVerifier

from ..conftest import Database
from .centre import Agent, centre, until

pytestmark = pytest.mark.postgres


def test_submit_route_accept_change_done(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            await place.start_primary()
            async with place.proxy() as proxy, place.media() as media:
                agent = await proxy.agent("agent01")
                opened = await agent.login("P1")
                assert opened.snapshot.agent == "agent01"
                assert opened.snapshot.interactions == []
                done = await media.submit("i1", subject="Where is my parcel?")
                assert (done.version, done.seq > 0) == (1, True)
                offer = (await agent.offered())[0]
                assert (offer.id, offer.state, offer.subject) == (
                    "i1",
                    Ownership.OFFERED,
                    "Where is my parcel?",
                )
                assert 25 < offer.offer_seconds <= 30
                assert offer.grant == ""
                view = await agent.accept(offer)
                assert (view.state, view.owner, view.version) == (Ownership.OWNED, "agent01", 3)
                grant = TokenVerifier.load(tmp_path / "keys").grant(view.grant, view.owned_at)
                assert (grant.interaction, grant.chat_session, grant.agent) == ("i1", "c-i1", "agent01")
                change = ChangeProperties(interaction="i1", set={"order": "4711"})
                assert (await agent.ask("interaction.change", change, Done)).version == 4
                owner = await media.ask("interaction.owner", GetOwner(interaction="i1"), OwnerChanged)
                assert (owner.agent, owner.state) == ("agent01", Ownership.OWNED)
                ended = await agent.ask(
                    "interaction.done", MarkDone(interaction="i1", disposition="Solved"), Done
                )
                assert ended.version == 5
                gone = agent.heard("interaction.gone", Gone)
                assert [(g.interaction, g.event) for g in gone] == [("i1", "done")]
                rows = await media.ask("interaction.journal", GetJournal(interaction="i1"), list[JournalRow])
                assert [r.event for r in rows] == ["submit", "offer", "accept", "change", "done"]
                assert [r.version for r in rows] == [1, 2, 3, 4, 5]
                assert rows[2].actor == "agent:agent01"
                assert rows[4].previous_agent == "agent01"
                seqs = [seq for _, channel, seq, _ in proxy.events if channel == agent.channel and seq]
                assert seqs == sorted(seqs)
                heard = [name for name, *_ in media.events if name == "interaction.owner"]
                assert len(heard) == 2  # accepted, ended; an offer is not ownership

    asyncio.run(scenario())


def test_repeated_keys_change_nothing_and_get_the_recorded_answer(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            core = await place.start_primary()
            async with place.proxy() as proxy, place.media() as media, place.media("Chat_2") as other:
                agent = await proxy.agent("agent01")
                first = await agent.login("P1", key="login-1")
                again = await agent.login("P1", key="login-1")
                assert first.session == again.session
                done = await media.submit("i1")
                # Another Chat Server repeats it with the same key; a third time with another key.
                assert (await other.submit("i1")).version == 1
                assert (await other.submit("i1", key="different")).version == 1
                offer = (await agent.offered())[0]
                views = await asyncio.gather(*(agent.accept(offer, key="accept-1") for _ in range(5)))
                assert {v.version for v in views} == {3}
                change = ChangeProperties(interaction="i1", set={"a": "b"})
                answers = [
                    await agent.ask("interaction.change", change, Done, key="change-1") for _ in range(3)
                ]
                assert {(a.seq, a.version) for a in answers} == {(answers[0].seq, 4)}
                assert answers[0].seq > done.seq
                with pytest.raises(RefusedError) as caught:
                    await agent.ask("interaction.done", MarkDone(interaction="i1"), Done, key="change-1")
                assert caught.value.refusal.code == "request.key_reused"
                assert core.report().interactions == {"owned": 1}

    asyncio.run(scenario())


def test_refusals_are_typed_and_change_nothing(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            await place.start_primary()
            async with place.proxy() as proxy, place.media() as media:
                agent, other = await proxy.agent("agent01"), await proxy.agent("agent02")

                async def refused(who: Agent, method: str, params: object) -> str:
                    with pytest.raises(RefusedError) as caught:
                        await who.ask(method, params, Done)
                    assert caught.value.refusal.reason
                    return caught.value.refusal.code

                assert await refused(agent, "agent.media", SetMedia(ready=True)) == "session.none"
                with pytest.raises(RefusedError) as caught:
                    await agent.login("Nowhere")
                assert caught.value.refusal.code == "place.unknown"
                await agent.login("P1")
                with pytest.raises(RefusedError) as caught:
                    await other.login("P1")
                assert caught.value.refusal.code == "place.taken"
                await other.login("P2", ready=False)
                assert (
                    await refused(agent, "agent.media", SetMedia(ready=True, media=["fax"]))
                    == "media.unknown"
                )
                with pytest.raises(RefusedError) as caught:
                    await media.submit("i0", queue="nowhere")
                assert caught.value.refusal.code == "queue.unknown"
                await media.submit("i1")
                view = await agent.accept((await agent.offered())[0])
                assert (
                    await refused(other, "interaction.done", MarkDone(interaction="i1"))
                    == "interaction.not_yours"
                )
                transfer = Transfer(interaction="i1", queue="nowhere")
                assert await refused(agent, "interaction.transfer", transfer) == "queue.unknown"
                assert (
                    await refused(agent, "interaction.done", MarkDone(interaction="x"))
                    == "interaction.unknown"
                )
                assert await refused(agent, "agent.logout", AgentLogout()) == "session.owns"
                assert (
                    await refused(agent, "interaction.journal", GetJournal(interaction="i1"))
                    == "role.missing"
                )
                assert (
                    await refused(agent, "interaction.submit", GetJournal(interaction="i1"))
                    == "method.unknown"
                )
                large = ChangeProperties(interaction="i1", set={"k": "v" * 40_000})
                assert await refused(agent, "interaction.change", large) == "interaction.properties"
                with pytest.raises(RefusedError) as caught:
                    await proxy.pair.request("agent.media", SetMedia(ready=True), Done, channel=agent.channel)
                assert caught.value.refusal.code == "request.key_missing"
                with pytest.raises(RefusedError) as caught:
                    await proxy.pair.request(
                        "interaction.stop", Stop(interaction="i1", reason="x"), Done, key="k"
                    )
                assert caught.value.refusal.code == "method.forbidden"
                owner = await media.ask("interaction.owner", GetOwner(interaction="i1"), OwnerChanged)
                assert (owner.agent, owner.version) == ("agent01", view.version)

    asyncio.run(scenario())


def test_routing_spreads_by_idleness_capacity_and_group(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            core = await place.start_primary()
            async with place.proxy() as proxy, place.media() as media:
                first, second = await proxy.agent("agent01"), await proxy.agent("agent02")
                outsider, ruleless = await proxy.agent("agent08"), await proxy.agent("norule")
                await first.login("P1")
                await second.login("P2")
                await outsider.login("P8")
                await ruleless.login("P9")
                for n in range(5):
                    await media.submit(f"i{n}", queue="support")
                await first.offered(2)
                await second.offered(2)
                # Two each: capacity; the fifth waits although the others are ready.
                await until(lambda: core.report().interactions == {"offered": 4, "queued": 1})
                assert [v.id for v in await first.offered()] == ["i0", "i2"]
                assert [v.id for v in await second.offered()] == ["i1", "i3"]
                assert outsider.heard("interaction.offered", dict) == []
                assert ruleless.heard("interaction.offered", dict) == []
                view = await second.accept((await second.offered())[0])
                await second.ask("interaction.done", MarkDone(interaction=view.id), Done)
                assert [v.id for v in await second.offered(3)] == ["i1", "i3", "i4"]

    asyncio.run(scenario())


def test_reject_goes_to_another_and_not_back(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn, reoffer_delay="2") as place:
            await place.start_primary()
            async with place.proxy() as proxy, place.media() as media:
                first, second = await proxy.agent("agent01"), await proxy.agent("agent02")
                await first.login("P1")
                await media.submit("i1")
                offer = (await first.offered())[0]
                reject = Reject(interaction="i1", version=offer.version, reason="not mine")
                assert (await first.ask("interaction.reject", reject, Done)).version == 3
                await second.login("P2")
                again = (await second.offered())[0]
                assert again.version == 4
                with pytest.raises(RefusedError) as caught:
                    await first.accept(offer)
                assert caught.value.refusal.code == "interaction.offer_gone"
                assert "agent02" in caught.value.refusal.reason
                reject = Reject(interaction="i1", version=again.version)
                await second.ask("interaction.reject", reject, Done)
                # Both refused it: it is offered again only after reoffer-delay, to the longest idle of them.
                assert (await first.offered(2))[1].version == 6

    asyncio.run(scenario())


def test_an_unanswered_offer_returns_once_and_sets_not_ready(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn, delivering_timeout="1") as place:
            core = await place.start_primary()
            async with place.proxy() as proxy, place.media() as media:
                agent = await proxy.agent("agent01")
                await agent.login("P1")
                await media.submit("i1")
                await agent.offered()
                await until(lambda: agent.heard("agent.status", AgentStatus))
                status = agent.heard("agent.status", AgentStatus)[0].media[0]
                assert (status.ready, status.reason) == (False, "offer not answered")
                gone = agent.heard("interaction.gone", Gone)
                assert [(g.event, g.version) for g in gone] == [("offer-timeout", 3)]
                assert core.report().interactions == {"queued": 1}
                rows = await media.ask("interaction.journal", GetJournal(interaction="i1"), list[JournalRow])
                assert [r.event for r in rows] == ["submit", "offer", "offer-timeout"]

    asyncio.run(scenario())


def test_transfer_logout_requeue_and_stop(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            core = await place.start_primary()
            async with place.proxy() as proxy, place.media() as media:
                first, second = await proxy.agent("agent01"), await proxy.agent("agent02")
                await first.login("P1")
                for id in ("i1", "i2"):
                    await media.submit(id)
                offers = await first.offered(2)
                for offer in offers:
                    await first.accept(offer)
                await second.login("P2")
                await first.ask("interaction.transfer", Transfer(interaction="i1", queue="support"), Done)
                moved = (await second.offered())[0]
                assert (moved.id, moved.queue) == ("i1", "support")
                await first.ask("agent.logout", AgentLogout(requeue=True), Done)
                assert [v.id for v in await second.offered(2)] == ["i1", "i2"]
                await second.accept(moved)
                stop = Stop(interaction="i1", reason="customer left", only_unanswered=True)
                assert (await media.ask("interaction.stop", stop, Done)).seq == 0
                stop = Stop(interaction="i1", reason="customer left")
                stopped = await media.ask("interaction.stop", stop, Done)
                again = await media.ask("interaction.stop", stop, Done)
                assert (stopped.seq > 0, again.seq, again.version) == (True, 0, stopped.version)
                await until(lambda: any(g.event == "stop" for g in second.heard("interaction.gone", Gone)))
                assert core.report().interactions == {"offered": 1}
                assert core.report().sessions == 1

    asyncio.run(scenario())


def test_customer_leaves_while_it_is_offered(database: Database, tmp_path: Path) -> None:
    """A property change between offer and answer must not make the answer void."""

    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            await place.start_primary()
            async with place.proxy() as proxy, place.media() as media:
                agent = await proxy.agent("agent01")
                await agent.login("P1")
                await media.submit("i1")
                offer = (await agent.offered())[0]
                await media.ask("interaction.change", ChangeProperties(interaction="i1", online=False), Done)
                await until(lambda: agent.heard("interaction.changed", Changed))
                view = await agent.accept(offer)
                assert (view.state, view.online, view.version) == (Ownership.OWNED, False, 4)

    asyncio.run(scenario())


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


def test_many_transitions_at_once_are_committed_together(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            core = await place.start_primary()
            async with place.media() as media:
                answers = await asyncio.gather(*(media.submit(f"i{n}", queue="all") for n in range(300)))
                assert len({a.seq for a in answers}) == 300
                service = core._service
                assert isinstance(service._writer.transactions, int)  # type: ignore[attr-defined]
                assert service._writer.transactions < 150  # type: ignore[attr-defined]
                changes = [
                    media.ask(
                        "interaction.change",
                        ChangeProperties(interaction="i1", set={f"k{n}": str(n)}),
                        Done,
                        key=uuid.uuid4().hex,
                    )
                    for n in range(20)
                ]
                # One interaction: serialised, each on top of the other.
                versions = sorted(a.version for a in await asyncio.gather(*changes))
                assert versions == list(range(2, 22))

    asyncio.run(scenario())


def test_accepted_view_is_still_told_after_the_answer_was_lost(database: Database, tmp_path: Path) -> None:
    """Accept, lose the link before the answer, resume, repeat with the same key: owned once, answered."""

    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            await place.start_primary()
            async with place.proxy() as proxy, place.media() as media:
                agent = await proxy.agent("agent01")
                opened = await agent.login("P1")
                await media.submit("i1")
                offer = (await agent.offered())[0]
                await agent.accept(offer, key="the-key")
                agent.hang_up()
                back = await proxy.agent("agent01")
                await back.resume(opened.ticket)
                view: InteractionView = await back.accept(offer, key="the-key")
                assert (view.state, view.version) == (Ownership.OWNED, 3)

    asyncio.run(scenario())
