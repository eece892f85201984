"""What a link's machine knows, and how it walks through rounds of servers. See ``link/machine/standby.py``."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from stayline.link.machine.pool import Assignment, Node, Random, ordered
from stayline.link.machine.standby_events import Action, Connect, Wait

SETTLED_SECONDS = 1.0
"""A proven link that lived shorter counts as a failed attempt: else a server that accepts and drops is
hammered."""

STABLE_SECONDS = 30.0
"""A link never proven by a first answer counts as good after this long."""

WOKE_SECONDS = 10.0
"""A link lost so soon after this machine woke up was lost by the sleep: its server is tried again without a wait."""

LEAST_PAUSE = 0.05
"""Between two rounds, whatever the configuration says."""


class State(enum.StrEnum):
    """What the machine is doing."""

    STOPPED = "stopped"
    BLOCKED = "blocked"
    WAITING = "waiting"
    CONNECTING = "connecting"
    UP = "up"


@dataclass(frozen=True, kw_only=True)
class StandbyView:
    """Everything the machine knows; ``why``, ``since`` and ``until`` are meant to be read by people.

    ``todo``: what is left of this round. ``rounds``: failed rounds since the last settled link. ``failures``: failed
    attempts since the last proven one. ``not_before``: when servers that named a time may be asked again.
    ``held_until``: the attempt waits its turn until then, and ``why_before`` is what led to it. ``leaving_at``: the
    open link will be left then. ``idle``: the agent owns nothing. ``woke_at``: when this machine last woke up.
    ``backup_next``: the next failure is that of the server that was open last, and the backup delay follows it.
    """

    state: State = State.STOPPED
    generation: int = 0
    assignment: Assignment = field(default_factory=Assignment)
    node: Node | None = None
    todo: tuple[Node, ...] = ()
    rounds: int = 0
    failures: int = 0
    not_before: Mapping[str, float] = field(default_factory=dict)
    opened_at: float = 0.0
    proven: bool = False
    why: str = ""
    since: float = 0.0
    next_attempt_at: float = 0.0
    held_until: float = 0.0
    why_before: str = ""
    leaving_at: float = 0.0
    leaving_why: str = ""
    idle: bool = False
    woke_at: float = float("-inf")
    backup_next: bool = False
    ignored: int = 0

    @property
    def node_name(self) -> str:
        """Name of the server connected to or tried (empty: none)."""
        return self.node.application if self.node else ""

    @property
    def until(self) -> float:
        """When the present wait ends: the next attempt, the turn, or the leaving (0: there is no wait)."""
        if self.state is State.WAITING:
            return self.next_attempt_at
        return self.held_until if self.state is State.CONNECTING else self.leaving_at


Result = tuple[StandbyView, list[Action]]


def new_round(view: StandbyView, now: float, random: Random) -> Result:
    """A new list, in its order, without those that asked for more time."""
    pool = view.assignment.pool
    ready = [node for node in view.assignment.nodes if is_ready(view, node, now)]
    todo = ordered(pool, ready, random) if pool is not None else []
    return next_server(replace(view, todo=tuple(todo), backup_next=False), now, random)


def next_server(view: StandbyView, now: float, random: Random) -> Result:
    """Take the next server of the list; when none is left, the whole pool has failed."""
    todo = tuple(node for node in view.todo if is_ready(view, node, now))
    if not todo:
        failed = replace(closed(view), todo=(), rounds=view.rounds + 1)
        return wait_until(failed, _retry_at(view, now, random))
    generation = view.generation + 1
    trying = replace(
        closed(view),
        state=State.CONNECTING,
        generation=generation,
        node=todo[0],
        todo=todo[1:],
        next_attempt_at=0.0,
    )
    return trying, [Connect(generation, todo[0])]


def _retry_at(view: StandbyView, now: float, random: Random) -> float:
    """When the first server may be asked again; a time that a server named outranks our own delay."""
    pool = view.assignment.pool
    delays = (pool.retry_delays if pool is not None else ()) or (0.0,)
    ours = now + delays[min(view.rounds, len(delays) - 1)] * (0.5 + 0.5 * random())
    asked = [view.not_before.get(node.application, 0.0) for node in view.assignment.nodes]
    return max(min((at if at > now else ours for at in asked), default=ours), now + LEAST_PAUSE)


def wait_until(view: StandbyView, at: float) -> Result:
    """Wait for the next attempt until ``at`` (Unix seconds)."""
    generation = view.generation + 1
    waiting = replace(closed(view), state=State.WAITING, generation=generation, next_attempt_at=at)
    return waiting, [Wait(generation, at)]


def closed(view: StandbyView) -> StandbyView:
    """Without anything that is true of an open link or an attempt only."""
    return replace(
        view, node=None, proven=False, held_until=0.0, why_before="", leaving_at=0.0, leaving_why=""
    )


def is_ready(view: StandbyView, node: Node, now: float) -> bool:
    """Whether a server may be asked now: it has not named a time that is still to come."""
    return view.not_before.get(node.application, 0.0) <= now
