"""How much of a proxy's door one person takes: whoever opens many links with one token or ticket must not keep others
out. Pure."""

from collections import Counter
from collections.abc import Hashable

from stayline.link.machine.admission import Kind

RESUMES_OF_ONE = 2
"""Openers of one person in the lane of resumes or being resumed: the new link, and an old one not yet known to be gone.
Further ones wait with the logins."""

LOGINS_OF_ONE = 8
"""The same for logins. Further ones are refused."""


class Shares:
    """Who waits or is being set up, by person and lane."""

    def __init__(self) -> None:
        self._held: dict[Hashable, tuple[str, Kind]] = {}
        self._counts: Counter[tuple[str, Kind]] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    def has_room(self, user: str, kind: Kind) -> bool:
        """Whether one more opener of ``user`` may take part in this lane."""
        return self._counts[user, kind] < (RESUMES_OF_ONE if kind is Kind.RESUME else LOGINS_OF_ONE)

    def take(self, id: Hashable, user: str, kind: Kind) -> None:
        """An opener has come."""
        self._held[id] = (user, kind)
        self._counts[user, kind] += 1

    def give_back(self, id: Hashable) -> None:
        """It is set up, was refused, or has left; unknown ones are ignored."""
        key = self._held.pop(id, None)
        if key is None:
            return
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]
