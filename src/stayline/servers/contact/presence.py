"""Which customers are here: judged in one place, from what the Chat Servers signal. Pure: time is an argument.

A customer is present while at least one Chat Server says so. A session whose customer is nowhere for
``flex-disconnect-timeout`` is due to be ended. The clock of an absence starts when the last presence goes, and anew at
a takeover, because the new primary has heard nobody yet.
"""

from collections.abc import Hashable, Iterable


class Presence:
    """Presence of the customers of all open sessions. ``source`` is a Chat Server's link; times are seconds."""

    def __init__(self) -> None:
        self._here: dict[str, set[Hashable]] = {}
        # In the order in which the absences began: the first is due first.
        self._away_since: dict[str, float] = {}

    def open(self, sessions: Iterable[str], now: float) -> None:
        """These sessions are alive; their customers have not been heard of yet."""
        for session in sessions:
            if session not in self._here:
                self._away_since.setdefault(session, now)

    def ended(self, session: str) -> None:
        """The session is over: nobody waits for its customer."""
        self._here.pop(session, None)
        self._away_since.pop(session, None)

    def signal(self, session: str, source: Hashable, present: bool, now: float) -> bool:
        """A Chat Server says whether the customer is with it. True when the customer came or went thereby."""
        if session not in self._here and session not in self._away_since:
            return False  # ended meanwhile
        was_here = self.is_present(session)
        if present:
            self._here.setdefault(session, set()).add(source)
            self._away_since.pop(session, None)
        else:
            self._drop(session, source, now)
        return self.is_present(session) != was_here

    def lost(self, source: Hashable, now: float) -> list[str]:
        """A Chat Server is gone: the sessions whose customer is nowhere now."""
        touched = [session for session, sources in self._here.items() if source in sources]
        for session in touched:
            self._drop(session, source, now)
        return [session for session in touched if not self.is_present(session)]

    def is_present(self, session: str) -> bool:
        """Whether any Chat Server has this customer."""
        return session in self._here

    @property
    def open_count(self) -> int:
        """Sessions watched."""
        return len(self._here) + len(self._away_since)

    def due(self, timeout: float, now: float) -> list[str]:
        """Sessions absent for ``timeout`` or longer, longest first. They stay until :meth:`ended`."""
        found: list[str] = []
        for session, since in self._away_since.items():
            if now - since < timeout:
                break
            found.append(session)
        return found

    def _drop(self, session: str, source: Hashable, now: float) -> None:
        sources = self._here.get(session)
        if sources is None:
            return
        sources.discard(source)
        if not sources:
            del self._here[session]
            self._away_since[session] = now
