"""One site's chat tier as real processes on a real database: UCS pair, Interaction Server pair, two Chat Servers.

The configuration comes from the copy on disk that each process would have kept: no Configuration Server is needed to
see what the chat tier does.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import asyncpg

from stayline.domain.objects import ApplicationType as App
from stayline.domain.objects import ConfigObject, Connection, ObjectType
from stayline.link.authority import TlsFiles, create_authority, issue, tls_files
from stayline.link.bootstrap import Bootstrap, Node, save_bootstrap
from stayline.link.configuration_cache import Copy, save_cache
from stayline.link.messages.envelope import Hello, Identity
from stayline.link.peer import BaseHandler, Handler, Peer
from stayline.link.tokens import Grant, TokenSigner, create_signing_keys
from stayline.link.transport import Endpoint, connect
from tests.ports import free_port

SITE = "Site_A"
TENANT = "Environment"
PAIRS = {"UCS_A_1": "UCS_A_2", "Ixn_A_1": "Ixn_A_2"}
TYPES = {
    "UCS_A_1": App.CONTACT_SERVER,
    "UCS_A_2": App.CONTACT_SERVER,
    "Ixn_A_1": App.INTERACTION_SERVER,
    "Ixn_A_2": App.INTERACTION_SERVER,
    "Chat_A_1": App.CHAT_SERVER,
    "Chat_A_2": App.CHAT_SERVER,
    "UCS_Proxy_A_1": App.CONTACT_SERVER_PROXY,
}


class Rig:
    """The site's folder, and the processes started from it."""

    def __init__(
        self,
        base: Path,
        dsn: str,
        flex_timeout: str = "45",
        chat_options: Mapping[str, str] = MappingProxyType({}),
        address: str = "127.0.0.1",
    ) -> None:
        self.base = base
        self.dsn = dsn
        self.flex_timeout = flex_timeout
        self.chat_options = {
            "allowed-origins": "http://shop.example",
            "core-grace": "5",
            "max-starts-per-minute": "1000",  # all customers of the tests come from one address
        } | dict(chat_options)
        self.address = address
        self.ports = {name: free_port() for name in TYPES}
        self.http = {name: free_port() for name in TYPES if TYPES[name] is App.CHAT_SERVER}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lay()

    def _lay(self) -> None:
        create_authority(self.base / "authority")
        for name, kind in TYPES.items():
            issue(self.base / "authority", name, kind.value, ["127.0.0.1"], into=self.base / "certificates")
        create_signing_keys(self.base / "keys")
        dead = free_port()
        save_bootstrap(
            self.base / "bootstrap.json",
            Bootstrap(
                site=SITE,
                host="host_a",
                state=str(self.base),
                configuration=[Node(application="Config_A", host="127.0.0.1", port=dead)],
                certificates=str(self.base / "certificates"),
                keys=str(self.base / "keys"),
                log_dir=str(self.base / "log"),
                database_dsn=self.dsn,
            ),
        )
        copy = Copy(revision=1, mark="test", objects=self._objects())
        for name in TYPES:
            save_cache(self.base / "cache" / f"{name}.json", copy)

    def _objects(self) -> list[ConfigObject]:
        return [
            ConfigObject(type=ObjectType.TENANT, name=TENANT),
            ConfigObject(type=ObjectType.HOST, name="host_a", address=self.address, site=SITE),
            ConfigObject(type=ObjectType.QUEUE, name="chat.support", tenant=TENANT, media=["chat"]),
            ConfigObject(type=ObjectType.QUEUE, name="mail.support", tenant=TENANT, media=["email"]),
            *(self._application(name, kind) for name, kind in TYPES.items()),
        ]

    def _application(self, name: str, kind: App) -> ConfigObject:
        ports = {"default": self.ports[name]}
        options = {"settings": {"flex-disconnect-timeout": self.flex_timeout}}
        connections: list[Connection] = []
        partner = PAIRS.get(name) or next((one for one, two in PAIRS.items() if two == name), "")
        if partner:
            connections.append(Connection(server=partner, local_timeout=0.5, remote_timeout=0.5))
        if kind is App.CHAT_SERVER:
            ports["http"] = self.http[name]
            options = {"settings": self.chat_options}
            for core in PAIRS:
                connections.append(Connection(server=core, local_timeout=1.0, remote_timeout=1.0))
        if kind is App.CONTACT_SERVER_PROXY:
            connections.append(Connection(server="UCS_A_1", local_timeout=1.0, remote_timeout=1.0))
        return ConfigObject(
            type=ObjectType.APPLICATION,
            name=name,
            tenant=TENANT,
            app_type=kind,
            host="host_a",
            ports=ports,
            backup=PAIRS.get(name, ""),
            connections=connections,
            options=options,
        )

    # -- processes ---------------------------------------------------------------------------------------------

    def start(self, *names: str) -> None:
        """Start servers."""
        for name in names:
            code = f"from stayline.servers.registry import run; run({name!r}, {str(self.base)!r})"
            log = (self.base / f"{name}.out").open("ab")
            with log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-c", code], stdout=log, stderr=log, env={**os.environ}
                )

    def kill(self, name: str) -> None:
        """SIGKILL and reap."""
        process = self.processes.pop(name)
        process.kill()
        process.wait(10)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal."""
        self.processes[name].send_signal(number)

    def stop(self) -> None:
        """End every process."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait(10)
        self.processes.clear()

    @property
    def web(self) -> list[str]:
        """Base addresses of the Chat Servers."""
        return [f"http://127.0.0.1:{port}" for port in self.http.values()]

    # -- waiting -----------------------------------------------------------------------------------------------

    async def listening(self, port: int, timeout: float = 20.0) -> None:
        """Wait until a port accepts connections."""
        async with asyncio.timeout(timeout):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                return

    async def ready(self, *chats: str) -> None:
        """Wait until these Chat Servers take customers."""
        for chat in chats:
            await self.listening(self.http[chat])

    async def primary(self, pair: str) -> str:
        """Instance prefix (application name) of the holder of a pair's newest term."""
        connection = await asyncpg.connect(self.dsn)
        try:
            holder = await connection.fetchval("select holder from election where pair = $1", pair)
        finally:
            await connection.close()
        return str(holder or "").split("-")[0]

    async def rows(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Look into the database."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    # -- links -------------------------------------------------------------------------------------------------

    def tls(self, name: str = "") -> TlsFiles:
        """Certificates of an application, or of a person's ("")."""
        return tls_files(self.base / "certificates", name)

    async def link(self, to: str, own: str, handler: Handler | None = None) -> Peer:
        """A link as one of the servers of this site."""
        hello = Hello(application=own, type=TYPES[own].value, instance=f"{own}-test", site=SITE)
        endpoint = Endpoint("127.0.0.1", self.ports[to], to)
        return await connect(endpoint, hello, handler or BaseHandler(), self.tls(own))

    async def agent(self, chat: str, user: str, handler: Handler | None = None) -> Peer:
        """A link as an agent's Workspace."""
        identity = Identity(
            user=user, tenant=TENANT, roles=["agent"], expires=time.time() + 3600, display_name=user.title()
        )
        token = TokenSigner.load(self.base / "keys").sign_identity(identity)
        hello = Hello(application="Workspace", type="Workspace", instance=f"ws-{user}", token=token)
        endpoint = Endpoint("127.0.0.1", self.ports[chat], chat)
        return await connect(endpoint, hello, handler or BaseHandler(), self.tls())

    def grant(self, session: str, user: str, version: int = 1_000) -> str:
        """What an Interaction Server gives to the owner of a chat's interaction."""
        grant = Grant(
            interaction=session,
            chat_session=session,
            agent=user,
            version=version,
            expires=time.time() + 3600,
        )
        return TokenSigner.load(self.base / "keys").sign_grant(grant)


async def eventually(condition: Callable[[], bool], timeout: float = 15.0) -> None:
    """Wait until a condition holds; raises TimeoutError."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(rig: Rig, *names: str) -> AsyncIterator[Rig]:
    """Servers for the time of a test; on a failure what they printed is shown."""
    rig.start(*names)
    try:
        yield rig
    except BaseException:
        for name in names:
            out = rig.base / "log" / f"{name}.log"
            print(f"--- {name}\n{out.read_text()[-4000:] if out.exists() else ''}")  # noqa: T201
        raise
    finally:
        rig.stop()
