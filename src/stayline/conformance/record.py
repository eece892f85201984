"""What was seen while a case was played: by the servers of the site, and what the client said of itself. Pure."""

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

MAX_HAPPENINGS = 50_000
"""A client that does more than this in one case is out of its mind; what follows is only counted."""


class Seen(enum.StrEnum):
    """What was seen. The details of each kind are named in brackets."""

    PROBE = "probe"
    """A TCP connection that ended without a byte of TLS."""
    ATTEMPT = "attempt"
    """A TCP connection on which the client began to speak."""
    HELLO = "hello"
    """[expect, expect_cluster, expect_site, ticket (whether), epoch, local, remote ...]"""
    WELCOMED = "welcomed"
    REFUSED = "refused"
    """[code, retry_after]"""
    TOLD_TO_WAIT = "told to wait"
    """[seconds, ahead]"""
    REQUEST = "request"
    """[method, key, payload (a dict)]"""
    ANSWER = "answer"
    """[method, code]"""
    EVENT = "event"
    """An event of the client. [name, payload]"""
    SAID = "said"
    """An event of a server. [name, seq, swallowed, ticket (of ``session.ticket``)]"""
    POLL = "poll"
    POLL_ANSWERED = "poll answered"
    CLOSED = "closed"
    """A connection is over. [by (client, server), polite, why, code]"""
    STATUS = "status"
    """A status line of the client. [status (a ClientStatus)]"""
    DONE = "done"
    """A step of the story. [step]"""


@dataclass(frozen=True, slots=True, eq=False)
class Happening:
    """``at``: seconds since the case began. ``server``: whose, empty for the client's own lines. ``link``: number of
    the connection, new with each (0: none)."""

    at: float
    what: Seen
    server: str = ""
    link: int = 0
    details: dict[str, object] = field(default_factory=dict)

    def get(self, key: str) -> object:
        """A detail, None when there is none of that name."""
        return self.details.get(key)

    def __str__(self) -> str:
        link = f"#{self.link}" if self.link else ""
        told = " ".join(f"{key}={_short(value)}" for key, value in self.details.items() if value != "")
        return f"{self.at:8.3f}  {self.server}{link} {self.what} {told}".rstrip()


class Record:
    """Everything seen, in order of time. ``clock``: seconds, monotonic (or virtual)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun = clock()
        self._seen: list[Happening] = []
        self.dropped = 0
        self.on_change: Callable[[], None] = _nobody

    @property
    def now(self) -> float:
        """Seconds since the case began."""
        return self._clock() - self._begun

    def __iter__(self) -> Iterator[Happening]:
        return iter(self._seen)

    def __reversed__(self) -> Iterator[Happening]:
        return reversed(self._seen)

    def __len__(self) -> int:
        return len(self._seen)

    def add(
        self, what: Seen, server: str = "", link: int = 0, *, at: float | None = None, **details: object
    ) -> Happening:
        """Note something; ``at`` when it happened earlier than it became known."""
        seen = Happening(self.now if at is None else at, what, server, link, details)
        if len(self._seen) >= MAX_HAPPENINGS:
            self.dropped += 1
            return seen
        index = len(self._seen)
        while index and self._seen[index - 1].at > seen.at:
            index -= 1
        self._seen.insert(index, seen)
        self.on_change()
        return seen

    def after(self, at: float, *what: Seen) -> list[Happening]:
        """What happened at or after a time, of these kinds (all, when none is named)."""
        found = []
        for seen in reversed(self._seen):
            if seen.at < at:
                break
            if not what or seen.what in what:
                found.append(seen)
        found.reverse()
        return found

    def timeline(self, last: int = 80) -> list[str]:
        """The last happenings as lines."""
        lines = [str(seen) for seen in self._seen[-last:]]
        if len(self._seen) > last:
            lines.insert(0, f"({len(self._seen) - last} earlier ones left out)")
        return lines


def _nobody() -> None:
    """Nobody waits."""


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode() if isinstance(value, msgspec.Struct) else str(value)
    return text if len(text) <= 1200 else text[:1197] + "..."
