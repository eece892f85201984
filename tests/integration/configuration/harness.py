"""Two Configuration Servers on real sockets and a real database, and clients of them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import msgspec

from stayline.domain.objects import ConfigObject, ObjectType
from stayline.domain.provisioning import assign_ports, parse_provisioning
from stayline.link.authority import create_authority, issue, tls_files
from stayline.link.bootstrap import Bootstrap, Node, save_bootstrap
from stayline.link.configuration import ConfigurationClient, configuration_endpoints
from stayline.link.messages.configuration import Operation, OperationKind
from stayline.link.messages.envelope import Hello
from stayline.link.tokens import create_signing_keys
from stayline.servers.configuration.server import ConfigurationServer
from stayline.servers.process import ServerProcess
from stayline.store.configuration import provision
from tests.ports import free_port

SAMPLE = Path(__file__).parents[3] / "examples" / "two-sites.toml"
SITE_OPTION = "disaster-recovery.eservices-site"
SECTION = "interaction-workspace"


def sample() -> tuple[list[ConfigObject], dict[str, str]]:
    """The sample centre with ports filled in."""
    parsed = parse_provisioning(SAMPLE.read_text(encoding="utf-8"), SAMPLE.name)
    ports = iter(range(40_000, 41_000))
    return assign_ports(parsed.objects, lambda *_: next(ports)), parsed.passwords


def set_option(
    value: str, name: str = "Workspace", type_: str = "Application", key: str = SITE_OPTION
) -> Operation:
    """The operation of a site switch, by default."""
    return Operation(
        op=OperationKind.SET_OPTION, type=type_, name=name, section=SECTION, key=key, value=value
    )


async def until(condition: Callable[[], object], what: str, timeout: float = 15.0) -> None:
    """Wait for a condition, at most ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        await asyncio.sleep(0.01)


class Desk:
    """Folders, certificates and bootstrap files of both sites."""

    def __init__(self, base: Path, dsn_a: str, dsn_b: str | None = None) -> None:
        self.base = base
        self.dsns = {"A": dsn_a, "B": dsn_b if dsn_b is not None else dsn_a}
        self.ports = {"A": free_port(), "B": free_port()}
        create_authority(base / "authority")
        create_signing_keys(base / "keys")
        for side in "AB":
            self._lay(side)

    def _lay(self, side: str) -> None:
        folder = self.base / f"Site_{side}"
        nodes = [
            Node(application=f"Config_{s}", host="127.0.0.1", port=self.ports[s])
            for s in sorted("AB", key=lambda s: s != side)
        ]
        for name, app_type in (
            (f"Config_{side}", "Configuration Server"),
            (f"SCS_{side}", "Solution Control Server"),
            (f"Ixn_{side}_1", "Interaction Server"),
        ):
            issue(self.base / "authority", name, app_type, ["127.0.0.1"], into=folder / "certificates")
        save_bootstrap(
            folder / "bootstrap.json",
            Bootstrap(
                site=f"Site_{side}",
                host=f"host_{side.lower()}",
                state=str(folder),
                configuration=nodes,
                certificates=str(folder / "certificates"),
                keys=str(self.base / "keys"),
                log_dir=str(folder / "log"),
                database_dsn=self.dsns[side],
            ),
        )

    async def provision(self) -> None:
        """The sample centre as revision 1 of A's database."""
        objects, passwords = sample()
        conn = await asyncpg.connect(self.dsns["A"])
        try:
            assert await provision(conn, objects, passwords) == 1
        finally:
            await conn.close()

    @contextlib.asynccontextmanager
    async def server(self, side: str) -> AsyncIterator[ConfigurationServer]:
        """A running, listening Configuration Server."""
        process = ServerProcess(f"Config_{side}", self.base / f"Site_{side}")
        server = ConfigurationServer(process)
        task = asyncio.create_task(server.run())
        try:
            await until(lambda: server.listener.is_open or task.done(), "the server listens")
            if task.done():
                task.result()
            yield server
        finally:
            process.stopping.set()
            await task

    def client(
        self,
        application: str = "Ixn_A_1",
        *,
        side: str = "A",
        token: str | None = None,
        cache: Path | None = None,
    ) -> ConfigurationClient:
        """A server's client (by certificate), or a person's when there is a token."""
        boot = msgspec.json.decode(
            (self.base / f"Site_{side}" / "bootstrap.json").read_bytes(), type=Bootstrap
        )
        person = token is not None
        types = {"Ixn": "Interaction Server", "SCS": "Solution Control Server"}
        app_type = "Workspace" if person else types[application.split("_")[0]]
        name = "Workspace" if person else application

        def hello() -> Hello:
            return Hello(application=name, type=app_type, instance="test", site=boot.site)

        return ConfigurationClient(
            configuration_endpoints(boot),
            hello,
            tls_files(boot.certificates, "" if person else application),
            cache,
            (lambda: token) if token is not None else None,
        )


def site_of(client: ConfigurationClient) -> str:
    """The site that the Workspace application names, as this client knows it."""
    app = client.snapshot.get(ObjectType.APPLICATION, "Workspace")
    return app.option(SECTION, SITE_OPTION) if app is not None else ""
