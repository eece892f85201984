"""A core that does what the tests say, behind real sockets; and the bench that puts a proxy in front of two of them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from stayline.domain.errors import RefusedError, refuse
from stayline.domain.objects import ApplicationType, ConfigObject, Connection, ObjectType
from stayline.domain.topology import Configuration
from stayline.link.authority import create_authority, issue, tls_files
from stayline.link.bootstrap import Bootstrap, Node, save_bootstrap
from stayline.link.handshake import Accepts
from stayline.link.messages.envelope import Hello, Identity, Role, RoleChanged
from stayline.link.messages.interaction import (
    AgentResume,
    ChannelOpen,
    Done,
    InteractionView,
    Leaving,
    MediaState,
    Offered,
    Ownership,
    RestoreChannel,
    RestoreChannels,
    RestoredChannel,
    RestoredChannels,
    SessionOpened,
    Snapshot,
)
from stayline.link.peer import BaseHandler, Peer, Request, read
from stayline.link.tokens import TokenSigner, create_signing_keys
from stayline.link.transport import Endpoint, Listener, connect
from stayline.servers.process import ServerProcess
from stayline.servers.proxy.profile import profile_of
from stayline.servers.proxy.server import Proxy
from tests.ports import free_port

HOST = "127.0.0.1"
CORE_TYPE = {
    ApplicationType.INTERACTION_SERVER_PROXY: ApplicationType.INTERACTION_SERVER,
    ApplicationType.CONTACT_SERVER_PROXY: ApplicationType.CONTACT_SERVER,
}


@dataclass
class World:
    """What is committed: both cores see it."""

    sessions: dict[str, str] = field(default_factory=dict)
    seq: int = 100

    def opened(self, session: str) -> SessionOpened:
        """The session as it stands."""
        snapshot = Snapshot(
            session=session,
            agent=self.sessions[session],
            place="P",
            media=[MediaState("chat", True)],
            interactions=[],
            as_of=self.seq,
            epoch=1,
            term=1,
        )
        return SessionOpened(
            session=session, ticket=f"ticket-{session}", restore_timeout=60, snapshot=snapshot
        )


class ScriptedCore(BaseHandler):
    """Answers logins, resumes, restores and any other method; ``hold`` lists methods that get no answer,
    ``stumble`` those that are refused once as if it were not primary."""

    def __init__(self, name: str, kind: ApplicationType, world: World, folder: Path) -> None:
        self.name = name
        self.world = world
        self.hello = Hello(application=name, type=kind, instance=name, role=Role.BACKUP)
        self.hold: set[str] = set()
        self.stumble: set[str] = set()
        self.requests: list[tuple[int, str, str, bytes]] = []
        self.story: list[str] = []
        self.channels: dict[int, Identity] = {}
        self.restored: list[list[RestoreChannel]] = []
        self.link: Peer | None = None
        self.event_during_restore = False
        self.listener = Listener(
            lambda: self.hello,
            lambda _: self,
            tls_files(folder, name),
            host=HOST,
            port=free_port(),
            accepts=Accepts(),
        )

    # -- what tests do to it

    def become(self, role: Role, term: int, epoch: int = 1) -> None:
        """Change the role and announce it."""
        self.hello = msgspec.structs.replace(self.hello, role=role, epoch=epoch, term=term)
        for peer in list(self.listener.peers):
            peer.event("server.role", RoleChanged(role, epoch, term, "test"))

    def kill(self) -> None:
        """As SIGKILL: port closed, links reset."""
        self.listener.abort("killed")
        self.hello = msgspec.structs.replace(self.hello, role=Role.BACKUP)

    def leave(self) -> None:
        """Announce a commanded stop."""
        for peer in list(self.listener.peers):
            peer.event("server.leaving", Leaving(why="told to", retry_after=1.5))

    def channel_of(self, user: str) -> int:
        """The channel that a person came in by."""
        return next(number for number, identity in self.channels.items() if identity.user == user)

    def offer(self, user: str, seq: int) -> None:
        """Send an event to a person's channel."""
        assert self.link is not None
        self.link.event("interaction.offered", _offer(seq), seq=seq, channel=self.channel_of(user))

    # -- Handler

    async def on_open(self, peer: Peer) -> None:
        """The proxy's link."""
        self.link = peer
        self.channels.clear()

    async def on_request(self, peer: Peer, request: Request) -> object:
        """See the class."""
        if request.method == "channels.restore":
            return self._restore(peer, request.read(RestoreChannels))
        self.story.append(f"{request.method}@{request.channel}")
        self.requests.append((request.channel, request.method, request.key, bytes(request.payload)))
        if self.hello.role is not Role.PRIMARY or request.method in self.stumble:
            self.stumble.discard(request.method)
            raise refuse("core.not_primary", "Not primary.", retryable=True)
        if request.channel not in self.channels:
            raise refuse("channel.unknown", f"Channel {request.channel} is not open.")
        if request.method in self.hold:
            await asyncio.Event().wait()
        if request.method == "agent.login":
            user = self.channels[request.channel].user
            self.world.sessions[f"session-{user}"] = user
            return self.world.opened(f"session-{user}")
        if request.method == "agent.resume":
            return self._resume(request.read(AgentResume).ticket)
        return Done(seq=7)

    def _resume(self, ticket: str) -> SessionOpened:
        session = ticket.removeprefix("ticket-")
        if session not in self.world.sessions:
            raise refuse("session.unknown", f"There is no session {session}.")
        return self.world.opened(session)

    def _restore(self, peer: Peer, asked: RestoreChannels) -> RestoredChannels:
        self.restored.append(asked.channels)
        self.story.append(f"restore {len(asked.channels)}")
        outcomes = []
        for channel in asked.channels:
            self.channels[channel.channel] = channel.identity
            outcomes.append(self._outcome(channel))
            if self.event_during_restore:
                peer.event("interaction.offered", _offer(900), seq=900, channel=channel.channel)
        return RestoredChannels(channels=outcomes)

    def _outcome(self, channel: RestoreChannel) -> RestoredChannel:
        if not channel.ticket:
            return RestoredChannel(channel=channel.channel)
        try:
            return RestoredChannel(channel=channel.channel, opened=self._resume(channel.ticket))
        except RefusedError as error:
            return RestoredChannel(
                channel=channel.channel, code=error.refusal.code, reason=error.refusal.reason
            )

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        """Channels come and go."""
        self.story.append(f"{name}@{channel}")
        if name == "channel.open":
            self.channels[channel] = read(payload, ChannelOpen).identity
        elif name == "channel.close":
            self.channels.pop(channel, None)


