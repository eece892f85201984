"""The Solution Control Server: watches both hosts, answers ``site.status``, runs ``site.switch``.

It may be killed at any moment. A plan that it was running lies in its journal; the host agent starts it again, and
the operator's next identical command goes on from there. It never continues a plan by itself: a person decides.
"""

import asyncio
import time
from pathlib import Path

import structlog

from stayline.control.switch.centre import LiveCentre
from stayline.control.switch.engine import SwitchEngine
from stayline.control.switch.hosts import HostClient
from stayline.control.switch.journal import Event, Journal, Record
from stayline.control.switch.run import status_or_none
from stayline.control.switch.steps import KEY, SECTION
from stayline.domain.errors import StaylineError, refuse
from stayline.domain.objects import ApplicationType, ObjectType
from stayline.domain.switchover import Mode, Step
from stayline.domain.switchover import Request as SwitchRequest
from stayline.link.messages.control import (
    CentreStatus,
    Drain,
    Drained,
    Report,
    StepProgress,
    Switch,
    SwitchSummary,
)
from stayline.link.peer import BaseHandler, Peer, Request, unknown_method
from stayline.link.transport import Accepts, Endpoint, Listener
from stayline.servers.process import ServerProcess
from stayline.servers.solution.direct_change import DirectChange
from stayline.servers.solution.drain import planned_drain
from stayline.servers.solution.site_option import site_option_errors
from stayline.servers.solution.status import Seen, centre_status

log = structlog.get_logger(__name__)

OPERATOR = "Operator"
"""Type in the certificate of an operator's command line."""

WATCH_SECONDS = 1.0
"""Between two looks at a host."""


