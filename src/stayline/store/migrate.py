"""Brings a database to the tables of this release: numbered SQL files, each applied once, under a lock."""

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import structlog

from stayline.domain.errors import refuse
from stayline.store.database import Connection

_log = structlog.get_logger("store.migrate")

_LOCK_CLASS = 0x53544D47
_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migration (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True)
class Migration:
    """One file: ``NNNN_name.sql``."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text: a file that was applied must never change."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations(directory: Traversable | None = None) -> list[Migration]:
    """The files of this release in order. Raises RefusedError ``store.migration_name`` for a misnamed or double one."""
    folder = directory if directory is not None else files("stayline.store") / "migrations"
    found: dict[int, Migration] = {}
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if not entry.name.endswith(".sql"):
            continue
        match = _NAME.fullmatch(entry.name)
        if match is None or int(match[1]) in found:
            raise refuse(
                "store.migration_name",
                f"{entry.name} is not a migration with a number of its own.",
                fix="Name it NNNN_what_it_does.sql with the next free number.",
            )
        found[int(match[1])] = Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8"))
    return list(found.values())


async def migrate(conn: Connection, directory: Traversable | None = None) -> list[str]:
    """Apply what is missing and return the names of what was applied; run by several at once, one does the work.

    Each file runs in a transaction of its own. Raises RefusedError ``store.migration_changed`` when a file that was
    applied has another content now, ``store.newer`` when the database was migrated by a newer release.
    """
    known = load_migrations(directory)
    await conn.execute("SELECT pg_advisory_lock($1, 0)", _LOCK_CLASS)
    try:
        await conn.execute("SET client_min_messages = warning")
        await conn.execute(_TABLE)
        applied = {row["number"]: row for row in await conn.fetch("SELECT * FROM schema_migration")}
        _check(known, {number: (row["name"], row["checksum"]) for number, row in applied.items()})
        done = []
        for migration in known:
            if migration.number in applied:
                continue
            await _apply(conn, migration)
            done.append(f"{migration.number:04d}_{migration.name}")
        return done
    finally:
        if not conn.is_closed():
            await conn.execute("SELECT pg_advisory_unlock($1, 0)", _LOCK_CLASS)


async def _apply(conn: Connection, migration: Migration) -> None:
    async with conn.transaction():
        await conn.execute(migration.sql)
        await conn.execute(
            "INSERT INTO schema_migration (number, name, checksum) VALUES ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.checksum,
        )
    _log.info(
        "migration applied", number=migration.number, name=migration.name, why="not in schema_migration"
    )


def _check(known: list[Migration], applied: dict[int, tuple[str, str]]) -> None:
    by_number = {migration.number: migration for migration in known}
    for number, (name, checksum) in applied.items():
        migration = by_number.get(number)
        if migration is None:
            raise refuse(
                "store.newer",
                f"The database has migration {number:04d}_{name}, which this release does not know.",
                fix="Run the release that made it, or a newer one.",
            )
        if migration.checksum != checksum:
            raise refuse(
                "store.migration_changed",
                f"Migration {number:04d}_{name} is not what was applied to this database.",
                fix="Restore the file; put changes into a new migration.",
            )
