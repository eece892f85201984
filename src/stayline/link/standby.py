"""How a client of N+1 servers finds one, keeps one and finds the next: a pure machine.

``step(view, event, now, random) -> (view, actions)``. No socket, clock or random source: times are Unix
seconds given by the caller, ``random`` returns numbers in [0, 1). The rules are those of the specification's
"Runtime connection logic": pool by site, random list, first that answers, next on failure,
``warm-standby.retry-delay`` after the whole pool failed, at a change of site a forced disconnection and a new
random list. The machine never changes site by itself. Every attempt and every wait has a generation: answers
and timers of an older one are ignored and counted.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from stayline.link.pool import Assignment, Node, Random, refreshed, shuffled

SETTLED_SECONDS = 1.0
"""A proven link that lived shorter counts as a failed attempt: else a server that accepts and drops is
hammered."""

STABLE_SECONDS = 30.0
"""A link never proven by a first answer counts as good after this long."""


class State(enum.StrEnum):
    """What the machine is doing."""

    STOPPED = "stopped"
    BLOCKED = "blocked"
    WAITING = "waiting"
    CONNECTING = "connecting"
    UP = "up"


@dataclass(frozen=True, kw_only=True)
class StandbyView:
    """Everything the machine knows; ``why``, ``since`` and ``next_attempt_at`` are meant to be read by
    people.

    ``todo``: what is left of this round. ``rounds``: failed rounds since the last proven link. ``failures``:
    failed attempts since then. ``not_before``: when servers that named a time may be asked again.
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
    ignored: int = 0

    @property
    def node_name(self) -> str:
        """Name of the server connected to or tried (empty: none)."""
        return self.node.application if self.node else ""


# -- events
# -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assigned:
    """The configuration says which pools may be used (first time, or again after any change of it)."""

    assignment: Assignment


@dataclass(frozen=True)
class Due:
    """The wait is over."""

    generation: int


@dataclass(frozen=True)
class Opened:
    """The server answered the hello."""

    generation: int


@dataclass(frozen=True)
class Proven:
    """The server did something useful (a session restored, a request answered)."""

    generation: int


@dataclass(frozen=True)
class Failed:
    """The attempt failed; ``retry_after`` (seconds) when the server itself said when to come back."""

    generation: int
    why: str
    retry_after: float | None = None


@dataclass(frozen=True)
class Lost:
    """The open link is gone; ``retry_after`` as in :class:`Failed`."""

    generation: int
    why: str
    retry_after: float | None = None


@dataclass(frozen=True)
class Stop:
    """Close and stay closed."""


Event = Assigned | Due | Opened | Proven | Failed | Lost | Stop

# -- actions
# ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Connect:
    """Open a link to ``node``; report :class:`Opened` or :class:`Failed` with this generation."""

    generation: int
    node: Node


@dataclass(frozen=True)
class Disconnect:
    """Drop the open link or the attempt under way; nothing about it needs to be reported any more."""

    why: str


@dataclass(frozen=True)
class Wait:
    """Report :class:`Due` with this generation at ``at``."""

    generation: int
    at: float


Action = Connect | Disconnect | Wait
Result = tuple[StandbyView, list[Action]]


def step(view: StandbyView, event: Event, now: float, random: Random) -> Result:
    """The next view and what to do now. Events without meaning in a state are ignored and counted."""
    generation = getattr(event, "generation", view.generation)
    rule = _TABLE.get((view.state, type(event)))
    if rule is None or generation != view.generation:
        return replace(view, ignored=view.ignored + 1), []
    return rule(view, event, now, random)


def _start(view: StandbyView, event: Assigned, now: float, random: Random) -> Result:
    """First assignment: nothing to spread, everybody starts when he starts."""
    view = replace(view, assignment=event.assignment)
    if not event.assignment.nodes:
        return _block(view, now, [])
    return _round(replace(view, why="First connection.", since=now), now, random)


