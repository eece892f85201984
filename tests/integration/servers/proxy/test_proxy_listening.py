"""When a proxy listens (ADR 1 section 7), and the proxy as a real process."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from stayline.domain.errors import LinkLostError
from stayline.domain.objects import ApplicationType
from stayline.link.authority import tls_files
from stayline.link.configuration_cache import Copy, save_cache
from stayline.link.messages.envelope import Hello, Identity, Role
from stayline.link.tokens import TokenSigner
from stayline.link.transport import Endpoint, connect
from tests.integration.link.material import until
from tests.integration.servers.proxy.scripted_core import (
    HOST,
    Client,
    World,
    bench,
    cores_of,
    furnish,
    objects,
)
from tests.integration.servers.proxy.steps import login, primary, refused_port, run
from tests.ports import free_port


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


def test_a_proxy_whose_port_cannot_be_looked_after_any_more_ends(tmp_path: Path) -> None:
    async def fault() -> None:
        raise ZeroDivisionError

    async def proxy() -> None:
        async with bench(tmp_path) as b:
            await until(lambda: b.proxy.pair.connected_to == ["Core_1", "Core_2"], "both linked")
            b.proxy.port.listener.open = fault  # type: ignore[method-assign]
            b.cores[0].become(Role.PRIMARY, 1)
            await until(lambda: not any(t.get_name() == "port" for t in asyncio.all_tasks()), "ended")

    with pytest.raises(ZeroDivisionError):
        run(proxy())
