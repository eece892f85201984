"""The primary dies, freezes or is stopped: what was acknowledged is there once, what was not is repeated once."""

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path

import asyncpg
import pytest

from stayline.domain.errors import RefusedError, StaylineError
from stayline.link.messages.envelope import Role
from stayline.link.messages.interaction import (
    Accept,
    ChangeProperties,
    Done,
    GetJournal,
    GetOwner,
    InteractionView,
    JournalRow,
    MarkDone,
    Offered,
    OwnerChanged,
    Ownership,
)
from stayline.link.tokens import Ticket, TokenSigner

from ..conftest import Database
from .centre import PATIENCE, Agent, Centre, Media, centre, until
from .failover import check_journal, insist, restore

pytestmark = pytest.mark.postgres


async def submit_steadily(media: Media, acknowledged: list[str], stop: asyncio.Event) -> None:
    """Four submitters, one request after the other each; what is unanswered is repeated with its key."""

    async def one(lane: int) -> None:
        number = 0
        while not stop.is_set():
            id = f"lane{lane}-{number}"
            await media.submit(id)
            acknowledged.append(id)
            number += 1

    await asyncio.gather(*(one(lane) for lane in range(4)))


async def work_steadily(agent: Agent, finished: list[str], stop: asyncio.Event) -> None:
    """Accept each offer, change it, end it; every request is repeated with its key until it is answered."""
    seen = 0
    while not stop.is_set():
        offers = [event.interaction for event in agent.heard("interaction.offered", Offered)]
        if len(offers) == seen:
            await asyncio.sleep(0.005)
            continue
        view = offers[seen]
        seen += 1
        key = f"{view.id}:{view.version}"
        accept = Accept(interaction=view.id, version=view.version)
        try:
            await insist(agent, "interaction.accept", accept, InteractionView, f"accept:{key}")
        except RefusedError as error:
            # The offer ended while the core was away.
            if error.refusal.code in ("interaction.offer_gone", "interaction.state"):
                continue
            raise
        # Once accepted it is this agent's: neither of these may be refused, whoever dies.
        change = ChangeProperties(interaction=view.id, set={"by": agent.identity.user}, online=False)
        await insist(agent, "interaction.change", change, Done, f"change:{key}")
        await insist(agent, "interaction.done", MarkDone(interaction=view.id), Done, f"done:{key}")
        finished.append(view.id)


async def pair_of_processes(place: Centre, media: Media) -> str:
    """Start both as processes; the name of the primary."""
    await asyncio.gather(place.spawn("Ixn_1"), place.spawn("Ixn_2"))
    await until(lambda: media.pair.primary is not None and len(media.pair.connected_to) == 2, 30)
    assert media.pair.primary is not None
    return media.pair.primary.hello.application


