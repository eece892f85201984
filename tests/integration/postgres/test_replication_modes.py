"""What an acknowledged write means, on two real servers."""

import asyncio
import time
from pathlib import Path

import asyncpg
import psutil
import pytest

from stayline.control.postgres.keeper import ReplicationKeeper
from stayline.control.postgres.postmaster import lingering
from stayline.domain.replication import Phase
from stayline.link.messages.control import DatabaseRole, ReplicationMode
from stayline.store.database import LOST
from tests.integration.conftest import until
from tests.integration.postgres.sites import in_time, kept, order, session, two_sites

pytestmark = pytest.mark.postgres

FOLLOW, STRICT, ASYNC = ReplicationMode.FOLLOW, ReplicationMode.STRICT, ReplicationMode.ASYNC


def test_follow_goes_on_alone_and_says_since_when(tmp_path: Path) -> None:
    async def play() -> None:
        async with (
            two_sites(tmp_path) as sites,
            kept(sites.a, FOLLOW, 1.0, until_phase=Phase.TOGETHER) as keeper,
        ):
            a, b = sites.a, sites.b
            status = await a.status()
            assert (status.role, status.replica, status.synchronous) == (
                DatabaseRole.PRIMARY,
                "streaming",
                True,
            )
            assert (status.exposed_since, status.exposed_bytes) == (0.0, 0)
            assert status.why == "Every acknowledged write is on both sites."
            async with session(a) as conn:
                await conn.execute("CREATE TABLE t (n int)")
                lost_at = time.time()
                await b.kill()
                write = asyncio.create_task(conn.execute("INSERT INTO t VALUES (1)"))
                assert not await in_time(write, 0.6), "a commit waits for the replica at first"
                await asyncio.wait_for(write, 5.0)
                assert 0.9 < time.time() - lost_at < 4.0
                assert keeper.phase is Phase.ALONE
                status = await a.status()
                assert (status.replica, status.synchronous) == ("absent", False)
                assert lost_at - 1.5 < status.exposed_since < time.time()
                assert status.exposed_bytes > 0
                assert "goes on alone" in status.why
                await asyncio.wait_for(conn.execute("INSERT INTO t VALUES (2)"), 1.0)
            await b.start()
            await until(lambda: keeper.phase is Phase.TOGETHER)
            status = await a.status()
            assert (status.synchronous, status.exposed_since, status.exposed_bytes) == (True, 0.0, 0)
            async with session(b) as conn:
                assert await conn.fetchval("SELECT count(*) FROM t") == 2

    asyncio.run(play())


def test_frozen_replica_does_not_hold_the_primary_for_long(tmp_path: Path) -> None:
    async def play() -> None:
        async with (
            two_sites(tmp_path) as sites,
            kept(sites.a, FOLLOW, 1.5, until_phase=Phase.TOGETHER) as keeper,
        ):
            frozen = [psutil.Process(pid) for pid in lingering(sites.b.files.data)]
            try:
                for process in frozen:
                    process.suspend()
                async with session(sites.a) as conn:
                    await asyncio.wait_for(conn.execute("CREATE TABLE t AS SELECT 1 AS n"), 6.0)
                assert keeper.phase is Phase.ALONE
                assert keeper.exposure.exposed_since > 0
            finally:
                for process in frozen:
                    process.resume()
            await until(lambda: keeper.phase is Phase.TOGETHER)

    asyncio.run(play())


