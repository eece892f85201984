"""The shell of a server process: reports, signals, the lifeline, and waiting for a configuration."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from stayline.domain.errors import RefusedError
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.link.authority import create_authority, issue, tls_files
from stayline.link.bootstrap import Bootstrap, Node, save_bootstrap
from stayline.link.configuration_cache import Copy, save_cache
from stayline.link.handshake import Accepts
from stayline.link.messages.control import Report
from stayline.link.messages.envelope import Hello
from stayline.link.peer import BaseHandler, Peer, read
from stayline.link.transport import Listener
from stayline.servers.process import ServerProcess, certified_type
from stayline.servers.registry import load_main
from tests.integration.link.material import HOST, until

PROGRAM = """
import asyncio, sys
from stayline.servers.process import run_server

async def main(process):
    report = process.blank_report()
    process.set_report(lambda: report)
    report.why = "serving"
    process.report_now()
    await process.stopping.wait()
    report.why = "stopped"

asyncio.run(run_server("S", sys.argv[1], main))
"""

FAULTY = """
import asyncio, sys
from stayline.servers.process import run_server

async def main(process):
    asked = []
    def provider():
        asked.append(process.name)
        if len(asked) < 4:
            raise KeyError("no such section")
        report = process.blank_report()
        report.why = "serving"
        return report
    process.set_report(provider)
    await process.stopping.wait()

asyncio.run(run_server("S", sys.argv[1], main))
"""


class Agent(BaseHandler):
    """A host agent that keeps the reports."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        """Keep it."""
        assert name == "server.report"
        assert peer.hello.application == "S"
        self.reports.append(read(payload, Report))


@asynccontextmanager
async def host_agent(folder: Path) -> AsyncIterator[Agent]:
    """A listening host agent, and the bootstrap file that names it."""
    create_authority(folder)
    issue(folder, "host_a", "Host Agent", [HOST])
    issue(folder, "S", ApplicationType.CHAT_SERVER, [HOST])
    agent = Agent()
    hello = Hello(application="host_a", type="Host Agent", instance="h")
    listener = Listener(
        lambda: hello, lambda _: agent, tls_files(folder, "host_a"), host=HOST, port=0, accepts=Accepts()
    )
    await listener.open()
    bootstrap = Bootstrap(
        site="Site_A",
        host="host_a",
        state=str(folder),
        configuration=[Node(application="Config_A", host=HOST, port=1)],
        certificates=str(folder),
        keys=str(folder),
        log_dir=str(folder / "log"),
        host_agent=Node(application="host_a", host=HOST, port=listener.port),
    )
    save_bootstrap(folder, bootstrap)
    try:
        yield agent
    finally:
        await listener.close(drop=True)


def with_configuration(folder: Path) -> None:
    """A copy of the configuration on disk, so that no Configuration Server is needed."""
    objects = [ConfigObject(type=ObjectType.HOST, name="host_a", site="Site_A")]
    save_cache(folder / "cache" / "S.json", Copy(revision=1, mark="m", objects=objects))


@asynccontextmanager
async def started(
    folder: Path, program: str = PROGRAM, **settings: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program above as a process; killed if it is still there at the end."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(folder), **settings)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def run(work: Coroutine[Any, Any, None]) -> None:
    uvloop.run(work)


def test_it_reports_at_once_on_change_and_every_two_seconds(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host_agent(tmp_path) as agent:
            with_configuration(tmp_path)
            async with started(tmp_path) as process:
                await until(lambda: any(r.why == "serving" for r in agent.reports), "report of a change", 20)
                report = agent.reports[-1]
                assert (report.application, report.type, report.pid) == ("S", "Chat Server", process.pid)
                assert report.at > 0
                count = len(agent.reports)
                await until(lambda: len(agent.reports) >= count + 2, "two more by the clock", 8)
                assert agent.reports[-1].at - agent.reports[-2].at == pytest.approx(2.0, abs=0.9)
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 10) == 0
                await until(lambda: agent.reports[-1].why == "stopped", "last report")

    run(scenario())


def test_a_report_that_cannot_be_made_is_told_and_the_next_ones_are_made(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host_agent(tmp_path) as agent:
            with_configuration(tmp_path)
            async with started(tmp_path, FAULTY) as process:
                await until(lambda: any(r.why == "serving" for r in agent.reports), "a good report", 20)
                told = [report for report in agent.reports if "KeyError: 'no such section'" in report.why]
                assert told
                assert {report.pid for report in told} == {process.pid}
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 10) == 0
        lines = (tmp_path / "log" / "S.log").read_text().splitlines()
        assert sum("server.report_failed" in line for line in lines) == 1  # not once every two seconds

    run(scenario())


def test_it_can_be_stopped_while_it_waits_for_a_configuration(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host_agent(tmp_path) as agent, started(tmp_path) as process:
            await until(lambda: agent.reports, "a first report", 20)
            assert agent.reports[0].why == "starting"
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 10) == 0

    run(scenario())


def test_it_ends_with_its_lifeline(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host_agent(tmp_path) as agent:
            with_configuration(tmp_path)
            ours, theirs = os.pipe()
            environment = dict(os.environ, STAYLINE_LIFELINE_FD=str(ours))
            try:
                async with started(tmp_path, env=environment, pass_fds=[ours]) as process:
                    await until(lambda: any(r.why == "serving" for r in agent.reports), "serving", 20)
                    os.close(theirs)
                    assert await asyncio.wait_for(process.wait(), 10) == 0
            finally:
                os.close(ours)
                with contextlib.suppress(OSError):
                    os.close(theirs)
        log = (tmp_path / "log" / "S.log").read_text()
        assert "the lifeline ended" in log

    run(scenario())


def test_its_type_is_in_its_certificate_and_its_instance_is_new(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host_agent(tmp_path):
            first, second = ServerProcess("S", tmp_path), ServerProcess("S", tmp_path)
            assert first.app_type == ApplicationType.CHAT_SERVER
            assert first.instance != second.instance
            assert len(first.instance) < 63
            first.saw_epoch(4)
            first.saw_epoch(2)
            assert first.hello().epoch == 4

    run(scenario())


def test_a_wrong_name_and_a_wrong_type_are_said(tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as caught:
        certified_type(tls_files(tmp_path, "Nobody"))
    assert caught.value.refusal.code == "bootstrap.certificate"
    assert "Nobody" in caught.value.refusal.reason
    with pytest.raises(RefusedError) as caught:
        load_main("Workspace")
    assert caught.value.refusal.code == "server.type_unknown"
    assert "Chat Server" in caught.value.refusal.fix
