"""The shell of a primary/backup core server: everything that Interaction Server and Contact Server have in common.

A core server listens from its start, as backup: a backup answers ``core.not_primary``. It campaigns for the lock of
its pair; when it gets it, its :class:`CoreService` loads the committed state and only then the role is announced.
Meanwhile it watches its partner by ADDP: a partner that is silent (frozen, or cut off) and still holds the lock is
fenced, that is, its database sessions are ended, and the campaign then succeeds by itself.

A primary leaves its role in one way only: it stops answering, says why, and its process ends. The host agent starts
it again as backup. So there is no path by which a server that lost its term goes on with what it had in memory.
"""

import asyncio
import enum
from collections.abc import Callable
from typing import Any, Protocol

import asyncpg
import msgspec
import structlog

from stayline.domain.errors import LinkLostError, RefusedError, StaylineError, refuse
from stayline.domain.objects import Connection
from stayline.link.messages.control import Report
from stayline.link.messages.envelope import Hello, Role, RoleChanged
from stayline.link.messages.interaction import Leaving
from stayline.link.peer import BaseHandler, Peer, Request
from stayline.link.transport import Accepts, Endpoint, Listener, connect
from stayline.servers.process import ServerProcess
from stayline.store.database import LOST
from stayline.store.election import Election, Term

PARTNER_TIMEOUT = 2.0
"""Seconds of ADDP on the link between the two of a pair, when the connection object says nothing."""

WATCH_PAUSE = 0.25
"""Seconds between two attempts to reach a partner that is not there."""

NO_PARTNER_PAUSE = 1.0
"""Seconds between two looks into a configuration that names no partner (yet)."""


class CoreService(Protocol):
    """What makes a core server the one or the other. Called on the event loop, never concurrently with itself."""

    async def begin(self, term: Term) -> None:
        """Become primary: load what is committed, open the writer. No request is let in before this returns."""

    async def end(self, why: str) -> None:
        """No longer primary: stop timers and the writer; what waits is dropped unanswered."""

    def on_open(self, peer: Peer) -> None:
        """A link exists (a new one, or, right after :meth:`begin`, each that was there before)."""

    async def on_request(self, peer: Peer, request: Request) -> object:
        """A request to the primary."""

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        """An event to the primary."""

    def on_closed(self, peer: Peer, why: str) -> None:
        """A link is gone (told only while primary)."""

    def describe(self, report: Report) -> Report:
        """Add counts to the report to the host agent."""


class Ending(enum.Enum):
    """Why :meth:`CoreServer.run` returned."""

    STOPPED = "stopped on command"
    STEPPED_DOWN = "no longer primary"