def _offer(seq: int) -> Offered:
    view = InteractionView(
        id=f"i{seq}", tenant="T", media="chat", state=Ownership.OFFERED, version=1, queue="q"
    )
    return Offered(view)


class Client(BaseHandler):
    """A person's application: notes all events with their decoded payload."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int, dict[str, object]]] = []
        self.closed_why = ""
        self.peer: Peer | None = None

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        """Note it; a client knows of no channels."""
        assert channel == 0
        self.events.append((name, seq, msgspec.json.decode(payload)))

    def on_closed(self, peer: Peer, why: str) -> None:
        """Note it."""
        self.closed_why = why

    def named(self, name: str) -> list[dict[str, object]]:
        """Payloads of the events of that name."""
        return [payload for event, _, payload in self.events if event == name]

    @property
    def link(self) -> Peer:
        """The live link."""
        assert self.peer is not None
        return self.peer


@dataclass
class Bench:
    """A proxy named ``Proxy`` in front of ``Core_1`` and ``Core_2``."""

    folder: Path
    kind: ApplicationType
    world: World
    cores: list[ScriptedCore]
    port: int
    process: ServerProcess
    proxy: Proxy

    async def client(self, user: str = "agent01", token: str | None = None) -> Client:
        """Connect a person's application. Raises what ``connect`` raises."""
        client = Client()
        hello = Hello(
            application="Workspace", type="Workspace", instance=user, token=token or self.token(user)
        )
        endpoint = Endpoint(HOST, self.port, "Proxy", local=1.0, remote=1.0)
        client.peer = await connect(endpoint, hello, client, tls_files(self.folder))
        return client

    def token(self, user: str, seconds: float = 600.0) -> str:
        """A person's token."""
        identity = Identity(user=user, tenant="T", roles=["agent"], expires=time.time() + seconds)
        return TokenSigner.load(self.folder).sign_identity(identity)


