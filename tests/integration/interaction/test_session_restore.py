"""What an agent gets back over a lost link, and what goes to its queue; how much of the story is told; tickets."""

import asyncio
import time
from pathlib import Path

import pytest

from stayline.link.messages.interaction import (
    ChangeProperties,
    Done,
    GetJournal,
    Gone,
    JournalRow,
    Ownership,
    SessionOpened,
    TicketRenewed,
)
from stayline.link.tokens import TokenVerifier
from stayline.servers.core import CoreServer
from stayline.store.interaction_history import MAX_MISSED

from ..conftest import Database
from .centre import Agent, Media, centre, until
from .failover import check_journal, restore

pytestmark = pytest.mark.postgres
BOTH = ("chat", "email")


async def at_work(agent: Agent, media: Media, keeps: list[str] | None) -> SessionOpened:
    """Logged in for chats and e-mails, and owner of one of each."""
    opened = await agent.login("P1", media=BOTH, workspace="w", restore=keeps)
    await media.submit("chat-1")
    await media.mail("mail-1")
    for offer in await agent.offered(2):
        await agent.accept(offer)
    return opened


async def lost(core: CoreServer, agent: Agent) -> None:
    """Its link is gone, and the core knows it."""
    agent.hang_up()
    await until(lambda: core.report().lost_sessions == 1)


def held(opened: SessionOpened) -> list[str]:
    return sorted(v.id for v in opened.snapshot.interactions)


async def story_of(media: Media, interaction: str) -> list[JournalRow]:
    return await media.ask("interaction.journal", GetJournal(interaction=interaction), list[JournalRow])


@pytest.mark.parametrize("known_lost", [True, False])
@pytest.mark.parametrize("way", ["ticket", "login"])
def test_media_that_are_not_restored_go_back_to_their_queues(
    database: Database, tmp_path: Path, known_lost: bool, way: str
) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            core = await place.start_primary()
            async with place.proxy() as proxy, place.proxy("Proxy_2") as other, place.media() as media:
                agent = await proxy.agent("agent01")
                opened = await at_work(agent, media, ["chat"])
                seen = max(seq for _, _, seq, _ in proxy.events)
                if known_lost:
                    await lost(core, agent)
                new = await other.agent("agent01")
                if way == "ticket":
                    back = await new.resume(opened.ticket, seen)
                else:
                    back = await new.login("P1", media=BOTH, workspace="w", restore=["chat"])
                assert back.session == opened.session
                assert held(back) == ["chat-1"]
                told = [m for m in back.missed if m.event == "not-restored"]
                assert [(m.interaction, "not restored" in m.why) for m in told] == [("mail-1", True)]
                await until(lambda: new.heard("interaction.gone", Gone))
                rows = await story_of(media, "mail-1")
                last = rows[3]
                assert (last.event, last.from_state, last.to_state) == ("not-restored", "owned", "queued")
                assert (last.previous_agent, last.previous_session) == ("agent01", opened.session)
                assert last.actor == "server"
                # It goes to somebody else, not to the very agent who could not keep it.
                heir = await other.agent("agent02")
                await heir.login("P2", media=BOTH)
                assert (await heir.offered())[0].id == "mail-1"
                assert len(await story_of(media, "mail-1")) == 5
                await check_journal(database.dsn)

    asyncio.run(scenario())


