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
                change = ChangeProperties(interaction="i1", set={"order": "4711"}, online=False)
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
                # Also the controls' table is kept here: a living chat is ended first, then marked done.
                with pytest.raises(RefusedError) as caught:
                    await agent.ask("interaction.done", MarkDone(interaction="i1"), Done)
                assert caught.value.refusal.code == "control.unavailable"
                assert caught.value.refusal.retryable
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
                await media.ask(
                    "interaction.change", ChangeProperties(interaction=view.id, online=False), Done
                )
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
