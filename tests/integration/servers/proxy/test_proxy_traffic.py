"""A proxy in front of scripted cores, over real sockets: traffic, failover of the core, limits, when it listens."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from stayline.domain.errors import LinkLostError, RefusedError
from stayline.domain.objects import ApplicationType
from stayline.link.authority import tls_files
from stayline.link.configuration_cache import Copy, save_cache
from stayline.link.messages.contact import GetContact
from stayline.link.messages.envelope import Hello, Identity, Role
from stayline.link.messages.interaction import (
    AgentLogin,
    AgentLogout,
    AgentResume,
    Done,
    MarkDone,
    MediaState,
    SessionOpened,
    SetMedia,
)
from stayline.link.peer import BaseHandler
from stayline.link.tokens import TokenSigner
from stayline.link.transport import Endpoint, connect
from tests.integration.link.material import until
from tests.integration.servers.proxy.scripted_core import (
    HOST,
    Bench,
    Client,
    World,
    bench,
    cores_of,
    free_port,
    furnish,
    objects,
)

LOGIN = AgentLogin(place="P", media=[MediaState("chat", True)])
DONE = MarkDone(interaction="i1", disposition="resolved")


def run(work: Coroutine[Any, Any, None]) -> None:
    uvloop.run(work)


async def primary(b: Bench, number: int = 0, term: int = 1) -> None:
    """Make a core primary and wait until the proxy serves it."""
    b.cores[number].become(Role.PRIMARY, term)
    await until(lambda: b.proxy.core.ready and b.proxy.port.listener.is_open, "the proxy listens")


async def login(client: Client) -> SessionOpened:
    return await client.link.request("agent.login", LOGIN, SessionOpened, key="login")


async def refused_port(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


def test_it_listens_only_while_the_core_has_a_primary(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await until(lambda: b.proxy.pair.connected_to == ["Core_1", "Core_2"], "both linked")
            assert await refused_port(b.port)
            assert not b.proxy.report().listening
            await primary(b)
            client = await b.client()
            assert client.link.hello.role is Role.ACTIVE
            assert (client.link.hello.epoch, client.link.hello.term) == (1, 1)
            report = b.proxy.report()
            assert (report.listening, report.clients, report.connected_to) == (True, 1, ["Core_1", "Core_2"])
            assert report.why == "linked to Core_1, primary with term 1"

    run(scenario())


def test_tokens_are_checked_without_asking_the_core(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            for token, code in (("nonsense", "token.invalid"), (b.token("a", -1), "token.expired")):
                with pytest.raises(RefusedError) as caught:
                    await b.client(token=token)
                assert caught.value.refusal.code == code
            assert b.cores[0].story == []

    run(scenario())


def test_clients_are_channels_of_one_link(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            core = b.cores[0]
            clients = {user: await b.client(user) for user in ("anna", "ben", "carl")}
            for user, client in clients.items():
                assert (await login(client)).session == f"session-{user}"
            assert len(core.listener.peers) == 1
            assert core.story[:4] == ["channel.open@1", "agent.login@1", "channel.open@2", "agent.login@2"]
            core.offer("ben", 120)
            core.offer("carl", 121)
            core.offer("ben", 122)
            await until(lambda: len(clients["ben"].events) == 2, "ben's events")
            await until(lambda: len(clients["carl"].events) == 1, "carl's event")
            assert [seq for _, seq, _ in clients["ben"].events] == [120, 122]
            assert clients["anna"].events == []
            assert b.proxy.report().sessions == 3

    run(scenario())


def test_payload_and_key_pass_unchanged(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            client = await b.client()
            text = b'{ "interaction":"i1",  "unknown": [1, 2.50, "\\u00e9"] }'
            assert await client.link.request("interaction.done", msgspec.Raw(text), Done, key="k1") == Done(
                seq=7
            )
            assert b.cores[0].requests == [(1, "interaction.done", "k1", text)]

    run(scenario())


def test_persons_cannot_reach_what_is_for_servers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            client = await b.client()
            for method in ("interaction.submit", "channels.restore", "interaction.stop"):
                with pytest.raises(RefusedError) as caught:
                    await client.link.request(method, {}, Done, key="k")
                assert caught.value.refusal.code == "method.forbidden"
            assert b.cores[0].story == []

    run(scenario())


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


def test_without_a_new_primary_it_closes_after_its_grace(tmp_path: Path) -> None:
    async def scenario() -> None:
        options = {"interaction-server-proxy": {"core-grace": "0.3"}}
        async with bench(tmp_path, options) as b:
            await primary(b)
            anna = await b.client("anna")
            b.cores[0].kill()
            await until(lambda: anna.named("core.away"), "told")
            assert not await refused_port(b.port)
            await until(lambda: anna.closed_why, "hung up on")
            assert anna.link.farewell is not None
            assert anna.link.farewell.code == "core.away"
            assert anna.link.farewell.retryable
            await until(lambda: not b.proxy.port.listener.is_open, "closed")
            assert await refused_port(b.port)
            assert len(b.proxy.channels) == 0
            await primary(b, 1, term=2)
            assert (await login(await b.client("anna"))).session == "session-anna"

    run(scenario())


def test_it_closes_at_once_when_the_core_leaves(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            anna = await b.client("anna")
            b.cores[0].leave()
            await until(lambda: anna.closed_why, "hung up on")
            assert anna.link.farewell is not None
            assert anna.link.farewell.code == "core.leaving"
            assert anna.link.farewell.retry_after == 1.5
            assert await refused_port(b.port)

    run(scenario())


def test_clients_that_leave_and_clients_that_are_sent_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            core = b.cores[0]
            anna, ben = await b.client("anna"), await b.client("ben")
            await login(anna)
            await login(ben)
            anna.link.abort("cable pulled")
            await until(lambda: "channel.close@1" in core.story, "the core is told")
            assert core.link is not None
            core.link.event("channel.close", {"why": "Logged in elsewhere."}, channel=2)
            await until(lambda: ben.closed_why, "hung up on")
            assert "Logged in elsewhere." in ben.closed_why
            await until(lambda: len(b.proxy.channels) == 0, "nobody left")
            assert "channel.close@2" not in core.story

    run(scenario())


def test_a_logout_leaves_nothing_to_restore(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            anna = await b.client("anna")
            await login(anna)
            await anna.link.request("agent.logout", AgentLogout(), Done, key="out")
            assert b.proxy.report().sessions == 0

    run(scenario())


def test_limits_on_waiting_requests_and_connections(tmp_path: Path) -> None:
    async def scenario() -> None:
        limits = {"max-pending-per-client": "2", "max-pending": "3", "max-connections": "2"}
        async with bench(tmp_path, {"limits": limits}) as b:
            await primary(b)
            b.cores[0].hold = {"interaction.done"}
            anna, ben = await b.client("anna"), await b.client("ben")
            asked = [
                asyncio.ensure_future(client.link.request("interaction.done", DONE, Done, key=f"k{number}"))
                for number, client in enumerate((anna, anna, ben))
            ]
            await until(lambda: len(b.cores[0].requests) == 3, "three at the core")
            for client, said in ((anna, "2 requests of this client"), (ben, "3 requests wait")):
                with pytest.raises(RefusedError) as caught:
                    await client.link.request("interaction.done", DONE, Done, key="more")
                assert caught.value.refusal.code == "link.busy"
                assert caught.value.refusal.retry_after
                assert said in caught.value.refusal.reason
            with pytest.raises(RefusedError) as caught:
                await b.client("carl")
            assert caught.value.refusal.code == "link.full"
            anna.link.abort("gone")
            await until(lambda: b.proxy.channels.pending == 1, "what anna asked is forgotten")
            for future in asked:
                future.cancel()

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


def test_as_a_process_it_serves_and_ends_on_sigterm(tmp_path: Path) -> None:
    kind = ApplicationType.INTERACTION_SERVER_PROXY

    async def scenario() -> None:
        furnish(tmp_path, kind)
        async with cores_of(tmp_path, kind, World()) as cores:
            ports = {core.name: core.listener.port for core in cores} | {"Proxy": free_port()}
            copy = Copy(revision=1, mark="m", objects=objects(kind, ports, {}))
            save_cache(tmp_path / "cache" / "Proxy.json", copy)
            code = "import sys; from stayline.servers.registry import run; run(*sys.argv[1:])"
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, "Proxy", str(tmp_path), env=dict(os.environ)
            )
            try:
                cores[0].become(Role.PRIMARY, 1)
                client = await _client_of_process(tmp_path, ports["Proxy"], process)
                assert (await login(client)).session == "session-anna"
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 10) == 0
                await until(lambda: client.closed_why, "hung up on")
                assert client.named("server.leaving")
                assert await refused_port(ports["Proxy"])
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        lines = [
            msgspec.json.decode(line) for line in (tmp_path / "log" / "Proxy.log").read_bytes().splitlines()
        ]
        assert {"proxy.core_back", "port.open", "server.stopping"} <= {line["event"] for line in lines}
        assert all(line["application"] == "Proxy" for line in lines)
        assert b"ticket-session" not in (tmp_path / "log" / "Proxy.log").read_bytes()

    run(scenario())


async def _client_of_process(folder: Path, port: int, process: asyncio.subprocess.Process) -> Client:
    """Connect as soon as the process listens."""
    identity = Identity(user="anna", tenant="T", roles=[], expires=4e9)
    token = TokenSigner.load(folder).sign_identity(identity)
    hello = Hello(application="Workspace", type="Workspace", instance="w", token=token)
    for _ in range(600):
        assert process.returncode is None
        client = Client()
        try:
            client.peer = await connect(Endpoint(HOST, port, "Proxy"), hello, client, tls_files(folder))
        except LinkLostError:
            await asyncio.sleep(0.05)
        else:
            return client
    raise AssertionError("the process did not listen within 30 s")


def test_nobody_but_persons_is_let_in(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            hello = Hello(application="Core_2", type=ApplicationType.INTERACTION_SERVER, instance="x")
            endpoint = Endpoint(HOST, b.port, "Proxy")
            with pytest.raises(RefusedError) as caught:
                await connect(endpoint, hello, BaseHandler(), tls_files(tmp_path, "Core_2"))
            assert caught.value.refusal.code == "hello.type"

    run(scenario())
