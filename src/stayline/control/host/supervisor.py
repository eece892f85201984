"""Keeps a host's processes as they were commanded: the shell around the table in ``lifecycle``."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import msgspec
import structlog

from stayline.control.host.forker import Launch, ProcessId
from stayline.control.host.lifecycle import Action, Event, Life, step
from stayline.control.host.procinfo import describe_exit, is_same
from stayline.control.host.run_file import RunFile, Running, write_run_file
from stayline.domain.errors import RefusedError, refuse
from stayline.link.messages.control import Process, ProcessState, Report

_MAX_OUTPUT = 4_000_000  # bytes of an output file before it is put aside at the next start

Spawn = Callable[[Launch], Awaitable[ProcessId]]
log = structlog.get_logger("stayline.host.supervisor")


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """An application that this host can run, and how it is started."""

    application: str
    app_type: str
    launch: Launch


class _Supervised:
    """One application: its table state, its process and its timers."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.life = Life(since=time.time())
        self.process: ProcessId | None = None
        self.pidfd = -1
        self.exit = ""
        self.report: Report | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.changed = asyncio.Event()


class Supervisor:
    """Starts, stops, watches and restarts processes. All methods belong to one event loop."""

    def __init__(self, programs: Iterable[Program], spawn: Spawn, run_path: Path) -> None:
        """``spawn`` makes a process (see :class:`Forker`); ``run_path`` is the run file kept up to date."""
        self._supervised = {program.application: _Supervised(program) for program in programs}
        self._spawn = spawn
        self._run_path = run_path
        self._run = RunFile()
        self._tasks: set[asyncio.Task[None]] = set()
        self.changed: Callable[[str, str], None] = lambda application, why: None
        """Called with the application and a sentence at each change of state."""

    # -- what others ask ------------------------------------------------------------------------------------

    @property
    def applications(self) -> list[str]:
        """Names of all applications of this host, in starting order."""
        return list(self._supervised)

    def processes(self) -> list[Process]:
        """How every application is now."""
        return [self._describe(one) for one in self._supervised.values()]

    def pid(self, application: str) -> int:
        """The pid of a running application, else 0."""
        one = self._find(application)
        return one.process.pid if one.process else 0

    def report(self, report: Report) -> None:
        """Take a server's own report; one of a process that is not ours (any more) is ignored."""
        one = self._supervised.get(report.application)
        if one is None or one.process is None or one.process.pid != report.pid:
            return
        one.report = report
        if one.life.state is ProcessState.STARTING:
            self._apply(one, Event.REPORTED)

    def start(self, applications: Iterable[str]) -> None:
        """Start what does not run. Raises ``process.unknown`` before anything is started."""
        for one in [self._find(name) for name in applications]:
            if one.program.application in self._run.stopped:
                self._run.stopped.remove(one.program.application)
            self._apply(one, Event.START)

    async def stop(self, applications: Iterable[str], timeout: float) -> None:
        """Stop and wait until they are gone: SIGTERM, after ``timeout`` seconds SIGKILL. Raises
        ``process.unknown``."""
        chosen = [self._find(name) for name in applications]
        for one in chosen:
            if one.program.application not in self._run.stopped:
                self._run.stopped.append(one.program.application)
            self._apply(one, Event.STOP, timeout)
        for one in chosen:
            while one.life.state is ProcessState.STOPPING:
                one.changed.clear()
                await one.changed.wait()
        self._record()

    def adopt(self, recorded: RunFile) -> list[str]:
        """Take over the processes an earlier host agent left; returns the applications found alive."""
        self._run.stopped = [name for name in recorded.stopped if name in self._supervised]
        adopted: list[str] = []
        for name, running in recorded.processes.items():
            one = self._supervised.get(name)
            if one is None or not running.alive:
                continue
            one.life = Life(
                state=ProcessState.STARTING,
                wanted=True,
                since=running.since,
                spawned_at=running.since,
                restarts=running.restarts,
                why="adopted from the host agent before this one",
            )
            self._watch(one, ProcessId(running.pid, running.ticks))
            adopted.append(name)
            log.info("adopted", server=name, pid=running.pid, why=one.life.why)
        self._record()
        return adopted

    def stopped_on_command(self) -> list[str]:
        """Applications that were stopped on command and not started since."""
        return list(self._run.stopped)

    def forget_stopped(self) -> None:
        """Nothing counts as stopped on command any more (the whole host starts anew)."""
        self._run.stopped = []
        self._record()

    def record_host(self, agent: Running | None, forker: Running | None) -> None:
        """Note the host agent's own processes in the run file."""
        self._run.agent, self._run.forker = agent, forker
        self._record()

    async def close(self) -> None:
        """Stop watching without touching the processes (they can be adopted later)."""
        for one in self._supervised.values():
            self._unwatch(one)
            self._disarm(one)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- the table's shell ----------------------------------------------------------------------------------

    def _apply(self, one: _Supervised, event: Event, timeout: float = 0.0) -> None:
        before = one.life
        one.life, action, delay = step(one.life, event, time.time())
        if one.life.state is not before.state or action is not Action.NOTHING:
            why = one.life.why
            log.info(
                "process",
                server=one.program.application,
                after=str(event),
                state=str(one.life.state),
                why=why,
            )
            self._disarm(one)
            self._act(one, action, delay, timeout)
            self.changed(
                one.program.application, f"{one.program.application}: {why}" + self._exit_note(one, event)
            )
        one.changed.set()

    @staticmethod
    def _exit_note(one: _Supervised, event: Event) -> str:
        return f" ({one.exit})" if event is Event.EXITED and one.exit else ""

    def _act(self, one: _Supervised, action: Action, delay: float, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        if action is Action.SPAWN:
            one.report, one.exit = None, ""
            task = loop.create_task(self._start_process(one))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif action is Action.WAIT:
            one.timer = loop.call_later(delay, self._apply, one, Event.RETRY)
        elif action is Action.TERMINATE:
            self._signal(one, signal.SIGTERM)
            self._signal(one, signal.SIGCONT)  # a frozen process would never see the request to stop
            one.timer = loop.call_later(timeout, self._apply, one, Event.STOP_TIMEOUT)
        elif action is Action.KILL:
            self._signal(one, signal.SIGKILL)

    async def _start_process(self, one: _Supervised) -> None:
        _put_aside(Path(one.program.launch.output))
        try:
            process = await self._spawn(one.program.launch)
        except RefusedError as error:
            one.exit = error.refusal.reason
            log.warning("spawn failed", server=one.program.application, why=error.refusal.reason)
            self._apply(one, Event.SPAWN_FAILED)
            return
        self._watch(one, process)
        if one.life.state is ProcessState.STOPPING:  # the command to stop overtook the start
            self._signal(one, signal.SIGTERM)
        self._record()

    def _watch(self, one: _Supervised, process: ProcessId) -> None:
        one.process = process
        loop = asyncio.get_running_loop()
        try:
            one.pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            loop.call_soon(self._gone, one)
            return
        if process.ticks and not is_same(process.pid, process.ticks):
            # A zombie waits to be reaped, or the pid is somebody else's by now: both mean that ours has
            # ended.
            self._unwatch(one)
            loop.call_soon(self._gone, one)
            return
        loop.add_reader(one.pidfd, self._gone, one)

    def _gone(self, one: _Supervised) -> None:
        """The process has ended: reap it if it is ours and tell the table."""
        process = one.process
        if process is None:
            return
        self._unwatch(one)
        try:
            pid, status = os.waitpid(process.pid, os.WNOHANG)
            one.exit = describe_exit(status) if pid else "ended; its exit status is not known"
        except ChildProcessError:
            one.exit = "ended; its exit status went to the process that had started it"
        one.process = None
        if one.report is not None:
            one.report = msgspec.structs.replace(one.report, listening=False, clients=0)
        self._apply(one, Event.EXITED)
        self._record()

    def _unwatch(self, one: _Supervised) -> None:
        if one.pidfd >= 0:
            asyncio.get_running_loop().remove_reader(one.pidfd)
            os.close(one.pidfd)
            one.pidfd = -1

    @staticmethod
    def _disarm(one: _Supervised) -> None:
        if one.timer is not None:
            one.timer.cancel()
            one.timer = None

    @staticmethod
    def _signal(one: _Supervised, number: signal.Signals) -> None:
        if one.pidfd >= 0:
            try:
                signal.pidfd_send_signal(one.pidfd, number)
            except ProcessLookupError:
                return

    # -- records --------------------------------------------------------------------------------------------

    def _find(self, application: str) -> _Supervised:
        one = self._supervised.get(application)
        if one is None:
            raise refuse(
                "process.unknown",
                f"application {application!r} does not run on this host",
                fix="applications of this host: " + ", ".join(self._supervised),
                field="applications",
            )
        return one

    def _describe(self, one: _Supervised) -> Process:
        return Process(
            application=one.program.application,
            app_type=one.program.app_type,
            state=one.life.state,
            pid=one.process.pid if one.process else 0,
            since=one.life.since,
            restarts=one.life.restarts,
            exit=one.exit,
            report=one.report if one.process else None,
        )

    def _record(self) -> None:
        self._run.processes = {
            name: Running(
                pid=one.process.pid,
                ticks=one.process.ticks,
                since=one.life.spawned_at or one.life.since,
                restarts=one.life.restarts,
            )
            for name, one in self._supervised.items()
            if one.process is not None
        }
        write_run_file(self._run_path, self._run)


def _put_aside(output: Path) -> None:
    """Keep an output file from growing for ever: a large one is renamed before the process starts again."""
    if output.exists() and output.stat().st_size > _MAX_OUTPUT:
        output.replace(output.with_name(output.name + ".1"))
