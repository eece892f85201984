"""Agents back over time: curves, and their lines for a terminal. Pure."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

BLOCKS = " ▁▂▃▄▅▆▇█"
SHARES = (0.5, 0.95, 1.0)
"""Shares of the agents whose times are told."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """When each agent was back, in order, in seconds since agents were told to move; ``agents`` how many there are.
    ``modelled``: computed, not played. ``capped``: seconds after which nobody looked any more (0: to the end)."""

    name: str
    agents: int
    back: tuple[float, ...]
    modelled: bool = False
    capped: float = 0.0

    def reached(self, share: float) -> float | None:
        """When this share of the agents was back; None: never while somebody looked."""
        needed = max(1, round(self.agents * share))
        return self.back[needed - 1] if needed <= len(self.back) else None

    def count(self, at: float) -> int:
        """Agents back at a time."""
        return bisect.bisect_right(self.back, at)

    @property
    def end(self) -> float:
        """The last time of which something is known."""
        return max(self.capped, self.back[-1] if self.back else 0.0)


def curve(
    name: str, agents: int, times: Sequence[float], *, modelled: bool = False, capped: float = 0.0
) -> Curve:
    """A curve of times in any order. Who was back before anybody was told was never away: at time 0."""
    back = tuple(sorted(max(0.0, at) for at in times))
    return Curve(name=name, agents=agents, back=back, modelled=modelled, capped=capped)


def ideal_curve(agents: int, cost: float, proxies: int) -> Curve:
    """Proxies that are never idle and never do anything twice."""
    times = tuple((number // proxies + 1) * cost for number in range(agents))
    return Curve(name="ideal", agents=agents, back=times, modelled=True)


def rate_of(times: Sequence[float]) -> float:
    """Completions per second of a closed loop, without its beginning and its end (a twentieth each)."""
    done = sorted(times)
    if len(done) < 2:
        return 0.0
    edge = len(done) // 20
    first, last = edge, len(done) - 1 - edge
    seconds = done[last] - done[first]
    return (last - first) / seconds if seconds > 0 else 0.0


def sparkline(one: Curve, seconds: float, width: int) -> str:
    """The share of agents back, as a line of blocks over ``seconds``."""
    marks = []
    for column in range(width):
        share = one.count(seconds * (column + 1) / width) / one.agents if one.agents else 0.0
        # Only everybody fills the block: "nearly all" must not look like "all".
        level = len(BLOCKS) - 1 if share >= 1.0 else min(len(BLOCKS) - 2, int(share * (len(BLOCKS) - 1)))
        marks.append(BLOCKS[level])
    return "".join(marks)


def told(one: Curve) -> str:
    """The curve in words: when half, nearly all and all were back."""
    found = []
    for share in SHARES:
        at = one.reached(share)
        name = "all" if share == 1.0 else f"{share:.0%}"
        found.append(f"{name} {at:.1f} s" if at is not None else f"{name} never")
    if one.reached(1.0) is None:
        found.append(f"{len(one.back)} of {one.agents} after {one.end:.0f} s")
    return ", ".join(found)


def lines(curves: Sequence[Curve], width: int = 60) -> list[str]:
    """All curves on one time axis, for a terminal."""
    known = [one for one in curves if one.agents]
    if not known:
        return []
    seconds = max(one.end for one in known) or 1.0
    name = max(len(one.name) for one in known)
    drawn = [f"{one.name:<{name}} |{sparkline(one, seconds, width)}| {told(one)}" for one in known]
    axis = f"{'':<{name}} 0{f'{seconds:.0f} s':>{width}}"
    return [*drawn, axis]
