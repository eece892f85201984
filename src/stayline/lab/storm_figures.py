"""The figures of a storm, and whether they are what was promised. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from stayline.lab.storm_curve import Curve, curve
from stayline.lab.storm_orders import Counts

RATIO = 1.3
"""All agents shall be back within this many times the ideal."""

RESUMES_PER_LOGIN = 5.0
"""Resuming shall be this many times as fast as logging in, at least."""


class StormFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of ``stayline lab storm --json``; its keys never change. Null: not everybody was back while
    somebody looked."""

    agents: int
    ideal_seconds: float
    all_back_seconds: float | None
    ratio: float | None
    wasted_setups: int
    logins_per_second: float
    resumes_per_second: float
    original_defaults_seconds: float | None


class StormDetail(msgspec.Struct, frozen=True, kw_only=True):
    """The line before it: what the figures rest on.

    ``resume_rounds``: resumes per second in each round of the calibration, of which the middle one is taken: far apart
    or rising, they say that something else used the machine. ``setup_seconds``: cost of a set-up, as the whole lab's
    rate says it (x ``proxies``); ``reported_setup_seconds``: as
    the proxies measured it themselves. ``window``: the spread window that the switch wrote (0: none).
    ``outage_seconds``: from the first lost link to the last agent back. ``uninformed``: looks at a waiting agent that
    did not know until when; ``late`` those whose time had passed by more than a tolerance; ``looks`` all of them.
    ``wasted_at_servers``/``wasted_at_clients``: set-ups begun and abandoned, as either side counts.
    ``turned_away``: refusals with a time; ``longest_wait`` seconds anybody was told. ``original_capped``: the original
    constants were played for ``original_seconds`` only, and ``original_back`` agents were back then.
    """

    proxies: int
    resume_rounds: list[float]
    setup_seconds: float
    reported_setup_seconds: float
    window: float
    outage_seconds: float
    sessions_kept: int
    uninformed: int
    late: int
    looks: int
    wasted_at_servers: int
    wasted_at_clients: int
    turned_away: int
    longest_wait: float
    original_played: bool
    original_capped: bool
    original_seconds: float
    original_back: int
    original_wasted: int
    why: str


@dataclass
class Move:
    """One move of everybody. Times are Unix seconds."""

    told_at: float = 0.0
    times: list[float] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    sessions_kept: int = 0
    wasted: int = 0
    complete: bool = False
    seconds: float = 0.0

    def curve(self, name: str, agents: int) -> Curve:
        """Its curve."""
        since = [at - self.told_at for at in self.times]
        return curve(name, agents, since, capped=0.0 if self.complete else self.seconds)


def judged(
    *,
    agents: int,
    proxies: int,
    cost: float,
    reported_cost: float,
    window: float,
    logins: float,
    rounds: Sequence[float],
    moved: Move,
    original: Move | None,
) -> tuple[StormFigures, StormDetail, bool]:
    """The two lines, and whether nothing that may never happen has happened. (Speeds are told, but a slow machine is no
    fault: they do not count here.)"""
    resumes = statistics.median(rounds) if rounds else 0.0
    ideal = agents * cost / proxies
    back = max((at - moved.told_at for at in moved.times), default=0.0) if moved.complete else None
    counts = moved.counts
    wasted = max(moved.wasted, counts.wasted)
    lost = counts.lost_at if counts.lost_at else moved.told_at
    played = original is not None
    other = _original_seconds(original)
    figures = StormFigures(
        agents=agents,
        ideal_seconds=round(ideal, 3),
        all_back_seconds=None if back is None else round(back, 3),
        ratio=None if back is None or not ideal else round(back / ideal, 3),
        wasted_setups=wasted,
        logins_per_second=round(logins, 2),
        resumes_per_second=round(resumes, 2),
        original_defaults_seconds=None if other is None else round(other, 3),
    )
    faults = _faults(agents, moved, wasted)
    detail = StormDetail(
        proxies=proxies,
        resume_rounds=[round(rate, 1) for rate in rounds],
        setup_seconds=round(cost, 5),
        reported_setup_seconds=round(reported_cost, 5),
        window=window,
        outage_seconds=round(max(moved.times, default=lost) - lost, 3),
        sessions_kept=moved.sessions_kept,
        uninformed=counts.uninformed,
        late=counts.late,
        looks=counts.looks,
        wasted_at_servers=moved.wasted,
        wasted_at_clients=counts.wasted,
        turned_away=counts.turned_away,
        longest_wait=round(counts.longest_wait, 3),
        original_played=played,
        original_capped=original is not None and not original.complete,
        original_seconds=round(original.seconds, 3) if original is not None else 0.0,
        original_back=len(original.times) if original is not None else 0,
        original_wasted=original.wasted if original is not None else 0,
        why="; ".join([*faults, *_speeds(figures)]) or "everything is as promised",
    )
    return figures, detail, not faults


def _original_seconds(original: Move | None) -> float | None:
    if original is None or not original.complete:
        return None
    return max((at - original.told_at for at in original.times), default=0.0)


def _faults(agents: int, moved: Move, wasted: int) -> list[str]:
    """What may never happen, however slow the machine."""
    found: list[str] = []
    if not moved.complete:
        found.append(
            f"{agents - len(moved.times)} of {agents} agents were not back after {moved.seconds:.0f} s"
        )
    if wasted:
        found.append(f"{wasted} set-ups were begun and abandoned")
    counts = moved.counts
    if counts.uninformed:
        found.append(
            f"at {counts.uninformed} of {counts.looks} looks a waiting agent did not know until when ({counts.told})"
        )
    if moved.complete and moved.sessions_kept < agents:
        found.append(f"{agents - moved.sessions_kept} agents got another session")
    return found


def _speeds(figures: StormFigures) -> list[str]:
    found: list[str] = []
    if figures.ratio is not None and figures.ratio > RATIO:
        found.append(f"all were back after {figures.ratio:.2f} times the ideal, {RATIO:g} is the goal")
    if figures.ratio is not None and figures.ratio < 1.0:
        found.append(
            "all were back sooner than the ideal: the machine was busier while the cost was measured"
        )
    logins, resumes = figures.logins_per_second, figures.resumes_per_second
    if logins and resumes < RESUMES_PER_LOGIN * logins:
        found.append(
            f"resuming is {resumes / logins:.1f} times as fast as logging in, {RESUMES_PER_LOGIN:g} is the goal"
        )
    return found
