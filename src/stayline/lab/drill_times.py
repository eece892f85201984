"""The stop-watch of drills: from agents' facts to how long each was without full controls. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil

import msgspec

from stayline.lab.history import AgentFact

CONFIGURATION_LINK = "Configuration Server"
CHAT_LINK = "Chat Server"
LINKS = ("Interaction Server", "Contact Server", CHAT_LINK)
"""Names of the links that an agent needs for full controls, as the engine's facts say them."""


@dataclass
class Controls:
    """What an agent can do, followed fact by fact. Full controls: every link up, the session confirmed, and every
    owned chat joined."""

    up: set[str] = field(default_factory=set)
    confirmed: bool = False
    owned: dict[str, str] = field(default_factory=dict)
    joined: set[str] = field(default_factory=set)

    @property
    def full(self) -> bool:
        """Whether nothing is restricted."""
        return (
            self.confirmed
            and all(link in self.up for link in LINKS)
            and all(session in self.joined for session in self.owned.values())
        )

    def take(self, fact: AgentFact) -> None:
        """One more fact."""
        match fact.fact:
            case "link.up":
                self.up.add(fact.link)
            case "link.down":
                self.up.discard(fact.link)
                if fact.link == CHAT_LINK:
                    self.joined.clear()
            case "restricted" | "ended" | "begun":
                self.confirmed = False
            case "restored":
                self.confirmed = True
            case "owned":
                if fact.chat_session:
                    self.owned[fact.interaction] = fact.chat_session
            case "gone":
                self.joined.discard(self.owned.pop(fact.interaction, ""))
            case "joined":
                self.joined.add(fact.session)


class Outage(msgspec.Struct, frozen=True):
    """An agent without full controls because of a fault. Unix seconds: the fault, when the engine noticed it, from
    when on controls were limited, and when the last of them was back (None: never)."""

    agent: str
    fault: float
    detected: float
    limited: float
    restored: float | None


def outage(
    agent: str, facts: Sequence[AgentFact], fault: float, until: float, watched: str = ""
) -> Outage | None:
    """What a fault at ``fault`` did to an agent; looks at what begins before ``until``. Several losses that follow
    from one fault count as one outage, from the first loss to the last return. ``watched`` is the link whose end is
    the notice (empty: the first loss of controls is). None: it lost nothing."""
    controls = Controls()
    detected: float | None = None
    restored: float | None = None
    for fact in facts:
        before = controls.full
        controls.take(fact)
        if fact.at < fault or before == controls.full:
            continue
        if not controls.full and fact.at < until:
            detected = fact.at if detected is None else detected
            restored = None
        elif controls.full and detected is not None and restored is None:
            restored = fact.at
    if detected is None:
        return None
    notice = noticed(facts, watched, fault) if watched else detected
    return Outage(agent, fault, detected if notice is None else notice, detected, restored)


def server_of(facts: Iterable[AgentFact], link: str, at: float) -> str:
    """The server that ``link`` of an agent was connected to at a moment; empty: to none."""
    server = ""
    for fact in facts:
        if fact.at >= at:
            break
        if fact.link == link:
            server = fact.application if fact.fact == "link.up" else ""
    return server


def noticed(facts: Iterable[AgentFact], link: str, since: float) -> float | None:
    """When an agent noticed that ``link`` was gone, first at or after ``since``."""
    return next(
        (one.at for one in facts if one.fact == "link.down" and one.link == link and one.at >= since), None
    )


class Spread(msgspec.Struct, frozen=True):
    """Seconds: median, 99th percentile and largest of a set of measurements (nearest rank; all 0 without any)."""

    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0


def spread(values: Sequence[float]) -> Spread:
    """Nearest-rank percentiles, rounded to milliseconds."""
    if not values:
        return Spread()
    ordered = sorted(values)

    def rank(share: float) -> float:
        return round(ordered[max(0, ceil(share * len(ordered)) - 1)], 3)

    return Spread(rank(0.5), rank(0.99), round(ordered[-1], 3))
