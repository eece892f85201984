"""Pools of interchangeable servers (N+1, no primary), and random lists of them. Pure values."""

from collections.abc import Callable
from dataclasses import dataclass

from stayline.domain.objects import TraceMode

Random = Callable[[], float]
"""Gives numbers in [0, 1)."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A server that can be connected to. ``local``/``remote`` are ADDP timeouts in seconds, ``trace`` is
    which side logs its polls."""

    application: str
    cluster: str
    site: str
    host: str
    port: int
    local: float = 0.0
    remote: float = 0.0
    trace: TraceMode = TraceMode.OFF


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The servers of one type of one cluster.

    ``retry_delays``: seconds to wait after the whole pool failed, the nth round uses the nth value, the last
    repeats. ``reconnect_range``: upper bound in seconds of the random wait before the node that was lost is
    tried again.
    """

    cluster: str
    site: str
    nodes: tuple[Node, ...]
    retry_delays: tuple[float, ...] = (10.0,)
    reconnect_range: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Which pools may be used: one when a site is set, all clusters of the list in order when none is.

    ``refusal``: why there is none. ``move_range``: upper bound in seconds of the random wait at a change of
    site.
    """

    wanted: str = ""
    pools: tuple[Pool, ...] = ()
    refusal: str = ""
    move_range: float = 5.0

    @property
    def clusters(self) -> tuple[str, ...]:
        """Names of the clusters that may be used, in order."""
        return tuple(pool.cluster for pool in self.pools)

    @property
    def nodes(self) -> frozenset[Node]:
        """All nodes that may be used."""
        return frozenset(node for pool in self.pools for node in pool.nodes)


def shuffled(nodes: list[Node], random: Random) -> list[Node]:
    """Fisher-Yates with the given numbers (``random()`` may come as close to 1 as it likes)."""
    nodes = list(dict.fromkeys(nodes))
    for last in range(len(nodes) - 1, 0, -1):
        chosen = min(int(random() * (last + 1)), last)
        nodes[last], nodes[chosen] = nodes[chosen], nodes[last]
    return nodes


def refreshed(
    todo: tuple[Node, ...], new: Assignment, current: Node | None, random: Random
) -> tuple[Node, ...]:
    """What is left of a round after the pools changed: known ones keep their order, new ones come after
    them."""
    by_name = {node.application: node for pool in new.pools for node in pool.nodes}
    kept = [by_name[node.application] for node in todo if node.application in by_name]
    names = {node.application for node in kept} | ({current.application} if current else set())
    added = [node for name, node in by_name.items() if name not in names]
    return (*kept, *shuffled(added, random))
