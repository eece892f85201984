"""Demotion, promotion and following on two real servers, with PostgreSQL's traps (feasibility A, 1 to 4)."""

import asyncio
import time
from pathlib import Path

import asyncpg
import pytest

from stayline.control.postgres import PostgresNode
from stayline.domain.errors import RefusedError
from stayline.link.messages.control import DatabaseRole, DatabaseStatus, DemotionToken, FollowReport
from stayline.store.mastership import mastership_history
from tests.integration.conftest import until
from tests.integration.postgres.sites import Sites, order, session, two_sites

pytestmark = pytest.mark.postgres


async def _refusal(work: object) -> tuple[str, bool]:
    with pytest.raises(RefusedError) as caught:
        await work  # type: ignore[misc]
    return caught.value.refusal.code, caught.value.refusal.retryable


async def _add_journal(node: PostgresNode, first: int, count: int) -> None:
    """Interactions with a journal row and a chat entry each, as the core servers write them."""
    ids = [f"i{n}" for n in range(first, first + count)]
    async with session(node) as conn:
        await conn.execute(
            """INSERT INTO interaction (id, tenant, media, type, subtype, state, queue, version, epoch, term,
                                        created_at)
               SELECT id, '', 'chat', '', '', 'queued', 'q', 1, 1, 1, 0 FROM unnest($1::text[]) AS id""",
            ids,
        )
        await conn.execute(
            """INSERT INTO journal (interaction, version, event, from_state, to_state, agent, session, previous_agent,
                                    previous_session, queue, actor, key, why, epoch, term, at)
               SELECT id, 1, 'submit', '', 'queued', '', '', '', '', 'q', '', '', '', 1, 1, 0
               FROM unnest($1::text[]) AS id""",
            ids,
        )
        await conn.execute(
            """INSERT INTO chat_session (session, tenant, interaction, contact, customer, subject, queue, secret_hash,
                                         created_at, epoch, term)
               SELECT id, '', id, '', '', '', 'q', '', 0, 1, 1 FROM unnest($1::text[]) AS id""",
            ids,
        )
        await conn.execute(
            """INSERT INTO chat_entry (session, seq, id, kind, party, name, at, epoch, term)
               SELECT id, 1, 'm-' || id, '', '', '', 0, 1, 1 FROM unnest($1::text[]) AS id""",
            ids,
        )


async def _arrived(node: PostgresNode, count: int) -> None:
    """Wait until the replica has replayed ``count`` chat entries."""
    async with session(node) as conn:

        async def there() -> bool:
            return bool(await conn.fetchval("SELECT count(*) = $1 FROM chat_entry", count))

        await until(there)


async def _interactions(node: PostgresNode) -> set[str]:
    async with session(node) as conn:
        return {row["id"] for row in await conn.fetch("SELECT id FROM interaction")}


def test_planned_move_and_back(tmp_path: Path) -> None:
    async def play() -> tuple[list[FollowReport], list[tuple[int, str]], float]:
        async with two_sites(tmp_path) as sites:
            a, b = sites.a, sites.b
            await _add_journal(a, 0, 50)
            reports = []
            started = time.monotonic()
            token = await a.demote("planned")
            status = await a.status()
            assert (status.role, status.lsn) == (DatabaseRole.FENCED, token.lsn)
            assert await a.demote("again") == token, "the same token"
            status = await b.promote(order(2, "Site_B", token))
            seconds = time.monotonic() - started
            assert (status.role, status.epoch, status.master_site) == (DatabaseRole.PRIMARY, 2, "Site_B")
            assert (await b.promote(order(2, "Site_B", token))).epoch == 2, "repeating is harmless"
            await _add_journal(b, 50, 1)
            reports.append(await a.follow(sites.upstream(b)))
            reports.append(await a.follow(sites.upstream(b)))
            status = await a.status()
            assert (status.role, status.streaming, status.epoch) == (DatabaseRole.REPLICA, True, 2)
            token = await b.demote("back")
            await a.promote(order(3, "Site_A", token))
            reports.append(await b.follow(sites.upstream(a)))
            assert len(await _interactions(a)) == 51
            async with session(b) as conn:
                history = [(row.epoch, row.site) for row in await mastership_history(conn)]
                recorded = (await mastership_history(conn))[0].token
                assert recorded is not None
                assert recorded.lsn == token.lsn
        return reports, history, seconds

    reports, history, seconds = asyncio.run(play())
    assert reports == [FollowReport(rewound=False)] * 3, "nothing diverged, nothing was lost"
    assert history == [(3, "Site_A"), (2, "Site_B"), (1, "Site_A")]
    assert seconds < 5.0


def test_demoted_primary_cannot_write_however_it_is_started(tmp_path: Path) -> None:
    async def play() -> None:
        async with two_sites(tmp_path) as sites:
            await sites.a.demote("test")
            await sites.a.start()
            async with session(sites.a) as conn:
                with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                    await conn.execute("CREATE TABLE t ()")
            assert await _refusal(sites.b.demote("a replica")) == ("database.not_primary", False)
            assert await _refusal(sites.b.reinstate("a replica")) == ("database.not_demoted", False)
            await sites.a.stop()

    asyncio.run(play())