def test_a_failover_of_the_core_gives_back_what_is_not_restored_too(
    database: Database, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            await place.start_primary("Ixn_1")
            await place.start("Ixn_2")
            async with place.proxy() as proxy, place.media() as media:
                await until(lambda: len(proxy.pair.connected_to) == len(media.pair.connected_to) == 2)
                agent = await proxy.agent("agent01")
                opened = await at_work(agent, media, ["email"])
                await place.stop("Ixn_1")
                await until(lambda: proxy.pair.primary is not None and proxy.pair.primary.hello.term == 2)
                back = (await restore(proxy, [agent])).channels[0].opened
                assert back is not None
                assert (back.session, held(back)) == (opened.session, ["mail-1"])
                assert [(m.interaction, m.event) for m in back.missed][-1:] == [("chat-1", "not-restored")]
                assert [r.to_state for r in await story_of(media, "chat-1")][-1] == "queued"
                # Asked again over the same link: nothing was lost in between, nothing is given back.
                again = await agent.resume(back.ticket, back.snapshot.as_of)
                assert held(again) == ["mail-1"]
                await check_journal(database.dsn)

    asyncio.run(scenario())


def test_the_newest_word_on_what_to_restore_counts_and_all_is_the_default(
    database: Database, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            core = await place.start_primary()
            async with place.proxy() as proxy, place.media() as media:
                agent = await proxy.agent("agent01")
                opened = await at_work(agent, media, None)
                await lost(core, agent)
                second = await proxy.agent("agent01")
                back = await second.resume(opened.ticket)
                assert held(back) == ["chat-1", "mail-1"]
                await lost(core, second)
                third = await proxy.agent("agent01")
                back = await third.resume(back.ticket, restore=["email"])
                assert held(back) == ["mail-1"]
                ticket = TokenVerifier.load(place.base / "keys").ticket(back.ticket, time.time())
                assert (ticket.media, ticket.restore, ticket.workspace) == (list(BOTH), ["email"], "w")

    asyncio.run(scenario())


def test_another_installation_that_takes_a_live_session_over_gets_everything(
    database: Database, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            await place.start_primary()
            async with place.proxy() as proxy, place.media() as media:
                agent = await proxy.agent("agent01")
                opened = await at_work(agent, media, ["chat"])
                there = await proxy.agent("agent01")
                taken = await there.login("P2", media=BOTH, workspace="elsewhere", restore=["chat"])
                assert (taken.session, held(taken)) == (opened.session, ["chat-1", "mail-1"])

    asyncio.run(scenario())


def test_a_story_too_long_to_be_told_is_a_gap_and_the_snapshot_is_whole(
    database: Database, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            core = await place.start_primary()
            async with place.proxy() as proxy, place.media() as media:
                agent = await proxy.agent("agent01")
                opened = await at_work(agent, media, None)
                seen = max(seq for _, _, seq, _ in proxy.events)
                await lost(core, agent)

                async def change(number: int) -> None:
                    params = ChangeProperties(interaction="chat-1", set={"n": str(number)})
                    await media.ask("interaction.change", params, Done)

                for number in range(MAX_MISSED):
                    await change(number)
                told = await (await proxy.agent("agent01")).resume(opened.ticket, seen)
                assert (len(told.missed), told.gap) == (MAX_MISSED, False)
                await change(MAX_MISSED)
                short = await (await proxy.agent("agent01")).resume(opened.ticket, seen)
                assert (short.missed, short.gap) == ([], True)
                assert held(short) == ["chat-1", "mail-1"]
                (chat,) = [v for v in short.snapshot.interactions if v.id == "chat-1"]
                assert (chat.state, chat.properties) == (Ownership.OWNED, {"n": str(MAX_MISSED)})
                fresh = await (await proxy.agent("agent01")).resume(opened.ticket, short.snapshot.as_of)
                assert (fresh.missed, fresh.gap) == ([], False)

    asyncio.run(scenario())


def test_a_ticket_is_renewed_before_it_expires_and_while_the_session_is_linked(
    database: Database, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn, ticket_validity="3") as place:
            await place.start_primary()
            verifier = TokenVerifier.load(place.base / "keys")
            async with place.proxy() as proxy, place.proxy("Proxy_2") as other:
                agent = await proxy.agent("agent01")
                opened = await agent.login("P1", workspace="w", restore=["chat"])
                first = verifier.ticket(opened.ticket, time.time())
                await until(lambda: len(agent.heard("session.ticket", TicketRenewed)) >= 2)
                renewed = agent.heard("session.ticket", TicketRenewed)
                assert {r.session for r in renewed} == {opened.session}
                newest = verifier.ticket(renewed[-1].ticket, time.time())
                assert newest.expires > first.expires
                assert (newest.session, newest.place, newest.restore) == (opened.session, "P1", ["chat"])
                # The first one has run out in the meantime or soon will; the newest resumes anywhere.
                back = await (await other.agent("agent01")).resume(renewed[-1].ticket)
                assert back.session == opened.session

    asyncio.run(scenario())
