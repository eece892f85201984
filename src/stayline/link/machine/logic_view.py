"""What a Workspace's connection logic knows, hears and wants done. See ``link/machine/logic.py``."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from stayline.link.machine import standby
from stayline.link.machine.plan import Link, Plan
from stayline.link.machine.pool import Assignment
from stayline.link.machine.preferred import PreferredView
from stayline.link.machine.setups import Setups
from stayline.link.machine.site import SiteView, choose
from stayline.link.machine.site_events import (
    Ask,
    Asked,
    ConfigurationAway,
    EpochHeard,
    Planned,
    Probe,
    Probed,
    StatementHeard,
)
from stayline.link.machine.standby import StandbyView
from stayline.link.machine.standby_events import Idle, Stop, Woke

SETUP_SECONDS = 30.0
"""How long a set-up may wait for its turn; then it counts as a failed attempt."""

FOREIGN = frozenset({"hello.application", "hello.cluster", "hello.site", "identity.certificate"})
"""Refusals that mean: another server answered than was meant."""

STALE = frozenset({"epoch.stale", "epoch.unknown"})
"""Refusals that mean: that server acts under an epoch that is over."""

QUESTION = "question"


class Timer(enum.StrEnum):
    """The waits that belong to no single link."""

    SITE = "site"
    STATISTICS = "statistics group"
    SETUPS = "setups"


class Bad(enum.StrEnum):
    """What was wrong with a statement that could not be believed."""

    FORGED = "forged"
    EXPIRED = "expired"


# -- events and actions


@dataclass(frozen=True)
class StatementBad:
    """A statement was heard whose signature or expiry is not good."""

    kind: Bad


@dataclass(frozen=True)
class OnLink:
    """Something happened to a link."""

    link: Link
    event: standby.Event


@dataclass(frozen=True)
class TimerDue:
    """The wait ``number`` of ``timer`` is over."""

    timer: Timer
    number: int


Event = (
    Planned
    | ConfigurationAway
    | StatementHeard
    | StatementBad
    | EpochHeard
    | Probed
    | Asked
    | OnLink
    | TimerDue
    | Idle
    | Woke
    | Stop
)


@dataclass(frozen=True)
class LinkDo:
    """Do this to a link."""

    link: Link
    action: standby.Action


@dataclass(frozen=True)
class TimerAt:
    """Report :class:`TimerDue` with this number at ``at`` (Unix seconds). The newest of a timer replaces the ones
    before."""

    timer: Timer
    number: int
    at: float


Action = LinkDo | Probe | Ask | TimerAt


@dataclass(frozen=True, kw_only=True)
class LogicView:
    """Everything the machines know. ``epochs``: under which epoch the server of each open link acts (0: unknown).
    ``waiting_ask``: a question to another cluster that waits for its turn. ``counts``: what was counted here; see
    :attr:`counted` for all."""

    site: SiteView = field(default_factory=SiteView)
    links: Mapping[Link, StandbyView] = field(default_factory=lambda: {link: StandbyView() for link in Link})
    statistics: PreferredView = field(default_factory=PreferredView)
    setups: Setups = field(default_factory=Setups)
    setups_timer: int = 0
    setups_number: int = 0
    epochs: Mapping[Link, int] = field(default_factory=dict)
    waiting_ask: Ask | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def plan(self) -> Plan:
        """What the configuration says."""
        return self.site.plan

    @property
    def epoch(self) -> int:
        """The highest epoch known: for the next hello."""
        return self.site.epoch

    @property
    def counted(self) -> Mapping[str, int]:
        """``forged``, ``expired`` and ``lower`` statements, ``foreign`` servers and statements, ``stale`` servers,
        ``ignored`` late events."""
        late = sum(view.ignored for view in self.links.values())
        return {
            "forged": self.counts.get("forged", 0),
            "expired": self.counts.get("expired", 0),
            "lower": self.site.lower,
            "foreign": self.counts.get("foreign", 0) + self.site.foreign,
            "stale": self.counts.get("stale", 0),
            "ignored": self.counts.get("ignored", 0) + late + self.site.ignored + self.statistics.ignored,
        }


def assignment_of(view: SiteView, link: Link) -> Assignment:
    """What a pooled link may use as the site is chosen now."""
    chosen = view.chosen
    if chosen is None:
        if view.refusal is not None:
            refusal = f"{view.refusal.reason} {view.refusal.fix}".strip()
        else:
            refusal = "The first available cluster is being looked for."
        return Assignment(wanted=view.plan.wanted, refusal=refusal, move_range=view.plan.spread)
    mover = choose(view).mover or "The configuration"
    return Assignment(
        wanted=chosen.site,
        pool=chosen.pools.get(link),
        refusal=chosen.faults.get(link, ""),
        move_range=view.plan.spread,
        mover=mover,
    )


def question_id(number: int) -> str:
    """What a question to another cluster is called among the set-ups."""
    return f"{QUESTION}:{number}"


def setup_id(link: Link, generation: int) -> str:
    """What an attempt of a link is called among them."""
    return f"{link}:{generation}"


def link_of(id: str) -> tuple[Link, int]:
    """The link and generation of such an attempt."""
    link, _, generation = id.partition(":")
    return Link(link), int(generation)
