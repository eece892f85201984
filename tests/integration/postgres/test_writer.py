"""The group writer on a real PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from stayline.domain.errors import Refusal, RefusedError
from stayline.domain.mastership import Term
from stayline.store.database import Connection, connect
from stayline.store.election import Election
from stayline.store.writer import GroupWriter
from tests.integration.conftest import Database, until

pytestmark = pytest.mark.postgres

_SLEEPING = """
SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND datname = current_database()
"""

Apply = Callable[[Connection, list[int]], Awaitable[list[int | Refusal]]]


async def _elect(database: Database) -> tuple[Election, Term, Connection]:
    conn = await connect(database.dsn, "test")
    await conn.execute("CREATE TABLE written (n bigint PRIMARY KEY CHECK (n <> 13))")
    election = Election(database.dsn, "interaction", "Site_A", "Ixn_A_1/x")
    return election, await election.campaign(), conn


async def _insert(conn: Connection, items: list[int]) -> list[int | Refusal]:
    await conn.execute("INSERT INTO written SELECT unnest($1::bigint[])", items)
    return [item * 10 for item in items]


async def _open(
    database: Database, term: Term, apply: Apply = _insert, **limits: int
) -> GroupWriter[int, int]:
    writer: GroupWriter[int, int] = GroupWriter(database.dsn, term, apply, instance="Ixn_A_1/x", **limits)
    await writer.open()
    return writer


def test_what_arrives_together_is_committed_together(database: Database) -> None:
    async def play() -> tuple[list[int], int, int]:
        election, term, conn = await _elect(database)
        writer = await _open(database, term)
        results = await asyncio.gather(*(writer.submit(n) for n in range(1000, 2000)))
        stored = await conn.fetchval("SELECT count(*) FROM written")
        await writer.close()
        await election.close()
        await conn.close()
        return results, stored, writer.transactions

    results, stored, transactions = asyncio.run(play())
    assert results == [n * 10 for n in range(1000, 2000)]
    assert stored == 1000
    assert transactions <= 6, "1,000 changes in batches of at most 256"


def test_one_that_does_not_fit_costs_the_others_nothing(database: Database) -> None:
    async def play() -> tuple[list[int | BaseException], int, bool]:
        election, term, conn = await _elect(database)
        writer = await _open(database, term)
        results = await asyncio.gather(*(writer.submit(n) for n in range(1, 101)), return_exceptions=True)
        stored = await conn.fetchval("SELECT count(*) FROM written")
        fenced = writer.fenced.is_set()
        await writer.close()
        await election.close()
        await conn.close()
        return results, stored, fenced

    results, stored, fenced = asyncio.run(play())
    bad = results[12]
    assert isinstance(bad, RefusedError)
    assert bad.refusal.code == "store.refused"
    assert "13" not in bad.refusal.reason, "the row is not quoted"
    assert stored == 99
    assert not fenced


def test_refusals_of_single_items_and_of_a_whole_batch(database: Database) -> None:
    async def apply(conn: Connection, items: list[int]) -> list[int | Refusal]:
        if 7 in items:
            raise RefusedError(Refusal(code="test.seven", reason="Seven spoils the batch."))
        return [Refusal(code="test.odd", reason="Odd.") if n % 2 else n for n in items]

    async def play() -> list[int | BaseException]:
        election, term, conn = await _elect(database)
        writer = await _open(database, term, apply)
        results = await asyncio.gather(*(writer.submit(n) for n in range(4, 9)), return_exceptions=True)
        await writer.close()
        await election.close()
        await conn.close()
        return results

    told = [r.refusal.code if isinstance(r, RefusedError) else r for r in asyncio.run(play())]
    assert told == [4, "test.odd", 6, "test.seven", 8]


def test_newer_term_fences_everything_that_waits(database: Database) -> None:
    async def play() -> tuple[list[str], bool, str, int]:
        election, term, conn = await _elect(database)
        writer = await _open(database, term)
        await writer.submit(1)
        await conn.execute("UPDATE election SET term = term + 1, holder = 'Ixn_A_2/y'")
        results = await asyncio.gather(*(writer.submit(n) for n in range(2, 600)), return_exceptions=True)
        with pytest.raises(RefusedError):
            await writer.submit(1000)
        codes = [r.refusal.code for r in results if isinstance(r, RefusedError)]
        stored = await conn.fetchval("SELECT count(*) FROM written")
        await writer.close()
        await election.close()
        await conn.close()
        return codes, writer.fenced.is_set(), writer.why, stored

    codes, fenced, why, stored = asyncio.run(play())
    assert codes == ["core.not_primary"] * 598
    assert fenced
    assert "Ixn_A_2/y holds 1/2" in why
    assert stored == 1


def test_lost_connection_in_mid_transaction_leaves_nobody_waiting(database: Database) -> None:
    async def slow(conn: Connection, items: list[int]) -> list[int | Refusal]:
        await _insert(conn, items)
        await conn.execute("SELECT pg_sleep(30)")
        return list(items)

    async def play() -> tuple[list[str], int, str]:
        election, term, conn = await _elect(database)
        writer = await _open(database, term, slow)
        waiting = [asyncio.create_task(writer.submit(n)) for n in (1, 2)]

        async def inside() -> bool:
            return bool(await conn.fetchval(_SLEEPING))

        await until(inside)
        waiting.append(asyncio.create_task(writer.submit(3)))
        await conn.execute("SELECT pg_terminate_backend($1)", await conn.fetchval(_SLEEPING))
        results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5.0)
        codes = [r.refusal.code for r in results if isinstance(r, RefusedError)]
        stored = await conn.fetchval("SELECT count(*) FROM written")
        await writer.close()
        await election.close()
        await conn.close()
        return codes, stored, writer.why

    codes, stored, why = asyncio.run(play())
    assert codes == ["core.not_primary"] * 3
    assert stored == 0
    assert why


def test_queue_is_bounded_and_says_when_to_come_back(database: Database) -> None:
    async def play() -> tuple[int, set[float | None]]:
        election, term, conn = await _elect(database)
        writer = await _open(database, term, queue_limit=10)
        results = await asyncio.gather(*(writer.submit(n) for n in range(100, 120)), return_exceptions=True)
        busy = [r.refusal for r in results if isinstance(r, RefusedError)]
        assert {refusal.code for refusal in busy} == {"store.busy"}
        await writer.close()
        await election.close()
        await conn.close()
        return len(busy), {refusal.retry_after for refusal in busy}

    assert asyncio.run(play()) == (10, {0.5})


def test_close_commits_what_waits_and_a_sender_that_left_changes_nothing(database: Database) -> None:
    async def play() -> tuple[int, int]:
        election, term, conn = await _elect(database)
        writer = await _open(database, term)
        gone = asyncio.create_task(writer.submit(1))
        kept = asyncio.create_task(writer.submit(2))
        await asyncio.sleep(0)
        gone.cancel()
        await writer.close()
        with pytest.raises(RefusedError):
            await writer.submit(3)
        stored = await conn.fetchval("SELECT count(*) FROM written")
        await election.close()
        await conn.close()
        return await kept, stored

    assert asyncio.run(play()) == (20, 2)


def test_bug_in_apply_fences_instead_of_hanging(database: Database) -> None:
    async def broken(conn: Connection, items: list[int]) -> list[int | Refusal]:
        raise KeyError("bug")

    async def play() -> tuple[str, bool]:
        election, term, conn = await _elect(database)
        writer = await _open(database, term, broken)
        with pytest.raises(RefusedError) as caught:
            await asyncio.wait_for(writer.submit(1), 5.0)
        await writer.close()
        await election.close()
        await conn.close()
        return caught.value.refusal.code, writer.fenced.is_set()

    assert asyncio.run(play()) == ("core.not_primary", True)
