"""Pools of interchangeable servers (N+1, no primary) or pairs in their order, and lists of them. Pure values."""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from stayline.domain.objects import TraceMode

Random = Callable[[], float]
"""Gives numbers in [0, 1)."""


class Order(enum.StrEnum):
    """In which order the servers of a pool are tried: balanced by chance (a cluster), or as listed (a pair)."""

    SHUFFLED = "shuffled"
    LISTED = "listed"


@dataclass(frozen=True, kw_only=True)
class Node:
    """A server that can be connected to. ``local``/``remote`` are ADDP timeouts in seconds, ``trace`` is which side
    logs its polls, ``ip_version`` the order of address families ("4,6"), ``open_timeout`` the seconds one attempt to
    connect may take."""

    application: str
    cluster: str
    site: str
    host: str
    port: int
    local: float = 0.0
    remote: float = 0.0
    trace: TraceMode = TraceMode.OFF
    ip_version: str = "4,6"
    open_timeout: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The servers of one type of one cluster, or of one group of a pair.

    ``retry_delays``: seconds to wait after the whole pool failed, the nth round uses the nth value, the last repeats;
    each is the longest wait, its lower half is jitter. ``reconnect_range``: upper bound in seconds of the random wait
    before the node that was lost is tried again. ``backup_delay``: seconds between that node's failing again and the
    next one.
    """

    cluster: str
    site: str
    nodes: tuple[Node, ...]
    order: Order = Order.SHUFFLED
    retry_delays: tuple[float, ...] = (10.0,)
    reconnect_range: float = 2.0
    backup_delay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Which pool may be used; None: none at all, and ``refusal`` says why.

    ``wanted`` is the site that was asked for (empty: none). ``move_range``: upper bound in seconds of the random wait
    at a change of site. ``mover`` is who moves the agent here, for people.
    """

    wanted: str = ""
    pool: Pool | None = None
    refusal: str = ""
    move_range: float = 5.0
    mover: str = "The configuration"

    @property
    def cluster(self) -> str:
        """Name of the cluster that may be used (empty: none)."""
        return self.pool.cluster if self.pool is not None else ""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The servers that may be used, as listed."""
        return self.pool.nodes if self.pool is not None else ()


def shuffled(nodes: list[Node], random: Random) -> list[Node]:
    """Fisher-Yates with the given numbers (``random()`` may come as close to 1 as it likes)."""
    nodes = list(dict.fromkeys(nodes))
    for last in range(len(nodes) - 1, 0, -1):
        chosen = min(int(random() * (last + 1)), last)
        nodes[last], nodes[chosen] = nodes[chosen], nodes[last]
    return nodes


def ordered(pool: Pool, nodes: list[Node], random: Random) -> list[Node]:
    """``nodes`` of ``pool`` in the order in which they are to be tried, each once."""
    return shuffled(nodes, random) if pool.order is Order.SHUFFLED else list(dict.fromkeys(nodes))


def refreshed(
    todo: tuple[Node, ...], new: Assignment, current: Node | None, random: Random
) -> tuple[Node, ...]:
    """What is left of a round after the pool changed: known ones keep their order, new ones come after them."""
    by_name = {node.application: node for node in new.nodes}
    kept = [by_name[node.application] for node in todo if node.application in by_name]
    names = {node.application for node in kept} | ({current.application} if current else set())
    added = [node for name, node in by_name.items() if name not in names]
    return (*kept, *shuffled(added, random))
