"""Which servers of a pair are used, one group at a time: a pure machine (ADR 5 §5).

For Configuration Server and Stat Server. With ``disaster-recovery.enabled`` false all servers of the list are one
primary/backup pair, tried in their order. With it true those of the preferred site are used; when all of them have been
lost for ``disaster-recovery.timeout``, those of the peer site become current and stay so until they are lost as long.
That none carries either site is an error; Configuration Servers are used all the same, as one pair: who is linked to
none of them would never hear of the correction.
Which server of the group is linked is decided by ``link/machine/standby.py``; this machine gives it its assignment.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from stayline.domain.errors import Refusal
from stayline.link.machine.plan import PairPlan
from stayline.link.machine.pool import Assignment, Node, Order, Pool, Random
from stayline.link.machine.standby_events import Stop

SETTLED_SECONDS = 1.0
"""A link that stood shorter does not end the loss of its group: else a server that accepts and drops holds us."""


class Group(enum.StrEnum):
    """Which servers are current."""

    NONE = "none"
    ALL = "all"
    PREFERRED = "preferred"
    PEER = "peer"


@dataclass(frozen=True, kw_only=True)
class PreferredView:
    """Everything the machine knows. ``lost_since``: when the last link to the current group was lost (None: it stands
    or nothing is wanted); ``up_since``: when it came to stand (None: it does not). ``until``: when the other group
    becomes current if nothing changes (0: never)."""

    group: Group = Group.NONE
    plan: PairPlan | None = None
    lost_since: float | None = None
    up_since: float | None = None
    timer: int = 0
    number: int = 0
    until: float = 0.0
    why: str = ""
    since: float = 0.0
    refusal: Refusal | None = None
    ignored: int = 0


# -- events and actions


@dataclass(frozen=True)
class PairPlanned:
    """The configuration says which servers there are (None: no connection of this kind)."""

    plan: PairPlan | None


@dataclass(frozen=True)
class PairUp:
    """A link to a server of the current group stands."""


@dataclass(frozen=True)
class PairDown:
    """It does not any more."""


@dataclass(frozen=True)
class PairDue:
    """The wait ``number`` is over."""

    number: int


PairEvent = PairPlanned | PairUp | PairDown | PairDue | Stop


@dataclass(frozen=True)
class Use:
    """Give this to the link's machine."""

    assignment: Assignment


@dataclass(frozen=True)
class PairWait:
    """Report :class:`PairDue` with this number at ``at`` (Unix seconds)."""

    number: int
    at: float


PairAction = Use | PairWait
Result = tuple[PreferredView, list[PairAction]]


def step(view: PreferredView, event: PairEvent, now: float, random: Random) -> Result:
    """The next view and what to do now; timers of an earlier wait are ignored and counted."""
    return _TABLE[type(event)](view, event, now, random)


def members(plan: PairPlan, group: Group) -> tuple[Node, ...]:
    """The servers of a group, in their order."""
    if group is Group.ALL:
        return plan.nodes
    site = {Group.PREFERRED: plan.preferred, Group.PEER: plan.peer}.get(group, "")
    return tuple(node for node in plan.nodes if site and node.site == site)


def assignment_of(plan: PairPlan, group: Group) -> Assignment:
    """What the link's machine may use while ``group`` is current."""
    nodes = tuple(replace(node, cluster=_name(plan, group)) for node in members(plan, group))
    pool = Pool(
        cluster=_name(plan, group),
        site=_site(plan, group),
        nodes=nodes,
        order=Order.LISTED,
        retry_delays=plan.retry_delays,
        reconnect_range=plan.reconnect_range,
        backup_delay=plan.backup_delay,
    )
    return Assignment(wanted=_site(plan, group), pool=pool, move_range=plan.reconnect_range, mover=_MOVER)


_MOVER = "The loss of a site"


def _site(plan: PairPlan, group: Group) -> str:
    return {Group.PREFERRED: plan.preferred, Group.PEER: plan.peer}.get(group, "")


def _name(plan: PairPlan, group: Group) -> str:
    site = _site(plan, group)
    return f"{group} site {site}" if site else "the pair"


def _planned(view: PreferredView, event: PairPlanned, now: float, random: Random) -> Result:
    plan = event.plan
    if plan is None or not plan.nodes:
        return _nothing(view, plan, _NOT_CONNECTED if view.group is not Group.NONE else None, now)
    if not plan.enabled:
        return _take(view, plan, Group.ALL, "one primary/backup pair", now, random)
    usable = [group for group in (Group.PREFERRED, Group.PEER) if members(plan, group)]
    if not usable and plan.needed:
        refusal = _unusable(plan)
        view, actions = _take(view, plan, Group.ALL, refusal.reason, now, random)
        return replace(view, refusal=refusal), actions
    if not usable:
        return _nothing(view, plan, _unusable(plan), now)
    group = view.group if view.group in usable else usable[0]
    return _take(view, plan, group, _name(plan, group), now, random)


