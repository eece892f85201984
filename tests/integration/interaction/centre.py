"""A small centre for tests of the Interaction Server: configuration, certificates, keys; servers as tasks of this
loop or as processes; and scripted proxies, agents and media servers on real links."""

import asyncio
import contextlib
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from stayline.domain.objects import ApplicationType, ConfigObject, Connection, ObjectType
from stayline.domain.topology import Configuration
from stayline.link.authority import create_authority, issue, tls_files
from stayline.link.bootstrap import Bootstrap, save_bootstrap
from stayline.link.configuration_cache import Copy, save_cache
from stayline.link.messages.envelope import Hello, Identity
from stayline.link.messages.interaction import (
    Accept,
    AgentLogin,
    AgentResume,
    ChannelClose,
    ChannelOpen,
    Done,
    InteractionView,
    MediaState,
    Offered,
    SessionOpened,
    Submit,
)
from stayline.link.pair import PairLink
from stayline.link.peer import BaseHandler, Peer
from stayline.link.tokens import create_signing_keys
from stayline.link.transport import Endpoint
from stayline.servers.core import CoreServer, Ending
from stayline.servers.interaction import PAIR
from stayline.servers.interaction.service import InteractionService
from stayline.servers.process import ServerProcess
from tests.ports import free_port

from ..conftest import SITE

T = TypeVar("T")
IXN = ("Ixn_1", "Ixn_2")
PATIENCE = 15.0
"""Seconds until a test gives up waiting for something that must happen."""

APPS = {
    **dict.fromkeys(IXN, ApplicationType.INTERACTION_SERVER),
    "Proxy_1": ApplicationType.INTERACTION_SERVER_PROXY,
    "Proxy_2": ApplicationType.INTERACTION_SERVER_PROXY,
    "Chat_1": ApplicationType.CHAT_SERVER,
    "Chat_2": ApplicationType.CHAT_SERVER,
}


