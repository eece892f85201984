"""Two real sites: a primary and its replica, each a PostgreSQL of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stayline.control.postgres import PostgresNode, ReplicationKeeper, Upstream
from stayline.domain.replication import Phase
from stayline.link.messages.control import DemotionToken, Promote, ReplicationMode
from stayline.store.database import Connection, connect
from tests.integration.conftest import discard, node_config, until


@dataclass
class Sites:
    """``a`` was made primary of epoch 1, ``b`` its replica."""

    a: PostgresNode
    b: PostgresNode

    def upstream(self, node: PostgresNode) -> Upstream:
        """Where the other one finds ``node``."""
        return Upstream(node.config.site, node.config.host, node.config.port)


@contextlib.asynccontextmanager
async def two_sites(base: Path, *, replica: bool = True, **changes: Any) -> AsyncIterator[Sites]:
    """Two nodes below ``base``, following each other; nothing is left afterwards."""
    a = PostgresNode(node_config(base, "Site_A", "Site_B", **changes))
    b = PostgresNode(node_config(base, "Site_B", "Site_A", **changes))
    sites = Sites(a, b)
    try:
        await a.init_primary()
        await a.establish("test", "pytest")
        if replica:
            await b.clone_from(sites.upstream(a))
        yield sites
    finally:
        for node in (a, b):
            await node.kill()
            discard(node)


@contextlib.asynccontextmanager
async def kept(
    node: PostgresNode, mode: ReplicationMode, away_timeout: float = 1.0, *, until_phase: Phase | None = None
) -> AsyncIterator[ReplicationKeeper]:
    """A running keeper, come to ``until_phase``."""
    keeper = ReplicationKeeper(node, mode, away_timeout)
    keeper.start()
    try:
        if until_phase is not None:
            await until(lambda: keeper.phase is until_phase)
        yield keeper
    finally:
        await keeper.stop()


@contextlib.asynccontextmanager
async def session(node: PostgresNode) -> AsyncIterator[Connection]:
    """A connection of the application's role."""
    conn = await connect(node.dsn, "test", command_timeout=None)
    try:
        yield conn
    finally:
        conn.terminate()


def order(epoch: int, site: str, token: DemotionToken | None = None, timeout: float = 10.0) -> Promote:
    """A promotion: planned with a token, forced without."""
    return Promote(
        epoch=epoch, site=site, token=token, forced=token is None, reason="test", by="pytest", timeout=timeout
    )


async def in_time(work: "asyncio.Task[object]", seconds: float) -> bool:
    """Whether ``work`` is done within ``seconds``."""
    done, _ = await asyncio.wait({work}, timeout=seconds)
    return bool(done)
