"""The configuration in the database: reading it, following it, and writing one change as one revision."""

import asyncio
import functools
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import asyncpg
import msgspec

from stayline.domain.errors import Refusal, RefusedError, refuse
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.link.messages.configuration import ChangeRecord, Operation
from stayline.store.database import Connection
from stayline.store.passwords import with_hashes

Key = tuple[str, str]
"""Type and name of an object."""

_PERSONAL: frozenset[str] = frozenset({ObjectType.PERSON, ObjectType.AGENT_GROUP, ObjectType.PLACE})

LOCK_TIMEOUT_MS = 5_000
"""How long a change waits for another one to commit."""


@dataclass(frozen=True)
class Step:
    """One revision: its mark and the objects it touched."""

    revision: int
    mark: str
    touched: frozenset[Key]


@dataclass(frozen=True)
class Stored:
    """The whole configuration at its newest revision, with the newest steps that led there (oldest first)."""

    revision: int = 0
    mark: str = ""
    objects: Mapping[Key, ConfigObject] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()

    @functools.cached_property
    def impersonal(self) -> tuple[Key, ...]:
        """What is the same for everybody: all but persons, groups of them and places, in order."""
        return tuple(sorted(key for key in self.objects if key[0] not in _PERSONAL))

    @functools.cached_property
    def memberships(self) -> Mapping[str, frozenset[Key]]:
        """Person -> groups that name it as a member."""
        groups: dict[str, set[Key]] = {}
        for key, obj in self.objects.items():
            for member in obj.members if key[0] == ObjectType.AGENT_GROUP else ():
                groups.setdefault(member, set()).add(key)
        return {member: frozenset(keys) for member, keys in groups.items()}


@dataclass(frozen=True)
class Standing:
    """What one poll tells: the newest revision, and what this database is in the centre.

    ``follows`` is false on a replica that receives nothing; ``site``/``epoch`` are the newest mastership
    row's ('' and 0: no site ever was master).
    """

    revision: int
    mark: str
    in_recovery: bool
    follows: bool
    site: str
    epoch: int


_STANDING = """
SELECT r.revision, r.mark, pg_is_in_recovery() AS in_recovery,
       NOT pg_is_in_recovery() OR EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) AS follows,
       coalesce(m.site, '') AS site, coalesce(m.epoch, 0) AS epoch
FROM config_revision r
LEFT JOIN LATERAL (SELECT site, epoch FROM mastership ORDER BY epoch DESC LIMIT 1) m ON true
"""


async def standing(conn: Connection) -> Standing:
    """One poll. Raises asyncpg.UndefinedTableError before the tables exist."""
    row = await conn.fetchrow(_STANDING)
    if row is None:
        raise refuse("config.no_revision", "Table config_revision is empty.", fix="Restore its one row.")
    return Standing(**dict(row.items()))


async def load(conn: Connection, kept: int) -> Stored:
    """Everything, consistently, with the newest ``kept`` steps."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        row = await conn.fetchrow("SELECT revision, mark FROM config_revision")
        if row is None:
            raise refuse("config.no_revision", "Table config_revision is empty.", fix="Restore its one row.")
        rows = await conn.fetch("SELECT type, name, revision, document FROM config_object")
        steps = await _steps(conn, row["revision"] - kept)
    return Stored(row["revision"], row["mark"], {(r["type"], r["name"]): _read(r) for r in rows}, steps)


async def follow(conn: Connection, known: Stored, kept: int) -> Stored:
    """``known`` brought to the newest revision; loaded anew when the history has another mark where we
    stand."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        row = await conn.fetchrow("SELECT revision, mark FROM config_revision")
        mark = await conn.fetchval("SELECT mark FROM config_change WHERE revision = $1", known.revision)
        if row is not None and known.revision and mark == known.mark:
            return await _advance(conn, known, row["revision"], row["mark"], kept)
    return await load(conn, kept)


