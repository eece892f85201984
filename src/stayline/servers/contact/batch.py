"""What the Contact Server writes: kinds of work, and the executor that stores a batch of them together."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from stayline.domain.errors import Refusal
from stayline.link.messages.contact import Append, ChatState, Contact, CreateChat, EntryKind, Identified
from stayline.store.contact import Candidate, Change, identify_contacts, update_contact
from stayline.store.contact_result import prune_answers
from stayline.store.transcript import Connection, Stamp, Stored, append_entries
from stayline.store.transcript_session import create_sessions, mark_settled, mark_submitted


class Submitted(NamedTuple):
    """The Interaction Server has this chat's interaction."""

    session: str


class Settled(NamedTuple):
    """The Interaction Server knows that this chat has ended."""

    session: str


class Prune(NamedTuple):
    """Recorded answers older than ``before`` (Unix seconds) are of no use any more."""

    before: float


class Pruned(NamedTuple):
    """How many were removed."""

    rows: int


Work = Candidate | Change | CreateChat | Submitted | Settled | Append | Prune
"""One item of a batch."""

Outcome = Identified | Contact | ChatState | Stored | Pruned
"""Its outcome: what was stored."""


async def store_batch(connection: Connection, work: Sequence[Work], stamp: Stamp) -> list[Outcome | Refusal]:
    """Store all items in the caller's transaction, a statement or two for each kind. Outcomes in the order given.

    Items of different kinds do not wait for one another in one batch, with one exception that matters: sessions are
    created before entries are appended.
    """
    outcomes: dict[int, Outcome | Refusal] = {}
    identify = [(at, item) for at, item in enumerate(work) if isinstance(item, Candidate)]
    create = [(at, item) for at, item in enumerate(work) if isinstance(item, CreateChat)]
    submitted = [(at, item.session) for at, item in enumerate(work) if isinstance(item, Submitted)]
    settled = [(at, item.session) for at, item in enumerate(work) if isinstance(item, Settled)]
    append = [(at, item) for at, item in enumerate(work) if isinstance(item, Append)]
    _note(outcomes, identify, await identify_contacts(connection, [item for _, item in identify], stamp))
    for at, item in enumerate(work):
        if isinstance(item, Change):
            outcomes[at] = await update_contact(connection, item, stamp)
        elif isinstance(item, Prune):
            outcomes[at] = Pruned(await prune_answers(connection, item.before))
    _note(outcomes, create, await create_sessions(connection, [item for _, item in create], stamp))
    _note(outcomes, submitted, await mark_submitted(connection, [item for _, item in submitted], stamp))
    _note(outcomes, append, await append_entries(connection, [item for _, item in append], stamp))
    _note(outcomes, settled, await mark_settled(connection, [item for _, item in settled], stamp))
    return [outcomes[at] for at in range(len(work))]


def _note(
    outcomes: dict[int, Outcome | Refusal],
    items: Sequence[tuple[int, object]],
    results: Sequence[Outcome | Refusal],
) -> None:
    for (at, _), result in zip(items, results, strict=True):
        outcomes[at] = result


def check_append(append: Append, max_text: int) -> Refusal | None:
    """Why an entry cannot be stored, whoever sent it."""
    entry = append.entry
    if not entry.id or len(entry.id) > MAX_ID or not append.session:
        return Refusal(
            code="message.malformed",
            reason=f"An entry needs a session and an id of 1 to {MAX_ID} characters.",
            field="entry.id",
        )
    if entry.kind is EntryKind.MESSAGE and entry.id.startswith(RESERVED_IDS):
        # Else a message called "ended" would make the end of its session a duplicate: it could never end.
        return Refusal(
            code="message.malformed",
            reason="Ids that begin like those of joining, leaving and ending are not for messages.",
            field="entry.id",
        )
    if len(entry.text) > max_text:
        return Refusal(
            code="chat.too_long",
            reason=f"A message has at most {max_text} characters, this one has {len(entry.text)}.",
            field="entry.text",
            fix="Send it in several parts.",
        )
    if any("\0" in text for text in msgspec.structs.astuple(entry) if isinstance(text, str)):
        return Refusal(code="message.malformed", reason="Text cannot hold the character NUL.", field="entry")
    return None


MAX_ID = 128
"""Characters of an entry id."""

RESERVED_IDS = ("ended", "joined:", "left:")
"""How the ids begin that Chat Servers make for what is no message: see ``servers/chat/parties.py``."""
