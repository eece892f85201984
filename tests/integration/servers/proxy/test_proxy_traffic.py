"""A proxy in front of scripted cores, over real sockets: who gets in, what passes, and the limits."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.objects import ApplicationType
from stayline.link.authority import tls_files
from stayline.link.messages.envelope import Hello
from stayline.link.messages.interaction import (
    AgentLogout,
    Done,
)
from stayline.link.peer import BaseHandler
from stayline.link.transport import Endpoint, connect
from tests.integration.link.material import until
from tests.integration.servers.proxy.scripted_core import (
    HOST,
    bench,
)
from tests.integration.servers.proxy.steps import DONE, login, primary, run


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