async def _advance(conn: Connection, known: Stored, revision: int, mark: str, kept: int) -> Stored:
    steps = await _steps(conn, known.revision)
    touched = sorted(set().union(*(step.touched for step in steps)))
    rows = await conn.fetch(
        """SELECT o.type, o.name, o.revision, o.document FROM config_object o
           JOIN unnest($1::text[], $2::text[]) AS t (type, name) USING (type, name)""",
        [type_ for type_, _ in touched],
        [name for _, name in touched],
    )
    objects = {key: obj for key, obj in known.objects.items() if key not in set(touched)}
    objects |= {(r["type"], r["name"]): _read(r) for r in rows}
    return Stored(revision, mark, objects, (known.steps + steps)[-kept:])


async def _steps(conn: Connection, after: int) -> tuple[Step, ...]:
    rows = await conn.fetch(
        """SELECT c.revision, c.mark, array_agg(t.type) AS types, array_agg(t.name) AS names
           FROM config_change c JOIN config_touched t USING (revision)
           WHERE c.revision > $1 GROUP BY c.revision, c.mark ORDER BY c.revision""",
        after,
    )
    return tuple(
        Step(r["revision"], r["mark"], frozenset(zip(r["types"], r["names"], strict=True))) for r in rows
    )


def _read(row: asyncpg.Record) -> ConfigObject:
    obj = msgspec.json.decode(row["document"], type=ConfigObject)
    return msgspec.structs.replace(obj, revision=row["revision"])


@dataclass(frozen=True)
class NewChange:
    """A change to write: who, why, under which key, and the operations as history keeps them (without
    secrets)."""

    by: str
    reason: str
    key: str
    operations: list[Operation]


Judge = Callable[[Stored], dict[Key, ConfigObject | None]]
"""Given the newest configuration, the objects to write (None: delete). Raises RefusedError to refuse."""


async def write_change(
    conn: Connection, change: NewChange, site: str, known: Stored, kept: int, judge: Judge
) -> tuple[int, Stored]:
    """Make one revision, or find the one that this key made before. Returns its number and the newest state.

    Everything is decided under the lock of the revision row: the mastership (``site`` must hold it), the
    state that ``judge`` sees, and the key. Raises RefusedError (``config.read_only`` or the judge's), or what
    asyncpg raises.
    """
    async with conn.transaction():
        await conn.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
        row = await conn.fetchrow("SELECT revision, mark FROM config_revision FOR UPDATE")
        if row is None:
            raise refuse("config.no_revision", "Table config_revision is empty.", fix="Restore its one row.")
        now = await standing(conn)
        refusal = not_writable(now, site)
        if refusal is not None:
            raise RefusedError(refusal)
        before = await conn.fetchval(
            "SELECT revision FROM config_change WHERE by = $1 AND key = $2", change.by, change.key
        )
        newest = await _newest(conn, known, row["revision"], row["mark"], kept)
        if before is not None:
            return int(before), newest
        written = judge(newest)
        if not written:
            # Nothing differs from what is: no revision for it.
            return newest.revision, newest
        step = Step(newest.revision + 1, f"{now.epoch}-{secrets.token_hex(6)}", frozenset(written))
        await _write(conn, step, change, written)
    objects = {key: obj for key, obj in newest.objects.items() if key not in written}
    objects |= {
        key: msgspec.structs.replace(obj, revision=step.revision)
        for key, obj in written.items()
        if obj is not None
    }
    return step.revision, Stored(step.revision, step.mark, objects, (*newest.steps, step)[-kept:])


async def _newest(conn: Connection, known: Stored, revision: int, mark: str, kept: int) -> Stored:
    if (known.revision, known.mark) == (revision, mark):
        return known
    rows = await conn.fetch("SELECT type, name, revision, document FROM config_object")
    steps = await _steps(conn, revision - kept)
    return Stored(revision, mark, {(r["type"], r["name"]): _read(r) for r in rows}, steps)