def objects(
    kind: ApplicationType, ports: dict[str, int], options: dict[str, dict[str, str]]
) -> list[ConfigObject]:
    """Host, proxy and the two cores."""
    core = CORE_TYPE[kind]
    application = ObjectType.APPLICATION
    return [
        ConfigObject(type=ObjectType.HOST, name="host", address=HOST, site="Site_A"),
        ConfigObject(
            type=application,
            name="Proxy",
            app_type=kind,
            host="host",
            ports={"default": ports["Proxy"]},
            connections=[Connection(server="Core_1", local_timeout=1.0, remote_timeout=1.0)],
            options=options,
        ),
        ConfigObject(
            type=application,
            name="Core_1",
            app_type=core,
            host="host",
            ports={"default": ports["Core_1"]},
            backup="Core_2",
        ),
        ConfigObject(
            type=application, name="Core_2", app_type=core, host="host", ports={"default": ports["Core_2"]}
        ),
    ]


def furnish(folder: Path, kind: ApplicationType) -> None:
    """Certificates, keys and bootstrap file of the bench, once."""
    create_authority(folder)
    create_signing_keys(folder)
    for name, app_type in (("Proxy", kind), ("Core_1", CORE_TYPE[kind]), ("Core_2", CORE_TYPE[kind])):
        issue(folder, name, app_type, [HOST])
    bootstrap = Bootstrap(
        site="Site_A",
        host="host",
        state=str(folder),
        configuration=[Node(application="Config", host=HOST, port=free_port())],
        certificates=str(folder),
        keys=str(folder),
        log_dir=str(folder / "log"),
    )
    save_bootstrap(folder, bootstrap)


@asynccontextmanager
async def cores_of(folder: Path, kind: ApplicationType, world: World) -> AsyncIterator[list[ScriptedCore]]:
    """Two listening cores, both backup."""
    cores = [ScriptedCore(name, CORE_TYPE[kind], world, folder) for name in ("Core_1", "Core_2")]
    for core in cores:
        await core.listener.open()
    try:
        yield cores
    finally:
        for core in cores:
            await core.listener.close(drop=True)
            stuck = [task for peer in core.listener.peers for task in peer._serving]
            for task in stuck:
                task.cancel()


@asynccontextmanager
async def bench(
    folder: Path,
    options: dict[str, dict[str, str]] | None = None,
    kind: ApplicationType = ApplicationType.INTERACTION_SERVER_PROXY,
) -> AsyncIterator[Bench]:
    """A running bench; no core is primary yet."""
    furnish(folder, kind)
    world = World()
    async with cores_of(folder, kind, world) as cores:
        ports = {core.name: core.listener.port for core in cores} | {"Proxy": free_port()}
        process = ServerProcess("Proxy", folder)
        process.configuration.copy.snapshot = Configuration(objects(kind, ports, options or {}), 1)
        proxy = Proxy(process, profile_of(kind))
        running = asyncio.create_task(proxy.run())
        try:
            yield Bench(folder, kind, world, cores, ports["Proxy"], process, proxy)
        finally:
            process.stopping.set()
            await running