async def until(what: Callable[[], T], timeout: float = PATIENCE) -> T:
    """Wait for the truth of ``what()``; its value."""
    end = time.monotonic() + timeout
    while not (value := what()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        await asyncio.sleep(0.01)
    return value


class Centre:
    """Files and configuration below ``base``; servers use the database at ``dsn``."""

    def __init__(self, base: Path, dsn: str, **settings: str) -> None:
        self.base = base
        self.ports = {name: free_port() for name in (*IXN, "Proxy_1", "Proxy_2")}
        self.settings = {"delivering-timeout": "30", "agent-session-restore-timeout": "60", **settings}
        authority = base / "authority"
        create_authority(authority)
        for name, kind in APPS.items():
            issue(authority, name, kind.value, ["127.0.0.1"], into=base / "certificates")
        create_signing_keys(base / "keys")
        bootstrap = Bootstrap(
            site=SITE,
            host="host_a",
            state=str(base),
            configuration=[],
            certificates=str(base / "certificates"),
            keys=str(base / "keys"),
            log_dir=str(base / "log"),
            database_dsn=dsn,
        )
        save_bootstrap(base / "bootstrap.json", bootstrap)
        self.configuration = Configuration(self.objects(), 1)
        self.running: dict[str, tuple[CoreServer, asyncio.Task[Ending]]] = {}
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    def objects(self) -> list[ConfigObject]:
        """Everything that the Interaction Server reads."""
        agents = [f"agent{n:02}" for n in range(1, 9)]
        apps = [self._application(name, kind) for name, kind in APPS.items()]
        return [
            ConfigObject(type=ObjectType.TENANT, name="T"),
            ConfigObject(type=ObjectType.HOST, name="host_a", address="127.0.0.1", site=SITE),
            *apps,
            ConfigObject(type=ObjectType.CAPACITY_RULE, name="Two chats", capacity={"chat": 2, "email": 2}),
            *(
                ConfigObject(type=ObjectType.PERSON, name=name, tenant="T", capacity_rule="Two chats")
                for name in agents
            ),
            ConfigObject(type=ObjectType.PERSON, name="norule", tenant="T"),
            *(ConfigObject(type=ObjectType.PLACE, name=f"P{n}", tenant="T") for n in range(1, 10)),
            ConfigObject(type=ObjectType.AGENT_GROUP, name="Support", members=agents[:4]),
            ConfigObject(
                type=ObjectType.QUEUE, name="support", tenant="T", media=["chat"], groups=["Support"]
            ),
            ConfigObject(type=ObjectType.QUEUE, name="all", tenant="T", media=["chat"]),
            ConfigObject(type=ObjectType.QUEUE, name="mail", tenant="T", media=["email"]),
        ]

    def _application(self, name: str, kind: ApplicationType) -> ConfigObject:
        partners = [other for other in IXN if other != name] if name in IXN else list(IXN[:1])
        return ConfigObject(
            type=ObjectType.APPLICATION,
            name=name,
            app_type=kind,
            host="host_a",
            ports={"default": self.ports[name]} if name in self.ports else {},
            backup=IXN[1] if name == IXN[0] else "",
            connections=[Connection(server=p, local_timeout=0.4, remote_timeout=0.4) for p in partners],
            options={"settings": dict(self.settings)} if name in IXN else {},
        )

    # -- servers as tasks ------------------------------------------------------------------------------------

    async def start(self, name: str) -> CoreServer:
        """Run a server in this loop."""
        process = ServerProcess(name, self.base)
        process.configuration.copy.snapshot = self.configuration
        core = CoreServer(process, PAIR, InteractionService)
        self.running[name] = (core, asyncio.create_task(core.run(), name=name))
        return core

    async def start_primary(self, name: str = "Ixn_1") -> CoreServer:
        """Run a server and wait until it is primary."""
        core = await self.start(name)
        await until(lambda: core.is_primary)
        return core

    async def stop(self, name: str) -> Ending:
        """Stop a server on command."""
        core, task = self.running.pop(name)
        core.process.stopping.set()
        return await asyncio.wait_for(task, PATIENCE)

    # -- servers as processes --------------------------------------------------------------------------------

    async def spawn(self, name: str) -> asyncio.subprocess.Process:
        """Run a server as a process of its own, as `stayline serve` does."""
        copy = Copy(revision=1, mark="", objects=self.objects())
        save_cache(self.base / "cache" / f"{name}.json", copy)
        code = f"from stayline.servers.registry import run; run({name!r}, {str(self.base)!r})"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
        self.processes[name] = process
        return process

    async def close(self) -> None:
        """End everything."""
        for name in list(self.running):
            await self.stop(name)
        for process in self.processes.values():
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGCONT)
                    process.kill()
                await process.wait()

    # -- clients ---------------------------------------------------------------------------------------------

    def endpoints(self) -> list[Endpoint]:
        """Both members of the pair."""
        return [Endpoint("127.0.0.1", self.ports[name], name, local=1.0, remote=1.0) for name in IXN]

    @contextlib.asynccontextmanager
    async def proxy(self, name: str = "Proxy_1") -> AsyncIterator["Proxy"]:
        """A scripted proxy, linked to the pair."""
        proxy = Proxy(self, name)
        await proxy.pair.start()
        try:
            yield proxy
        finally:
            await proxy.pair.stop()

    @contextlib.asynccontextmanager
    async def media(self, name: str = "Chat_1") -> AsyncIterator["Media"]:
        """A scripted media server, linked to the pair."""
        media = Media(self, name)
        await media.pair.start()
        try:
            yield media
        finally:
            await media.pair.stop()


@contextlib.asynccontextmanager
async def centre(base: Path, dsn: str, **settings: str) -> AsyncIterator[Centre]:
    """A centre that leaves nothing behind. ``settings``: options of the Interaction Servers."""
    made = Centre(base, dsn, **{key.replace("_", "-"): value for key, value in settings.items()})
    try:
        yield made
    finally:
        await made.close()


