"""What a judgement needs: who is who, where the story is, what was seen; and what a judgement says."""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from stayline.conformance import expectations as see
from stayline.conformance.actions import Link
from stayline.conformance.record import Happening, Record, Seen
from stayline.conformance.status import ClientStatus


class Outcome(enum.StrEnum):
    """What a step's expectation is at the moment. ``broken``: it cannot come true any more."""

    MET = "met"
    NOT_YET = "not yet"
    BROKEN = "broken"


@dataclass(frozen=True)
class Verdict:
    """``seen``: what there was, for people. ``found``: what met the expectation and is used up. ``at``: since when
    it is met, where nothing is used up (None: now)."""

    outcome: Outcome
    seen: str = ""
    found: tuple[Happening, ...] = ()
    at: float | None = None


@dataclass(kw_only=True)
class Scene:
    """Who is who: ``links`` server -> link, ``groups`` cluster or site -> servers."""

    links: Mapping[str, Link]
    groups: Mapping[str, frozenset[str]]
    names: dict[str, str] = field(default_factory=dict)

    def matches(self, pattern: see.Pattern, server: str, bound: Mapping[str, str]) -> bool:
        """Whether a server is one of the pattern; ``bound``: what ``@link`` means."""
        if not isinstance(pattern, str):
            return any(self.matches(one, server, bound) for one in pattern)
        if pattern.startswith("not "):
            return bool(server) and not self.matches(pattern[4:], server, bound)
        if pattern == "anything":
            return bool(server)
        if pattern == "nothing":
            return not server
        return server in self.members(pattern, bound)

    def members(self, pattern: see.Pattern, bound: Mapping[str, str]) -> frozenset[str]:
        """The servers a pattern names."""
        if not isinstance(pattern, str):
            return frozenset[str]().union(*(self.members(one, bound) for one in pattern))
        if pattern.startswith("@"):
            name = pattern[1:]
            return frozenset({self.names.get(name) or bound.get(name, "")}) - {""}
        return self.groups.get(pattern) or frozenset({pattern})


@dataclass(kw_only=True)
class Marks:
    """Where the story is. ``block_at``: when the latest block of ``do`` steps began; ``reference``: from when ``after``
    is measured; ``bound``: the server of each link when the block began; ``used``: happenings found already."""

    block_at: float = 0.0
    reference: float = 0.0
    bound: dict[str, str] = field(default_factory=dict)
    session: str = ""
    used: set[int] = field(default_factory=set)

    def block(self, record: Record, scene: Scene, now: float) -> None:
        """A block of ``do`` steps begins."""
        self.block_at = self.reference = now
        # What was seen before is no news, also what was seen in this very instant.
        self.used = {id(one) for one in record}
        self.bound = {link.value: connected_or_last(record, scene, link) for link in Link}
        status = last_status(record)
        self.session = status.session.session if status else self.session

    def done(self, now: float) -> None:
        """A ``do`` step other than a passing of time was carried out."""
        self.reference = now

    def met(self, verdict: Verdict, now: float) -> None:
        """A ``see`` step was met."""
        self.used.update(id(one) for one in verdict.found)
        if verdict.found:
            self.reference = max(one.at for one in verdict.found)
        else:
            self.reference = now if verdict.at is None else max(self.reference, verdict.at)


@dataclass(frozen=True, kw_only=True)
class Court:
    """All that a judgement needs. ``slack``: seconds by which a time may be off; ``wall``: Unix time at record time 0
    (for times that the client shows)."""

    record: Record
    scene: Scene
    marks: Marks
    now: float
    slack: float = 0.0
    wall: float = 0.0

    def since_block(self, *what: Seen) -> Iterator[Happening]:
        """What was seen since the block began and is not used up."""
        used = self.marks.used
        return (one for one in self.record.after(self.marks.block_at, *what) if id(one) not in used)

    def of_link(self, link: Link | None, *what: Seen) -> list[Happening]:
        """As :meth:`since_block`, at servers of one link."""
        links = self.scene.links
        return [one for one in self.since_block(*what) if link is None or links.get(one.server) is link]

    def matches(self, pattern: see.Pattern, server: str) -> bool:
        """Whether the server is one of the pattern."""
        return self.scene.matches(pattern, server, self.marks.bound)

    def within(self, at: float, wanted: see.Range | None, since: float | None = None) -> bool:
        """Whether ``at`` is in the range after the reference."""
        if wanted is None:
            return True
        waited = at - (self.marks.reference if since is None else since)
        return wanted[0] - self.slack / 4 - 0.002 <= waited <= wanted[1] + self.slack + 0.02


def standing(record: Record, scene: Scene, link: Link) -> Happening | None:
    """The welcome of the newest link that still stands."""
    closed = {one.link for one in record if one.what is Seen.CLOSED and one.link}
    for one in reversed(list(record)):
        if one.what is Seen.WELCOMED and scene.links.get(one.server) is link and one.link not in closed:
            return one
    return None


def connected_or_last(record: Record, scene: Scene, link: Link) -> str:
    """The server a link stands to, else the one it stood to last."""
    now = standing(record, scene, link)
    if now is not None:
        return now.server
    past = [one for one in record if one.what is Seen.WELCOMED and scene.links.get(one.server) is link]
    return past[-1].server if past else ""


def last_status(record: Record) -> ClientStatus | None:
    """The newest status line."""
    one = last_line(record)
    status = one.get("status") if one is not None else None
    return status if isinstance(status, ClientStatus) else None


def last_line(record: Record) -> Happening | None:
    return next((one for one in reversed(list(record)) if one.what is Seen.STATUS), None)


def none_of(court: Court, some: list[Happening], pattern: see.Pattern) -> Verdict:
    """Met as long as none of these is at a server of the pattern since the reference."""
    since = court.marks.reference
    bad = [one for one in some if one.at >= since and court.matches(pattern, one.server)]
    if bad:
        return Verdict(Outcome.BROKEN, f"{bad[0].what} at {bad[0].server} {bad[0].at - since:.3f} s after")
    return Verdict(Outcome.MET, "nothing of the kind")
