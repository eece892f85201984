"""The proxy process: clients on one side, the core on the other, and the rule when to listen."""

import asyncio

import msgspec
import structlog

from stayline.domain.errors import Refusal
from stayline.domain.objects import ObjectType
from stayline.link.handshake import Accepts
from stayline.link.machine.admission import AdmissionSettings
from stayline.link.messages.control import Drain, Drained, Report
from stayline.link.messages.envelope import Hello, Role
from stayline.link.messages.interaction import Leaving
from stayline.link.pair import PairLink
from stayline.link.peer import Limits, Request
from stayline.link.transport import Endpoint, Listener
from stayline.servers.core_endpoints import core_endpoints
from stayline.servers.process import ServerProcess
from stayline.servers.proxy.channel import Channel, Channels, PendingLimits
from stayline.servers.proxy.clients import ClientHandler
from stayline.servers.proxy.core_link import CoreLink
from stayline.servers.proxy.door import ProxyDoor
from stayline.servers.proxy.drain import Drainage
from stayline.servers.proxy.port import FollowingPort
from stayline.servers.proxy.profile import Profile
from stayline.servers.proxy.statements import Statements

log = structlog.get_logger(__name__)

GONE_RETRY_SECONDS = 0.5
CLIENT_WRITE_BUFFER = 4 * 1024 * 1024


