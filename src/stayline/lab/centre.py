"""Two sites on one machine, started and stopped as one: for ``stayline lab up``, for drills and for tests."""

import asyncio
import contextlib
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from stayline.control.host.forker import LIFELINE_VARIABLE
from stayline.control.host.lifecycle import delay_after
from stayline.control.host.plan import OPERATOR
from stayline.control.host.procinfo import (
    become_subreaper,
    descendants,
    is_same,
    reap,
    start_ticks,
    zombies,
)
from stayline.control.host.run_file import read_run_file, run_file_path
from stayline.control.postgres.postmaster import running_postmaster
from stayline.control.switch.hosts import HostClient
from stayline.domain.errors import StaylineError, refuse
from stayline.lab.attendant import environment
from stayline.lab.layout import Layout, SiteLayout, locked
from stayline.lab.readiness import Missing, active_site, missing
from stayline.link.messages.control import HostStatus
from stayline.link.messages.envelope import Hello
from stayline.link.transport import Endpoint

STOP_SECONDS = 40.0
"""How long a host agent may take to stop its servers and its database in order."""

_POLL = 0.05
_REAP_EVERY = 1.0

log = structlog.get_logger("stayline.lab")


class _Host:
    """One host agent process and the link to it."""

    def __init__(self, site: SiteLayout, client: HostClient) -> None:
        self.site = site
        self.client = client
        self.process: asyncio.subprocess.Process | None = None
        self.wanted = False
        self.crashes = 0
        self.watch: asyncio.Task[None] | None = None
        self.status: HostStatus | None = None
        self.log_start = 0


