"""A scripted centre over real sockets and TLS: what the engine meets, under a test's control.

The core, the transcripts and the configuration live in this process; every proxy and Chat Server is a real
listener that can be closed, can refuse, or can be killed with its links.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from stayline.domain.errors import Refusal, refuse
from stayline.domain.objects import ApplicationType as App
from stayline.domain.objects import ConfigObject, Connection, ObjectType, Options
from stayline.link.authority import create_authority, issue
from stayline.link.handshake import Accepts
from stayline.link.messages import chat, configuration, contact, interaction
from stayline.link.messages.contact import Entry, EntryKind, Party
from stayline.link.messages.envelope import Hello, Identity, Role, Waiting
from stayline.link.messages.interaction import InteractionView, MediaState, Ownership
from stayline.link.peer import BaseHandler, Peer, Request
from stayline.link.tokens import Statement, TokenSigner, TokenVerifier, create_signing_keys
from stayline.link.transport import Listener
from stayline.workspace.engine import WorkspaceEngine
from stayline.workspace.settings import EngineSettings, ServerAddress

SECTION = "interaction-workspace"
HOST = "127.0.0.1"


async def until(condition: Callable[[], object], what: str, timeout: float = 10.0) -> None:
    """Wait for a condition; fail with its name."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        await asyncio.sleep(0.005)


@dataclass
class Transcript:
    """A chat session's committed entries and who listens."""

    entries: list[Entry] = field(default_factory=list)
    ended: bool = False
    joined: list[Peer] = field(default_factory=list)


