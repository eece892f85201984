"""What an old primary has that the new one never got: read before a rewind removes it."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from stayline.link.messages.control import FollowReport
from stayline.store.database import Connection

MAX_IDS = 1_000
"""Ids of each kind in a report; the counts are always whole."""

_CHUNK = 2_000
_MARGIN = 10_000
"""Transactions. One that began before the fork may have ended after it: look back this far."""


@dataclass(frozen=True)
class _Kind:
    """A table, the columns that make a row the same row, their SQL types, and which column is the id to report."""

    table: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    id_column: str


JOURNAL = _Kind("journal", ("seq", "interaction", "version"), ("bigint", "text", "bigint"), "interaction")
# Not by its place: an entry that its writer has sent again meanwhile is not lost, wherever it stands now.
ENTRIES = _Kind("chat_entry", ("session", "id"), ("text", "text"), "id")
INTERACTIONS = _Kind("interaction", ("id",), ("text",), "id")


async def measure(old: Connection, new: Connection) -> FollowReport:
    """Compare an old primary (started isolated) with the new one. Tables that one of them lacks count nothing."""
    window = await _window(old, new)
    report = FollowReport(rewound=False)
    report.lost_journal, _ = await _missing(old, new, JOURNAL, window)
    report.lost_entries, report.lost_messages = await _missing(old, new, ENTRIES, window)
    _, report.lost_interactions = await _missing(old, new, INTERACTIONS, window)
    return report


async def _window(old: Connection, new: Connection) -> int:
    """How many of the old primary's newest transactions can be unknown to the new one.

    The new primary's first transaction after the fork wrote its mastership row: transaction numbers from there on were
    given twice. Those, and a margin for what was in flight at the fork, are looked at.
    """
    try:
        known = await old.fetchval("SELECT coalesce(max(epoch), 0) FROM mastership")
        fork = await new.fetchval(
            "SELECT xmin::text::bigint FROM mastership WHERE epoch > $1 ORDER BY epoch LIMIT 1", known
        )
    except asyncpg.UndefinedTableError:
        fork = None
    if fork is None:
        return 2**31 - 1
    following = await old.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    ahead = (following - fork) % 2**32
    return _MARGIN + (int(ahead) if ahead < 2**31 else 0)


async def _missing(old: Connection, new: Connection, kind: _Kind, window: int) -> tuple[int, list[str]]:
    """How many rows of ``kind`` only ``old`` has, and the first of their ids."""
    if not await _present(old, kind) or not await _present(new, kind):
        return 0, []
    columns = ", ".join(kind.columns)
    count = 0
    ids: list[str] = []
    async with old.transaction(readonly=True):
        cursor = await old.cursor(f"SELECT {columns} FROM {kind.table} WHERE age(xmin) <= $1", window)
        while rows := await cursor.fetch(_CHUNK):
            for row in await _absent_from(new, kind, rows):
                count += 1
                if len(ids) < MAX_IDS:
                    ids.append(str(row[kind.id_column]))
    return count, list(dict.fromkeys(ids))


async def _absent_from(
    new: Connection, kind: _Kind, rows: Sequence[asyncpg.Record]
) -> Sequence[asyncpg.Record]:
    arrays = ", ".join(f"${number}::{type_}[]" for number, type_ in enumerate(kind.types, 1))
    same = " AND ".join(f"t.{column} = k.{column}" for column in kind.columns)
    statement = (
        f"SELECT k.* FROM unnest({arrays}) AS k({', '.join(kind.columns)}) "
        f"WHERE NOT EXISTS (SELECT 1 FROM {kind.table} t WHERE {same})"
    )
    return await new.fetch(statement, *([row[column] for row in rows] for column in kind.columns))


async def _present(conn: Connection, kind: _Kind) -> bool:
    found = await conn.fetchval(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = ANY($2) AND NOT attisdropped",
        kind.table,
        list(kind.columns),
    )
    return int(found) == len(kind.columns)