class SolutionControlServer(BaseHandler):
    """One per site; the one of the target site runs a switch."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process
        boot = process.bootstrap
        directly = DirectChange(boot.database_dsn, boot.site, process.name, process.instance)
        self._centre = LiveCentre(process.configuration, directly)
        self._journal = Journal(Path(process.bootstrap.state) / "journal" / "switch.jsonl")
        self._hosts = {site: self._host(site) for site in self._centre.sites()}
        self._seen = {site: Seen() for site in self._hosts}
        self._engine = SwitchEngine(self._journal, self._hosts, self._centre)
        self._switch: asyncio.Task[SwitchSummary] | None = None
        self._mode = Mode.PLANNED
        self._watchers: set[Peer] = set()
        host, port = process.configuration.snapshot.endpoint_of(process.name)
        self._listener = Listener(
            process.hello,
            lambda _: self,
            process.tls,
            host=host,
            port=port,
            accepts=Accepts(servers=frozenset({OPERATOR, ApplicationType.SOLUTION_CONTROL_SERVER.value})),
        )
        process.set_report(self._report)

    def _host(self, site: str) -> HostClient:
        name = self._centre.host_of(site)

        def endpoint() -> Endpoint:
            found = self._process.configuration.snapshot.require(ObjectType.HOST, name)
            return Endpoint(
                found.address, found.ports.get("agent", 0), application=name, local=2.0, remote=2.0
            )

        return HostClient(name, endpoint, self._process.hello, self._process.tls)

    async def run(self) -> None:
        """Serve until stopped."""
        await self._listener.open()
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(self._watch(site)) for site in self._hosts]
            await self._process.stopping.wait()
            for task in watching:
                task.cancel()
        await self._listener.close(drop=True)
        for host in self._hosts.values():
            await host.close()

    # -- looking ---------------------------------------------------------------------------------------------

    async def _watch(self, site: str) -> None:
        """Keep the newest status of a host; what was last seen stays when it stops answering."""
        while True:
            await self._look(site)
            await asyncio.sleep(WATCH_SECONDS)

    async def _look(self, site: str) -> None:
        status, why = await status_or_none(self._hosts[site])
        before = self._seen[site]
        if bool(why) != bool(before.why):
            log.info("host.watch", site=site, why=why or "it answers")
        self._seen[site] = Seen(status, time.time(), "") if status else Seen(before.status, before.at, why)

    def status(self) -> CentreStatus:
        """The centre as it was seen in the last second."""
        found = centre_status(self._seen, self._option(), self._unfinished(), self._unread(), time.time())
        found.errors = site_option_errors(self._process.configuration.snapshot)
        return found

    def _option(self) -> str:
        workspaces = self._process.configuration.snapshot.applications(ApplicationType.WORKSPACE)
        return next((found.option(SECTION, KEY) for found in workspaces if found.option(SECTION, KEY)), "")

    def _unfinished(self) -> str:
        begun = self._journal.unfinished()
        if begun is None:
            return ""
        done = len(self._journal.done(begun.plan))
        running = "is running" if self._switch is not None and not self._switch.done() else "was interrupted"
        return f"A switch to {begun.target} {running} ({done} steps done); the same command continues it."

    def _unread(self) -> str:
        """Say so while nobody has read what a lost site had acknowledged alone."""
        ended = [record.plan for record in self._journal.records if record.event is Event.ENDED]
        if not ended:
            return ""
        records = self._journal.plan(ended[-1])
        forced = any(record.mode is Mode.FORCED for record in records)
        read = any(record.step is Step.RETURN and record.event is Event.DONE for record in records)
        if not forced or read:
            return ""
        old = records[0].source
        found = self._seen[old].status
        if found is not None and found.database is not None and found.database.streaming:
            return ""
        return f"What {old} had acknowledged alone before the forced switch is not known until its database is read."

    # -- requests --------------------------------------------------------------------------------------------

    async def on_request(self, peer: Peer, request: Request) -> object:
        """``site.status``, ``site.switch``, ``site.history``, ``server.drain``."""
        if request.method == "site.status":
            await asyncio.gather(*(self._look(site) for site in self._hosts))
            return self.status()
        if request.method == "site.history":
            return self._journal.records[-500:]
        if request.method == "site.switch":
            return await self._do_switch(peer, request.read(Switch))
        if request.method == "server.drain":
            return await self._drain(peer, request.read(Drain))
        raise unknown_method(request.method)

    async def _drain(self, peer: Peer, asked: Drain) -> Drained:
        """Empty a proxy, or take that back. The journal keeps who ordered it."""
        await asyncio.gather(*(self._look(site) for site in self._hosts))
        site, order = planned_drain(asked, self._seen)
        done = await self._hosts[site].drain(order)
        what = "takes clients again" if asked.undo else f"is emptied within {done.window:g} s"
        evidence = f"{asked.application} {what} ({done.clients} clients)"
        by = f"{asked.by} ({peer.hello.application} from {peer.remote_address})"
        self._journal.append(
            Record(plan="", event=Event.COMMAND, at=time.time(), by=by, reason=asked.why, evidence=evidence)
        )
        log.info(
            "server.drain", server=asked.application, undo=asked.undo, by=by, why=asked.why or "not said"
        )
        return done

    async def _do_switch(self, peer: Peer, asked: Switch) -> SwitchSummary:
        own = self._process.bootstrap.site
        if asked.target != own and asked.target in self._hosts:
            raise refuse(
                "switch.wrong_server",
                f"A switch to {asked.target} is run by its own Solution Control Server, this is the one of {own}.",
                field="target",
                fix=f"send it to the Solution Control Server of {asked.target}",
            )
        who = f"{asked.by} ({peer.hello.application} from {peer.remote_address})"
        wanted = SwitchRequest(target=asked.target, mode=asked.mode, reason=asked.reason, by=who)
        if self._switch is not None and not self._switch.done() and self._mode is not wanted.mode:
            raise refuse(
                "switch.running",
                f"A {self._mode.value} switch is running here: it cannot become {wanted.mode.value} under way.",
                retryable=True,
                retry_after=5.0,
                fix="wait until its step ends or fails, then give the command again",
            )
        self._watchers.add(peer)
        try:
            if self._switch is None or self._switch.done():
                self._mode = wanted.mode
                self._switch = asyncio.create_task(self._engine.switch(wanted, self._progress), name="switch")
                self._switch.add_done_callback(_note)
            # Shielded: the plan goes on when the operator's terminal is closed.
            return await asyncio.shield(self._switch)
        finally:
            self._watchers.discard(peer)

    def _progress(self, progress: StepProgress) -> None:
        log.info(
            "switch.step",
            plan=progress.plan,
            step=progress.step,
            state=progress.state.value,
            seconds=progress.seconds,
            why=progress.evidence,
        )
        for watcher in self._watchers:
            watcher.event("site.progress", progress)

    def _report(self) -> Report:
        hello = self._process.hello()
        return Report(
            application=self._process.name,
            type=hello.type,
            pid=0,
            instance=hello.instance,
            role="active",
            epoch=hello.epoch,
            term=0,
            listening=self._listener.is_open,
            clients=len(self._listener.peers),
            why=self._unfinished() or "watching both hosts",
        )


def _note(switch: "asyncio.Task[SwitchSummary]") -> None:
    """The operator's terminal may be closed by now: how it ended is in the log as well."""
    if not switch.cancelled() and (error := switch.exception()) is not None:
        log.error(
            "switch.failed", why=str(error), exc_info=None if isinstance(error, StaylineError) else error
        )
