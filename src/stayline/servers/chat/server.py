"""The Chat Server: N+1, stateless. Customers on one port, agents on another, both core pairs behind it."""

import asyncio
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import structlog

from stayline.domain.errors import StaylineError, refuse
from stayline.domain.objects import ApplicationType
from stayline.domain.topology import Configuration
from stayline.link.messages.contact import EntryAdded, Settle, Signal
from stayline.link.messages.control import Report
from stayline.link.messages.envelope import Hello, Role
from stayline.link.messages.interaction import OwnerChanged
from stayline.link.pair import PairLink
from stayline.link.peer import BaseHandler, Peer, read
from stayline.link.transport import Accepts, Endpoint, Listener
from stayline.servers.chat.agents import METHODS, AgentLinks
from stayline.servers.chat.beginning import Beginning
from stayline.servers.chat.customer_port import CustomerPort
from stayline.servers.chat.customers import Services
from stayline.servers.chat.endings import Endings
from stayline.servers.chat.gate import Gate
from stayline.servers.chat.owners import Owners
from stayline.servers.chat.protection import Protection, customer_addresses, protection_of
from stayline.servers.chat.sessions import HeldSession, Sessions
from stayline.servers.chat.starts import StartLimit
from stayline.servers.chat.web import CustomerWeb, WebSettings
from stayline.servers.core_endpoints import core_endpoints
from stayline.servers.process import ServerProcess

log = structlog.get_logger(__name__)

SECTION = "settings"
TICK = 0.1
"""Seconds between two looks at the gate; it is looked at at once when the primary comes, goes or leaves."""


