"""Configuration Servers over real TLS and a real database."""

import asyncio
from pathlib import Path

import asyncpg
import msgspec
import pytest

from stayline.domain.errors import LinkLostError, RefusedError
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.link.configuration import ConfigurationClient
from stayline.link.messages.configuration import Changes, Operation, OperationKind, Read
from tests.integration.configuration.harness import Desk, sample, set_option, site_of, until
from tests.integration.conftest import Database

pytestmark = pytest.mark.postgres

MOVE = "INSERT INTO mastership (epoch, site, mode, reason, by) VALUES (2, 'Site_B', 'forced', 'test', 'test')"
"""Mastership goes to Site_B."""


async def code_of(request: object) -> tuple[str, str]:
    """Code and fix of the refusal that a request ends with."""
    with pytest.raises(RefusedError) as caught:
        await request  # type: ignore[misc]
    return caught.value.refusal.code, caught.value.refusal.fix


def test_a_change_reaches_clients_of_both_sites_and_the_history(database: Database, tmp_path: Path) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        async with desk.server("A") as a, desk.server("B") as b:
            near, far, scs = desk.client(), desk.client("Ixn_B_1", side="B"), desk.client("SCS_A")
            told: list[str] = []
            far.changed.append(lambda objects: told.extend(o.name for o in objects))
            for client in (near, far, scs):
                await client.start()
            assert far.link.application == "Config_B"
            await until(lambda: near.link.writable, "A is writable")
            assert not far.link.writable
            assert len(near.snapshot.objects) == len(sample()[0])
            told.clear()
            made = await scs.change([set_option("Site_B")], "a drill")
            assert made.revision == 2
            await until(lambda: site_of(near) == site_of(far) == "Site_B", "everybody knows")
            assert told == ["Workspace"]
            (newest, first) = await scs.history()
            assert (newest.revision, newest.by, newest.reason) == (2, "SCS_A", "a drill")
            assert newest.operations[0].value == "Site_B"
            assert first.revision == 1
            assert await scs.history(type="Person", name="admin") == [first]
            assert a.hello().role == "active"
            assert b.hello().role == "passive"
            for client in (near, far, scs):
                await client.stop()

    asyncio.run(play())


def test_options_keep_the_order_in_which_they_were_written(database: Database, tmp_path: Path) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        async with desk.server("A"):
            client = desk.client()
            await client.start()
            dispositions = client.snapshot.require("Tenant", "Environment").options["dispositions"]
            assert list(dispositions) == ["resolved", "follow-up", "wrong-department", "no-answer", "spam"]
            await client.stop()

    asyncio.run(play())


def test_the_same_key_has_effect_once(database: Database, tmp_path: Path) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        async with desk.server("A"):
            scs = desk.client("SCS_A")
            await scs.start()
            first = await scs.change([set_option("Site_B")], "once", key="k1")
            await scs.change([set_option("Site_A")], "back", key="k2")
            again = await scs.change([set_option("Site_B")], "once", key="k1")
            assert again.revision == first.revision == 2
            await until(lambda: scs.revision == 3, "revision 3")
            assert site_of(scs) == "Site_A"
            # What changes nothing makes no revision.
            assert (await scs.change([set_option("Site_A")], "the same", key="k3")).revision == 3
            await scs.stop()

    asyncio.run(play())


