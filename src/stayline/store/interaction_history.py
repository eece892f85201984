"""Reading interactions and their journal: the story of one, and what a session missed while it was away."""

from collections.abc import Mapping, Sequence

import msgspec

from stayline.domain.interaction import Interaction, JournalEntry
from stayline.store.database import Connection
from stayline.store.interaction import interaction_from

MAX_MISSED = 200
"""Most transitions told to one returning session; with more of them it is told none: the snapshot is the truth."""

MAX_JOURNAL = 2_000
"""Most journal rows of one answer."""

_MISSED = """
select w.session, j.seq, j.interaction, j.event, j.why, j.at
from unnest($1::text[], $2::int8[]) as w(session, after) cross join lateral (
    select seq, interaction, event, why, at from (
        (select seq, interaction, event, why, at from journal
            where journal.session = w.session and journal.session <> '' and seq > w.after
            order by seq desc limit $3)
        union
        (select seq, interaction, event, why, at from journal
            where previous_session = w.session and previous_session <> '' and seq > w.after
            order by seq desc limit $3)
    ) both_ways order by seq desc limit $3
) j where j.seq <= $4 order by w.session, j.seq
"""


class MissedRow(msgspec.Struct, frozen=True):
    """One transition of an interaction that was, or became, a session's, committed ``at`` (Unix seconds)."""

    seq: int
    interaction: str
    event: str
    why: str
    at: float


async def find_interaction(connection: Connection, interaction: str) -> Interaction | None:
    """One interaction, also a stopped one; None when there never was one."""
    row = await connection.fetchrow("select * from interaction where id = $1", interaction)
    return interaction_from(row) if row else None


async def missed(connection: Connection, after: Mapping[str, int], until: int) -> dict[str, list[MissedRow]]:
    """For each session of ``after`` (session -> last journal position it saw) what happened up to ``until``, oldest
    first: the newest :data:`MAX_MISSED` and one more, which says that there are more."""
    found: dict[str, list[MissedRow]] = {session: [] for session in after}
    rows = await connection.fetch(_MISSED, list(after), list(after.values()), MAX_MISSED + 1, until)
    for row in rows:
        story = MissedRow(row["seq"], row["interaction"], row["event"], row["why"], row["at"])
        found[row["session"]].append(story)
    return found


async def journal_of(
    connection: Connection, interaction: str, limit: int = MAX_JOURNAL
) -> list[JournalEntry]:
    """The history of one interaction, oldest first."""
    rows = await connection.fetch(
        "select * from journal where interaction = $1 order by version limit $2", interaction, limit
    )
    return [msgspec.convert(dict(row), JournalEntry) for row in rows]


_GIVEN_UP = """
select s.id as session, j.interaction from unnest($1::text[]) as s(id) cross join lateral (
    select distinct interaction from (
        select interaction from journal
        where previous_session = s.id and previous_session <> '' and session <> s.id
            and event = 'session-lost-timeout' order by seq desc limit $2
    ) newest
) j order by s.id, j.interaction
"""


async def given_up(connection: Connection, sessions: Sequence[str], limit: int = 10) -> dict[str, list[str]]:
    """For each of ``sessions`` the interactions (newest ``limit``) that it lost because it was not restored."""
    found: dict[str, list[str]] = {}
    for row in await connection.fetch(_GIVEN_UP, list(sessions), limit):
        found.setdefault(row["session"], []).append(row["interaction"])
    return found
