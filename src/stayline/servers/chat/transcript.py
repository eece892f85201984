"""A chat session as a Chat Server holds it: a copy of the transcript without gaps, and who looks at it. Pure.

Entries come from three places: the answer to a read, events, and the answers to our own appends. They may come twice
and out of order; :meth:`HeldTranscript.take` puts them in order and says when something is missing.
"""

from collections.abc import Callable, Iterable

from stayline.link.messages.contact import ChatState, Entry, EntryKind
from stayline.servers.chat.parties import Parties

MAX_AHEAD = 1_000
"""Entries kept that came before their predecessors; more are dropped and read again."""


class HeldTranscript:
    """Entries 1, 2, 3 ... of one session."""

    def __init__(self, session: str, changed: Callable[[], None]) -> None:
        self.session = session
        self.state: ChatState | None = None
        self.entries: list[Entry] = []
        self.parties = Parties()
        self.customer_present = False
        self._ahead: dict[int, Entry] = {}
        self._changed = changed

    @property
    def last(self) -> int:
        """Seq of the last entry held without a gap before it."""
        return len(self.entries)

    @property
    def ended(self) -> bool:
        """Whether the transcript holds the end: nothing is written after it."""
        return bool(self.entries) and self.entries[-1].kind is EntryKind.ENDED

    @property
    def has_gap(self) -> bool:
        """Whether later entries are known than those held: the ones between must be read."""
        return bool(self._ahead)

    def after(self, seq: int) -> list[Entry]:
        """Entries with a larger seq, in order."""
        return self.entries[max(0, seq) :]

    def continues(self, after: int, last: str) -> bool:
        """Whether somebody who holds ``after`` entries, the last with id ``last`` (empty: does not say), holds the
        beginning of this transcript."""
        if after <= 0 or not last:
            return True
        return after <= self.last and self.entries[after - 1].id == last

    def take(self, entries: Iterable[Entry]) -> None:
        """Put entries where they belong; tell who looks at the session when there is anything new to show."""
        before = self.last
        for entry in entries:
            if entry.seq == self.last + 1 or (entry.seq > self.last and len(self._ahead) < MAX_AHEAD):
                self._ahead[entry.seq] = entry
            while (following := self._ahead.pop(self.last + 1, None)) is not None:
                self.entries.append(following)
                self.parties.take(following)
        if self.last != before:
            self._changed()

    def present(self, present: bool) -> None:
        """Whether the customer's page is connected somewhere."""
        if present != self.customer_present:
            self.customer_present = present
            self._changed()