def test_faults_are_refused_with_their_fix_and_change_nothing(database: Database, tmp_path: Path) -> None:
    delete = Operation(op=OperationKind.DELETE, type="Place", name="Place_01")
    bad_type = msgspec.structs.replace(set_option("Site_B"), type="Aplication")
    cases: list[tuple[list[Operation], str, str]] = [
        ([set_option("Site_C")], "option.site_unknown", "Site_"),
        ([set_option("Site_B", name="Workspce")], "config.unknown_object", "Workspace"),
        ([set_option("Site_B", key="disaster-recovery.eservices-sit")], "option.unknown", "eservices-site"),
        ([set_option("soon", key="warm-standby.retry-delay")], "option.value", "number"),
        ([bad_type], "config.unknown_type", "Application"),
        ([delete], "config.in_use", "Change those first"),
        (
            [set_option("Site_B"), set_option("Site_C", name="Environment", type_="Tenant")],
            "option.site_unknown",
            "",
        ),
        ([], "config.operations", "1 to"),
    ]

    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        async with desk.server("A"):
            scs, ixn = desk.client("SCS_A"), desk.client()
            await scs.start()
            await ixn.start()
            for operations, code, fix in cases:
                got = await code_of(scs.change(operations, "a fault"))
                assert got[0] == code, operations
                assert fix in got[1], operations
            assert (await code_of(scs.change([set_option("Site_B")], " ")))[0] == "config.reason"
            assert (await code_of(ixn.change([set_option("Site_B")], "no right")))[0] == "config.forbidden"
            assert len(await scs.history()) == 1
            assert scs.revision == 1
            await scs.stop()
            await ixn.stop()

    asyncio.run(play())


def test_the_passive_site_refuses_changes_and_names_the_active_one(
    database: Database, tmp_path: Path
) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        async with desk.server("B"):
            scs = desk.client("SCS_B", side="B")
            await scs.start()
            with pytest.raises(RefusedError) as caught:
                await scs.change([set_option("Site_B")], "at the wrong site")
            refusal = caught.value.refusal
            assert refusal.code == "config.read_only"
            assert "Site_A, the active site" in refusal.reason
            # Mastership moves: the same server takes the change, without a restart.
            conn = await asyncpg.connect(database.dsn)
            await conn.execute(
                "INSERT INTO mastership (epoch, site, mode, reason, by) VALUES (2,'Site_B','forced','','t')"
            )
            await conn.close()
            assert (await scs.change([set_option("Site_B")], "now right")).revision == 2
            await until(lambda: scs.link.writable, "told so")
            await scs.stop()

    asyncio.run(play())


def test_a_change_asked_at_the_passive_site_is_made_at_the_active_one(
    database: Database, tmp_path: Path
) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        async with desk.server("A"), desk.server("B"):
            scs = desk.client("SCS_B", side="B")
            await scs.start()
            assert scs.link.application == "Config_B"
            assert (await scs.change([set_option("Site_B")], "from afar")).revision == 2
            await scs.stop()

    asyncio.run(play())


def test_a_client_learns_after_an_outage_what_it_missed(database: Database, tmp_path: Path) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        client = desk.client(cache=tmp_path / "cache.json")
        async with desk.server("A"):
            await client.start()
        await until(lambda: not client.link.up, "the outage is seen")
        assert site_of(client) == "Site_A"
        assert client.link.next_attempt_at > 0 or client.link.why
        async with desk.server("B"):
            # Changed behind everybody's back, as on the other side of a cut network.
            conn = await asyncpg.connect(database.dsn)
            await conn.execute(
                "INSERT INTO mastership (epoch, site, mode, reason, by) VALUES (2,'Site_B','forced','','t')"
            )
            await conn.close()
            scs = desk.client("SCS_B", side="B")
            await scs.start()
            seen: list[list[ConfigObject]] = []
            client.changed.append(seen.append)
            await scs.change([set_option("Site_B")], "during the outage")
            await until(lambda: site_of(client) == "Site_B", "the change was learnt")
            assert [o.name for o in seen[0]] == ["Workspace"]
            await scs.stop()
        await client.stop()

    asyncio.run(play())


def test_a_process_starts_from_its_copy_while_no_server_answers(database: Database, tmp_path: Path) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        copy = tmp_path / "cache" / "copy.json"
        async with desk.server("A"):
            first = desk.client(cache=copy)
            await first.start()
            await first.stop()
        assert b"argon2" not in copy.read_bytes()
        assert copy.stat().st_mode & 0o777 == 0o600
        second = desk.client(cache=copy)
        await second.start(grace=0.2)
        assert site_of(second) == "Site_A"
        assert not second.link.up
        async with desk.server("A"):
            await until(lambda: second.link.up, "connected later")
        await second.stop()
        third = desk.client()
        with pytest.raises(LinkLostError) as caught:
            await third.start(timeout=0.3)
        assert caught.value.refusal.code == "config.unreachable"
        await third.stop()

    asyncio.run(play())