def test_token_says_exactly_where(tmp_path: Path) -> None:
    async def play() -> None:
        async with two_sites(tmp_path) as sites:
            a, b = sites.a, sites.b
            first = await a.demote("test")
            await a.reinstate("changed my mind")
            await _add_journal(a, 0, 10)
            await _arrived(b, 10)
            second = await a.demote("again")
            later = DemotionToken(system_id=second.system_id, timeline=second.timeline, lsn="7/0")
            foreign = DemotionToken(system_id="1", timeline=second.timeline, lsn=second.lsn)
            other = DemotionToken(system_id=second.system_id, timeline=9, lsn=second.lsn)
            assert await _refusal(b.promote(order(2, "Site_B", later, 0.3))) == ("database.behind", True)
            assert await _refusal(b.promote(order(2, "Site_B", first))) == ("database.diverged", False)
            assert await _refusal(b.promote(order(2, "Site_B", foreign))) == ("database.other_system", False)
            assert await _refusal(b.promote(order(2, "Site_B", other))) == ("database.diverged", False)
            assert await _refusal(b.promote(order(3, "Site_B", second))) == ("epoch.gap", False)
            assert await _refusal(b.promote(order(1, "Site_B", second))) == ("epoch.stale", False)
            assert await _refusal(b.promote(order(2, "Site_A", second))) == ("database.wrong_site", False)
            untold = order(2, "Site_B")
            untold.forced = False
            assert await _refusal(b.promote(untold)) == ("database.token_needed", False)
            status = await b.status()
            assert status.role is DatabaseRole.REPLICA, "no refusal changed anything"
            assert (await b.promote(order(2, "Site_B", second))).role is DatabaseRole.PRIMARY
            assert len(await _interactions(b)) == 10

    asyncio.run(play())


async def _break_stream(sites: Sites) -> None:
    """The replica gets nothing from now on; the primary keeps writing."""
    conn = await sites.b.admin_connect()
    await conn.execute("ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'")
    await conn.execute("SELECT pg_reload_conf()")

    async def silent() -> bool:
        return not await conn.fetchval("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'")

    await until(silent)
    await conn.close()


def test_reported_loss_is_the_loss_and_the_rewind_removes_it(tmp_path: Path) -> None:
    """Traps 1 and 2: the old slot's name, and a rewind that silently does nothing."""

    async def play() -> tuple[FollowReport, set[str], set[str], DatabaseStatus]:
        async with two_sites(tmp_path) as sites:
            a, b = sites.a, sites.b
            await _add_journal(a, 0, 100)
            await _arrived(b, 100)
            await _break_stream(sites)
            await _add_journal(a, 100, 30)
            await a.kill()
            await b.promote(order(2, "Site_B"))
            await _add_journal(b, 200, 40)
            async with b.admin() as conn:
                # What pg_rewind copies must not matter (trap 1).
                await conn.execute("ALTER SYSTEM SET primary_slot_name = 'slot_of_nobody'")
                await conn.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody_either'")
            report = await a.follow(sites.upstream(b))
            auto = (a.files.data / "postgresql.auto.conf").read_text()
            assert "primary_slot_name = 'replica_site_a'" in auto
            assert "nobody" not in auto
            async with session(a) as conn:
                assert await conn.fetchval("SELECT count(*) FROM pg_replication_slots") == 0
                assert await conn.fetchval("SHOW listen_addresses") == "127.0.0.1"
            status = await a.status()
            return report, await _interactions(a), await _interactions(b), status

    report, at_a, at_b, status = asyncio.run(play())
    lost = [f"i{n}" for n in range(100, 130)]
    assert report.rewound
    assert not report.rebuilt
    assert (report.lost_journal, report.lost_entries) == (30, 30)
    assert sorted(report.lost_interactions) == sorted(lost)
    assert sorted(report.lost_messages) == sorted(f"m-{name}" for name in lost)
    assert at_a == at_b, "the diverging rows are gone, the new ones are there"
    assert not at_a & set(lost)
    assert status.streaming


def test_killed_primary_that_lost_nothing_reports_nothing(tmp_path: Path) -> None:
    async def play() -> FollowReport:
        async with two_sites(tmp_path) as sites:
            await _add_journal(sites.a, 0, 20)
            await _arrived(sites.b, 20)
            await sites.a.kill()
            await sites.b.promote(order(2, "Site_B"))
            return await sites.a.follow(sites.upstream(sites.b))

    report = asyncio.run(play())
    assert (report.lost_journal, report.lost_entries, report.lost_interactions) == (0, 0, [])


