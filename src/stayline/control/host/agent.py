"""The host agent: one per site's host. Owns the database and the servers of its host, and obeys commands.

Order at the start: listen (so that the two host agents can ask each other), adopt what an earlier agent
left, settle the database's role, start what belongs to that role. Order at the end: proxies and Chat
Servers, core, Solution Control Server, Configuration Server, database.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import structlog

from stayline.control.host.faults import FAULTS, sentence
from stayline.control.host.forker import Forker, Launch
from stayline.control.host.operators_database import OperatorsDatabase
from stayline.control.host.own_node import make_node
from stayline.control.host.placement import Duty
from stayline.control.host.plan import CORE, HOST_AGENT, HostPlan
from stayline.control.host.procinfo import reap, start_ticks, zombies
from stayline.control.host.run_file import Running, read_run_file, run_file_path
from stayline.control.host.service import HostService
from stayline.control.host.site_database import SiteDatabase
from stayline.control.host.supervisor import Program, Supervisor
from stayline.control.switch.hosts import HostClient
from stayline.domain.errors import StaylineError
from stayline.domain.objects import ApplicationType
from stayline.link.authority import tls_files
from stayline.link.bootstrap import load_bootstrap, save_bootstrap
from stayline.link.messages.control import (
    DatabaseRole,
    DatabaseStatus,
    Demote,
    DemotionToken,
    Fence,
    Follow,
    FollowReport,
    HostStatus,
    Promote,
    Report,
    StartStop,
)
from stayline.link.messages.envelope import Hello, Role
from stayline.link.transport import Accepts, Endpoint, Listener

SERVER_TARGET = "stayline.servers.registry:run"
"""What a server process runs: ``run(name, state folder)``."""

STOP_TIMEOUT = 5.0
"""Seconds that a server has to end in order when the whole host stops."""

_ASK_PEER = 2.0
_ASK_EVERY = 0.1
_REAP_EVERY = 2.0
_AGAIN_AFTER = 1.0

log = structlog.get_logger("stayline.host")


class HostAgent:
    """One host agent in its event loop; see the module."""

    def __init__(
        self, plan: HostPlan, folder: Path, forker: Forker, *, alone: bool, lifeline: int = -1
    ) -> None:
        """``forker`` was made before the loop. ``lifeline``: descriptor whose end of file means: stop
        everything."""
        self._plan = plan
        self._folder = folder
        self._forker = forker
        self._lifeline = lifeline
        self._instance = f"{plan.host}-{os.getpid()}-{secrets.token_hex(3)}"
        self._tls = tls_files(folder / "certificates", plan.host)
        self._service = HostService(self)
        self._peer = self._peer_client()
        self._types = {one.application: one.app_type for one in plan.in_order()}
        self.supervisor = Supervisor(
            [self._program(name, kind) for name, kind in self._types.items()],
            forker.spawn,
            run_file_path(folder),
        )
        self.database: SiteDatabase | OperatorsDatabase = (
            OperatorsDatabase(plan)
            if plan.database_dsn
            else SiteDatabase(plan, folder, make_node(plan, folder), self._ask_peer, alone=alone)
        )
        self.database.superseded.append(self._superseded)
        self.database.rejoined.append(self._rejoined)
        self._tasks: set[asyncio.Task[None]] = set()
        self._zombies: set[int] = set()
        self.stopping = asyncio.Event()
        self.leave_running = False
        """Set before :attr:`stopping`: servers and database stay for the next host agent to adopt."""

    async def run(self) -> None:
        """Serve until :attr:`stopping`, then stop everything in order."""
        listener = Listener(
            self.hello,
            lambda _: self._service,
            self._tls,
            host=self._plan.address,
            port=self._plan.port,
            accepts=Accepts(),
        )
        self._watch_lifeline()
        self._write_dsn()
        await listener.open()
        self._adopt()
        log.info("host agent listens", port=listener.port, why="started")
        self._keep(self._bring_up)
        self._keep(self._reap_for_ever)
        try:
            await self.stopping.wait()
        finally:
            await self._shut_down()
            await listener.close(drop=True)
            if self._peer is not None:
                await self._peer.close()

    def hello(self) -> Hello:
        """What the host agent says of itself."""
        return Hello(
            application=self._plan.host,
            type=HOST_AGENT,
            instance=self._instance,
            site=self._plan.site,
            epoch=self.database.epoch,
            role=Role.CLIENT,
        )

    # -- what others ask for ------------------------------------------------------------------------------------

    async def status(self) -> HostStatus:
        """Processes and database as they are now."""
        return HostStatus(
            host=self._plan.host,
            site=self._plan.site,
            processes=self.supervisor.processes(),
            database=await self.database.status(),
            at=time.time(),
        )

    async def start(self, order: StartStop) -> HostStatus:
        """Start applications (all of this host when none is named)."""
        self.supervisor.start(order.applications or self.supervisor.applications)
        return await self.status()

    async def stop(self, order: StartStop) -> HostStatus:
        """Stop applications and wait until they are gone; they are not restarted."""
        await self._stop_in_order(order.applications, order.timeout)
        return await self.status()

    async def fence(self, order: Fence) -> HostStatus:
        """Stop every core, proxy and Chat Server, then the database if it is primary."""
        await self.supervisor.stop(self._named(_SERVING), order.timeout)
        await self.database.fence(order.why, order.timeout)
        return await self.status()

    async def demote(self, order: Demote) -> DemotionToken:
        """Stop the primary database for good, with proof of where it ended."""
        return await self.database.demote(order.why)

    async def reinstate(self, order: Demote) -> DatabaseStatus:
        """Take a demotion back."""
        return await self.database.reinstate(order.why)

    async def promote(self, order: Promote) -> DatabaseStatus:
        """Make the database here the primary."""
        return await self.database.promote(order)

    async def follow(self, order: Follow) -> FollowReport:
        """Make the database here a replica of the other one, and start what runs on a passive site."""
        report = await self.database.follow(order.primary_host, order.timeout)
        self._start_for_role()
        return report

    def report(self, report: Report) -> None:
        """A server's report."""
        self.supervisor.report(report)

    # -- start and end ------------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        recorded = read_run_file(run_file_path(self._folder))
        adopted = self.supervisor.adopt(recorded)
        if not adopted:
            # A new start of the whole host: what somebody stopped in its last life starts again.
            self.supervisor.forget_stopped()
        me = os.getpid()
        self.supervisor.record_host(_running(me), _running(self._forker.pid))

    async def _bring_up(self) -> None:
        """Settle the database's role, start what belongs to it, and keep an eye on the peer."""
        early = None
        if self._plan.peer is not None and not (self._plan.first and self.database.duty is None):
            early = asyncio.create_task(self._start_when_served())
        try:
            while not self.database.settled.is_set():
                try:
                    await self.database.settle()
                except FAULTS as error:
                    log.error("database not settled", why=sentence(error))
                    await asyncio.sleep(1.0)
        finally:
            if early is not None:
                early.cancel()
        self._start_for_role()
        await self.database.watch()

    async def _start_when_served(self) -> None:
        """Start the passive part as soon as the other site has a database: it need not wait for the copy
        here."""
        served = False
        while not served:
            await asyncio.sleep(_ASK_EVERY)
            peer = await self._ask_peer()
            served = peer is not None and peer.role is DatabaseRole.PRIMARY
        if self.database.duty is not Duty.PRIMARY:
            self._start_for_role()

    def _start_for_role(self) -> None:
        """Everything on the active site; all but the core on a passive one. What was stopped on command
        stays so."""
        stopped = set(self.supervisor.stopped_on_command())
        everywhere = frozenset(ApplicationType) - CORE
        names = self._named(frozenset(ApplicationType) if self.database.is_primary else everywhere)
        self.supervisor.start(name for name in names if name not in stopped)

    async def _shut_down(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.leave_running:
            await self.supervisor.close()
            await self.database.leave()
            return
        await self._stop_in_order([], STOP_TIMEOUT)
        await self.supervisor.close()
        await self.database.close()

    async def _stop_in_order(self, applications: list[str], timeout: float) -> None:
        """Those who face agents and customers first, then the core, then what both need."""
        chosen = applications or self.supervisor.applications
        for kinds in _STOP_ORDER:
            await self.supervisor.stop([name for name in chosen if self._types.get(name) in kinds], timeout)
        await self.supervisor.stop([name for name in chosen if name not in self._types], timeout)

    def _superseded(self, why: str) -> None:
        """The other site is master: the core here must not go on."""
        log.warning("superseded", why=why)
        self._spawn(self.supervisor.stop(self._named(_SERVING), 1.0))

    def _rejoined(self, why: str) -> None:
        """The database follows the other site again: what waits on a passive site was stopped by nobody
        else."""
        log.warning("rejoined", why=why)
        self.supervisor.start(self._named(_FRONT))

    def _named(self, kinds: frozenset[ApplicationType]) -> list[str]:
        return [name for name, kind in self._types.items() if kind in kinds]

    def _program(self, name: str, kind: ApplicationType) -> Program:
        launch = Launch(
            target=SERVER_TARGET,
            arguments=[name, str(self._folder)],
            output=str(self._folder / "log" / f"{name}.out"),
            title=name,
        )
        return Program(application=name, app_type=kind.value, launch=launch)

    def _write_dsn(self) -> None:
        """Servers read where the database is from the bootstrap file; only the node knows."""
        bootstrap = load_bootstrap(self._folder)
        if bootstrap.database_dsn != self.database.dsn:
            save_bootstrap(self._folder, msgspec.structs.replace(bootstrap, database_dsn=self.database.dsn))

    # -- peer, lifeline, orphans --------------------------------------------------------------------------------

    def _peer_client(self) -> HostClient | None:
        peer = self._plan.peer
        if peer is None:
            return None
        endpoint = Endpoint(peer.address, peer.port, application=peer.host, local=2.0, remote=2.0)
        return HostClient(peer.host, lambda: endpoint, self.hello, self._tls)

    async def _ask_peer(self) -> DatabaseStatus | None:
        if self._peer is None:
            return None
        try:
            async with asyncio.timeout(_ASK_PEER):
                return (await self._peer.status()).database
        except (StaylineError, TimeoutError):
            return None

    def _watch_lifeline(self) -> None:
        if self._lifeline < 0:
            return
        os.set_blocking(self._lifeline, False)
        asyncio.get_running_loop().add_reader(self._lifeline, self._lifeline_ended)

    def _lifeline_ended(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if os.read(self._lifeline, 64):
                return
            asyncio.get_running_loop().remove_reader(self._lifeline)
            log.warning("stopping", why="the lifeline ended: whoever started this host agent is gone")
            self.stopping.set()

    async def _reap_for_ever(self) -> None:
        """Wait for orphans that became our children (of a killed postmaster, say) and that nobody else waits
        for.

        A zombie seen in two looks is an orphan: whoever started a process itself waits for it at once.
        """
        while True:
            await asyncio.sleep(_REAP_EVERY)
            seen = zombies(os.getpid())
            for pid in seen & self._zombies:
                reap(pid)
            self._zombies = seen

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("host agent failed", what=task.get_name(), why=repr(error), exc_info=error)

    def _keep(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run ``work`` for as long as the agent lives, again after any fault: one that does not watch any more is
        worse than none."""

        def again(task: "asyncio.Task[None]") -> None:
            if not task.cancelled() and task.exception() is not None and not self.stopping.is_set():
                asyncio.get_running_loop().call_later(_AGAIN_AFTER, self._keep, work)

        self._spawn(work()).add_done_callback(again)


_FRONT = frozenset(
    {
        ApplicationType.INTERACTION_SERVER_PROXY,
        ApplicationType.CONTACT_SERVER_PROXY,
        ApplicationType.CHAT_SERVER,
    }
)
_SERVING = CORE | _FRONT
_STOP_ORDER = (
    _FRONT,
    CORE,
    frozenset({ApplicationType.SOLUTION_CONTROL_SERVER}),
    frozenset({ApplicationType.CONFIGURATION_SERVER}),
)


def _running(pid: int) -> Running:
    return Running(pid=pid, ticks=start_ticks(pid), since=time.time())