def _reassign(view: StandbyView, event: Assigned, now: float, random: Random) -> Result:
    """The configuration changed (or was read again): stay if where we are is still allowed, else move."""
    new, old = event.assignment, view.assignment
    moved = replace(view, assignment=new)
    open_ = view.state in (State.UP, State.CONNECTING)
    if not new.nodes:
        actions: list[Action] = [Disconnect(_refusal(new))] if open_ else []
        return _block(moved, now, actions)
    if open_ and view.node is not None and view.node.cluster in new.clusters:
        return replace(moved, todo=refreshed(view.todo, new, view.node, random)), []
    if view.state is State.WAITING and new.clusters == old.clusters:
        if view.rounds and new.nodes != old.nodes:
            # The pool failed as it was; as it is now it has not been tried.
            return _round(moved, now, random)
        return replace(moved, todo=refreshed(view.todo, new, view.node, random) if view.todo else ()), []
    return _move(moved, old, now, random)


def _move(view: StandbyView, old: Assignment, now: float, random: Random) -> Result:
    """Another site: leave at once, come back spread over time, with a new random list."""
    target = view.assignment.wanted or view.assignment.clusters[0]
    source = (view.node.site if view.node else "") or old.wanted or "no site"
    why = f"The configuration moved this agent from {source} to {target}."
    actions: list[Action] = []
    if view.state in (State.UP, State.CONNECTING):
        actions.append(Disconnect(why))
    delay = _uniform(view.assignment.move_range, random)
    # What the other site's servers asked for does not bind here, and its failures do not count.
    view = replace(view, node=None, todo=(), rounds=0, failures=0, not_before={}, why=why, since=now)
    if delay <= 0:
        view, more = _round(view, now, random)
        return view, [*actions, *more]
    view, more = _wait(view, now + delay)
    return view, [*actions, *more]


def _block(view: StandbyView, now: float, actions: list[Action]) -> Result:
    why = _refusal(view.assignment)
    since = view.since if view.state is State.BLOCKED and view.why == why else now
    blocked = replace(
        view,
        state=State.BLOCKED,
        generation=view.generation + 1,
        node=None,
        todo=(),
        why=why,
        since=since,
        next_attempt_at=0.0,
    )
    return blocked, actions


def _refusal(assignment: Assignment) -> str:
    if assignment.refusal:
        return assignment.refusal
    names = ", ".join(assignment.clusters)
    return f"No server of this type is in {names}." if names else "No cluster is assigned."


def _round(view: StandbyView, now: float, random: Random) -> Result:
    """A new random list: the pools in their order, each shuffled, without those that asked for more time."""
    todo: list[Node] = []
    for pool in view.assignment.pools:
        ready = [node for node in pool.nodes if view.not_before.get(node.application, 0.0) <= now]
        todo += shuffled(ready, random)
    return _next(replace(view, todo=tuple(todo)), now)


def _next(view: StandbyView, now: float) -> Result:
    """Take the next server of the list; when none is left, the whole pool has failed."""
    generation = view.generation + 1
    if view.todo:
        node, rest = view.todo[0], view.todo[1:]
        trying = replace(
            view,
            state=State.CONNECTING,
            generation=generation,
            node=node,
            todo=rest,
            proven=False,
            next_attempt_at=0.0,
        )
        return trying, [Connect(generation, node)]
    return _wait(replace(view, node=None, rounds=view.rounds + 1), _retry_at(view, now))


def _retry_at(view: StandbyView, now: float) -> float:
    """When the first server may be asked again; a time that a server named outranks our own delay."""
    times = []
    for pool in view.assignment.pools:
        delays = pool.retry_delays or (0.0,)
        delay = delays[min(view.rounds, len(delays) - 1)]
        for node in pool.nodes:
            asked = view.not_before.get(node.application, 0.0)
            times.append(asked if asked > now else now + delay)
    return min(times)


