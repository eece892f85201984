"""How a client of interchangeable servers (or of a pair) finds one, keeps one and finds the next: a pure machine.

``step(view, event, now, random) -> (view, actions)``. No socket, clock or random source: times are Unix
seconds given by the caller, ``random`` returns numbers in [0, 1). The rules are those of the specification's
"Runtime connection logic" and of ADR 5: the pool of one cluster, in random order; the first that answers; the next on
failure; after the loss of a settled link the server that was open last, then the next, then the rest; after the whole
pool failed ``warm-standby.retry-delay``; at a change of cluster a forced disconnection, a spread wait and a new random
list. The machine never changes the cluster by itself. Every attempt and every wait has a generation: answers and
timers of an older one are ignored and counted. What happens and what is done about it: ``standby_events.py``.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from stayline.link.machine.pool import Assignment, Node, Random, ordered, refreshed
from stayline.link.machine.standby_events import (
    Action,
    Assigned,
    Connect,
    Disconnect,
    Due,
    Event,
    Failed,
    Granted,
    Held,
    Idle,
    Lame,
    Lost,
    Opened,
    Proven,
    Stop,
    Wait,
    Woke,
)
from stayline.link.machine.standby_view import (
    LEAST_PAUSE,
    SETTLED_SECONDS,
    STABLE_SECONDS,
    WOKE_SECONDS,
    Result,
    StandbyView,
    State,
    closed,
    is_ready,
    new_round,
    next_server,
    wait_until,
)

__all__ = [
    "LEAST_PAUSE",
    "SETTLED_SECONDS",
    "STABLE_SECONDS",
    "WOKE_SECONDS",
    "Action",
    "Assigned",
    "Connect",
    "Disconnect",
    "Due",
    "Event",
    "Failed",
    "Granted",
    "Held",
    "Idle",
    "Lame",
    "Lost",
    "Opened",
    "Proven",
    "Result",
    "StandbyView",
    "State",
    "Stop",
    "Wait",
    "Woke",
    "step",
]


def step(view: StandbyView, event: Event, now: float, random: Random) -> Result:
    """The next view and what to do now. Events without meaning in a state are ignored and counted."""
    generation = getattr(event, "generation", view.generation)
    rule = _TABLE.get((view.state, type(event)))
    if rule is None or generation != view.generation:
        return replace(view, ignored=view.ignored + 1), []
    return rule(view, event, now, random)


# -- the configuration
# --------------------------------------------------------------------------------------------


def _start(view: StandbyView, event: Assigned, now: float, random: Random) -> Result:
    """First assignment: nothing to spread, everybody starts when he starts."""
    view = replace(view, assignment=event.assignment, since=now)
    if not event.assignment.nodes:
        return _block(view, now, [])
    view = replace(view, why="First connection.")
    if event.at is not None and event.at > now:
        return wait_until(view, event.at)
    return new_round(view, now, random)


def _reassign(view: StandbyView, event: Assigned, now: float, random: Random) -> Result:
    """The configuration changed (or was read again): stay if where we are is still allowed, else move."""
    new, old = event.assignment, view.assignment
    moved = replace(view, assignment=new)
    open_ = view.state in (State.UP, State.CONNECTING)
    if not new.nodes:
        actions: list[Action] = [Disconnect(_refusal(new))] if open_ else []
        return _block(moved, now, actions)
    if open_ and view.node is not None and view.node.cluster == new.cluster:
        moved = replace(moved, todo=refreshed(view.todo, new, view.node, random))
        return _reread(moved, now, random)
    if view.state is State.WAITING and new.cluster == old.cluster:
        if view.rounds and set(new.nodes) != set(old.nodes):
            # The pool failed as it was; as it is now it has not been tried.
            return new_round(moved, now, random)
        return replace(moved, todo=refreshed(view.todo, new, view.node, random) if view.todo else ()), []
    return _move(moved, event.at, old, now, random)


def _reread(view: StandbyView, now: float, random: Random) -> Result:
    """The same cluster, perhaps other servers: an attempt at a removed one is given up, a link that stands is kept
    until the agent owns nothing."""
    if view.state is State.CONNECTING:
        if not _is_removed(view):
            return view, []
        why = f"{view.node_name} was taken out of the configuration."
        view, actions = next_server(replace(view, why=why, backup_next=False), now, random)
        return view, [Disconnect(why), *actions]
    return _part(view, now, random)


def _part(view: StandbyView, now: float, random: Random) -> Result:
    """Plan to leave a removed server when nothing is owned; spread, because everybody is told at once. Or stay after
    all."""
    planned = view.leaving_at > 0 and view.node_name not in view.not_before
    if not (view.idle and _is_removed(view)):
        return (replace(view, leaving_at=0.0, leaving_why="") if planned else view), []
    if view.leaving_at:
        return view, []
    why = f"{view.node_name} was taken out of the configuration, and nothing is owned."
    at = now + _uniform(view.assignment.move_range, random)
    return replace(view, leaving_at=at, leaving_why=why), [Wait(view.generation, at)]


def _is_removed(view: StandbyView) -> bool:
    return view.node_name not in {node.application for node in view.assignment.nodes}


def _move(view: StandbyView, at: float | None, old: Assignment, now: float, random: Random) -> Result:
    """Another cluster: leave at once, come back spread over time, with a new random list."""
    target = view.assignment.wanted or view.assignment.cluster
    source = (view.node.site if view.node else "") or old.wanted
    moved = f"moved this agent from {source} to" if source else "leads this agent to"
    why = f"{view.assignment.mover} {moved} {target}."
    actions: list[Action] = []
    if view.state in (State.UP, State.CONNECTING):
        actions.append(Disconnect(why))
    begin = now + _uniform(view.assignment.move_range, random) if at is None else at
    # What the other site's servers asked for does not bind here, and its failures do not count.
    view = replace(closed(view), todo=(), rounds=0, failures=0, not_before={}, why=why, since=now)
    view, more = new_round(view, now, random) if begin <= now else wait_until(view, begin)
    return view, [*actions, *more]


def _block(view: StandbyView, now: float, actions: list[Action]) -> Result:
    why = _refusal(view.assignment)
    since = view.since if view.state is State.BLOCKED and view.why == why else now
    blocked = replace(
        closed(view),
        state=State.BLOCKED,
        generation=view.generation + 1,
        todo=(),
        why=why,
        since=since,
        next_attempt_at=0.0,
    )
    return blocked, actions


def _refusal(assignment: Assignment) -> str:
    if assignment.refusal:
        return assignment.refusal
    cluster = assignment.cluster
    return f"No server of this type is in {cluster}." if cluster else "No cluster is assigned."


# -- waiting
# ------------------------------------------------------------------------------------------------------


def _due(view: StandbyView, event: Due, now: float, random: Random) -> Result:
    return next_server(view, now, random) if view.todo else new_round(view, now, random)


def _woke_waiting(view: StandbyView, event: Woke, now: float, random: Random) -> Result:
    """What was waited for is tried now, except for servers that named a time."""
    view = replace(view, woke_at=now)
    if not any(is_ready(view, node, now) for node in view.assignment.nodes):
        return view, []
    return _due(view, Due(view.generation), now, random)


def _woke_connecting(view: StandbyView, event: Woke, now: float, random: Random) -> Result:
    """The attempt was begun before the sleep: begin it anew."""
    assert view.node is not None
    why = "This machine was asleep."
    view = replace(view, woke_at=now, todo=(view.node, *view.todo))
    view, actions = next_server(view, now, random)
    return view, [Disconnect(why), *actions]


def _woke_up(view: StandbyView, event: Woke, now: float, random: Random) -> Result:
    view = replace(view, woke_at=now)
    return _leave(view, now, random) if 0 < view.leaving_at <= now else (view, [])


def _woke_idle(view: StandbyView, event: Woke, now: float, random: Random) -> Result:
    return replace(view, woke_at=now), []


# -- connecting
# ---------------------------------------------------------------------------------------------------


def _held(view: StandbyView, event: Held, now: float, random: Random) -> Result:
    """Shown until the turn has come; what it was that led here is not forgotten over it."""
    before = view.why_before or view.why
    return replace(view, held_until=event.until, why=event.why, why_before=before), []


def _granted(view: StandbyView, event: Granted, now: float, random: Random) -> Result:
    return replace(view, held_until=0.0, why=view.why_before or view.why, why_before=""), []


def _opened(view: StandbyView, event: Opened, now: float, random: Random) -> Result:
    why = f"Connected to {view.node_name}."
    view = replace(
        view, state=State.UP, opened_at=now, since=now, why=why, next_attempt_at=0.0, held_until=0.0
    )
    return _part(view, now, random)


def _failed(view: StandbyView, event: Failed, now: float, random: Random) -> Result:
    pool = view.assignment.pool
    pause = pool.backup_delay if pool is not None and view.backup_next else 0.0
    view = replace(_blamed(view, event.why, event.retry_after, now), backup_next=False)
    if pause > 0 and any(is_ready(view, node, now) for node in view.todo):
        return wait_until(view, now + pause)
    return next_server(view, now, random)


# -- connected
# ----------------------------------------------------------------------------------------------------


def _proven(view: StandbyView, event: Proven, now: float, random: Random) -> Result:
    return replace(view, proven=True, failures=0), []


def _idle(view: StandbyView, event: Idle, now: float, random: Random) -> Result:
    view = replace(view, idle=event.idle)
    return _part(view, now, random) if view.state is State.UP else (view, [])


def _lame(view: StandbyView, event: Lame, now: float, random: Random) -> Result:
    """The server is being drained: work on, leave at the slot, and leave it alone for as long as it said."""
    until = max(event.at, now) + max(0.0, event.retry_after or 0.0)
    view = replace(view, not_before={**_pending(view, now), view.node_name: until})
    if event.at <= now:
        return _leave(replace(view, leaving_why=event.why), now, random)
    return replace(view, leaving_at=event.at, leaving_why=event.why), [Wait(view.generation, event.at)]


def _slot(view: StandbyView, event: Due, now: float, random: Random) -> Result:
    """The time to leave has come, unless it was called off meanwhile."""
    if not view.leaving_at:
        return replace(view, ignored=view.ignored + 1), []
    if now < view.leaving_at:
        return view, [Wait(view.generation, view.leaving_at)]
    return _leave(view, now, random)


def _leave(view: StandbyView, now: float, random: Random) -> Result:
    why, node = view.leaving_why or "It was time to leave.", view.node
    assert node is not None
    others, _ = _choices(view, node, now, random)
    view = replace(view, rounds=0, failures=0, todo=tuple(others), why=why, since=now, backup_next=False)
    view, actions = next_server(view, now, random)
    return view, [Disconnect(why), *actions]


def _lost(view: StandbyView, event: Lost, now: float, random: Random) -> Result:
    node = view.node
    assert node is not None
    up_for = now - view.opened_at
    settled = up_for >= STABLE_SECONDS or (view.proven and up_for >= SETTLED_SECONDS)
    view = replace(_blamed(view, event.why, event.retry_after, now), since=now)
    if not settled:
        return next_server(view, now, random)
    others, again = _choices(view, node, now, random)
    view = replace(view, rounds=0, failures=1)
    if event.retry_after is not None or not is_ready(view, node, now):
        # The server said good-bye and when to come back: it is left alone until then.
        return next_server(replace(view, todo=tuple(others)), now, random)
    pool = view.assignment.pool
    spread = pool.reconnect_range if pool is not None else 0.0
    if spread <= 0:
        # No random wait is wanted, and the one just lost is the least likely to answer at once.
        return next_server(replace(view, todo=(*others, *again)), now, random)
    view = replace(view, todo=(*again, *others), backup_next=bool(again))
    woke = now - view.woke_at <= WOKE_SECONDS
    delay = 0.0 if woke else _uniform(spread, random)
    return wait_until(view, now + delay) if delay > 0 else next_server(view, now, random)


def _choices(view: StandbyView, node: Node, now: float, random: Random) -> tuple[list[Node], list[Node]]:
    """The other servers in the order in which to try them, and the same one as it is configured now."""
    pool, nodes = view.assignment.pool, view.assignment.nodes
    others = [o for o in nodes if o.application != node.application and is_ready(view, o, now)]
    again = [o for o in nodes if o.application == node.application]
    return (ordered(pool, others, random) if pool is not None else []), again


def _blamed(view: StandbyView, why: str, retry_after: float | None, now: float) -> StandbyView:
    not_before = _pending(view, now)
    if retry_after is not None and view.node is not None:
        not_before[view.node.application] = now + max(0.0, retry_after)
    return replace(view, why=why, failures=view.failures + 1, not_before=not_before)


def _pending(view: StandbyView, now: float) -> dict[str, float]:
    return {name: at for name, at in view.not_before.items() if at > now}


def _stop(view: StandbyView, event: Stop, now: float, random: Random) -> Result:
    open_ = view.state in (State.UP, State.CONNECTING)
    stopped = StandbyView(generation=view.generation + 1, why="Stopped.", since=now, ignored=view.ignored)
    return stopped, [Disconnect("The Workspace closes the link.")] if open_ else []


def _uniform(bound: float, random: Random) -> float:
    return max(0.0, bound) * random()


_Rule = Callable[..., Result]

_TABLE: Mapping[tuple[State, type[Event]], _Rule] = {
    (State.STOPPED, Assigned): _start,
    (State.STOPPED, Idle): _idle,
    (State.STOPPED, Woke): _woke_idle,
    (State.BLOCKED, Assigned): _reassign,
    (State.BLOCKED, Idle): _idle,
    (State.BLOCKED, Woke): _woke_idle,
    (State.BLOCKED, Stop): _stop,
    (State.WAITING, Assigned): _reassign,
    (State.WAITING, Due): _due,
    (State.WAITING, Idle): _idle,
    (State.WAITING, Woke): _woke_waiting,
    (State.WAITING, Stop): _stop,
    (State.CONNECTING, Assigned): _reassign,
    (State.CONNECTING, Held): _held,
    (State.CONNECTING, Granted): _granted,
    (State.CONNECTING, Opened): _opened,
    (State.CONNECTING, Failed): _failed,
    (State.CONNECTING, Idle): _idle,
    (State.CONNECTING, Woke): _woke_connecting,
    (State.CONNECTING, Stop): _stop,
    (State.UP, Assigned): _reassign,
    (State.UP, Proven): _proven,
    (State.UP, Idle): _idle,
    (State.UP, Lame): _lame,
    (State.UP, Due): _slot,
    (State.UP, Woke): _woke_up,
    (State.UP, Lost): _lost,
    (State.UP, Stop): _stop,
}