def test_kill_9_during_traffic(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place, place.media() as media, place.proxy() as proxy:
            name = await pair_of_processes(place, media)
            agents = []
            for n in range(1, 5):
                agent = await proxy.agent(f"agent0{n}")
                await agent.login(f"P{n}")
                agents.append(agent)
            acknowledged: list[str] = []
            finished: list[str] = []
            stop = asyncio.Event()
            traffic = asyncio.gather(
                submit_steadily(media, acknowledged, stop),
                *(work_steadily(a, finished, stop) for a in agents),
            )
            await until(lambda: len(acknowledged) > 100 and len(finished) > 20)
            # The pair is to be ended while requests are under way.
            began = time.monotonic()
            place.processes[name].kill()
            await until(
                lambda: media.pair.primary is not None and media.pair.primary.hello.application != name
            )
            await until(
                lambda: proxy.pair.primary is not None and proxy.pair.primary.hello.application != name
            )
            assert proxy.pair.primary is not None
            assert proxy.pair.primary.hello.term == 2
            answers = await restore(proxy, agents)
            took = time.monotonic() - began
            assert [a.code for a in answers.channels] == [""] * 4
            assert took < 2.0, f"sessions were back after {took:.2f} s"
            count, done = len(acknowledged), len(finished)
            await until(lambda: len(acknowledged) > count + 100 and len(finished) > done + 20, 30)
            stop.set()
            await asyncio.wait_for(traffic, PATIENCE)
            await check_journal(database.dsn)
            connection = await asyncpg.connect(database.dsn)
            events = Counter(
                (r["interaction"], r["event"])
                for r in await connection.fetch("select interaction, event from journal")
            )
            await connection.close()
            assert len(set(acknowledged)) == len(acknowledged)
            assert all(events[id, "submit"] == 1 for id in acknowledged)
            assert all(events[id, "done"] == 1 for id in finished)
            doubled = {key: n for key, n in events.items() if key[1] in ("submit", "done") and n > 1}
            assert doubled == {}

    asyncio.run(scenario())


def test_a_frozen_primary_is_fenced_and_never_writes_again(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place, place.media() as media, place.proxy() as proxy:
            name = await pair_of_processes(place, media)
            agent = await proxy.agent("agent01")
            await agent.login("P1")
            await media.submit("i1")
            view = await agent.accept((await agent.offered())[0])
            frozen = place.processes[name]
            other = next(n for n in place.processes if n != name)
            os.kill(frozen.pid, signal.SIGSTOP)
            began = time.monotonic()
            await until(
                lambda: proxy.pair.primary is not None and proxy.pair.primary.hello.application == other, 10
            )
            took = time.monotonic() - began
            assert took < 0.8 + 2.0, f"fenced after {took:.2f} s"
            answers = await restore(proxy, [agent])
            opened = answers.channels[0].opened
            assert opened is not None
            assert [(v.id, v.version) for v in opened.snapshot.interactions] == [("i1", view.version)]
            await media.ask("interaction.change", ChangeProperties(interaction="i1", online=False), Done)
            assert (await agent.ask("interaction.done", MarkDone(interaction="i1"), Done)).version == 5
            os.kill(frozen.pid, signal.SIGCONT)
            # On thaw it finds its database sessions gone and ends: the host agent would start it as backup.
            assert await asyncio.wait_for(frozen.wait(), PATIENCE) is not None
            owner = await media.ask("interaction.owner", GetOwner(interaction="i1"), OwnerChanged)
            assert (owner.state, owner.version) == (Ownership.STOPPED, 5)
            await check_journal(database.dsn)

    asyncio.run(scenario())


def test_commanded_stop_says_leaving_and_hands_over(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            await place.start_primary("Ixn_1")
            await place.start("Ixn_2")
            async with place.media() as media, place.proxy() as proxy:
                await until(lambda: len(proxy.pair.connected_to) == 2)
                agent = await proxy.agent("agent01")
                await agent.login("P1")
                await media.submit("i1")
                offer = (await agent.offered())[0]
                assert (await place.stop("Ixn_1")).value == "stopped on command"
                assert any(name == "server.leaving" for name, *_ in proxy.events)
                await until(lambda: proxy.pair.primary is not None and proxy.pair.primary.hello.term == 2)
                opened = (await restore(proxy, [agent])).channels[0].opened
                assert opened is not None
                standing = opened.snapshot.interactions[0]
                assert (standing.state, standing.version) == (Ownership.OFFERED, offer.version)
                assert standing.offer_seconds > 4
                # The offer that was made by the old primary is answered at the new one.
                assert (await agent.accept(standing)).version == 3

    asyncio.run(scenario())


def test_bulk_restore_is_one_commit_and_refuses_what_it_must(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            await place.start_primary("Ixn_1")
            await place.start("Ixn_2")
            async with place.media() as media, place.proxy() as proxy:
                await until(lambda: len(proxy.pair.connected_to) == 2)
                agents = [await proxy.agent(f"agent0{n}") for n in range(1, 7)]
                for n, agent in enumerate(agents[:5], 1):
                    await agent.login(f"P{n}")
                await media.submit("i1")
                await place.stop("Ixn_1")
                await until(lambda: proxy.pair.primary is not None and proxy.pair.primary.hello.term == 2)
                core = place.running["Ixn_2"][0]
                assert core.report().lost_sessions == 5
                # One shows the ticket of another one, the sixth was connected and not logged in.
                agents[4].opened = agents[3].opened
                before = core._service._writer.transactions  # type: ignore[attr-defined]
                answers = (await restore(proxy, agents)).channels
                assert core._service._writer.transactions - before == 1  # type: ignore[attr-defined]
                assert [a.channel for a in answers] == [a.channel for a in agents]
                assert [a.opened is not None for a in answers] == [True] * 4 + [False] * 2
                assert [a.code for a in answers] == [""] * 4 + ["ticket.other_agent", ""]
                assert core.report().lost_sessions == 1
                opened = await agents[5].login("P6")
                assert opened.snapshot.place == "P6"

    asyncio.run(scenario())


def test_requests_at_a_backup_are_refused_as_retryable(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            await place.start_primary("Ixn_1")
            backup = await place.start("Ixn_2")
            async with place.media() as media:
                await until(lambda: len(media.pair.connected_to) == 2)
                link = next(p for p in backup.peers if p.hello.application == "Chat_1")
                assert link.hello.application == "Chat_1"
                peer = next(p for p in media.pair._live if p.hello.application == "Ixn_2")
                assert peer.hello.role is Role.BACKUP
                with pytest.raises(RefusedError) as caught:
                    await peer.request("interaction.owner", GetOwner(interaction="i1"), OwnerChanged)
                assert (caught.value.refusal.code, caught.value.refusal.retryable) == (
                    "core.not_primary",
                    True,
                )

    asyncio.run(scenario())


def test_fenced_writer_steps_down_unanswered(database: Database, tmp_path: Path) -> None:
    """The database sessions of the primary are ended under a request: it is not answered, and repeated elsewhere."""

    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            first = await place.start_primary("Ixn_1")
            await place.start("Ixn_2")
            async with place.media() as media:
                await until(lambda: len(media.pair.connected_to) == 2)
                await media.submit("i0")
                admin = await asyncpg.connect(database.admin_dsn)
                asking = asyncio.gather(*(media.submit(f"i{n}") for n in range(1, 50)))
                await admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1",
                    first.process.instance,
                )
                answers = await asyncio.wait_for(asking, PATIENCE)
                await admin.close()
                assert all(a.version == 1 for a in answers)
                ending = await asyncio.wait_for(place.running.pop("Ixn_1")[1], PATIENCE)
                assert ending.value == "no longer primary"
                assert media.pair.primary is not None
                assert media.pair.primary.hello.application == "Ixn_2"
                await check_journal(database.dsn)

    asyncio.run(scenario())


def test_what_a_dead_primary_left_half_done_is_finished(database: Database, tmp_path: Path) -> None:
    """A session was closed, its interaction not yet requeued, when the primary died."""

    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            await place.start_primary("Ixn_1")
            async with place.media() as media, place.proxy() as proxy:
                agent = await proxy.agent("agent01")
                session = (await agent.login("P1")).session
                await media.submit("i1")
                await agent.accept((await agent.offered())[0])
                await place.stop("Ixn_1")
                connection = await asyncpg.connect(database.dsn)
                await connection.execute("update agent_session set state = 'closed' where id = $1", session)
                await connection.close()
                core = await place.start_primary("Ixn_2")
                await until(lambda: core.report().interactions == {"queued": 1})
                rows = await media.ask("interaction.journal", GetJournal(interaction="i1"), list[JournalRow])
                assert [r.event for r in rows] == ["submit", "offer", "accept", "session-lost-timeout"]
                with pytest.raises(StaylineError):
                    await agent.resume(agent.opened.ticket if agent.opened else "")

    asyncio.run(scenario())


def test_a_ticket_of_a_higher_epoch_proves_that_the_term_is_over(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            await place.start_primary("Ixn_1")
            async with place.proxy() as proxy:
                agent = await proxy.agent("agent01")
                session = (await agent.login("P1")).session
                newer = TokenSigner.load(tmp_path / "keys").sign_ticket(
                    Ticket(
                        session=session,
                        agent="agent01",
                        tenant="T",
                        place="P1",
                        epoch=2,
                        expires=time.time() + 60,
                    )
                )
                asked = asyncio.create_task(agent.resume(newer))
                ending = await asyncio.wait_for(place.running.pop("Ixn_1")[1], PATIENCE)
                assert ending.value == "no longer primary"
                assert not asked.done()  # dropped unanswered: it will be asked again where it belongs
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)

    asyncio.run(scenario())