class CoreServer:
    """One of a primary/backup pair. ``pair`` is the key in ``store/mastership.py`` ("interaction", "contact")."""

    def __init__(
        self,
        process: ServerProcess,
        pair: str,
        service: Callable[["CoreServer"], CoreService],
    ) -> None:
        self.process = process
        self.pair = pair
        self.role = Role.BACKUP
        self.epoch = 0
        self.term = 0
        self.why = "starting"
        self._begun = False
        self.log = structlog.get_logger().bind(application=process.name, pair=pair)
        self._down: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._election = Election(
            process.bootstrap.database_dsn, pair, process.bootstrap.site, process.instance
        )
        self._service = service(self)
        self._listener = self._make_listener()
        process.set_report(self.report)

    # -- what services use -----------------------------------------------------------------------------------

    @property
    def is_primary(self) -> bool:
        """Whether requests are let in."""
        return self.role is Role.PRIMARY and not self._down.done()

    @property
    def peers(self) -> set[Peer]:
        """Live links."""
        return self._listener.peers

    def step_down(self, why: str) -> None:
        """Lose the role at once (lock lost, writer fenced, higher epoch met). Only the first call counts."""
        if not self._down.done():
            self._down.set_result(why)

    def guard(self, task: "asyncio.Task[None]") -> "asyncio.Task[None]":
        """A primary without one of its own tasks would look well and leave work undone: it steps down instead, and
        the other one of the pair, or its next life, does the work."""
        task.add_done_callback(self._guarded)
        return task

    def _guarded(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.error("core.task_failed", what=task.get_name(), exc_info=error)
            self.step_down(f"its task {task.get_name()} failed: {type(error).__name__}")

    def broadcast(self, name: str, params: object) -> None:
        """Send an event to every live link."""
        for peer in list(self._listener.peers):
            peer.event(name, params)

    def hello(self) -> Hello:
        """What this server says of itself on each link."""
        return msgspec.structs.replace(self.process.hello(), role=self.role, epoch=self.epoch, term=self.term)

    def report(self) -> Report:
        """The report to the host agent."""
        base = Report(
            application=self.process.name,
            type=self.process.hello().type,
            pid=0,
            instance=self.process.instance,
            role=self.role.value,
            epoch=self.epoch,
            term=self.term,
            listening=self._listener.is_open,
            clients=len(self._listener.peers),
            connected_to=sorted(peer.hello.application for peer in self._listener.peers),
            why=self.why,
        )
        return self._service.describe(base) if self.role is Role.PRIMARY else base

    # -- the life of the server ------------------------------------------------------------------------------

    async def run(self) -> Ending:
        """Serve until stopped on command or out of the role."""
        await self._listener.open()
        self._say("waiting as backup for the lock of the pair")
        watch = asyncio.create_task(self._watch_partner(), name="partner-watch")
        stopping = asyncio.create_task(self.process.stopping.wait(), name="stopping")
        try:
            return await self._serve(watch, stopping)
        finally:
            for task in (watch, stopping):
                task.cancel()
            await asyncio.gather(watch, stopping, return_exceptions=True)

    async def _serve(self, watch: "asyncio.Task[None]", stopping: "asyncio.Task[bool]") -> Ending:
        campaign = asyncio.create_task(self._election.campaign(), name="campaign")
        await _first(campaign, stopping, self._down)
        if not campaign.done() or self._down.done():
            campaign.cancel()
            await asyncio.gather(campaign, return_exceptions=True)
            return await self._leave(stopping.done())
        watch.cancel()
        lost = asyncio.ensure_future(self._lock_lost())
        try:
            await self._become_primary(campaign.result(), stopping)
            await _first(stopping, self._down, lost)
        finally:
            lost.cancel()
            await asyncio.gather(lost, return_exceptions=True)
        return await self._leave(stopping.done() and not self._down.done())

    async def _lock_lost(self) -> None:
        await asyncio.shield(self._election.lost)
        self.step_down("the database session that holds the lock of the pair is gone")

    async def _become_primary(self, term: Term, stopping: "asyncio.Task[bool]") -> None:
        """Load first, announce then. Returns as backup when it is to stop or step down meanwhile: a takeover may wait
        long for its commit, as long as the replica is away in strict mode."""
        self.epoch, self.term = term.epoch, term.term
        self._begun = True
        begin = asyncio.create_task(self._service.begin(term), name="takeover")
        try:
            await _first(begin, stopping, self._down)
        finally:
            if not begin.done():
                begin.cancel()
                await asyncio.gather(begin, return_exceptions=True)
        if begin.cancelled():
            return
        try:
            begin.result()
        except (StaylineError, asyncpg.PostgresError, *LOST) as error:
            if not stopping.done():
                self.step_down(f"elected, but the database went away: {error}")
            return
        if stopping.done() or self._down.done():
            return
        self.role = Role.PRIMARY
        self._say(f"elected primary for term {term.term} of epoch {term.epoch}")
        for peer in list(self._listener.peers):
            self._service.on_open(peer)
        self.broadcast("server.role", RoleChanged(self.role, self.epoch, self.term, self.why))

    async def _leave(self, commanded: bool) -> Ending:
        """The only way out: tell everybody, drop what is pending, let the lock go, end."""
        was_primary = self.role is Role.PRIMARY
        why = "stopped on command" if commanded else self._down_reason()
        if was_primary and commanded:
            self.broadcast("server.leaving", Leaving(why=why))
        self.role = Role.BACKUP
        self._say(why)
        if self._begun:
            await self._service.end(why)
        code = "server.stopping" if commanded else "core.stepped_down"
        refusal = refuse(code, f"{self.process.name} {why}.", retryable=True).refusal
        await self._listener.close(refusal, drop=True)
        await self._election.close()
        return Ending.STOPPED if commanded else Ending.STEPPED_DOWN

    def _down_reason(self) -> str:
        return self._down.result() if self._down.done() else "stopped"

    def _say(self, why: str) -> None:
        self.why = why
        self.log.info("core.role", role=self.role.value, epoch=self.epoch, term=self.term, why=why)
        self.process.report_now()

    # -- links -----------------------------------------------------------------------------------------------

    def _make_listener(self) -> Listener:
        host, port = self.process.configuration.snapshot.endpoint_of(self.process.name, "default")
        return Listener(
            self.hello,
            lambda _peer: _CoreHandler(self, self._service),
            self.process.tls,
            host=host,
            port=port,
            accepts=Accepts(),
            on_higher_epoch=self._met_higher_epoch,
        )

    def _met_higher_epoch(self, epoch: int, opener: Peer) -> None:
        if self.role is Role.PRIMARY:
            self.step_down(
                f"{opener.hello.application} has seen epoch {epoch}, this server acts under {self.epoch}"
            )

    # -- the partner -----------------------------------------------------------------------------------------

    async def _watch_partner(self) -> None:
        """While backup: hold a link with ADDP to the partner and fence it when it is silent."""
        while True:
            try:
                endpoint = self._partner_endpoint()
            except StaylineError as error:
                # A broken entry may be put right; without this watch a frozen primary would stay one.
                self.log.warning("core.partner_unknown", why=str(error))
                endpoint = None
            if endpoint is None:
                await asyncio.sleep(NO_PARTNER_PAUSE)
                continue
            silence = await self._silence_of(endpoint)
            if silence and self.role is Role.BACKUP:
                await self._fence(endpoint.application, silence)
            await asyncio.sleep(WATCH_PAUSE)

    async def _silence_of(self, endpoint: Endpoint) -> str:
        """Wait until the link to the partner ends; "" unless it ended by silence."""
        handler = _PartnerHandler(self)
        try:
            peer = await connect(
                endpoint,
                self.hello(),
                handler,
                self.process.tls,
                connect_timeout=endpoint.local,
                hello_timeout=2 * endpoint.local,
            )
        except RefusedError as error:
            self.log.debug("core.partner", partner=endpoint.application, why=error.refusal.reason)
            return ""
        except LinkLostError as error:
            # A frozen process still has its connections accepted by the kernel: it is silent, not absent.
            return error.refusal.reason if error.refusal.code in _SILENT else ""
        try:
            await handler.ended.wait()
        finally:
            peer.abort("partner watch ends")
        return handler.why if handler.silent else ""

    async def _fence(self, partner: str, why: str) -> None:
        reason = f"{partner} is silent: {why}"
        self.log.warning("core.fence", partner=partner, why=reason)
        try:
            ended = await self._election.fence_holder(reason)
        except (StaylineError, OSError) as error:
            self.log.warning("core.fence_failed", partner=partner, why=str(error))
        else:
            self.log.warning("core.fenced", partner=partner, sessions=ended, why=reason)

    def _partner_endpoint(self) -> Endpoint | None:
        configuration = self.process.configuration.snapshot
        names = [node.name for node in configuration.pair_of(self.process.name)]
        partner = next((name for name in names if name != self.process.name), "")
        if not partner:
            return None
        own = configuration.application(self.process.name)
        unsaid = Connection(server=partner)
        connection = next((c for c in own.connections if c.server == partner), unsaid)
        host, port = configuration.endpoint_of(partner, "default")
        return Endpoint(
            host=host,
            port=port,
            application=partner,
            local=connection.local_timeout or PARTNER_TIMEOUT,
            remote=connection.remote_timeout or PARTNER_TIMEOUT,
            trace=connection.trace_mode,
        )


_SILENT = frozenset({"link.timeout"})


class _CoreHandler(BaseHandler):
    """Lets requests through to the service while this server is primary."""

    def __init__(self, core: CoreServer, service: CoreService) -> None:
        self._core = core
        self._service = service

    async def on_open(self, peer: Peer) -> None:
        if self._core.is_primary:
            self._service.on_open(peer)

    async def on_request(self, peer: Peer, request: Request) -> object:
        if not self._core.is_primary:
            raise not_primary(self._core)
        return await self._service.on_request(peer, request)

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        if self._core.is_primary:
            self._service.on_event(peer, name, payload, channel, seq)

    def on_closed(self, peer: Peer, why: str) -> None:
        if self._core.is_primary:
            self._service.on_closed(peer, why)


class _PartnerHandler(BaseHandler):
    """Notes how the link to the partner ended."""

    def __init__(self, core: CoreServer) -> None:
        self._core = core
        self.ended = asyncio.Event()
        self.why = ""
        self.silent = False

    def on_closed(self, peer: Peer, why: str) -> None:
        self.why = why
        self.silent = peer.silent
        self.ended.set()


def not_primary(core: CoreServer) -> RefusedError:
    """The refusal of a server that is not primary: try the other one of the pair, or this one again soon."""
    return refuse(
        "core.not_primary",
        f"{core.process.name} is not primary: {core.why}.",
        retryable=True,
        retry_after=0.2,
        epoch=core.epoch,
        term=core.term,
    )


async def _first(*waits: "asyncio.Future[Any]") -> None:
    """Return when one of them is done; none is cancelled."""
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
