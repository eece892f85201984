"""The database's part of a drill's history: what the active site has at the end."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from stayline.lab.history import EntryRow, InteractionRow, JournalStep
from stayline.link.bootstrap import load_bootstrap
from stayline.link.messages.control import FollowReport
from stayline.store.database import Connection, connect

T = TypeVar("T")

_INTERACTIONS = "SELECT id, chat_session, state, owner, session, version FROM interaction ORDER BY id"
_JOURNAL = """
    SELECT interaction, version, event, from_state, to_state, agent, session, previous_agent, previous_session, at
    FROM journal ORDER BY interaction, version"""
_ENTRIES = 'SELECT session, seq, id, kind, party, usr AS "user", text FROM chat_entry ORDER BY session, seq'


@dataclass(frozen=True)
class Tables:
    """The rows that the checker reads."""

    interactions: list[InteractionRow]
    journal: list[JournalStep]
    entries: list[EntryRow]


async def open_database(site_folder: Path) -> Connection:
    """A connection to a site's own database. Raises RefusedError when it does not answer."""
    return await connect(load_bootstrap(site_folder).database_dsn, "stayline-drill")


async def held(conn: Connection) -> int:
    """The sum of the last sequence numbers of all transcripts: grows by one with every entry."""
    return int(await conn.fetchval("SELECT coalesce(sum(last_seq), 0) FROM chat_session"))


async def read_tables(conn: Connection) -> Tables:
    """All rows, as of one moment."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        return Tables(
            await _rows(conn, _INTERACTIONS, InteractionRow),
            await _rows(conn, _JOURNAL, JournalStep),
            await _rows(conn, _ENTRIES, EntryRow),
        )


async def _rows(conn: Connection, statement: str, kind: type[T]) -> list[T]:
    return [msgspec.convert(dict(row), kind) for row in await conn.fetch(statement)]


class _Recorded(msgspec.Struct):
    epoch: int
    report: FollowReport


def reported_loss(site_folder: Path) -> FollowReport | None:
    """What the host agent of a lost site said only its database had, when that was read; None: not read yet."""
    try:
        text = (site_folder / "journal" / "follow-report.json").read_bytes()
    except FileNotFoundError:
        return None
    return msgspec.json.decode(text, type=_Recorded).report
