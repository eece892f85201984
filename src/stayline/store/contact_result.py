"""Idempotency keys of changes of contacts: the recorded answer is given again to whoever repeats a request."""

import msgspec

from stayline.domain.errors import Refusal
from stayline.link.messages.contact import Contact
from stayline.store.transcript import Connection

RESULT_SECONDS = 3600.0
"""How long an answer is kept: far longer than anybody repeats a request."""

PRUNE_ROWS = 1000
"""Answers that one transaction removes at most."""

_PRUNE = """
with old as (
    delete from contact_result where (scope, key) in (
        select scope, key from contact_result where at < $1 order by at limit $2)
    returning 1)
select count(*) from old
"""


async def recorded_answer(
    connection: Connection, scope: str, key: str, contact: str
) -> Contact | Refusal | None:
    """The answer to the change that ``scope`` made with this key; None: it made none. Refused ``request.key_reused``
    when that was a change of another contact."""
    if not key:
        return None
    row = await connection.fetchrow(
        "select contact, answer from contact_result where scope = $1 and key = $2", scope, key
    )
    if row is None:
        return None
    if row["contact"] != contact:
        return Refusal(
            code="request.key_reused",
            reason=f"Key {key!r} was used for a change of contact {row['contact']} before.",
            field="k",
            fix="Give each change a key of its own.",
        )
    return msgspec.json.decode(row["answer"], type=Contact)


async def record_answer(connection: Connection, scope: str, key: str, answer: Contact, at: float) -> None:
    """Keep an answer in the transaction of its change. Without a key there is nothing to repeat it by."""
    if key:
        await connection.execute(
            "insert into contact_result (scope, key, contact, answer, at) values ($1, $2, $3, $4, $5)",
            scope,
            key,
            answer.id,
            msgspec.json.encode(answer).decode(),
            at,
        )


async def prune_answers(connection: Connection, before: float) -> int:
    """Remove answers older than ``before`` (Unix seconds), the oldest first, at most :data:`PRUNE_ROWS`; how many."""
    return int(await connection.fetchval(_PRUNE, before, PRUNE_ROWS))
