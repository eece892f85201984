"""The proxy process: clients on one side, the core on the other, and the rule when to listen."""

import asyncio
import functools

import msgspec
import structlog

from stayline.domain.errors import Refusal, RefusedError, refuse
from stayline.domain.objects import ObjectType
from stayline.link.handshake import Accepts
from stayline.link.messages.control import Report
from stayline.link.messages.envelope import Frame, Hello, Kind, Role
from stayline.link.messages.interaction import Leaving
from stayline.link.pair import PairLink
from stayline.link.peer import BaseHandler, Limits, Peer
from stayline.link.transport import Endpoint, Listener
from stayline.servers.core_endpoints import core_endpoints
from stayline.servers.process import ServerProcess
from stayline.servers.proxy.channel import Channel, Channels, PendingLimits
from stayline.servers.proxy.core_link import CoreLink
from stayline.servers.proxy.port import FollowingPort
from stayline.servers.proxy.profile import Profile

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
        self.core = CoreLink(self.channels, profile, self._core_changed, self._core_leaving)
        self.pair = PairLink(self._endpoints, process.hello, self.core, process.tls, random=process.random)
        self.core.attach(self.pair)
        self.port = FollowingPort(self._listener(), self._port_changed)
        self.pending_limits = self._pending_limits()
        self._grace: asyncio.TimerHandle | None = None

    # -- what the configuration says

    def _option(self, section: str, key: str) -> str:
        return self.process.configuration.snapshot.app_option(self.process.name, section, key)

    def _count(self, key: str) -> int:
        return int(self._option("limits", key))

    def _pending_limits(self) -> PendingLimits:
        return PendingLimits(self._count("max-pending-per-client"), self._count("max-pending"))

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
        )

    # -- what it says of itself

    def hello(self) -> Hello:
        """To clients: the epoch and term are those of the core it serves."""
        role = Role.ACTIVE if self.port.wanted else Role.PASSIVE
        return msgspec.structs.replace(
            self.process.hello(), role=role, epoch=self.pair.epoch, term=self.pair.term
        )

    def report(self) -> Report:
        """To the host agent."""
        listener = self.port.listener
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
        )

    # -- life

    async def run(self) -> None:
        """Serve until stopped."""
        process = self.process
        process.set_report(self.report)
        process.configuration.changed.append(self._configuration_changed)
        port = asyncio.create_task(self.port.run(), name="port")
        await self.pair.start()
        try:
            await process.stopping.wait()
        finally:
            process.configuration.changed.remove(self._configuration_changed)
            port.cancel()
            await asyncio.gather(port, return_exceptions=True)
            await self._leave()

    async def _leave(self) -> None:
        """Stopped on command: say so to everybody, so that nobody waits here for anything."""
        self._stop_grace()
        why = f"{self.process.name} was stopped"
        for channel in self.channels:
            channel.peer.event("server.leaving", Leaving(why=why))
        refusal = Refusal(code="server.stopping", reason=f"{why}.", retryable=True)
        await self.port.close(refusal, why)
        await self.core.stop()
        await self.pair.stop()

    # -- when to listen

    def _core_changed(self, why: str) -> None:
        self._say(why)
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
        self.port.want(False, why, refusal)

    def _stop_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def _port_changed(self, why: str) -> None:
        self._say(why)

    def _say(self, why: str) -> None:
        self.why = why
        self.process.report_now()


class ClientHandler(BaseHandler):
    """One client of the proxy; all its frames come in unread."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._channel: Channel | None = None

    async def on_open(self, peer: Peer) -> None:
        """A client has come (its token is already verified)."""
        proxy = self._proxy
        if not proxy.port.wanted:
            raise refuse(
                "core.away",
                f"{proxy.process.name} is closing.",
                retryable=True,
                retry_after=GONE_RETRY_SECONDS,
            )
        if peer.identity is None:
            raise refuse("identity.missing", "Only persons with a token are let in here.", field="token")
        channel = self._channel = proxy.channels.add(peer, peer.identity)
        peer.set_raw(functools.partial(self._frame, channel), everything=True)
        if not proxy.core.ready:
            peer.event("core.away", proxy.core.away())
        proxy.process.report_now()

    def _frame(self, channel: Channel, frame: Frame) -> None:
        if frame.t is Kind.EVENT:
            return  # No event of a person means anything to the core.
        if frame.t is not Kind.REQUEST:
            reason = f"A {frame.t} frame, but nothing was asked of the client."
            raise RefusedError(Refusal(code="frame.unexpected", reason=reason, field="t"))
        if frame.i in channel.pending:
            reason = f"Request number {frame.i} is used while it is not answered yet."
            raise RefusedError(Refusal(code="frame.duplicate", reason=reason, field="i"))
        request = Frame(Kind.REQUEST, frame.i, channel.number, frame.m, frame.k, 0, frame.p)
        refusal = self._proxy.channels.hold(channel, request, self._proxy.pending_limits)
        if refusal is not None:
            channel.peer.send_frame(Frame(Kind.ERROR, frame.i, e=refusal))
            return
        self._proxy.core.forward(channel, request)

    def on_closed(self, peer: Peer, why: str) -> None:
        """The client has gone."""
        channel, self._channel = self._channel, None
        if channel is None:
            return
        self._proxy.channels.remove(channel)
        self._proxy.core.client_gone(channel, why)
        self._proxy.process.report_now()