class Core:
    """The one truth behind all proxies: sessions, interactions, chats, contacts."""

    def __init__(self) -> None:
        self.epoch = 1
        self.sessions: dict[str, str] = {}
        self.peers: dict[str, Peer] = {}
        self.interactions: dict[str, InteractionView] = {}
        self.chats: dict[str, Transcript] = {}
        self.contacts: dict[str, contact.Contact] = {}
        self.seq = 0
        self.results: dict[str, object] = {}
        self.executed: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.media: dict[str, list[MediaState]] = {}
        self.silent: set[str] = set()
        self.refusing: dict[str, Exception] = {}
        self.logins: list[interaction.AgentLogin] = []
        self.resumes: list[interaction.AgentResume] = []
        self.hold_sessions = asyncio.Event()
        self.hold_sessions.set()

    # -- sessions

    def opened(self, agent: str, peer: Peer) -> interaction.SessionOpened:
        session = self.sessions.setdefault(agent, uuid.uuid4().hex)
        self.peers[agent] = peer
        return interaction.SessionOpened(
            session=session,
            ticket=f"ticket {session}",
            restore_timeout=120.0,
            snapshot=interaction.Snapshot(
                session=session,
                agent=agent,
                place=f"Place {agent}",
                media=self.media.get(agent, []),
                interactions=[i for i in self.interactions.values() if i.owner == agent],
                as_of=self.seq,
                epoch=self.epoch,
                term=1,
            ),
        )

    def _emit(self, agent: str, name: str, event: object) -> None:
        self.seq += 1
        peer = self.peers.get(agent)
        if peer is not None and not peer.is_closed:
            peer.event(name, event, seq=self.seq)

    # -- what a test makes happen

    def offer(self, agent: str, *, customer: str = "Ada", seconds: float = 30.0) -> str:
        number = uuid.uuid4().hex
        self.chats[number] = Transcript()
        self.contacts[f"contact of {customer}"] = contact.Contact(
            id=f"contact of {customer}", tenant="Environment", attributes={"FirstName": customer}
        )
        view = InteractionView(
            id=number,
            tenant="Environment",
            media="chat",
            state=Ownership.OFFERED,
            version=2,
            queue="chat.support",
            owner=agent,
            customer=customer,
            contact=f"contact of {customer}",
            chat_session=number,
            offer_seconds=seconds,
            created_at=time.time(),
        )
        self.interactions[number] = view
        self._emit(agent, "interaction.offered", interaction.Offered(view))
        return number

    def take(self, number: str, why: str = "restore timeout") -> None:
        view = self.interactions.pop(number)
        gone = interaction.Gone(interaction=number, version=view.version + 1, event="requeued", why=why)
        self._emit(view.owner, "interaction.gone", gone)

    def says(
        self, session: str, text: str, *, party: Party = Party.CUSTOMER, id: str = "", user: str = ""
    ) -> Entry:
        transcript = self.chats[session]
        found = next((e for e in transcript.entries if id and e.id == id), None)
        if found is not None:
            return found
        entry = Entry(
            id=id or uuid.uuid4().hex,
            kind=EntryKind.MESSAGE,
            party=party,
            name=party.value,
            text=text,
            user=user,
            seq=len(transcript.entries) + 1,
            at=time.time(),
        )
        self.publish(session, entry)
        return entry

    def publish(self, session: str, entry: Entry) -> None:
        transcript = self.chats[session]
        transcript.entries.append(entry)
        for peer in transcript.joined:
            if not peer.is_closed:
                peer.event("chat.entry", chat.Said(session=session, entry=entry))

    # -- requests of a proxy's client

    async def serve(self, peer: Peer, request: Request) -> object:
        assert peer.identity is not None
        agent = peer.identity.user
        self.asked.append(request.method)
        if request.method in self.refusing:
            raise self.refusing[request.method]
        if request.method in ("agent.login", "agent.resume"):
            await self.hold_sessions.wait()
            return self._session(agent, peer, request)
        if request.key and request.key in self.results:
            return self.results[request.key]
        result = self._execute(agent, request)
        if request.key:
            self.results[request.key] = result
            self.executed.append((request.method, request.key))
        if request.method in self.silent:
            await asyncio.Event().wait()
        return result

    def _session(self, agent: str, peer: Peer, request: Request) -> object:
        if request.method == "agent.login":
            asked = request.read(interaction.AgentLogin)
            self.logins.append(asked)
            self.media.setdefault(agent, asked.media)
            return self.opened(agent, peer)
        resume = request.read(interaction.AgentResume)
        self.resumes.append(resume)
        if resume.ticket != f"ticket {self.sessions.get(agent)}":
            raise refuse("session.unknown", "This session was closed after its restore timeout.")
        return self.opened(agent, peer)

    def _execute(self, agent: str, request: Request) -> object:
        if request.method == "agent.media":
            asked = request.read(interaction.SetMedia)
            self.media[agent] = [MediaState(m.media, asked.ready, asked.reason) for m in self.media[agent]]
            return interaction.Done(seq=self.seq)
        if request.method == "agent.logout":
            self.sessions.pop(agent, None)
            return interaction.Done()
        if request.method == "interaction.accept":
            return self._accept(agent, request.read(interaction.Accept))
        if request.method in ("interaction.done", "interaction.reject", "interaction.transfer"):
            number = msgspec.json.decode(request.payload)["interaction"]
            view = self.interactions.pop(number, None)
            if view is None:
                raise refuse("interaction.not_owner", "It is not yours.")
            return interaction.Done(version=view.version + 1)
        if request.method == "interaction.change":
            return self._change(agent, request.read(interaction.ChangeProperties))
        raise refuse("method.unknown", request.method)

    def _accept(self, agent: str, asked: interaction.Accept) -> InteractionView:
        view = self.interactions.get(asked.interaction)
        if view is None or view.version != asked.version:
            raise refuse("offer.gone", "The offer is over.")
        view = msgspec.structs.replace(
            view,
            state=Ownership.OWNED,
            version=view.version + 1,
            grant=f"grant {view.id}",
            owned_at=time.time(),
            offer_seconds=0.0,
        )
        self.interactions[view.id] = view
        return view

    def _change(self, agent: str, asked: interaction.ChangeProperties) -> interaction.Done:
        view = self.interactions[asked.interaction]
        properties = {**view.properties, **asked.set}
        view = msgspec.structs.replace(
            view,
            properties=properties,
            version=view.version + 1,
            disposition=view.disposition if asked.disposition is None else asked.disposition,
        )
        self.interactions[view.id] = view
        self._emit(agent, "interaction.changed", interaction.Changed(view))
        return interaction.Done(version=view.version)

    # -- requests to a Contact Server Proxy and to a Chat Server

    async def serve_contact(self, peer: Peer, request: Request) -> object:
        if request.method == "contact.get":
            return self.contacts[request.read(contact.GetContact).contact]
        if request.method == "history.list":
            return contact.History([])
        if request.method == "contact.update":
            asked = request.read(contact.UpdateContact)
            old = self.contacts[asked.contact]
            if old.version != asked.version:
                raise refuse("contact.changed", "Somebody else has changed this contact meanwhile.")
            new = contact.Contact(
                id=old.id,
                tenant=old.tenant,
                attributes={**old.attributes, **asked.set},
                version=old.version + 1,
            )
            self.contacts[old.id] = new
            return new
        raise refuse("method.unknown", request.method)

    async def serve_chat(self, peer: Peer, request: Request) -> object:
        assert peer.identity is not None
        user = peer.identity.user
        self.asked.append(request.method)
        session = msgspec.json.decode(request.payload)["session"]
        transcript = self.chats[session]
        if request.method == "chat.join":
            join = request.read(chat.Join)
            if join.grant != f"grant {session}":
                raise refuse("grant.invalid", "The grant is not for this session.")
            transcript.joined.append(peer)
            entries = [entry for entry in transcript.entries if entry.seq > join.after]
            return chat.Joined(
                session=session,
                entries=entries,
                ended=transcript.ended,
                customer="Ada",
                customer_present=True,
            )
        if request.method == "chat.leave":
            transcript.joined = [one for one in transcript.joined if one is not peer]
            return None
        if peer not in transcript.joined:
            raise refuse("chat.not_joined", "Join first.")
        if request.method == "chat.send":
            send = request.read(chat.Send)
            entry = self.says(session, send.text, party=Party.AGENT, id=send.id, user=user)
            if request.method in self.silent:
                await asyncio.Event().wait()
            return chat.Sent(seq=entry.seq, at=entry.at)
        if request.method == "chat.end":
            transcript.ended = True
            entry = Entry(id=f"end {session}", kind=EntryKind.ENDED, party=Party.SYSTEM, name="")
            entry.seq = len(transcript.entries) + 1
            self.publish(session, entry)
            return chat.Sent(seq=entry.seq, at=time.time())
        raise refuse("method.unknown", request.method)