class Centre:
    """The whole centre of a :class:`Layout`. Belongs to the event loop that starts it.

    The process that owns it holds the write end of a pipe: when that process dies, however it dies, every
    host agent reads end of file and stops its site in order.
    """

    def __init__(self, layout: Layout, *, alone: bool = False) -> None:
        """``alone`` is passed on to the first start of every host agent (see ``stayline host --alone``)."""
        self.layout = layout
        self.milestones: dict[str, float] = {}
        """Seconds from :meth:`start` to each milestone of readiness."""
        self.on_event: Callable[[str], None] = lambda sentence: None
        """Called with a sentence when a host agent was started or ended."""
        self._alone = alone
        self._hosts = {site.site: _Host(site, self._client(site)) for site in layout.sites.values()}
        self._lifeline: tuple[int, int] | None = None
        self._lock: locked | None = None
        self._reaper: asyncio.Task[None] | None = None
        self._zombies: set[int] = set()
        self._began = 0.0

    # -- life
    # -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start both host agents; they do the rest. Raises RefusedError ``lab.in_use``."""
        lock = locked(self.layout.state)
        lock.__enter__()
        self._lock = lock
        self._began = time.monotonic()
        become_subreaper()
        self._lifeline = os.pipe()
        self._reaper = asyncio.get_running_loop().create_task(self._reap_for_ever())
        await asyncio.gather(*(self._start_host(host) for host in self._hosts.values()))

    async def wait_ready(self, timeout: float = 60.0, told: Callable[[Missing], None] | None = None) -> None:
        """Wait until both sites are ready. ``told`` gets what is missing at each look.

        Raises RefusedError ``lab.not_ready`` saying what is missing after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            lacks = missing(await self.statuses())
            self._note(lacks)
            if told is not None:
                told(lacks)
            if not lacks.all:
                return
            if time.monotonic() > deadline:
                raise refuse(
                    "lab.not_ready",
                    f"Not ready after {timeout:.0f} s: " + "; ".join(lacks.all[:6]) + ".",
                    fix=f"The logs are in {self.layout.state}/*/log.",
                )
            await asyncio.sleep(_POLL)

    async def stop(self) -> None:
        """Stop everything in order; the data stays. Returns when no process of the centre is left."""
        for host in self._hosts.values():
            host.wanted = False
            if host.watch is not None:
                host.watch.cancel()
        await asyncio.gather(*(host.client.close() for host in self._hosts.values()))
        before = [pid for host in self._hosts.values() for pid in self._pids(host)]
        ticks = {pid: start_ticks(pid) for pid in before}
        # The active site first: its last commits still reach the replica, and none waits for one that has gone.
        active = active_site({site: host.status for site, host in self._hosts.items()})
        if active:
            await self._stop_host(self._hosts[active])
        await asyncio.gather(*(self._stop_host(host) for host in self._hosts.values()))
        for end in self._lifeline or ():
            os.close(end)
        self._lifeline = None
        await self._until_gone(ticks, kill_after=5.0)
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.gather(self._reaper, return_exceptions=True)
        if self._lock is not None:
            self._lock.__exit__()
            self._lock = None

    async def __aenter__(self) -> "Centre":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # -- what it is
    # -------------------------------------------------------------------------------------------

    async def status(self, site: str) -> HostStatus | None:
        """What a site's host agent says; None when it does not answer."""
        host = self._host(site)
        try:
            host.status = await host.client.status()
        except StaylineError:
            host.status = None
        return host.status

    async def statuses(self) -> dict[str, HostStatus | None]:
        """All sites."""
        found = await asyncio.gather(*(self.status(site) for site in self._hosts))
        return dict(zip(self._hosts, found, strict=True))

    async def active(self) -> str:
        """The active site; empty: none."""
        return active_site(await self.statuses())

    def addresses(self, application: str) -> dict[str, tuple[str, int]]:
        """Port id -> (address, port) of an application. Raises RefusedError ``application.unknown``."""
        found = self.layout.application(application)
        site = self.layout.sites[self.layout.site_of(application)]
        return {port_id: (site.plan.address, port) for port_id, port in found.ports.items()}

    def pid(self, application: str) -> int:
        """Pid of a server (or, by the name of its host, of a host agent); 0 when it does not run now."""
        for host in self._hosts.values():
            recorded = read_run_file(run_file_path(host.site.folder))
            if application == host.site.host:
                return recorded.agent.pid if recorded.agent is not None and recorded.agent.alive else 0
            running = recorded.processes.get(application)
            if running is not None:
                return running.pid if running.alive else 0
        self.layout.application(application)
        return 0

    def database_pid(self, site: str) -> int:
        """Pid of a site's PostgreSQL; 0 when it does not run."""
        return _postmaster(self._host(site).site.folder)

    def client(self, site: str) -> HostClient:
        """The link to a site's host agent, for orders of an operator (start, stop, …)."""
        return self._host(site).client

    # -- what is done to it
    # -----------------------------------------------------------------------------------

    def kill(self, application: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a server; its pid. Raises RefusedError ``process.not_running``."""
        pid = self.pid(application)
        if not pid:
            raise refuse("process.not_running", f"{application} does not run at the moment.", retryable=True)
        os.kill(pid, number)
        return pid

    def freeze(self, application: str) -> int:
        """SIGSTOP: the process is there and does nothing, as a machine that hangs. Its pid."""
        return self.kill(application, signal.SIGSTOP)

    def thaw(self, application: str) -> int:
        """SIGCONT. Its pid."""
        return self.kill(application, signal.SIGCONT)

    async def kill_site(self, site: str) -> int:
        """SIGKILL every process of a site at once, database and host agent included; how many there were."""
        host = self._host(site)
        host.wanted = False
        if host.watch is not None:
            host.watch.cancel()
        ticks = {pid: start_ticks(pid) for pid in self._pids(host)}
        for pid in ticks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if host.process is not None:
            await host.process.wait()
        await self._until_gone(ticks, kill_after=0.5)
        self.on_event(f"{site}: every process was killed")
        return len(ticks)

    async def restart_host(self, site: str) -> None:
        """Start a site's host agent again after :meth:`kill_site` or its stop."""
        host = self._host(site)
        if host.process is not None and host.process.returncode is None:
            return
        await self._start_host(host)

    # -- inside
    # -----------------------------------------------------------------------------------------------

    def _host(self, site: str) -> _Host:
        if site not in self._hosts:
            known = ", ".join(self._hosts)
            raise refuse("site.unknown", f"There is no site {site!r}.", fix=f"Sites: {known}.", field="site")
        return self._hosts[site]

    def _client(self, site: SiteLayout) -> HostClient:
        agent = site.agent
        endpoint = Endpoint(agent.host, agent.port, application=agent.application, local=5.0, remote=5.0)
        hello = Hello(application="operator", type=OPERATOR, instance=uuid.uuid4().hex)
        return HostClient(agent.application, lambda: endpoint, lambda: hello, self.layout.operator)

    async def _start_host(self, host: _Host) -> None:
        assert self._lifeline is not None, "start() comes first"
        arguments = ["-m", "stayline.cli.main", "host", host.site.host, "--state", str(host.site.folder)]
        if self._alone:
            arguments.append("--alone")
        output = host.site.folder / "log" / f"{host.site.host}.out"
        with output.open("ab") as out:
            host.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment(**{LIFELINE_VARIABLE: str(self._lifeline[0])}),
                pass_fds=(self._lifeline[0],),
                start_new_session=True,
            )
        host.wanted = True
        host.watch = asyncio.get_running_loop().create_task(self._watch(host, host.process))
        self.on_event(f"{host.site.site}: host agent started (pid {host.process.pid})")

    async def _watch(self, host: _Host, process: asyncio.subprocess.Process) -> None:
        """Start a host agent again that ended without being asked to."""
        began = time.monotonic()
        status = await process.wait()
        if not host.wanted:
            return
        host.crashes = 1 if time.monotonic() - began > 30.0 else host.crashes + 1
        delay = delay_after(host.crashes)
        log.warning(
            "host agent ended", site=host.site.site, status=status, why=f"started again in {delay:g} s"
        )
        self.on_event(f"{host.site.site}: host agent ended (status {status}), started again")
        await asyncio.sleep(delay)
        await self._start_host(host)

    async def _stop_host(self, host: _Host) -> None:
        process = host.process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            log.error(
                "host agent does not stop", site=host.site.site, why=f"killed after {STOP_SECONDS:.0f} s"
            )
            process.kill()
            await process.wait()

    def _pids(self, host: _Host) -> list[int]:
        """Every process of a site: the agent, what descends from it, and what an earlier agent left."""
        recorded = read_run_file(run_file_path(host.site.folder))
        roots = [
            one.pid
            for one in (recorded.agent, recorded.forker, *recorded.processes.values())
            if one and one.alive
        ]
        if host.process is not None and host.process.returncode is None:
            roots.insert(0, host.process.pid)
        database = _postmaster(host.site.folder)
        if database:
            roots.append(database)
        found = dict.fromkeys(roots)
        for root in roots:
            found |= dict.fromkeys(descendants(root))
        return list(found)

    async def _until_gone(self, ticks: dict[int, int], kill_after: float) -> None:
        """Wait until none of these processes lives; kill what lives longer than ``kill_after`` seconds."""
        began = time.monotonic()
        while left := [pid for pid, start in ticks.items() if is_same(pid, start)]:
            if time.monotonic() - began > kill_after:
                log.warning("killed leftovers", pids=left, why=f"still there after {kill_after:g} s")
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.02)
        for pid in zombies(os.getpid()) & set(ticks):
            reap(pid)

    async def _reap_for_ever(self) -> None:
        """Wait for processes that lost their host agent and ended; see ``HostAgent``."""
        while True:
            await asyncio.sleep(_REAP_EVERY)
            seen = zombies(os.getpid())
            for pid in seen & self._zombies:
                reap(pid)
            self._zombies = seen

    def _note(self, lacks: Missing) -> None:
        for name in msgspec.structs.fields(Missing):
            reached = not getattr(lacks, name.name)
            if not reached:
                break
            self.milestones.setdefault(name.name, time.monotonic() - self._began)
        if not lacks.all:
            self.milestones.setdefault("ready", time.monotonic() - self._began)


def _postmaster(folder: Path) -> int:
    try:
        location = msgspec.json.decode((folder / "database" / "location.json").read_bytes())
    except FileNotFoundError:
        return 0
    return running_postmaster(Path(location["root"]) / "data") or 0


def living(layout: Layout) -> list[int]:
    """Pids of every process of a lab that lives, found by its files: of use when the lab itself is gone."""
    found: list[int] = []
    for site in layout.sites.values():
        recorded = read_run_file(run_file_path(site.folder))
        rows = [recorded.agent, recorded.forker, *recorded.processes.values()]
        found += [row.pid for row in rows if row is not None and row.alive]
        database = _postmaster(site.folder)
        found += [database] if database else []
    return found
