"""A proxy keeps its clients through a failover of its core: away, restored in bulk, back, nothing asked twice."""

import asyncio
from pathlib import Path

import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.objects import ApplicationType
from stayline.link.messages.contact import GetContact
from stayline.link.messages.envelope import Role
from stayline.link.messages.interaction import (
    AgentResume,
    Done,
    SessionOpened,
    SetMedia,
)
from tests.integration.link.material import until
from tests.integration.servers.proxy.scripted_core import (
    bench,
)
from tests.integration.servers.proxy.steps import DONE, LOGIN, login, primary, run


def test_a_core_failover_keeps_clients_and_repeats_what_was_not_answered(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            first, second = b.cores
            anna, ben = await b.client("anna"), await b.client("ben")
            await login(anna)
            first.offer("anna", 130)
            await until(lambda: anna.events, "the offer")
            first.hold = {"interaction.done", "agent.media", "agent.resume"}
            keyed = asyncio.ensure_future(anna.link.request("interaction.done", DONE, Done, key="done-1"))
            unkeyed = asyncio.ensure_future(anna.link.request("agent.media", SetMedia(ready=True), Done))
            resume = AgentResume(ticket="ticket-session-anna", last_seq=0)
            reading = asyncio.ensure_future(ben.link.request("agent.resume", resume, SessionOpened))
            await until(lambda: len(first.requests) == 4, "all asked")

            first.kill()
            await until(lambda: anna.named("core.away") and ben.named("core.away"), "told at once")
            assert isinstance(anna.named("core.away")[0]["since"], float)
            with pytest.raises(RefusedError) as caught:
                await unkeyed
            assert caught.value.refusal.code == "link.lost"
            waiting = asyncio.ensure_future(anna.link.request("interaction.done", DONE, Done, key="done-2"))
            late = await b.client("late")
            await until(lambda: late.named("core.away"), "a newcomer is told too")

            second.become(Role.PRIMARY, 2)
            assert await asyncio.wait_for(keyed, 5) == Done(seq=7)
            assert await asyncio.wait_for(waiting, 5) == Done(seq=7)
            assert (await asyncio.wait_for(reading, 5)).session == "session-anna"
            (back,) = anna.named("core.back")
            assert (back["epoch"], back["term"]) == (1, 2)
            opened = back["opened"]
            assert isinstance(opened, dict)
            assert opened["session"] == "session-anna"
            await until(lambda: late.named("core.back"), "the newcomer hears that it is back")
            assert ben.named("core.back")[0]["opened"] is None
            # In bulk, before anything else, with the last event seen and the ticket of who was logged in.
            assert second.story[0] == "restore 3"
            asked = {one.identity.user: (one.ticket, one.last_seq) for one in second.restored[0]}
            assert asked == {"anna": ("ticket-session-anna", 130), "ben": ("", 0), "late": ("", 0)}
            assert [(m, k) for _, m, k, _ in second.requests if m == "interaction.done"] == [
                ("interaction.done", "done-1"),
                ("interaction.done", "done-2"),
            ]
            assert not any("channel.open" in line for line in second.story)
            assert b.proxy.channels.pending == 0
            assert anna.closed_why == ""

    run(scenario())


def test_a_primary_that_could_not_serve_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            core = b.cores[0]
            anna = await b.client("anna")
            await login(anna)
            core.stumble = {"interaction.done", "agent.media"}
            done = await anna.link.request("interaction.done", DONE, Done, key="done-1", timeout=5)
            assert done == Done(seq=7)
            assert [k for _, m, k, _ in core.requests if m == "interaction.done"] == ["done-1", "done-1"]
            # Nobody knows whether one without a key had effect: it is not asked again.
            with pytest.raises(RefusedError) as caught:
                await anna.link.request("agent.media", SetMedia(ready=True), Done, timeout=5)
            assert caught.value.refusal.code == "core.not_primary"
            assert b.proxy.channels.pending == 0

    run(scenario())


def test_events_of_a_session_come_after_the_news_that_it_is_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            anna = await b.client("anna")
            await login(anna)
            b.cores[1].event_during_restore = True
            b.cores[0].kill()
            b.cores[1].become(Role.PRIMARY, 2)
            await until(lambda: anna.named("interaction.offered"), "the offer")
            assert [name for name, _, _ in anna.events] == ["core.away", "core.back", "interaction.offered"]

    run(scenario())


def test_a_session_that_cannot_be_restored_is_told_with_its_reason(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            anna = await b.client("anna")
            await login(anna)
            b.world.sessions.clear()
            b.cores[0].kill()
            b.cores[1].become(Role.PRIMARY, 2)
            await until(lambda: anna.named("core.back"), "told")
            (back,) = anna.named("core.back")
            assert (back["opened"], back["code"]) == (None, "session.unknown")
            # The link serves a new login at once.
            assert (await login(anna)).session == "session-anna"

    run(scenario())


def test_many_clients_are_restored_in_chunks(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            clients = await asyncio.gather(*(b.client(f"agent{number:03}") for number in range(250)))
            await asyncio.gather(*(login(client) for client in clients))
            b.cores[0].kill()
            b.cores[1].become(Role.PRIMARY, 2)
            await until(lambda: all(client.named("core.back") for client in clients), "all are back")
            assert sorted(len(chunk) for chunk in b.cores[1].restored) == [50, 200]
            assert all(client.named("core.back")[0]["opened"] for client in clients)
            assert all(len(client.named("core.back")) == 1 for client in clients)

    run(scenario())


def test_the_contact_proxy_has_no_sessions_but_the_same_rules(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, kind=ApplicationType.CONTACT_SERVER_PROXY) as b:
            await primary(b)
            first, second = b.cores
            anna = await b.client("anna")
            first.hold = {"contact.get"}
            asked = asyncio.ensure_future(anna.link.request("contact.get", GetContact("c1"), Done))
            await until(lambda: first.requests, "asked")
            first.kill()
            await until(lambda: anna.named("core.away"), "away")
            second.become(Role.PRIMARY, 2)
            assert await asyncio.wait_for(asked, 5) == Done(seq=7)
            assert anna.named("core.back")[0]["opened"] is None
            with pytest.raises(RefusedError) as caught:
                await anna.link.request("agent.login", LOGIN, SessionOpened, key="k")
            assert caught.value.refusal.code == "method.forbidden"

    run(scenario())