class _Handler(BaseHandler):
    def __init__(self, server: "Server") -> None:
        self._server = server

    async def on_open(self, peer: Peer) -> None:
        self._server.opened += 1
        if self._server.drops:
            peer.abort("dropped by the script")

    async def on_request(self, peer: Peer, request: Request) -> object:
        return await self._server.serve(peer, request)

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        self._server.events.append(name)


class Server:
    """A listener with a name that can go away and come back on its port."""

    def __init__(self, world: "World", name: str, app_type: App, site: str) -> None:
        self.world, self.name, self.app_type, self.site = world, name, app_type, site
        self.drops = False
        self.refuses: Exception | None = None
        self.opened = 0
        self.statement = ""
        self.hellos: list[Hello] = []
        self.wait = 0.0
        self.events: list[str] = []
        self.epoch_said: int | None = None
        self.role = Role.ACTIVE
        tls = issue(world.certificates, name, app_type.value, [HOST])
        config = app_type is App.CONFIGURATION_SERVER
        self.listener = Listener(
            self._hello,
            self._handler,
            tls,
            host=HOST,
            port=0,
            accepts=Accepts(persons=True, anonymous=config, anonymous_methods=frozenset({"auth.login"})),
            verify=world.verifier,
            door=self,
            statement=lambda: self.statement,
        )

    # -- the door

    def arrive(
        self,
        peer: Peer,
        hello: Hello,
        enter: Callable[[], None],
        wait: Callable[[Waiting], None],
        refuse: Callable[[Refusal], None],
    ) -> None:
        self.hellos.append(hello)
        if not self.wait:
            enter()
            return
        wait(Waiting(seconds=self.wait, ahead=3, why="Others are let in first."))
        asyncio.get_running_loop().call_later(self.wait, enter)

    def left(self, peer: Peer) -> None:
        """Nothing is counted."""

    def _hello(self) -> Hello:
        epoch = self.world.core.epoch if self.epoch_said is None else self.epoch_said
        alone = self.app_type in (App.CONFIGURATION_SERVER, App.STAT_SERVER)
        cluster = "" if alone else f"Cluster eService {self.site}"
        return Hello(
            application=self.name,
            type=self.app_type.value,
            instance="1",
            site=self.site,
            cluster=cluster,
            epoch=epoch,
            role=self.role,
            statement=self.statement,
        )

    def _handler(self, peer: Peer) -> _Handler:
        if self.refuses is not None:
            raise self.refuses
        return _Handler(self)

    async def serve(self, peer: Peer, request: Request) -> object:
        if self.app_type is App.INTERACTION_SERVER_PROXY:
            return await self.world.core.serve(peer, request)
        if self.app_type is App.CONTACT_SERVER_PROXY:
            return await self.world.core.serve_contact(peer, request)
        if self.app_type is App.CHAT_SERVER:
            return await self.world.core.serve_chat(peer, request)
        return await self.world.serve_configuration(peer, request)

    @property
    def port(self) -> int:
        return self.listener.port

    async def open(self) -> None:
        await self.listener.open()

    async def kill(self) -> None:
        """As a killed process: the port is closed and every link reset."""
        await self.listener.close(drop=False)
        for peer in list(self.listener.peers):
            peer.abort("killed by the script")
        await until(lambda: not self.listener.peers, f"links of {self.name} gone")

    def tell(self, name: str, event: object) -> None:
        for peer in self.listener.peers:
            peer.event(name, event)