def test_strict_waits_until_the_replica_is_back(tmp_path: Path) -> None:
    async def play() -> None:
        async with (
            two_sites(tmp_path) as sites,
            kept(sites.a, STRICT, 0.3, until_phase=Phase.TOGETHER) as keeper,
        ):
            await sites.b.kill()
            async with session(sites.a) as conn:
                write = asyncio.create_task(conn.execute("CREATE TABLE t AS SELECT 1 AS n"))
                assert not await in_time(write, 2.5), "far longer than the away timeout"
                status = await sites.a.status()
                assert keeper.phase is Phase.MISSING
                assert (status.synchronous, status.exposed_since) == (False, 0.0), "waits, and is not exposed"
                assert "strict" in status.why
                await sites.b.start()
                await asyncio.wait_for(write, 10.0)
            async with session(sites.b) as conn:
                await until(lambda: sites.b.running)
                assert await conn.fetchval("SELECT pg_is_in_recovery()")

    asyncio.run(play())


def test_async_never_waits_and_shows_what_is_exposed(tmp_path: Path) -> None:
    async def play() -> None:
        async with two_sites(tmp_path) as sites, kept(sites.a, ASYNC, until_phase=Phase.ALONE) as keeper:
            await until(lambda: keeper.exposure.exposed_since == 0.0)
            await sites.b.kill()
            async with session(sites.a) as conn:
                await asyncio.wait_for(conn.execute("CREATE TABLE t AS SELECT 1 AS n"), 1.0)
            await until(lambda: keeper.exposure.exposed_since > 0)
            status = await sites.a.status()
            assert not status.synchronous
            assert status.exposed_bytes > 0
            assert status.why.startswith("Mode async")
            await sites.b.start()
            await until(lambda: keeper.exposure.exposed_since == 0.0)

    asyncio.run(play())


def test_mode_change_lets_those_go_who_wait(tmp_path: Path) -> None:
    async def play() -> None:
        async with two_sites(tmp_path) as sites:
            async with kept(sites.a, STRICT, until_phase=Phase.TOGETHER):
                await sites.b.kill()
                conn = await sites.a.admin_connect()
                write = asyncio.create_task(conn.execute("CREATE TABLE t AS SELECT 1 AS n"))
                assert not await in_time(write, 1.0)
            assert not await in_time(write, 0.5), "without a keeper the promise stands"
            async with kept(sites.a, ASYNC):
                await asyncio.wait_for(write, 5.0)
            conn.terminate()

    asyncio.run(play())


def test_exposure_survives_the_keeper(tmp_path: Path) -> None:
    async def play() -> None:
        async with two_sites(tmp_path, replica=False) as sites:
            async with kept(sites.a, FOLLOW, until_phase=Phase.ALONE) as keeper:
                since = keeper.exposure.exposed_since
            again = ReplicationKeeper(sites.a, FOLLOW)
            assert since > 0
            assert again.exposure.exposed_since == since

    asyncio.run(play())


def test_promoted_replica_has_every_acknowledged_write(tmp_path: Path) -> None:
    """Everything of Site_A is killed under load; mode follow, with the replica following."""

    async def play() -> tuple[set[int], set[int]]:
        async with two_sites(tmp_path) as sites, kept(sites.a, FOLLOW, until_phase=Phase.TOGETHER) as keeper:
            acknowledged: set[int] = set()
            async with session(sites.a) as conn:
                await conn.execute("CREATE TABLE t (n int PRIMARY KEY)")

            async def write(first: int) -> None:
                async with session(sites.a) as own:
                    try:
                        for n in range(first, first + 100_000):
                            await own.execute("INSERT INTO t VALUES ($1)", n)
                            acknowledged.add(n)
                    except (asyncpg.PostgresError, *LOST):
                        return

            writers = [asyncio.create_task(write(k * 100_000)) for k in range(4)]
            await until(lambda: len(acknowledged) > 500)
            assert keeper.exposure.synchronous
            await sites.a.kill()
            await asyncio.gather(*writers)
            await keeper.stop()
            await sites.b.promote(order(2, "Site_B"))
            async with session(sites.b) as conn:
                there = {row["n"] for row in await conn.fetch("SELECT n FROM t")}
        return acknowledged, there

    acknowledged, there = asyncio.run(play())
    assert len(acknowledged) > 500
    assert acknowledged - there == set()