def _wait(view: StandbyView, at: float) -> Result:
    generation = view.generation + 1
    waiting = replace(view, state=State.WAITING, generation=generation, next_attempt_at=at)
    return waiting, [Wait(generation, at)]


def _due(view: StandbyView, event: Due, now: float, random: Random) -> Result:
    return _next(view, now) if view.todo else _round(view, now, random)


def _opened(view: StandbyView, event: Opened, now: float, random: Random) -> Result:
    assert view.node is not None
    why = f"Connected to {view.node.application}."
    return replace(view, state=State.UP, opened_at=now, since=now, why=why, next_attempt_at=0.0), []


def _proven(view: StandbyView, event: Proven, now: float, random: Random) -> Result:
    return replace(view, proven=True, rounds=0, failures=0), []


def _failed(view: StandbyView, event: Failed, now: float, random: Random) -> Result:
    return _next(_blamed(view, event.why, event.retry_after, now), now)


def _lost(view: StandbyView, event: Lost, now: float, random: Random) -> Result:
    node = view.node
    assert node is not None
    up_for = now - view.opened_at
    settled = up_for >= STABLE_SECONDS or (view.proven and up_for >= SETTLED_SECONDS)
    view = replace(_blamed(view, event.why, event.retry_after, now), since=now)
    if not settled:
        return _next(view, now)
    pool = next((p for p in view.assignment.pools if p.cluster == node.cluster), None)
    others = [n for n in pool.nodes if n.application != node.application] if pool else []
    again = [n for n in pool.nodes if n.application == node.application] if pool else []
    others = [n for n in shuffled(others, random) if view.not_before.get(n.application, 0.0) <= now]
    elsewhere = [
        n for p in view.assignment.pools if p.cluster != node.cluster for n in shuffled([*p.nodes], random)
    ]
    view = replace(view, rounds=0, failures=1)
    if event.retry_after is not None:
        # The server said good-bye and when to come back: it is left alone until then.
        return _next(replace(view, todo=(*others, *elsewhere)), now)
    delay = _uniform(pool.reconnect_range if pool else 0.0, random)
    if delay <= 0:
        return _next(replace(view, todo=(*others, *again, *elsewhere)), now)
    return _wait(replace(view, todo=(*again, *others, *elsewhere)), now + delay)


def _blamed(view: StandbyView, why: str, retry_after: float | None, now: float) -> StandbyView:
    not_before = {name: at for name, at in view.not_before.items() if at > now}
    if retry_after is not None and view.node is not None:
        not_before[view.node.application] = now + max(0.0, retry_after)
    return replace(view, why=why, failures=view.failures + 1, not_before=not_before)


def _stop(view: StandbyView, event: Stop, now: float, random: Random) -> Result:
    open_ = view.state in (State.UP, State.CONNECTING)
    stopped = StandbyView(generation=view.generation + 1, why="Stopped.", since=now, ignored=view.ignored)
    return stopped, [Disconnect("The Workspace closes the link.")] if open_ else []


def _uniform(bound: float, random: Random) -> float:
    return max(0.0, bound) * random()


_Rule = Callable[..., Result]

_TABLE: Mapping[tuple[State, type[Event]], _Rule] = {
    (State.STOPPED, Assigned): _start,
    (State.BLOCKED, Assigned): _reassign,
    (State.WAITING, Assigned): _reassign,
    (State.CONNECTING, Assigned): _reassign,
    (State.UP, Assigned): _reassign,
    (State.WAITING, Due): _due,
    (State.CONNECTING, Opened): _opened,
    (State.CONNECTING, Failed): _failed,
    (State.UP, Proven): _proven,
    (State.UP, Lost): _lost,
    (State.BLOCKED, Stop): _stop,
    (State.WAITING, Stop): _stop,
    (State.CONNECTING, Stop): _stop,
    (State.UP, Stop): _stop,
}