class World:
    """Two sites, their servers and one Configuration Server; ``close`` ends everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificates = folder / "certificates"
        create_authority(self.certificates)
        create_signing_keys(folder / "keys")
        self.signer = TokenSigner.load(folder / "keys")
        self.verifier = TokenVerifier.load(folder / "keys")
        self.core = Core()
        self.revision = 1
        self.token_seconds = 3600.0
        self.renewals = 0
        self.current = True
        self.workspace_connections: list[Connection] = []
        self.options: Options = {
            SECTION: {
                "disaster-recovery.eservices-site": "Site_A",
                "disaster-recovery.eservices-random-delay-range": "0",
                "warm-standby.retry-delay": "0.1",
                "warm-standby.reconnection-random-delay-range": "0",
            }
        }
        self.config = Server(self, "Config_A", App.CONFIGURATION_SERVER, "Site_A")
        self.servers: dict[str, Server] = {}
        for letter in "AB":
            site = f"Site_{letter}"
            for number in (1, 2, 3):
                self._add(f"IxnProxy_{letter}_{number}", App.INTERACTION_SERVER_PROXY, site)
            for number in (1, 2):
                self._add(f"UCS_Proxy_{letter}_{number}", App.CONTACT_SERVER_PROXY, site)
                self._add(f"Chat_{letter}_{number}", App.CHAT_SERVER, site)
        self.engines: list[WorkspaceEngine] = []

    def _add(self, name: str, app_type: App, site: str) -> None:
        self.servers[name] = Server(self, name, app_type, site)

    def of(self, app_type: App, site: str) -> list[Server]:
        return [s for s in self.servers.values() if s.app_type is app_type and s.site == site]

    def site(self, site: str) -> list[Server]:
        return [server for server in self.servers.values() if server.site == site]

    async def start(self) -> None:
        """Site_A active, Site_B passive: its ports are known and closed."""
        await self.config.open()
        for server in self.servers.values():
            await server.open()
        for server in self.site("Site_B"):
            await server.kill()

    async def activate(self, site: str) -> None:
        """The other site is closed, this one opens, under the next epoch."""
        for server in self.servers.values():
            if server.site != site:
                await server.kill()
        self.core.epoch += 1
        for server in self.site(site):
            await server.open()

    async def close(self) -> None:
        for engine in self.engines:
            await engine.close()
        for server in [*self.servers.values(), self.config]:
            await server.listener.close(drop=True)

    def serving(self, app_type: App, site: str = "Site_A") -> Server:
        """The server of a type that has a link."""
        found = [server for server in self.of(app_type, site) if server.listener.peers]
        assert len(found) == 1, f"{app_type}: {[server.name for server in found]}"
        return found[0]

    # -- configuration

    def objects(self) -> list[ConfigObject]:
        kinds = ObjectType
        hosts = [
            ConfigObject(type=kinds.HOST, name=f"host {site}", address=HOST, site=site)
            for site in ("Site_A", "Site_B")
        ]
        apps = [
            ConfigObject(
                type=kinds.APPLICATION,
                name=server.name,
                app_type=server.app_type,
                host=f"host {server.site}",
                ports={"default": server.port},
            )
            for server in self.servers.values()
        ]
        clusters = [
            ConfigObject(
                type=kinds.APPLICATION,
                name=f"Cluster eService {site}",
                app_type=App.CLUSTER,
                connections=[Connection(server=server.name) for server in self.site(site)],
                options={SECTION: {"disaster-recovery.site": site}},
            )
            for site in ("Site_A", "Site_B")
        ]
        workspace = ConfigObject(
            type=kinds.APPLICATION,
            name="Workspace",
            tenant="Environment",
            app_type=App.WORKSPACE,
            connections=[
                *(Connection(server=cluster.name, local_timeout=2, remote_timeout=2) for cluster in clusters),
                *self.workspace_connections,
            ],
            options={section: dict(keys) for section, keys in self.options.items()},
        )
        tenant = ConfigObject(
            type=kinds.TENANT,
            name="Environment",
            options={"dispositions": {"solved": "Solved"}, "case-information": {"Order": "Order number"}},
        )
        queue = ConfigObject(type=kinds.QUEUE, name="chat.support", tenant="Environment", media=["chat"])
        return [*hosts, *apps, *clusters, workspace, tenant, queue]

    async def serve_configuration(self, peer: Peer, request: Request) -> object:
        if request.method == "auth.login":
            login = request.read(configuration.Login)
            if login.password != "right":
                raise refuse("auth.failed", "User or password is wrong.")
            return self.logged_in(login.user)
        if request.method == "auth.renew":
            assert peer.identity is not None
            self.renewals += 1
            return self.logged_in(peer.identity.user)
        read = request.read(configuration.Read)
        return self._changes(read.since)

    def logged_in(self, user: str) -> configuration.LoggedIn:
        identity = Identity(
            user=user,
            tenant="Environment",
            roles=["agent"],
            expires=time.time() + self.token_seconds,
            display_name=user.title(),
        )
        return configuration.LoggedIn(token=self.signer.sign_identity(identity), identity=identity)

    def state(self, site: str, epoch: int, *, life: float = 3600.0, forged: bool = False) -> str:
        """A signed statement of who is master."""
        signer = self.signer
        if forged:
            create_signing_keys(self.folder / "other keys")
            signer = TokenSigner.load(self.folder / "other keys")
        now = time.time()
        return signer.sign_statement(Statement(site=site, epoch=epoch, issued=now, expires=now + life))

    def _changes(self, since: int) -> configuration.Changes:
        objects = self.objects() if since < self.revision else []
        return configuration.Changes(
            revision=self.revision,
            full=since == 0,
            objects=objects,
            current=self.current,
            epoch=self.config.epoch_said or 0,
        )

    def set_option(self, key: str, value: str) -> None:
        """Change a Workspace option; whoever is connected is told."""
        self.options[SECTION][key] = value
        self.revision += 1
        self.config.tell("config.changed", self._changes(self.revision - 1))

    # -- engines

    def engine(self, user: str = "agent01", **settings: object) -> WorkspaceEngine:
        base: dict[str, object] = {
            "configuration": (ServerAddress("Config_A", HOST, self.config.port),),
            "authority": self.certificates / "ca.pem",
            "user": user,
            "state_dir": self.folder / "state",
            "login_timeout": 5.0,
            "request_timeout": 5.0,
            "verify": self.folder / "keys" / "token-verify.pem",
        }
        engine = WorkspaceEngine(EngineSettings(**{**base, **settings}))  # type: ignore[arg-type]
        self.engines.append(engine)
        return engine

    async def ready(self, user: str = "agent01", **settings: object) -> WorkspaceEngine:
        """An engine logged in and connected everywhere."""
        engine = self.engine(user, **settings)
        await engine.login(user, "right", place=f"Place {user}")
        await until(lambda: all_up(engine), "all links up")
        return engine


def all_up(engine: WorkspaceEngine) -> bool:
    """Whether every link of an engine works and the core has confirmed."""
    links = engine.view.links
    up = [links.interaction, links.contact, *links.chats]
    return all(link.up for link in up) and engine.view.phase == "ready"


def run(folder: Path, story: Callable[[World], object]) -> None:
    """Run a story in a world of its own; it must leave no task behind."""

    async def main() -> None:
        world = World(folder)
        await world.start()
        try:
            await story(world)  # type: ignore[misc]
        finally:
            await world.close()
        await asyncio.sleep(0)
        left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task() and not t.done()]
        if left:
            _, pending = await asyncio.wait(left, timeout=2.0)
            left = list(pending)
        names = [task.get_name() for task in left if not task.get_name().startswith("Task-")]
        assert not names, f"tasks left: {names}"

    asyncio.run(main())