class Proxy:
    """Carries its clients to the primary of its core. See ADR 1 sections 5 and 7 for when it listens."""

    def __init__(self, process: ServerProcess, profile: Profile) -> None:
        self.process = process
        self.profile = profile
        self.channels = Channels()
        self.why = "waiting for a primary of the core"
        verifier = process.verifier()
        self.statements = Statements(verifier)
        self.core = CoreLink(
            self.channels,
            profile,
            on_change=self._core_changed,
            on_leaving=self._core_leaving,
            on_answer=self._answered,
            on_statement=self.statements.heard,
        )
        self.pair = PairLink(self._endpoints, process.hello, self.core, process.tls, random=process.random)
        self.core.attach(self.pair)
        chance = process.random.random
        self.door = ProxyDoor(
            process.name, self._admission(), verifier, profile.opening, chance, process.report_now
        )
        self.port = FollowingPort(self._listener(), self._say)
        self.drainage = Drainage(process.name, self.channels, self.port, self.door, chance, self._say)
        self.pending_limits = self._pending_limits()
        self._grace: asyncio.TimerHandle | None = None

    # -- what the configuration says

    def _option(self, section: str, key: str) -> str:
        return self.process.configuration.snapshot.app_option(self.process.name, section, key)

    def _count(self, key: str) -> int:
        return int(self._option("limits", key))

    def _pending_limits(self) -> PendingLimits:
        return PendingLimits(self._count("max-pending-per-client"), self._count("max-pending"))

    def _admission(self) -> AdmissionSettings:
        return AdmissionSettings(
            setups=int(self._option("admission", "set-ups")),
            queue=int(self._option("admission", "queue")),
            longest_wait=float(self._option("admission", "longest-wait")),
            login_rate=float(self._option("admission", "login-rate")),
        )

    def _endpoints(self) -> list[Endpoint]:
        process = self.process
        snapshot, site = process.configuration.snapshot, process.bootstrap.site
        return core_endpoints(snapshot, process.name, site, self.profile.core_type)

    def _configuration_changed(self, _changed: object) -> None:
        name = self.process.name
        if self.process.configuration.snapshot.get(ObjectType.APPLICATION, name) is None:
            log.warning("proxy.not_configured", why=f"{name} was deleted; it goes on as it was until stopped")
            return
        self.pair.refresh()
        self.pending_limits = self._pending_limits()
        listener = self.port.listener
        listener.max_connections = self._count("max-connections")
        listener.person_limits = self._person_limits()
        listener.bound_handshakes(self.process.handshakes())
        self.door.configure(self._admission())
        listener.recheck()

    def _person_limits(self) -> Limits:
        rate, burst = float(self._option("limits", "request-rate")), self._count("request-burst")
        return Limits(self._count("max-in-flight"), CLIENT_WRITE_BUFFER, rate, burst)

    def _listener(self) -> Listener:
        process = self.process
        host, port = process.configuration.snapshot.endpoint_of(process.name)
        return Listener(
            self.hello,
            lambda _peer: ClientHandler(self),
            process.tls,
            host=host,
            port=port,
            accepts=Accepts(servers=frozenset(), persons=True, person_methods=self.profile.methods),
            verify=process.verifier(),
            max_connections=self._count("max-connections"),
            person_limits=self._person_limits(),
            admits=process.admits,
            handshakes=process.handshakes(),
            door=self.door,
            statement=self.statements.current,
        )

    # -- what it says of itself

    def hello(self) -> Hello:
        """To clients: the epoch and term are those of the core it serves."""
        role = Role.ACTIVE if self.port.wanted else Role.PASSIVE
        return msgspec.structs.replace(
            self.process.hello(),
            role=role,
            epoch=self.pair.epoch,
            term=self.pair.term,
            statement=self.statements.current(),
        )

    def report(self) -> Report:
        """To the host agent."""
        listener, admission = self.port.listener, self.door.admission
        return msgspec.structs.replace(
            self.process.blank_report(),
            role=str(Role.ACTIVE if self.port.wanted else Role.PASSIVE),
            epoch=self.pair.epoch,
            term=self.pair.term,
            listening=listener.is_open,
            clients=len(self.channels),
            sessions=self.channels.sessions,
            address=f"{listener.host}:{listener.port}",
            connected_to=self.pair.connected_to,
            why=self.why,
            setup_seconds=round(admission.cost.seconds, 5) if admission.cost.measured else 0.0,
            waiting=admission.waiting,
            wasted=admission.wasted,
            forged=self.door.forged,
            draining=self.drainage.active,
        )

    def closed(self) -> Refusal | None:
        """Why no client is taken at the moment; None: they are."""
        if self.drainage.active:
            return self.drainage.refusal()
        if self.port.wanted:
            return None
        reason = f"{self.process.name} is closing."
        return Refusal(code="core.away", reason=reason, retryable=True, retry_after=GONE_RETRY_SECONDS)

    def counted(self) -> None:
        """A client has come or gone."""
        self.process.report_now()

    # -- life

    async def run(self) -> None:
        """Serve until stopped."""
        process = self.process
        process.set_report(self.report)
        process.commands["server.drain"] = self._drain
        process.configuration.changed.append(self._configuration_changed)
        port = asyncio.create_task(self.port.run(), name="port")
        stopping = asyncio.create_task(process.stopping.wait(), name="stopping")
        await self.pair.start()
        try:
            await asyncio.wait({port, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if port.done():
                # Without it nobody opens or closes the port any more: better to end, and be started again.
                port.result()
        finally:
            process.configuration.changed.remove(self._configuration_changed)
            for task in (port, stopping):
                task.cancel()
            await asyncio.gather(port, stopping, return_exceptions=True)
            await self._leave()

    async def _leave(self) -> None:
        """Stopped on command: say so to everybody, so that nobody waits here for anything."""
        self._stop_grace()
        self.drainage.stop()
        why = f"{self.process.name} was stopped"
        for channel in self.channels:
            channel.peer.event("server.leaving", Leaving(why=why))
        refusal = Refusal(code="server.stopping", reason=f"{why}.", retryable=True)
        self.door.send_away(refusal)
        await self.port.close(refusal, why)
        self.door.stop()
        await self.core.stop()
        await self.pair.stop()

    def _drain(self, request: Request) -> Drained:
        return self.drainage.order(request.read(Drain))

    def _answered(self, channel: Channel, method: str) -> None:
        self.door.answered(channel.peer, method)

    # -- when to listen

    def _core_changed(self, why: str) -> None:
        self._say(why)
        if not self.core.ready:
            self.door.disturbed()
        if self.core.ready:
            self.process.saw_epoch(self.pair.epoch)
            self._stop_grace()
            self.port.want(True, why)
        elif self.core.peer is None and self.port.wanted and self._grace is None:
            seconds = float(self._option(self.profile.section, "core-grace"))
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(seconds, self._grace_over, seconds)

    def _grace_over(self, seconds: float) -> None:
        self._grace = None
        if self.core.ready:
            return
        if self.core.peer is not None:
            # A new primary is there and brings the sessions back: hanging up now would only double its work.
            self._grace = asyncio.get_running_loop().call_later(seconds, self._grace_over, seconds)
            return
        why = f"the core has had no primary for {seconds:g} s ({self.core.why})"
        self._shut("core.away", why, 0.0)

    def _core_leaving(self, why: str, retry_after: float) -> None:
        self._shut("core.leaving", f"the core stops on command ({why})", retry_after)

    def _shut(self, code: str, why: str, retry_after: float) -> None:
        self._stop_grace()
        refusal = Refusal(
            code=code,
            reason=f"{self.process.name} closes: {why}.",
            retryable=True,
            retry_after=retry_after or None,
            epoch=self.pair.epoch,
            term=self.pair.term,
        )
        self._say(why)
        self.door.send_away(refusal)
        self.port.want(False, why, refusal)

    def _stop_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def _say(self, why: str) -> None:
        self.why = why
        self.process.report_now()
