"""Transcripts of chat sessions: append in order, read back.

The sequence of a session is given inside the one statement that stores a batch, so it has no gap and no fork, and an
entry that was stored before (same session, same id) is answered with its first place and changes nothing.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import asyncpg

from stayline.domain.errors import Refusal
from stayline.link.messages.contact import Append, Appended, Entry, EntryKind, GetTranscript, Party

MAX_ENTRIES = 5_000
"""A session takes no further messages beyond this; it can still be joined, left and ended."""

MAX_READ = 1_000
"""Most entries of one answer; the reader asks again after the last one."""

Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
"""A connection of its own or one lent by a pool."""


class Stamp(NamedTuple):
    """Who writes, and when (Unix seconds)."""

    epoch: int
    term: int
    at: float


class Stored(NamedTuple):
    """Outcome of one append. ``entry`` is complete (seq, at); ``ended`` says that it ended the session."""

    answer: Appended
    entry: Entry
    ended: bool


_APPEND = """
with input as (
    select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
        with ordinality as t(session, id, kind, party, name, usr, text, ord)
), known as (
    select session, last_seq, ended from chat_session where session = any($1::text[])
        order by session for update
), old as (
    select e.session, e.id, e.seq, e.at from chat_entry e
        where (e.session, e.id) in (select session, id from input)
), fresh as (
    select distinct on (i.session, i.id) i.*, k.last_seq
        from input i join known k using (session) left join old o using (session, id)
        where o.id is null and not k.ended and (k.last_seq < $11 or i.kind <> 'message')
        order by i.session, i.id, i.ord
), bounded as (
    select *, min(ord) filter (where kind = 'ended') over (partition by session) as end_ord from fresh
), numbered as (
    select *, last_seq + row_number() over (partition by session order by ord) as seq from bounded
        where end_ord is null or ord <= end_ord
), stored as (
    insert into chat_entry (session, seq, id, kind, party, name, usr, text, at, epoch, term)
        select session, seq, id, kind, party, name, usr, text, $8, $9, $10 from numbered
), moved as (
    update chat_session s set
        last_seq = n.last_seq, version = s.version + 1, epoch = $9, term = $10,
        ended = n.ended, ended_by = n.ended_by, ended_at = case when n.ended then $8 else 0 end
    from (
        select session, max(seq) as last_seq, bool_or(kind = 'ended') as ended,
            coalesce(max(case when kind = 'ended' then party end), '') as ended_by
        from numbered group by session
    ) n where s.session = n.session
)
select i.ord, k.session is not null as known, not k.ended and k.last_seq >= $11 as is_full,
    coalesce(o.seq, n.seq) as seq, coalesce(o.at, $8) as at,
    o.seq is not null or n.ord <> i.ord as duplicate
from input i
    left join known k using (session) left join old o using (session, id)
    left join numbered n using (session, id)
order by i.ord
"""


async def append_entries(
    connection: Connection, appends: Sequence[Append], stamp: Stamp
) -> list[Stored | Refusal]:
    """Store a batch in the caller's transaction, in the order given. Outcomes in the same order."""
    if not appends:
        return []
    entries = [append.entry for append in appends]
    rows = await connection.fetch(
        _APPEND,
        [append.session for append in appends],
        [entry.id for entry in entries],
        [entry.kind.value for entry in entries],
        [entry.party.value for entry in entries],
        [entry.name for entry in entries],
        [entry.user for entry in entries],
        [entry.text for entry in entries],
        stamp.at,
        stamp.epoch,
        stamp.term,
        MAX_ENTRIES,
    )
    return [_outcome(append, row) for append, row in zip(appends, rows, strict=True)]


def _outcome(append: Append, row: Any) -> Stored | Refusal:
    if not row["known"]:
        return unknown_session(append.session)
    if row["seq"] is None:
        # Ended before this batch, or by an earlier entry of it; or full.
        return _session_full(append.session) if row["is_full"] else session_ended(append.session)
    entry = append.entry
    complete = Entry(
        id=entry.id,
        kind=entry.kind,
        party=entry.party,
        name=entry.name,
        text=entry.text,
        user=entry.user,
        seq=row["seq"],
        at=row["at"],
    )
    answer = Appended(seq=row["seq"], at=row["at"], duplicate=row["duplicate"])
    return Stored(answer, complete, entry.kind is EntryKind.ENDED and not row["duplicate"])


def _session_full(session: str) -> Refusal:
    return Refusal(
        code="chat.full",
        reason=f"Chat session {session} holds {MAX_ENTRIES} entries and takes no further message.",
        fix="Start a new chat.",
    )


def unknown_session(session: str) -> Refusal:
    """The refusal for a session that does not exist."""
    return Refusal(code="chat.unknown", reason=f"There is no chat session {session}.")


def session_ended(session: str) -> Refusal:
    """The refusal for writing to a session that is over."""
    return Refusal(code="chat.ended", reason=f"Chat session {session} has ended.", fix="Start a new chat.")


_READ = """
select id, kind, party, name, usr, text, seq, at from chat_entry
    where session = $1 and seq > $2 order by seq limit $3
"""


async def read_entries(connection: Connection, request: GetTranscript) -> tuple[list[Entry], bool]:
    """Committed entries after ``request.after`` in order, and whether the limit cut them."""
    limit = max(1, min(request.limit, MAX_READ))
    rows = await connection.fetch(_READ, request.session, request.after, limit + 1)
    entries = [
        Entry(
            id=row["id"],
            kind=EntryKind(row["kind"]),
            party=Party(row["party"]),
            name=row["name"],
            text=row["text"],
            user=row["usr"],
            seq=row["seq"],
            at=row["at"],
        )
        for row in rows[:limit]
    ]
    return entries, len(rows) > limit
