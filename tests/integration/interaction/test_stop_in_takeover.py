"""A server is stopped on command while its takeover cannot go on: it ends at once instead of waiting on."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import uvloop

from stayline.servers.core import CoreServer, Ending
from tests.integration.conftest import Database
from tests.integration.interaction.centre import Centre, centre

pytestmark = pytest.mark.postgres

AT_ONCE = 5.0
"""Seconds: the writer's last two, and room for a busy machine. A takeover that is waited for never ends here."""

_WAITS = "select count(*) from pg_stat_activity where application_name = $1 and wait_event = $2"


@contextlib.asynccontextmanager
async def admin(database: Database) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A superuser's connection."""
    connection = await asyncpg.connect(database.admin_dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def _waits(core: CoreServer, event: str, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Return when the server's takeover waits for ``event``."""
    async with asyncio.timeout(15):
        while not await connection.fetchval(_WAITS, core.process.instance, event):
            assert not core.is_primary
            await asyncio.sleep(0.02)


async def _in_force(database: Database, names: str) -> None:
    """Return when new connections have the setting: a reload is only a signal to the postmaster."""
    async with asyncio.timeout(15):
        while True:
            async with admin(database) as newest:
                if await newest.fetchval("show synchronous_standby_names") == names:
                    return


async def _ends_at_once(place: Centre, name: str) -> None:
    began = time.monotonic()
    assert await place.stop(name) is Ending.STOPPED
    assert time.monotonic() - began < AT_ONCE


def test_it_stops_while_it_loads(tmp_path: Path, database: Database) -> None:
    async def story() -> None:
        async with centre(tmp_path, database.dsn) as place, admin(database) as connection:
            # A connection of its own holds the lock: inside a transaction, what is waited for is read only once.
            async with admin(database) as holder, holder.transaction():
                await holder.execute("lock table agent_session")
                await _waits(await place.start("Ixn_1"), "relation", connection)
                await _ends_at_once(place, "Ixn_1")
            await place.start_primary("Ixn_2")  # nothing of the first one is left in its way

    uvloop.run(story())


def test_it_stops_while_its_term_waits_for_a_replica(tmp_path: Path, database: Database) -> None:
    async def story() -> None:
        async with centre(tmp_path, database.dsn) as place, admin(database) as connection:
            await connection.execute("alter system set synchronous_standby_names = 'nobody'")
            try:
                await connection.execute("select pg_reload_conf()")
                await _in_force(database, "nobody")
                await _waits(await place.start("Ixn_1"), "SyncRep", connection)
                await _ends_at_once(place, "Ixn_1")
            finally:
                await connection.execute("alter system reset synchronous_standby_names")
                await connection.execute("select pg_reload_conf()")
            await place.start_primary("Ixn_2")

    uvloop.run(story())
