"""One chat session as its agent sees it: transcript without gaps, messages on their way. No I/O."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from stayline.link.messages.contact import Entry, EntryKind, Party
from stayline.workspace.saved import OutMessage
from stayline.workspace.view import EntryState, EntryView

TYPING_SECONDS = 6.0
"""How long "is typing" is shown after the last sign of it."""


@dataclass
class ChatSession:
    """State of a session.

    ``entries`` are the committed ones with seq 1..n without gaps; ``outbox`` what the agent sent and nobody
    acknowledged, in order; ``failed`` what was refused for good (shown with its reason, text kept). ``read``
    is the last seq the agent has seen. ``problem``: why the session cannot be used right now. ``ending``: key
    of the request to end it (empty: not asked for). ``refusals``/``pause``: of the worker, until its next
    attempt.
    """

    id: str
    interaction: str
    grant: str
    user: str
    entries: list[Entry] = field(default_factory=list)
    outbox: list[OutMessage] = field(default_factory=list)
    failed: list[OutMessage] = field(default_factory=list)
    read: int = 0
    ended: bool = False
    customer: str = ""
    customer_present: bool = True
    typing_until: float = 0.0
    joined: bool = False
    problem: str = "Joining the chat."
    ending: str = ""
    end_waiters: list[asyncio.Future[None]] = field(default_factory=list)
    refusals: int = 0
    pause: float = 0.0
    _lines: list[EntryView] = field(default_factory=list)

    @property
    def last_seq(self) -> int:
        """The last entry held."""
        return self.entries[-1].seq if self.entries else 0

    @property
    def last_id(self) -> str:
        """Its id; empty when nothing is held."""
        return self.entries[-1].id if self.entries else ""

    @property
    def unread(self) -> int:
        """Messages of others after the last one read."""
        # Sequence numbers have no gaps: what is unread is the end of the list.
        return sum(
            1
            for entry in self.entries[self.read :]
            if entry.kind is EntryKind.MESSAGE and not self.is_mine(entry)
        )

    def is_mine(self, entry: Entry) -> bool:
        """Whether this agent wrote it."""
        return entry.party is Party.AGENT and entry.user == self.user

    def add(self, entries: Iterable[Entry]) -> tuple[list[Entry], bool]:
        """Take committed entries. Returns the new ones, and whether something between is missing (it must be
        asked for; what comes after the gap is left for then)."""
        new: list[Entry] = []
        for entry in sorted(entries, key=lambda e: e.seq):
            if entry.seq <= self.last_seq:
                continue
            if entry.seq > self.last_seq + 1:
                return new, True
            self.entries.append(entry)
            new.append(entry)
            self.outbox = [message for message in self.outbox if message.id != entry.id]
            if entry.kind is EntryKind.ENDED:
                self.ended = True
            if entry.party is Party.CUSTOMER:
                self.typing_until = 0.0
        return new, False

    def rewind(self) -> None:
        """What is held is not the transcript any more (a site was lost with its newest entries): forget it, and
        put what this agent wrote back into the outbox. What is still in the transcript leaves it again when that is
        read; the rest is sent once more, under its old id."""
        waiting = {message.id for message in self.outbox}
        own = [
            OutMessage(
                id=entry.id, session=self.id, interaction=self.interaction, text=entry.text, at=entry.at
            )
            for entry in self.entries
            if entry.kind is EntryKind.MESSAGE and self.is_mine(entry) and entry.id not in waiting
        ]
        self.outbox = [*own, *self.outbox]
        self.entries.clear()
        self._lines.clear()
        self.ended = False

    def acknowledged(self, message: str, seq: int, at: float, name: str) -> bool:
        """The server stored a message of ours. True when it could be placed; False: a gap must be filled
        first (the message then stays in the outbox; the entries that fill the gap bring it along)."""
        sent = next((m for m in self.outbox if m.id == message), None)
        if sent is None:
            return True
        entry = Entry(
            id=sent.id,
            kind=EntryKind.MESSAGE,
            party=Party.AGENT,
            name=name,
            text=sent.text,
            user=self.user,
            seq=seq,
            at=at,
        )
        _, gap = self.add([entry])
        return not gap

    def refuse(self, message: OutMessage, why: str) -> None:
        """A message was refused for good: it stays visible with the reason, its text is kept."""
        self.outbox = [m for m in self.outbox if m.id != message.id]
        self.failed.append(
            OutMessage(
                id=message.id,
                session=message.session,
                interaction=message.interaction,
                text=message.text,
                at=message.at,
                failed=why,
            )
        )

    def shown(self, name: str) -> list[EntryView]:
        """The transcript for the page: committed entries, then what is under way or has failed. ``name``: the
        agent's display name."""
        for entry in self.entries[len(self._lines) :]:
            self._lines.append(self._line(entry))
        pending = sorted([*self.outbox, *self.failed], key=lambda m: m.at)
        return self._lines + [
            EntryView(
                id=message.id,
                kind=EntryKind.MESSAGE,
                party=Party.AGENT,
                name=name,
                text=message.text,
                at=message.at,
                state=EntryState.FAILED if message.failed else EntryState.SENDING,
                mine=True,
                why=message.failed,
            )
            for message in pending
        ]

    def _line(self, entry: Entry) -> EntryView:
        return EntryView(
            id=entry.id,
            kind=entry.kind,
            party=entry.party,
            name=entry.name,
            text=entry.text,
            at=entry.at,
            state=EntryState.SENT,
            seq=entry.seq,
            mine=self.is_mine(entry),
        )
