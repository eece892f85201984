"""Migrations on a real PostgreSQL."""

import asyncio
from pathlib import Path

import pytest

from stayline.domain.errors import RefusedError
from stayline.store.database import connect
from stayline.store.migrate import load_migrations, migrate
from tests.integration.conftest import Database

pytestmark = pytest.mark.postgres


def test_release_migrations_are_applied_once(database: Database) -> None:
    async def play() -> tuple[list[str], int]:
        conn = await connect(database.dsn, "test")
        again = await migrate(conn)
        count = await conn.fetchval("SELECT count(*) FROM schema_migration")
        await conn.close()
        return again, count

    again, count = asyncio.run(play())
    assert again == []
    assert count == len(load_migrations())


def test_two_at_once_apply_a_file_once(database: Database, tmp_path: Path) -> None:
    for migration in load_migrations():
        (tmp_path / f"{migration.number:04d}_{migration.name}.sql").write_text(migration.sql)
    (tmp_path / "0900_slow.sql").write_text("SELECT pg_sleep(0.2); CREATE TABLE once (id int);")

    async def play() -> list[list[str]]:
        conns = [await connect(database.dsn, f"test{i}") for i in range(3)]
        done = await asyncio.gather(*(migrate(conn, tmp_path) for conn in conns))
        for conn in conns:
            await conn.close()
        return list(done)

    assert sorted(asyncio.run(play())) == [[], [], ["0900_slow"]]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda folder: (folder / "0001_mastership.sql").write_text("SELECT 1"), "store.migration_changed"),
        (lambda folder: (folder / "0001_mastership.sql").unlink(), "store.newer"),
        (lambda folder: (folder / "0001_again.sql").write_text("SELECT 1"), "store.migration_name"),
        (lambda folder: (folder / "later.sql").write_text("SELECT 1"), "store.migration_name"),
    ],
)
def test_refuses_what_does_not_fit(database: Database, tmp_path: Path, change: object, code: str) -> None:
    for migration in load_migrations():
        (tmp_path / f"{migration.number:04d}_{migration.name}.sql").write_text(migration.sql)
    assert callable(change)
    change(tmp_path)

    async def play() -> None:
        conn = await connect(database.dsn, "test")
        try:
            await migrate(conn, tmp_path)
        finally:
            await conn.close()

    with pytest.raises(RefusedError) as caught:
        asyncio.run(play())
    assert caught.value.refusal.code == code


def test_failing_file_leaves_nothing_behind(database: Database, tmp_path: Path) -> None:
    for migration in load_migrations():
        (tmp_path / f"{migration.number:04d}_{migration.name}.sql").write_text(migration.sql)
    (tmp_path / "0901_broken.sql").write_text("CREATE TABLE half (id int); SELECT 1/0;")

    async def play() -> tuple[object, int]:
        conn = await connect(database.dsn, "test")
        with pytest.raises(Exception, match="division by zero"):
            await migrate(conn, tmp_path)
        left = await conn.fetchval("SELECT to_regclass('half')")
        known = await conn.fetchval("SELECT count(*) FROM schema_migration WHERE number = 901")
        await conn.close()
        return left, known

    assert asyncio.run(play()) == (None, 0)
