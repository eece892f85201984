"""Chat sessions: created once, marked when the Interaction Server knows of their beginning and of their end."""

from collections.abc import Sequence
from typing import Any

from stayline.domain.errors import Refusal
from stayline.link.messages.contact import ChatState, CreateChat
from stayline.store.transcript import Connection, Stamp, unknown_session

_COLUMNS = """session, tenant, interaction, contact, customer, subject, queue, ended, submitted, last_seq,
    created_at, ended_by"""


def _state(row: Any) -> ChatState:
    return ChatState(
        session=row["session"],
        tenant=row["tenant"],
        interaction=row["interaction"],
        contact=row["contact"],
        customer=row["customer"],
        subject=row["subject"],
        queue=row["queue"],
        ended=row["ended"],
        submitted=row["submitted"],
        last_seq=row["last_seq"],
        created_at=row["created_at"],
        ended_by=row["ended_by"],
    )


_CREATE = """
insert into chat_session
    (session, tenant, interaction, contact, customer, subject, queue, secret_hash, created_at, epoch, term)
select *, $9, $10, $11 from unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
on conflict (session) do nothing
"""


async def create_sessions(
    connection: Connection, creates: Sequence[CreateChat], stamp: Stamp
) -> list[ChatState | Refusal]:
    """Create a batch in the caller's transaction. A session that exists is answered as it is, if the secret is the
    one that it was created with; else refused ``chat.secret``."""
    if not creates:
        return []
    await connection.execute(
        _CREATE,
        [create.session for create in creates],
        [create.tenant for create in creates],
        [create.interaction for create in creates],
        [create.contact for create in creates],
        [create.customer for create in creates],
        [create.subject for create in creates],
        [create.queue for create in creates],
        [create.secret_hash for create in creates],
        stamp.at,
        stamp.epoch,
        stamp.term,
    )
    found = await _read(connection, [create.session for create in creates])
    return [_own(found.get(create.session), create.session, create.secret_hash) for create in creates]


async def _read(connection: Connection, sessions: Sequence[str]) -> dict[str, tuple[ChatState, str]]:
    rows = await connection.fetch(
        f"select {_COLUMNS}, secret_hash from chat_session where session = any($1::text[])", sessions
    )
    return {row["session"]: (_state(row), row["secret_hash"]) for row in rows}


def _own(found: tuple[ChatState, str] | None, session: str, secret_hash: str) -> ChatState | Refusal:
    if found is None:
        return unknown_session(session)
    if found[1] != secret_hash:
        return Refusal(code="chat.secret", reason="The secret does not belong to this chat session.")
    return found[0]


async def resume_session(connection: Connection, session: str, secret_hash: str) -> ChatState | Refusal:
    """The state for its customer; refused ``chat.unknown`` or ``chat.secret``."""
    return _own((await _read(connection, [session])).get(session), session, secret_hash)


async def read_session(connection: Connection, session: str) -> ChatState | Refusal:
    """The state of a session; refused ``chat.unknown``."""
    found = (await _read(connection, [session])).get(session)
    return found[0] if found else unknown_session(session)


async def mark_submitted(
    connection: Connection, sessions: Sequence[str], stamp: Stamp
) -> list[ChatState | Refusal]:
    """The Interaction Server has these. One that ended meanwhile must be settled (again): it may have been settled
    before the interaction existed."""
    return await _mark(connection, sessions, stamp, "submitted = true, settled = settled and submitted")


async def mark_settled(
    connection: Connection, sessions: Sequence[str], stamp: Stamp
) -> list[ChatState | Refusal]:
    """The Interaction Server knows that these have ended. Without effect on a session that has not."""
    return await _mark(connection, sessions, stamp, "settled = ended")


async def _mark(
    connection: Connection, sessions: Sequence[str], stamp: Stamp, assignment: str
) -> list[ChatState | Refusal]:
    if not sessions:
        return []
    rows = await connection.fetch(
        f"""update chat_session set {assignment}, version = version + 1, epoch = $2, term = $3
            where session = any($1::text[]) returning {_COLUMNS}""",
        sessions,
        stamp.epoch,
        stamp.term,
    )
    found = {row["session"]: _state(row) for row in rows}
    return [found.get(session) or unknown_session(session) for session in sessions]


async def open_sessions(connection: Connection) -> list[str]:
    """What a new primary must watch: sessions that have not ended, oldest first."""
    rows = await connection.fetch("select session from chat_session where not ended order by created_at")
    return [row["session"] for row in rows]


async def unsettled_sessions(connection: Connection) -> list[ChatState]:
    """Ended sessions of whose end the Interaction Server has not been told yet."""
    rows = await connection.fetch(
        f"select {_COLUMNS} from chat_session where ended and not settled order by created_at"
    )
    return [_state(row) for row in rows]
