"""The supervisor and its preloaded parent with real, tiny processes."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stayline.control.host.forker import Forker, Launch, ProcessId
from stayline.control.host.procinfo import become_subreaper, children, start_ticks
from stayline.control.host.run_file import read_run_file
from stayline.control.host.supervisor import Program, Supervisor
from stayline.link.messages.control import Process, ProcessState, Report

TARGETS = "tests.integration.control.host.tiny_targets"


def _program(folder: Path, name: str, function: str) -> Program:
    launch = Launch(
        target=f"{TARGETS}:{function}", arguments=[str(folder), name], output=str(folder / f"{name}.out")
    )
    return Program(application=name, app_type="Chat Server", launch=launch)


async def _until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "the condition was not met in time"
        await asyncio.sleep(0.01)


async def _running(supervisor: Supervisor, folder: Path, name: str) -> int:
    """Wait until the process has set itself up *and* the supervisor knows its pid; never signal pid 0."""
    await _until(lambda: (folder / f"{name}.ready").exists() and supervisor.pid(name) != 0)
    return supervisor.pid(name)


def _of(supervisor: Supervisor, name: str) -> Process:
    return next(one for one in supervisor.processes() if one.application == name)


def _with_supervisor(
    folder: Path, programs: list[Program], body: Callable[[Supervisor], Awaitable[None]]
) -> None:
    """Run ``body`` with a supervisor whose parent process is forked before the event loop exists."""
    become_subreaper()
    forker = Forker([TARGETS])

    async def main() -> None:
        supervisor = Supervisor(programs, forker.spawn, folder / "processes.json")
        try:
            await body(supervisor)
        finally:
            await supervisor.stop(supervisor.applications, 1.0)
            await supervisor.close()

    try:
        asyncio.run(main())
    finally:
        forker.close()


def test_a_killed_process_is_restarted_and_leaves_no_zombie(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor) -> None:
        supervisor.start(["one"])
        await _running(supervisor, tmp_path, "one")
        first = supervisor.pid("one")
        os.kill(first, signal.SIGKILL)
        await _until(lambda: supervisor.pid("one") not in (0, first))
        assert _of(supervisor, "one").restarts == 1
        assert first not in children(os.getpid()), "the killed process was not waited for"

    _with_supervisor(tmp_path, [_program(tmp_path, "one", "sleeper")], body)


def test_a_server_is_a_child_of_the_host_agent_with_its_exit_status_known(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor) -> None:
        supervisor.start(["bad"])
        await _until(lambda: _of(supervisor, "bad").exit != "")
        assert _of(supervisor, "bad").exit == "exit status 3"

    _with_supervisor(tmp_path, [_program(tmp_path, "bad", "failing")], body)


def test_a_stop_on_command_is_not_restarted_and_is_recorded(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor) -> None:
        supervisor.start(["one"])
        await _running(supervisor, tmp_path, "one")
        supervisor.start(["two"])
        second = await _running(supervisor, tmp_path, "two")
        await supervisor.stop(["one"], 5.0)
        assert _of(supervisor, "one").state is ProcessState.STOPPED
        assert read_run_file(tmp_path / "processes.json").stopped == ["one"]
        assert (tmp_path / "one.terminated").exists(), "SIGTERM should have come first"
        # One that ended later without a command has been restarted: this one would have been before it.
        os.kill(second, signal.SIGKILL)
        await _until(lambda: supervisor.pid("two") not in (0, second))
        assert supervisor.pid("one") == 0

    _with_supervisor(tmp_path, [_program(tmp_path, name, "sleeper") for name in ("one", "two")], body)


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor) -> None:
        supervisor.start(["deaf"])
        await _running(supervisor, tmp_path, "deaf")
        before = time.monotonic()
        await supervisor.stop(["deaf"], 0.2)
        assert time.monotonic() - before < 3.0
        assert _of(supervisor, "deaf").exit == "killed by SIGKILL"

    _with_supervisor(tmp_path, [_program(tmp_path, "deaf", "deaf")], body)


def test_a_frozen_process_can_be_stopped(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor) -> None:
        supervisor.start(["one"])
        await _running(supervisor, tmp_path, "one")
        os.kill(supervisor.pid("one"), signal.SIGSTOP)
        await supervisor.stop(["one"], 5.0)
        assert _of(supervisor, "one").exit == "exit status 0"

    _with_supervisor(tmp_path, [_program(tmp_path, "one", "sleeper")], body)


def test_only_the_report_of_the_present_process_counts(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor) -> None:
        supervisor.start(["one"])
        await _until(lambda: supervisor.pid("one") != 0)
        report = Report(
            application="one",
            type="Chat Server",
            pid=1,
            instance="x",
            role="active",
            epoch=1,
            term=0,
            listening=True,
        )
        supervisor.report(report)
        assert _of(supervisor, "one").state is ProcessState.STARTING
        report.pid = supervisor.pid("one")
        supervisor.report(report)
        assert _of(supervisor, "one").state is ProcessState.RUNNING

    _with_supervisor(tmp_path, [_program(tmp_path, "one", "sleeper")], body)


AGENT = """
import asyncio, sys
from pathlib import Path
from stayline.control.host.forker import Forker
from stayline.control.host.supervisor import Supervisor
from tests.integration.control.host.test_supervisor import _program
from stayline.control.host.procinfo import become_subreaper
folder = Path(sys.argv[1])
become_subreaper()
forker = Forker([])
async def main():
    supervisor = Supervisor([_program(folder, "one", "sleeper")], forker.spawn, folder / "processes.json")
    supervisor.start(["one"])
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_a_process_survives_its_host_agent_and_is_adopted_by_the_next(tmp_path: Path) -> None:
    become_subreaper()
    roots = [str(Path(__file__).parents[4])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(roots)}
    agent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(AGENT), str(tmp_path)], env=environment)
    ready = tmp_path / "one.ready"
    recorded = tmp_path / "processes.json"
    limit = time.monotonic() + 20
    while not (ready.exists() and read_run_file(recorded).processes):
        assert time.monotonic() < limit
        time.sleep(0.02)
    agent.kill()
    agent.wait()
    left = read_run_file(recorded)
    pid = left.processes["one"].pid

    async def body(supervisor: Supervisor) -> None:
        assert supervisor.adopt(left) == ["one"]
        assert supervisor.pid("one") == pid
        os.kill(pid, signal.SIGKILL)
        await _until(lambda: supervisor.pid("one") not in (0, pid))

    _with_supervisor(tmp_path, [_program(tmp_path, "one", "sleeper")], body)


def test_a_pid_that_is_somebody_else_by_now_is_not_adopted(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor) -> None:
        supervisor.start(["one"])
        await _until(lambda: bool(read_run_file(tmp_path / "processes.json").processes))
        left = read_run_file(tmp_path / "processes.json")
        running = left.processes["one"]
        assert running.ticks == start_ticks(running.pid)
        left.processes["one"] = type(running)(pid=os.getpid(), ticks=running.ticks + 1, since=0.0)
        other = Supervisor([_program(tmp_path, "one", "sleeper")], _never, tmp_path / "other.json")
        assert other.adopt(left) == []
        await other.close()

    async def _never(launch: Launch) -> ProcessId:
        raise AssertionError("nothing may be started")

    _with_supervisor(tmp_path, [_program(tmp_path, "one", "sleeper")], body)


def test_an_unknown_application_is_refused_with_the_names_of_this_host(tmp_path: Path) -> None:
    from stayline.domain.errors import RefusedError

    async def body(supervisor: Supervisor) -> None:
        with pytest.raises(RefusedError) as refused:
            supervisor.start(["nobody"])
        assert "one" in refused.value.refusal.fix

    _with_supervisor(tmp_path, [_program(tmp_path, "one", "sleeper")], body)