async def _write(
    conn: Connection, step: Step, change: NewChange, written: Mapping[Key, ConfigObject | None]
) -> None:
    await conn.execute(
        """INSERT INTO config_change (revision, mark, at, by, reason, key, operations)
           VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb)""",
        step.revision,
        step.mark,
        time.time(),
        change.by,
        change.reason,
        change.key,
        msgspec.json.encode(change.operations).decode(),
    )
    await conn.executemany(
        "INSERT INTO config_touched (revision, type, name) VALUES ($1, $2, $3)",
        [(step.revision, type_, name) for type_, name in sorted(step.touched)],
    )
    gone = [key for key, obj in written.items() if obj is None]
    await conn.executemany("DELETE FROM config_object WHERE type = $1 AND name = $2", gone)
    await conn.executemany(
        """INSERT INTO config_object (type, name, revision, document) VALUES ($1, $2, $3, $4::json)
           ON CONFLICT (type, name) DO UPDATE SET revision = excluded.revision, document =
           excluded.document""",
        [(*key, step.revision, _document(obj)) for key, obj in written.items() if obj is not None],
    )
    await conn.execute("UPDATE config_revision SET revision = $1, mark = $2", step.revision, step.mark)


def _document(obj: ConfigObject) -> str:
    return msgspec.json.encode(msgspec.structs.replace(obj, revision=0)).decode()


def not_writable(now: Standing, site: str) -> Refusal | None:
    """Why ``site`` may not change the configuration in a database that stands like this; None when it may."""
    if not now.in_recovery and now.site in ("", site):
        return None
    active = now.site or "the other site"
    what = "is a replica" if now.in_recovery else f"has lost the mastership (epoch {now.epoch})"
    return Refusal(
        code="config.read_only",
        reason=f"The database of {site} {what}: changes are made at {active}, the active site.",
        retryable=True,
        fix=f"Ask the Configuration Server of {active}.",
        field=now.site,
        epoch=now.epoch,
    )


async def history(conn: Connection, limit: int, type_: str = "", name: str = "") -> list[ChangeRecord]:
    """The newest changes, newest first; of one kind of object or one object when named."""
    rows = await conn.fetch(
        """SELECT c.revision, c.at, c.by, c.reason, c.operations FROM config_change c
           WHERE ($2 = '' AND $3 = '') OR EXISTS (
               SELECT FROM config_touched t WHERE t.revision = c.revision
               AND ($2 = '' OR t.type = $2) AND ($3 = '' OR t.name = $3))
           ORDER BY c.revision DESC LIMIT $1""",
        limit,
        type_,
        name,
    )
    return [
        ChangeRecord(
            revision=r["revision"],
            at=r["at"],
            by=r["by"],
            reason=r["reason"],
            operations=msgspec.json.decode(r["operations"], type=list[Operation]),
        )
        for r in rows
    ]


async def provision(
    conn: Connection,
    objects: Iterable[ConfigObject],
    passwords: Mapping[str, str] = MappingProxyType({}),
    *,
    by: str = "provisioning",
    reason: str = "first start",
) -> int:
    """Make ``objects`` the configuration of a new centre, as revision 1. Returns the revision.

    A centre that has a configuration keeps it: nothing is changed and its revision is returned. The objects are
    taken as checked (``domain/provisioning.py``); ``passwords`` (person -> clear text) are hashed on the way.
    """
    hashed = await asyncio.to_thread(with_hashes, objects, passwords)
    async with conn.transaction():
        revision = await conn.fetchval("SELECT revision FROM config_revision FOR UPDATE")
        if revision:
            return int(revision)
        written: dict[Key, ConfigObject | None] = {(str(o.type), o.name): o for o in hashed}
        # One line in the history, not every object: they are in config_object.
        change = NewChange(by, reason, "provisioning", [])
        await _write(conn, Step(1, f"0-{secrets.token_hex(6)}", frozenset(written)), change, written)
        return 1