def test_a_server_keeps_reading_without_its_database_and_comes_back(
    database: Database, tmp_path: Path
) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        async with desk.server("A"):
            client = desk.client("SCS_A")
            await client.start()
            await until(lambda: client.link.writable, "writable")
            # From another database: nobody can lock the one he is in.
            admin = await asyncpg.connect(database.admin_dsn.replace(f"/{database.name}?", "/postgres?"))
            await admin.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
                database.name,
            )
            await until(lambda: not client.link.writable, "said so")
            await until(lambda: not client.link.current, "said that it may be out of date")
            late = desk.client()
            await late.start()
            assert site_of(late) == "Site_A"
            assert (await code_of(client.change([set_option("Site_B")], "no database")))[
                0
            ] == "config.unavailable"
            await admin.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true")
            await admin.close()
            await until(lambda: client.link.writable, "came back by itself")
            assert (await client.change([set_option("Site_B")], "again")).revision == 2
            await client.stop()
            await late.stop()

    asyncio.run(play())


def test_a_server_whose_database_is_away_tells_what_the_other_one_knows(
    database: Database, tmp_path: Path
) -> None:
    nowhere = "postgresql://stayline@127.0.0.1:1/none"

    async def play() -> None:
        desk = Desk(tmp_path, database.dsn, nowhere)
        await desk.provision()
        async with desk.server("A"), desk.server("B"):
            far, scs = desk.client("Ixn_B_1", side="B"), desk.client("SCS_A")
            await far.start()
            await scs.start()
            assert far.link.application == "Config_B"
            await scs.change([set_option("Site_B")], "B's database is away")
            await until(lambda: site_of(far) == "Site_B", "told through the other server")
            assert far.link.application == "Config_B"
            assert far.link.current
            await far.stop()
            await scs.stop()

    asyncio.run(play())


def test_nobody_is_set_back_by_a_server_that_knows_less(database: Database, tmp_path: Path) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        async with desk.server("B") as b:
            client = desk.client("Ixn_B_1", side="B")
            await client.start()
            peer = client.peer
            assert peer is not None
            # It knows revision 7 of epoch 3; this server is passive and knows less.
            assert (await code_of(peer.request("config.read", Read(since=7, mark="3-ff"), Changes)))[
                0
            ] == "config.behind"
            # A lost revision of an older epoch is replaced once the server knows of a newer epoch.
            conn = await asyncpg.connect(database.dsn)
            await conn.execute("UPDATE config_revision SET mark = '4-aa'")
            await conn.execute("UPDATE config_change SET mark = '4-aa'")
            await conn.close()
            await until(lambda: b.follower.stored.mark == "4-aa", "B took the new history")
            answer = await peer.request("config.read", Read(since=1, mark="3-ff"), Changes)
            assert answer.full
            assert client.mark == "4-aa"
            await client.stop()

    asyncio.run(play())


def test_long_answers_come_in_pages_and_long_changes_are_read(database: Database, tmp_path: Path) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        many = [
            ConfigObject(
                type=ObjectType.PLACE, name=f"Seat_{i:04}", tenant="Environment", description="x" * 3000
            )
            for i in range(400)
        ]
        async with desk.server("A"):
            scs, watcher = desk.client("SCS_A"), desk.client()
            await scs.start()
            await watcher.start()
            put = [Operation(op=OperationKind.PUT, type="Place", name=o.name, object=o) for o in many]
            for begin in range(0, 400, 100):
                await scs.change(put[begin : begin + 100], "many places")
            whole = len(sample()[0]) + 400

            def complete(client: ConfigurationClient) -> bool:
                return len(client.snapshot.objects) == whole

            await until(lambda: complete(watcher) and complete(scs), "told of all")
            late = desk.client()
            await late.start()
            assert complete(late)
            for client in (scs, watcher, late):
                await client.stop()

    asyncio.run(play())
