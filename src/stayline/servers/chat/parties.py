"""Who takes part in a chat, read from its transcript: the transcript is the one record of it. Pure.

The ids of ``joined`` and ``left`` entries are made from what came before, so that two Chat Servers that write the same
fact at once write one entry.
"""

from collections.abc import Iterable

from stayline.link.messages.contact import Entry, EntryKind, Party

ENDED_ID = "ended"
"""Id of the entry that ends a session: the first one counts, another is its duplicate."""


class Parties:
    """The agents of a session, as of the last entry taken."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._joined: dict[str, Entry] = {}
        self._left_seq: dict[str, int] = {}
        for entry in entries:
            self.take(entry)

    def take(self, entry: Entry) -> None:
        """The next entry of the transcript."""
        if entry.kind is EntryKind.JOINED:
            self._joined[entry.user] = entry
        elif entry.kind is EntryKind.LEFT:
            self._joined.pop(entry.user, None)
            self._left_seq[entry.user] = entry.seq

    @property
    def agents(self) -> list[str]:
        """User names of the agents who take part, in the order in which they joined."""
        return list(self._joined)

    @property
    def names(self) -> list[str]:
        """Their names as the customer sees them."""
        return [entry.name for entry in self._joined.values()]

    def joined(self, user: str, name: str, version: int) -> Entry | None:
        """The entry to write when an agent joins by a grant of that version of the interaction; None when the
        transcript says so already (one per stay)."""
        if user in self._joined:
            return None
        stay = self._left_seq.get(user, 0)
        return Entry(
            id=f"joined:{user}:{stay}:{version}",
            kind=EntryKind.JOINED,
            party=Party.AGENT,
            name=name,
            user=user,
        )

    def joined_by(self, user: str) -> int:
        """Version of the interaction by which an agent joined, 0 when unknown."""
        entry = self._joined.get(user)
        version = entry.id.rpartition(":")[2] if entry is not None else ""
        return int(version) if version.isdecimal() else 0

    def left(self, user: str) -> Entry | None:
        """The entry to write when an agent leaves; None when the agent is not there."""
        entry = self._joined.get(user)
        if entry is None:
            return None
        return Entry(
            id=f"left:{user}:{entry.seq}",
            kind=EntryKind.LEFT,
            party=Party.AGENT,
            name=entry.name,
            user=user,
        )


def ended(party: Party, name: str = "", user: str = "", text: str = "") -> Entry:
    """The entry that ends a session."""
    return Entry(id=ENDED_ID, kind=EntryKind.ENDED, party=party, name=name, user=user, text=text)
