"""Election and fencing on a real PostgreSQL, with real processes that are killed and frozen."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.mastership import Mastership, PromotionMode, Term
from stayline.store.database import Connection, connect
from stayline.store.election import Election, fence_write
from stayline.store.mastership import insert_mastership, mastership_history, newest_mastership
from tests.integration.conftest import Database, until

pytestmark = pytest.mark.postgres

_ROOT = Path(__file__).parents[3]


class Holder:
    """A real process that was elected and writes; what it said is in ``lines``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        assert process.stdout is not None
        self._out = process.stdout

    async def until(self, word: str, timeout: float = 20.0) -> str:
        """The next line that begins with ``word``."""
        async with asyncio.timeout(timeout):
            while True:
                line = (await self._out.readline()).decode().strip()
                if not line:
                    raise AssertionError(f"ended without {word!r}: {self.lines[-5:]}")
                self.lines.append(line)
                if line.startswith(word):
                    return line


@contextlib.asynccontextmanager
async def holder(database: Database, instance: str) -> AsyncIterator[Holder]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.postgres.holder", database.dsn, instance, "written",
        cwd=_ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Holder(process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        await process.wait()


async def _table(database: Database) -> Connection:
    conn = await connect(database.dsn, "test")
    await conn.execute("CREATE TABLE written (n bigint PRIMARY KEY, term bigint NOT NULL)")
    return conn


def _election(database: Database, name: str, site: str = "Site_A") -> Election:
    return Election(database.dsn, "interaction", site, name)


def test_killed_holder_is_replaced_at_once(database: Database) -> None:
    async def play() -> tuple[float, Term, str]:
        conn = await _table(database)
        async with holder(database, "Ixn_A_1/x") as first:
            await first.until("written")
            backup = _election(database, "Ixn_A_2/y")
            campaign = asyncio.create_task(backup.campaign())
            await until(lambda: "lock" in backup.waiting_for)
            first.process.kill()
            started = time.monotonic()
            term = await campaign
            took = time.monotonic() - started
        by = await conn.fetchval("SELECT holder FROM election WHERE pair = 'interaction'")
        await backup.close()
        await conn.close()
        return took, term, by

    took, term, by = asyncio.run(play())
    assert took < 0.5, f"replaced after {took * 1000:.0f} ms"
    assert (term.epoch, term.term, by) == (1, 2, "Ixn_A_2/y")


def test_frozen_holder_is_fenced_and_its_later_write_refused(database: Database) -> None:
    async def play() -> tuple[int, Term, str, list[tuple[int, int]], list[int]]:
        conn = await _table(database)
        async with holder(database, "Ixn_A_1/x") as first:
            await first.until("written")
            backup = _election(database, "Ixn_A_2/y")
            campaign = asyncio.create_task(backup.campaign())
            await until(lambda: "lock" in backup.waiting_for)
            first.process.send_signal(signal.SIGSTOP)
            ended = await backup.fence_holder("test")
            term = await campaign
            last_of_first = await conn.fetchval("SELECT max(n) FROM written")
            await conn.execute("INSERT INTO written VALUES ($1, $2)", 2_000_001, term.term)
            first.process.send_signal(signal.SIGCONT)
            refused = await first.until("refused")
            rows = await conn.fetch("SELECT n, term FROM written WHERE n > $1 ORDER BY n", last_of_first)
            said = [int(line.split()[1]) for line in first.lines if line.startswith("written")]
        await backup.close()
        await conn.close()
        return ended, term, refused, [(row["n"], row["term"]) for row in rows], said

    ended, term, refused, after, acknowledged = asyncio.run(play())
    assert ended == 2, "the lock's session and the writer's"
    assert term.term == 2
    assert "core.not_primary" in refused
    assert after == [(2_000_001, 2)], "nothing of the frozen one came after its term"
    assert acknowledged, "it had written before"


def test_fence_spares_a_free_lock_and_itself(database: Database) -> None:
    async def play() -> tuple[int, int, bool]:
        alone = _election(database, "Ixn_A_1/x")
        nobody = await alone.fence_holder("test")
        await alone.campaign()
        own = await alone.fence_holder("test")
        lost = alone.lost.done()
        await alone.close()
        return nobody, own, lost

    assert asyncio.run(play()) == (0, 0, False)


def test_old_writer_in_mid_transaction_cannot_commit_after_the_new_term(database: Database) -> None:
    """Its session lock is gone, its write transaction is still open: the new primary ends it before taking its term."""

    async def play() -> tuple[Term, int, str]:
        conn = await _table(database)
        old = _election(database, "Ixn_A_1/x")
        term = await old.campaign()
        writer = await connect(database.dsn, "Ixn_A_1/x")
        await writer.execute("BEGIN")
        await fence_write(writer, term)
        await writer.execute("INSERT INTO written VALUES (1, 1)")
        await old.close()
        new = _election(database, "Ixn_A_2/y")
        next_term = await new.campaign()
        committed = "committed"
        try:
            await writer.execute("COMMIT")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            committed = "lost"
        rows = await conn.fetchval("SELECT count(*) FROM written")
        await new.close()
        await conn.close()
        writer.terminate()
        return next_term, rows, committed

    term, rows, committed = asyncio.run(play())
    assert (term.term, rows, committed) == (2, 0, "lost")


def test_writer_that_waited_for_a_new_term_sees_it(database: Database) -> None:
    """The trap of a check in the same snapshot as the lock: taken before the wait, it would show the old term."""

    async def play() -> str:
        old = _election(database, "Ixn_A_1/x")
        term = await old.campaign()
        taker = await connect(database.dsn, "test")
        writer = await connect(database.dsn, "Ixn_A_1/x")
        watcher = await connect(database.dsn, "test")
        async with taker.transaction():
            await taker.execute("SELECT pg_advisory_xact_lock($1, 1)", 0x53544C32)
            waiting = asyncio.create_task(fence_write(writer, term))

            async def blocked() -> bool:
                return bool(await watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

            await until(blocked)
            await taker.execute("UPDATE election SET term = term + 1, holder = 'other'")
        with pytest.raises(RefusedError) as caught:
            await waiting
        for conn in (taker, writer, watcher):
            await conn.close()
        await old.close()
        return caught.value.refusal.code

    assert asyncio.run(play()) == "core.not_primary"


def test_site_without_mastership_is_never_elected_until_it_gets_it(database: Database) -> None:
    async def play() -> tuple[bool, str, Term]:
        conn = await connect(database.dsn, "test")
        other = _election(database, "Ixn_B_1/x", "Site_B")
        campaign = asyncio.create_task(other.campaign())
        done, _ = await asyncio.wait({campaign}, timeout=0.5)
        why = other.waiting_for
        row = Mastership(epoch=2, site="Site_B", mode=PromotionMode.PLANNED, reason="test", by="test")
        await insert_mastership(conn, row)
        term = await asyncio.wait_for(campaign, 5.0)
        await other.close()
        await conn.close()
        return bool(done), why, term

    early, why, term = asyncio.run(play())
    assert not early
    assert why == "Epoch 1 belongs to Site_A, not to Site_B."
    assert (term.epoch, term.site) == (2, "Site_B")


def test_moved_mastership_ends_the_writes_of_a_term(database: Database) -> None:
    async def play() -> str:
        election = _election(database, "Ixn_A_1/x")
        term = await election.campaign()
        conn = await connect(database.dsn, "Ixn_A_1/x")
        async with conn.transaction():
            await fence_write(conn, term)
        row = Mastership(epoch=2, site="Site_B", mode=PromotionMode.FORCED, reason="test", by="test")
        await insert_mastership(conn, row)
        with pytest.raises(RefusedError, match="epoch 2 belongs to Site_B") as caught:
            async with conn.transaction():
                await fence_write(conn, term)
        await conn.close()
        await election.close()
        return caught.value.refusal.code

    assert asyncio.run(play()) == "core.not_primary"


def test_terms_of_pairs_are_apart_and_never_repeat(database: Database) -> None:
    async def play() -> list[int]:
        terms = []
        for pair in ("interaction", "contact", "interaction"):
            election = Election(database.dsn, pair, "Site_A", "X/1")
            terms.append((await election.campaign()).term)
            await election.close()
        return terms

    assert asyncio.run(play()) == [1, 1, 2]


def test_campaign_survives_a_database_that_goes_away(database: Database) -> None:
    async def play() -> int:
        conn = await connect(database.dsn, "test")
        first = _election(database, "Ixn_A_1/x")
        await first.campaign()
        second = _election(database, "Ixn_A_2/y")
        campaign = asyncio.create_task(second.campaign())
        await until(lambda: "lock" in second.waiting_for)
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'Ixn%'"
        )
        why = await asyncio.wait_for(first.lost, 3.0)
        assert "lock ended" in why
        term = await asyncio.wait_for(campaign, 5.0)
        await second.close()
        await first.close()
        await conn.close()
        return term.term

    assert asyncio.run(play()) == 2


@pytest.mark.parametrize("statement", [
    "INSERT INTO mastership (epoch, site, mode, reason, by) VALUES (3, 'Site_B', 'planned', '', '')",
    "INSERT INTO mastership (epoch, site, mode, reason, by) VALUES (1, 'Site_B', 'planned', '', '')",
    "INSERT INTO mastership (epoch, site, mode, reason, by) VALUES (2, 'Site_B', 'perhaps', '', '')",
    "UPDATE mastership SET site = 'Site_B'",
    "DELETE FROM mastership",
    "TRUNCATE mastership CASCADE",
    "INSERT INTO election VALUES ('interaction', 1, 5, 'Site_A', 'x'); UPDATE election SET term = 5",
    "INSERT INTO election VALUES ('interaction', 1, 5, 'Site_A', 'x'); UPDATE election SET term = 7",
])  # fmt: skip
def test_database_itself_refuses_to_bend_history(database: Database, statement: str) -> None:
    async def play() -> None:
        conn = await connect(database.dsn, "test")
        try:
            await conn.execute(statement)
        finally:
            await conn.close()

    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        asyncio.run(play())


def test_epochs_are_recorded_and_a_wrong_one_named(database: Database) -> None:
    async def play() -> tuple[list[int], str, str]:
        conn = await connect(database.dsn, "test")
        row = Mastership(epoch=2, site="Site_B", mode=PromotionMode.FORCED, reason="fire", by="admin")
        recorded = await insert_mastership(conn, row)
        assert recorded.at > 0
        codes = []
        for epoch in (2, 5):
            with pytest.raises(RefusedError) as caught:
                await insert_mastership(
                    conn, Mastership(epoch=epoch, site="Site_A", mode=row.mode, reason="", by="x")
                )
            codes.append(caught.value.refusal.code)
        newest = await newest_mastership(conn)
        assert newest == recorded
        history = await mastership_history(conn)
        await conn.close()
        return [entry.epoch for entry in history], codes[0], codes[1]

    assert asyncio.run(play()) == ([2, 1], "epoch.stale", "epoch.gap")