def test_primary_that_nobody_replaced_does_not_follow(tmp_path: Path) -> None:
    async def play() -> None:
        async with two_sites(tmp_path) as sites:
            a, b = sites.a, sites.b
            assert await _refusal(a.follow(sites.upstream(b))) == ("database.not_primary", True)
            assert a.running
            # Both are primary of the same epoch: what an operator without a plan could do by hand.
            async with b.admin() as conn:
                await conn.execute("SELECT pg_promote(true)")
            assert await _refusal(a.follow(sites.upstream(b))) == ("database.not_primary", False)
            await b.promote(order(2, "Site_B"))
            async with a.admin() as conn:
                await conn.execute("INSERT INTO mastership VALUES (2, 'Site_A', 'forced', '', '')")
            assert await _refusal(a.follow(sites.upstream(b))) == ("database.still_master", False)
            assert a.running
            await a.kill()
            assert await _refusal(a.follow(sites.upstream(b))) == ("database.still_master", False)
            assert a.follow_stage() == "", "nothing was begun"

    asyncio.run(play())


def test_interrupted_rewind_is_rebuilt_and_never_started(tmp_path: Path) -> None:
    async def play() -> FollowReport:
        async with two_sites(tmp_path) as sites:
            await _add_journal(sites.a, 0, 5)
            token = await sites.a.demote("test")
            await sites.b.promote(order(2, "Site_B", token))
            sites.a.set_follow_stage("rewinding")
            assert await _refusal(sites.a.start()) == ("database.half_followed", False)
            report = await sites.a.follow(sites.upstream(sites.b))
            assert len(await _interactions(sites.a)) == 5
            assert (sites.a.files.root / "data.old").is_dir(), "what was here is kept aside"
            return report

    assert asyncio.run(play()) == FollowReport(rewound=False, rebuilt=True)


def test_interrupted_reading_is_taken_up_again(tmp_path: Path) -> None:
    """Killed while the old primary ran isolated: it must neither be adopted nor started, and nothing is forgotten."""

    async def play() -> FollowReport:
        async with two_sites(tmp_path) as sites:
            a, b = sites.a, sites.b
            await _break_stream(sites)
            await _add_journal(a, 0, 3)
            await a.kill()
            await b.promote(order(2, "Site_B"))
            a.set_follow_stage("reading what only this node has")
            await a.start_server("listen_addresses=", f"unix_socket_directories={a.make_private_run()}")
            a.forget()
            again = PostgresNode(a.config)
            assert not await again.adopt()
            assert await _refusal(again.start()) == ("database.half_followed", False)
            return await again.follow(sites.upstream(b))

    report = asyncio.run(play())
    assert (report.rewound, report.lost_journal) == (True, 3)


def test_foreign_database_is_rebuilt(tmp_path: Path) -> None:
    async def play() -> FollowReport:
        async with two_sites(tmp_path, replica=False) as sites:
            await sites.b.init_primary()
            await sites.b.stop()
            report = await sites.b.follow(sites.upstream(sites.a))
            assert (await sites.b.status()).streaming
            return report

    assert asyncio.run(play()) == FollowReport(rewound=False, rebuilt=True)


def test_replica_whose_log_is_gone_is_rebuilt(tmp_path: Path) -> None:
    async def play() -> FollowReport:
        async with two_sites(tmp_path, settings={"wal_keep_size": "0", "max_wal_size": "64MB"}) as sites:
            a, b = sites.a, sites.b
            await b.stop()
            async with a.admin() as conn:
                await conn.execute("SELECT pg_drop_replication_slot('replica_site_b')")
                for _ in range(8):
                    await conn.execute("CREATE TABLE IF NOT EXISTS filler (t text)")
                    await conn.execute(
                        "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 2000)"
                    )
                    await conn.execute("SELECT pg_switch_wal()")
                    await conn.execute("CHECKPOINT")
            return await b.follow(sites.upstream(a), timeout=6.0)

    assert asyncio.run(play()) == FollowReport(rewound=False, rebuilt=True)


def test_promotion_is_quick(tmp_path: Path) -> None:
    """Traps 3 and 4: ``pg_promote(true)`` never returns in less than 100 ms, and a default can cost 5 s."""

    async def play() -> tuple[list[float], str]:
        took = []
        async with two_sites(tmp_path) as sites:
            async with session(sites.b) as conn:
                interval = await conn.fetchval("SHOW wal_retrieve_retry_interval")
            old, new = sites.a, sites.b
            for epoch in (2, 3, 4):
                await old.kill()
                started = time.monotonic()
                await new.promote(order(epoch, new.config.site))
                took.append(time.monotonic() - started)
                await old.follow(sites.upstream(new))
                old, new = new, old
        return took, interval

    took, interval = asyncio.run(play())
    assert interval == "200ms"
    assert max(took) < 2.0
    assert min(took) < 0.11, f"promotions took {took}"


def test_replication_link_needs_the_peers_certificate(tmp_path: Path) -> None:
    async def play() -> None:
        async with two_sites(tmp_path, replica=False, peer_names=("DB_Somebody",)) as sites:
            assert (await _refusal(sites.b.clone_from(sites.upstream(sites.a))))[0] == "database.credentials"
            assert not sites.b.exists
            with pytest.raises((asyncpg.PostgresError, OSError)):
                await asyncpg.connect(
                    sites.a.dsn.split("@")[0] + f"@127.0.0.1:{sites.a.config.port}/stayline",
                    ssl="require",
                    timeout=3,
                )

    asyncio.run(play())