class ChatServer:
    """Wires the parts and decides when to listen."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process
        self._gate = Gate()
        self._gate_changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.contact = self._pair(ApplicationType.CONTACT_SERVER, _ContactLink(self))
        self.interaction = self._pair(ApplicationType.INTERACTION_SERVER, _InteractionLink(self))
        self.sessions = Sessions(self.contact)
        self._owners = Owners()
        self._agents = AgentLinks(self.sessions, self._owners, process.verifier(), self._max_text)
        self.endings = Endings(self.contact, self.interaction, self.sessions, self._owners, self._agents)
        self._web = self._make_web()
        host, port = self._configuration().endpoint_of(process.name, "http")
        self._port = CustomerPort(self._web, host, port, self._protection, Path(process.bootstrap.state))
        self._listener = self._make_listener()
        self.contact.on_primary.append(self._contact_found)
        self.contact.on_lost.append(self._contact_lost)
        self.interaction.on_primary.append(self._interaction_found)
        process.configuration.changed.append(lambda _changed: self._configuration_changed())
        process.set_report(self.report)

    def _pair(self, app_type: ApplicationType, handler: BaseHandler) -> PairLink:
        def endpoints() -> list[Endpoint]:
            process = self._process
            return core_endpoints(self._configuration(), process.name, process.bootstrap.site, app_type)

        return PairLink(endpoints, self._process.hello, handler, self._process.tls)

    def _make_web(self) -> CustomerWeb:
        beginning = Beginning(
            self.contact, self.interaction, self.sessions, self._configuration, self._own_tenant
        )
        services = Services(
            sessions=self.sessions,
            beginning=beginning,
            max_text=self._max_text,
            rate=lambda: float(self._option("message-rate")),
            delayed=lambda: self.contact.primary is None,
            opened=self._session_opened,
            starts=StartLimit(),
            starts_per_minute=lambda: int(self._option("max-starts-per-minute")),
        )
        settings = WebSettings(
            servers=lambda: customer_addresses(self._configuration()),
            origins=lambda: [
                part.strip() for part in self._option("allowed-origins").split(",") if part.strip()
            ],
            max_connections=lambda: int(self._option("max-connections")),
            protection=self._protection,
        )
        return CustomerWeb(services, settings)

    def _make_listener(self) -> Listener:
        host, port = self._configuration().endpoint_of(self._process.name, "default")
        return Listener(
            self._hello,
            self._agents.handler,
            self._process.tls,
            host=host,
            port=port,
            accepts=Accepts(servers=frozenset(), persons=True, person_methods=METHODS),
            verify=self._process.verifier(),
            admits=self._process.admits,
            handshakes=self._process.handshakes(),
        )

    def _hello(self) -> Hello:
        role = Role.ACTIVE if self.contact.primary is not None else Role.PASSIVE
        return msgspec.structs.replace(
            self._process.hello(), role=role, epoch=self.contact.epoch, term=self.contact.term
        )

    # -- configuration -----------------------------------------------------------------------------------------

    def _configuration(self) -> Configuration:
        return self._process.configuration.snapshot

    def _option(self, key: str) -> str:
        return self._configuration().app_option(self._process.name, SECTION, key)

    def _max_text(self) -> int:
        return int(self._option("max-message-length"))

    def _own_tenant(self) -> str:
        return self._configuration().application(self._process.name).tenant or "Environment"

    def _protection(self) -> Protection:
        return protection_of(self._configuration(), self._process.name)

    def _configuration_changed(self) -> None:
        self.contact.refresh()
        self.interaction.refresh()
        self._listener.recheck()
        self._listener.bound_handshakes(self._process.handshakes())

    # -- the core comes and goes -------------------------------------------------------------------------------

    def _contact_found(self, peer: Peer) -> None:
        self._process.saw_epoch(peer.hello.epoch)
        self._gate = self._gate.found()
        self._gate_changed.set()
        self.sessions.resync()
        self._web.refresh()

    def _contact_lost(self, why: str) -> None:
        self._gate = self._gate.lost(time.monotonic())
        self._gate_changed.set()
        self._web.refresh()

    def contact_leaving(self, peer: Peer) -> None:
        """The Contact Server stops on command."""
        if peer is self.contact.primary:
            self._gate = self._gate.left()
            self._gate_changed.set()

    def _interaction_found(self, peer: Peer) -> None:
        for held in self.sessions.all:
            self.spawn(self.endings.catch_up(held))

    def _session_opened(self, held: HeldSession) -> None:
        self.spawn(self.endings.catch_up(held))

    # -- listening ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until stopped on command."""
        await self.contact.start()
        await self.interaction.start()
        stopping = asyncio.create_task(self._process.stopping.wait())
        try:
            while not stopping.done():
                await self._follow_gate()
                changed = asyncio.create_task(self._gate_changed.wait())
                await asyncio.wait({changed, stopping}, timeout=TICK, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                self._gate_changed.clear()
        finally:
            stopping.cancel()
            await self._stop()

    async def _follow_gate(self) -> None:
        grace = float(self._option("core-grace"))
        wanted = self._gate.open(grace, time.monotonic())
        why = self._gate.why(grace)
        await self._port.follow()
        if wanted and not (self._listener.is_open and self._port.is_open):
            await self._open(why)
        elif not wanted and (self._listener.is_open or self._port.is_open):
            await self._close(why)

    async def _open(self, why: str) -> None:
        before = (self._listener.is_open, self._port.is_open, self._port.refused)
        try:
            await self._listener.open()
            await self._port.open()  # agents are served also when customers may not be
        except OSError as error:
            log.error("chat.port", why=f"a port cannot be opened: {error}")
            await asyncio.sleep(0.5)
            return
        if (self._listener.is_open, self._port.is_open, self._port.refused) != before:
            log.info("chat.open", customers=self._port.is_open, why=why)
            self._process.report_now()

    async def _close(self, why: str) -> None:
        log.info("chat.closed", why=why)
        refusal = refuse(
            "chat.closed", f"{self._process.name} does not serve: {why}.", retryable=True
        ).refusal
        await asyncio.gather(
            self._listener.close(refusal, drop=True),
            self._port.close(why, retry_after=0.2),
        )
        self._process.report_now()

    async def _stop(self) -> None:
        await self._close("this Chat Server stops on command")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.sessions.close()
        await self.contact.stop()
        await self.interaction.stop()

    def report(self) -> Report:
        """The report to the host agent."""
        hello = self._hello()
        return Report(
            application=self._process.name,
            type=hello.type,
            pid=0,
            instance=hello.instance,
            role=hello.role.value,
            epoch=hello.epoch,
            term=hello.term,
            listening=self._listener.is_open and self._port.is_open,
            clients=len(self._listener.peers) + len(self._web.connections),
            interactions={"chats": len(self.sessions), "customers": len(self._web.connections)},
            connected_to=[*self.contact.connected_to, *self.interaction.connected_to],
            why=self._why(),
        )

    def _why(self) -> str:
        grace = float(self._option("core-grace"))
        if self._port.refused and self._gate.open(grace, time.monotonic()):
            return f"agents only: {self._port.refused}"
        return self._gate.why(grace)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(task.exception(), StaylineError):
            log.info("chat.task", why=str(task.exception()))
        elif not task.cancelled() and task.exception() is not None:
            log.error("chat.fault", exc_info=task.exception())


class _ContactLink(BaseHandler):
    """What the Contact Server says by itself."""

    def __init__(self, server: ChatServer) -> None:
        self._server = server

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        if name == "chat.entry":
            self._server.sessions.added(read(payload, EntryAdded, name))
        elif name == "chat.signal":
            self._server.sessions.signalled(read(payload, Signal, name))
        elif name == "chat.settle":
            self._server.spawn(self._server.endings.settle(read(payload, Settle, name).state))
        elif name == "server.leaving":
            self._server.contact_leaving(peer)


class _InteractionLink(BaseHandler):
    """What the Interaction Server says by itself."""

    def __init__(self, server: ChatServer) -> None:
        self._server = server

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        if name == "interaction.owner":
            self._server.spawn(self._server.endings.owner_changed(read(payload, OwnerChanged, name)))


async def main(process: ServerProcess) -> None:
    """Be a Chat Server until stopped."""
    await ChatServer(process).run()
