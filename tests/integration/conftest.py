"""A real PostgreSQL for the whole session, and a fresh migrated database of it for each test that asks."""

import asyncio
import os
import shutil
import threading
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from stayline.control.postgres import NodeTls, PostgresConfig, PostgresNode
from stayline.control.postgres.config import create_passwords
from stayline.domain.errors import RefusedError
from stayline.link.authority import create_authority, issue
from tests.ports import free_port

T = TypeVar("T")

SITE = "Site_A"
"""Owner of epoch 1 in every fresh database."""

_TEMPLATE = "stayline"


class LoopThread:
    """An event loop that outlives the tests: the server's watch needs one."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float = 120.0) -> T:
        """Run to the end over there; the result here."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def close(self) -> None:
        """Stop the loop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def until(condition: Callable[[], bool | Awaitable[bool]], timeout: float = 20.0) -> None:
    """Wait until ``condition`` holds; an assertion error after ``timeout`` seconds."""
    async with asyncio.timeout(timeout):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.01)


def node_config(base: Path, site: str, peer: str, **changes: Any) -> PostgresConfig:
    """Configuration of a node of ``site`` below ``base``, with certificates of one authority per ``base``.

    STAYLINE_TEST_POSTGRES may name the programs' folder of another PostgreSQL than the wheel's.
    """
    create_authority(base / "authority")
    tls = issue(
        base / "authority", f"DB_{site}", "Database", ["127.0.0.1"], into=base / site / "certificates"
    )
    assert tls.cert is not None
    assert tls.key is not None
    other = os.environ.get("STAYLINE_TEST_POSTGRES")
    values: dict[str, Any] = {
        "bin_dir": Path(other) if other else None,
        "site": site,
        "directory": base / site / "database",
        "host": "127.0.0.1",
        "port": changes.get("port") or free_port(),
        "peer_site": peer,
        "peer_names": (f"DB_{peer}",),
        "tls": NodeTls(tls.ca, tls.cert, tls.key),
        "passwords": create_passwords(base / "passwords.json"),
        "log_dir": base / site / "log",
        "durable_setup": False,
    }
    return PostgresConfig(**(values | changes))


def discard(node: PostgresNode) -> None:
    """Remove what a node keeps outside the test's folder."""
    shutil.rmtree(node.location.root, ignore_errors=True)
    shutil.rmtree(node.location.run, ignore_errors=True)


@dataclass(frozen=True)
class Database:
    """A database of its own: all migrations applied, epoch 1 belongs to ``Site_A``, nothing else in it."""

    name: str
    dsn: str
    admin_dsn: str


class Server:
    """The session's running primary. ``run`` runs a coroutine on the loop that its node belongs to."""

    def __init__(self, node: PostgresNode, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.node = node
        self.run = run

    def create(self) -> Database:
        """A fresh database, copied from the migrated one."""
        name = f"t_{uuid.uuid4().hex[:16]}"
        self.run(self._execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} OWNER stayline"))
        admin = self.node.admin_dsn(self.node.files.run).replace(f"/{_TEMPLATE}?", f"/{name}?")
        return Database(name, self.node.dsn_of(name), admin)

    def drop(self, database: Database) -> None:
        """Remove a database and end every session in it."""
        self.run(self._execute(f"DROP DATABASE {database.name} WITH (FORCE)"))

    async def _execute(self, statement: str) -> None:
        conn = await self.node.admin_connect("postgres")
        try:
            await conn.execute(statement)
        finally:
            await conn.close()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running primary from the wheel."""
    base = tmp_path_factory.mktemp("postgres")
    loop = LoopThread()

    async def start() -> PostgresNode:
        # No replica: nothing waits; fsync off, because nothing here has to survive the machine.
        node = PostgresNode(node_config(base, SITE, "Site_B", settings={"fsync": "off"}))
        await node.init_primary()
        await node.establish("test session", "pytest")
        await _leave_template(node)
        return node

    try:
        node = loop.run(start())
    except RefusedError as error:
        loop.close()
        if error.refusal.code == "database.no_programs" and not os.environ.get("STAYLINE_REQUIRE_PEERS"):
            pytest.skip(error.refusal.reason)
        raise
    yield Server(node, loop.run)
    loop.run(node.stop("immediate"))
    loop.close()
    discard(node)


async def _leave_template(node: PostgresNode) -> None:
    """A database that somebody is connected to cannot be copied."""
    async with node.admin() as conn:
        await conn.close()


@pytest.fixture
def database(postgres: Server) -> Iterator[Database]:
    """A fresh migrated database for this test."""
    made = postgres.create()
    yield made
    postgres.drop(made)