def _take(view: PreferredView, plan: PairPlan, group: Group, why: str, now: float, random: Random) -> Result:
    """Make ``group`` current, or keep it so with what the configuration says now."""
    assignment = assignment_of(plan, group)
    before = view.plan
    if group is view.group and before is not None:
        view = replace(view, plan=plan, refusal=None)
        actions: list[PairAction] = [] if assignment_of(before, group) == assignment else [Use(assignment)]
        if view.up_since is not None or (view.timer and before.timeout == plan.timeout):
            return view, actions
        view, more = _watch(view, now, random)
        return view, [*actions, *more]
    view = replace(
        view, plan=plan, group=group, why=why, since=now, refusal=None, lost_since=now, up_since=None
    )
    view, more = _watch(view, now, random)
    return view, [Use(assignment), *more]


def _nothing(view: PreferredView, plan: PairPlan | None, refusal: Refusal | None, now: float) -> Result:
    told = view.refusal == refusal and view.group is Group.NONE
    why = refusal.reason if refusal is not None else ""
    view = replace(
        view,
        plan=plan,
        group=Group.NONE,
        refusal=refusal,
        why=why,
        since=view.since if told else now,
        lost_since=None,
        up_since=None,
        timer=0,
        until=0.0,
    )
    if told or refusal is None:
        return view, []
    return view, [Use(Assignment(refusal=f"{refusal.reason} {refusal.fix}".strip()))]


_NOT_CONNECTED = Refusal(code="pair.none", reason="The configuration names no server of this kind any more.")


def _unusable(plan: PairPlan) -> Refusal:
    tags = ", ".join(f"{node.application} ({node.site or 'no site'})" for node in plan.nodes)
    return Refusal(
        code="pair.site_unknown",
        reason=(
            f"No server carries the preferred site '{plan.preferred}' or the peer site '{plan.peer}'; "
            f"servers: {tags}."
        ),
        fix="Set disaster-recovery.site of the servers, or correct the two options.",
    )


def _other(view: PreferredView) -> Group:
    """The group that may become current next (NONE: there is no other)."""
    other = {Group.PREFERRED: Group.PEER, Group.PEER: Group.PREFERRED}.get(view.group, Group.NONE)
    return other if view.plan is not None and members(view.plan, other) else Group.NONE


def _watch(view: PreferredView, now: float, random: Random) -> Result:
    """While the group is lost and there is another one: wait, with a little chance, because all lost it together."""
    if view.plan is None or view.lost_since is None or _other(view) is Group.NONE:
        return replace(view, timer=0, until=0.0), []
    number = view.number + 1
    at = max(now, view.lost_since + view.plan.timeout) + view.plan.reconnect_range * random()
    return replace(view, number=number, timer=number, until=at), [PairWait(number, at)]


def _up(view: PreferredView, event: PairUp, now: float, random: Random) -> Result:
    return replace(view, up_since=now, timer=0, until=0.0), []


def _down(view: PreferredView, event: PairDown, now: float, random: Random) -> Result:
    if view.up_since is None:
        return view, []
    settled = now - view.up_since >= SETTLED_SECONDS
    lost = now if settled or view.lost_since is None else view.lost_since
    return _watch(replace(view, up_since=None, lost_since=lost), now, random)


def _due(view: PreferredView, event: PairDue, now: float, random: Random) -> Result:
    if event.number != view.timer or view.plan is None:
        return replace(view, ignored=view.ignored + 1), []
    if now < view.until:
        return view, [PairWait(view.timer, view.until)]
    lost = _site(view.plan, view.group)
    why = f"{lost} has been lost for {view.plan.timeout:g} s"
    return _take(view, view.plan, _other(view), why, now, random)


def _stop(view: PreferredView, event: Stop, now: float, random: Random) -> Result:
    return PreferredView(number=view.number, ignored=view.ignored, since=now, why="Stopped."), []


_Rule = Callable[..., Result]

_TABLE: Mapping[type[PairEvent], _Rule] = {
    PairPlanned: _planned,
    PairUp: _up,
    PairDown: _down,
    PairDue: _due,
    Stop: _stop,
}