class Client(BaseHandler):
    """One side of links to the pair: keeps every event that comes."""

    def __init__(self, place: Centre, name: str) -> None:
        self.name = name
        self.instance = f"{name}-{uuid.uuid4().hex[:6]}"
        self.events: list[tuple[str, int, int, bytes]] = []
        self.pair = PairLink(place.endpoints, self.hello, self, tls_files(place.base / "certificates", name))

    def hello(self) -> Hello:
        return Hello(application=self.name, type=APPS[self.name].value, instance=self.instance, site=SITE)

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        self.events.append((name, channel, seq, bytes(payload)))


class Media(Client):
    """A scripted Chat Server."""

    async def submit(self, id: str, queue: str = "all", *, key: str = "", **fields: Any) -> Done:
        params = Submit(id=id, tenant="T", media="chat", queue=queue, chat_session=f"c-{id}", **fields)
        return await self.ask("interaction.submit", params, Done, key=key or f"submit:{id}")

    async def mail(self, id: str) -> Done:
        """Submit an e-mail."""
        params = Submit(id=id, tenant="T", media="email", queue="mail")
        return await self.ask("interaction.submit", params, Done, key=f"submit:{id}")

    async def ask(self, method: str, params: object, result: type[T], *, key: str = "") -> T:
        return await self.pair.request(method, params, result, key=key or uuid.uuid4().hex)


class Proxy(Client):
    """A scripted proxy: its agents are channels."""

    def __init__(self, place: Centre, name: str) -> None:
        super().__init__(place, name)
        self._next = 0

    async def agent(self, user: str) -> "Agent":
        """A client of this proxy, connected and not logged in."""
        await until(lambda: self.pair.primary)
        self._next += 1
        agent = Agent(self, self._next, user)
        agent.open()
        return agent


class Agent:
    """A scripted Workspace behind a proxy."""

    def __init__(self, proxy: Proxy, channel: int, user: str, roles: tuple[str, ...] = ("agent",)) -> None:
        self.proxy = proxy
        self.channel = channel
        self.identity = Identity(
            user=user, tenant="T", roles=list(roles), expires=time.time() + 3600, display_name=user.title()
        )
        self.opened: SessionOpened | None = None

    def open(self) -> None:
        assert self.proxy.pair.primary is not None
        opened = ChannelOpen(identity=self.identity, application="Workspace", instance="w")
        self.proxy.pair.primary.event("channel.open", opened, channel=self.channel)

    def hang_up(self) -> None:
        assert self.proxy.pair.primary is not None
        self.proxy.pair.primary.event("channel.close", ChannelClose(why="test"), channel=self.channel)

    async def ask(self, method: str, params: object, result: type[T], *, key: str = "") -> T:
        return await self.proxy.pair.request(
            method, params, result, key=key or uuid.uuid4().hex, channel=self.channel
        )

    async def login(
        self,
        place: str,
        *,
        ready: bool = True,
        key: str = "",
        media: tuple[str, ...] = ("chat",),
        workspace: str = "",
        restore: list[str] | None = None,
    ) -> SessionOpened:
        states = [MediaState(name, ready) for name in media]
        params = AgentLogin(place=place, media=states, workspace=workspace, restore=restore)
        self.opened = await self.ask("agent.login", params, SessionOpened, key=key)
        return self.opened

    async def resume(self, ticket: str, last_seq: int = 0, restore: list[str] | None = None) -> SessionOpened:
        params = AgentResume(ticket=ticket, last_seq=last_seq, restore=restore)
        self.opened = await self.ask("agent.resume", params, SessionOpened)
        return self.opened

    async def accept(self, view: InteractionView, *, key: str = "") -> InteractionView:
        params = Accept(interaction=view.id, version=view.version)
        return await self.ask("interaction.accept", params, InteractionView, key=key)

    def heard(self, name: str, kind: type[T]) -> list[T]:
        """The events of a name that came on this channel."""
        return [
            msgspec.json.decode(payload, type=kind)
            for event, channel, _, payload in self.proxy.events
            if event == name and channel == self.channel
        ]

    async def offered(self, count: int = 1) -> list[InteractionView]:
        """Wait for offers; all of them so far."""
        await until(lambda: len(self.heard("interaction.offered", Offered)) >= count)
        return [event.interaction for event in self.heard("interaction.offered", Offered)]
