"""The history of a contact: its past and present interactions, read from the Interaction Server's table."""

from stayline.link.messages.contact import GetHistory, History, HistoryItem
from stayline.store.transcript import Connection

MAX_PAGE = 100

_HISTORY = """
select id, media, subject, state, queue, coalesce(nullif(owner, ''), last_owner) as agent,
    created_at, ended_at, disposition, chat_session
from interaction
where contact = $1 and contact <> '' and ($2 = 0 or created_at < $2) and ($3 = '' or tenant = $3)
order by created_at desc, id limit $4
"""


async def read_history(connection: Connection, request: GetHistory, tenant: str = "") -> History:
    """Newest first; ``request.before`` (Unix seconds, 0: now) pages. Limited to ``tenant`` unless ""."""
    limit = max(1, min(request.limit, MAX_PAGE))
    rows = await connection.fetch(_HISTORY, request.contact, request.before, tenant, limit)
    return History(
        items=[
            HistoryItem(
                interaction=row["id"],
                media=row["media"],
                subject=row["subject"],
                state=row["state"],
                queue=row["queue"],
                agent=row["agent"],
                created_at=row["created_at"],
                ended_at=row["ended_at"],
                disposition=row["disposition"],
                chat_session=row["chat_session"],
            )
            for row in rows
        ]
    )
