"""When a commit waits for the other site: the three modes as one table of states and what was seen.

``follow``  an acknowledged write is on both sites while the replica follows; when it is away for longer than
            ``away_timeout`` the primary goes on alone and is *exposed* until the replica has everything again.
``strict``  a commit always waits: without the replica nothing is acknowledged.
``async``   a commit never waits: the primary is exposed by whatever the replica has not confirmed yet.
"""

import enum
from dataclasses import dataclass, replace


class Mode(enum.StrEnum):
    """What an acknowledged write means (docs: reference/replication)."""

    FOLLOW = "follow"
    STRICT = "strict"
    ASYNC = "async"


class Phase(enum.StrEnum):
    """Where a primary stands with its replica.

    ``new``: nobody has looked yet. ``alone``: commits do not wait. ``joining``: they wait again, but what was
    acknowledged before is not yet known to be over there. ``together``: every acknowledged write is on both sites.
    ``missing``: they wait for a replica that is not there.
    """

    NEW = "new"
    ALONE = "alone"
    JOINING = "joining"
    TOGETHER = "together"
    MISSING = "missing"


class Action(enum.StrEnum):
    """What the server has to be told. ``confirm``: find the position from which on commits surely wait (asked again
    at each step until ``Seen.barrier`` is there)."""

    WAIT_FOR_REPLICA = "wait for the replica"
    GO_ALONE = "go alone"
    CONFIRM = "confirm"


@dataclass(frozen=True)
class Seen:
    """One look at the primary. ``streaming``: the replica is attached, up to date and gives signs of life;
    ``waiting``: the server is set to wait. Positions in bytes: ``flushed`` here, ``confirmed`` there (None: not
    attached). ``barrier``: the position found by ``confirm``; ``heard`` Unix seconds of the last sign of life."""

    streaming: bool
    waiting: bool
    flushed: int
    confirmed: int | None
    barrier: int | None = None
    heard: float = 0.0


@dataclass(frozen=True)
class Exposure:
    """What ``site status`` shows. ``exposed_since`` Unix seconds, 0: every acknowledged write is on both sites."""

    synchronous: bool
    exposed_since: float
    why: str


@dataclass(frozen=True)
class View:
    """The keeper's memory. ``missing_since`` and ``exposed_since`` Unix seconds, 0: not."""

    phase: Phase = Phase.NEW
    missing_since: float = 0.0
    exposed_since: float = 0.0
    why: str = "Replication has not been looked at yet."

    @property
    def exposure(self) -> Exposure:
        """For the status."""
        return Exposure(self.phase is Phase.TOGETHER, self.exposed_since, self.why)


Step = tuple[View, list[Action]]

_TOGETHER = View(Phase.TOGETHER, why="Every acknowledged write is on both sites.")


def step(view: View, seen: Seen, *, mode: Mode, away_timeout: float, now: float) -> Step:
    """The next view after a look at ``now`` (Unix seconds), and what to do. ``away_timeout`` in seconds."""
    if view.phase is Phase.NEW and not view.exposed_since:
        # Whatever was acknowledged before the first look may be here only, until the replica proves otherwise.
        view = replace(view, exposed_since=now)
    if mode is Mode.ASYNC:
        return _async(view, seen, now)
    if mode is Mode.FOLLOW and not seen.streaming and _may_go_on(view, seen, away_timeout, now):
        return _alone(view, seen, away_timeout, now)
    if not seen.waiting:
        return _begin_waiting(view, seen, now)
    if not seen.streaming:
        return _missing(view, seen, mode, away_timeout, now), []
    return _attached(view, seen, now)


def _may_go_on(view: View, seen: Seen, away_timeout: float, now: float) -> bool:
    """Alone already (a new look at a server that does not wait counts), or the replica has been away long enough."""
    if view.phase is Phase.ALONE or (view.phase is Phase.NEW and not seen.waiting):
        return True
    return bool(view.missing_since) and now - view.missing_since >= away_timeout


def _alone(view: View, seen: Seen, away_timeout: float, now: float) -> Step:
    gone = f"has been away for more than {away_timeout:g} s" if view.missing_since else "is not there"
    why = view.why if view.phase is Phase.ALONE else f"The replica {gone}: this site goes on alone."
    # Exposed from the moment the replica went: what waited for it is released now, without it.
    since = view.exposed_since or view.missing_since or now
    actions = [Action.GO_ALONE] if seen.waiting else []
    return View(Phase.ALONE, view.missing_since, since, why), actions


def _begin_waiting(view: View, seen: Seen, now: float) -> Step:
    missing = 0.0 if seen.streaming else view.missing_since or now
    why = "The replica follows: commits wait for it from now on."
    if not seen.streaming:
        why = "Commits wait, and there is no replica (mode strict)."
    return View(Phase.JOINING, missing, view.exposed_since or now, why), [Action.WAIT_FOR_REPLICA]


def _missing(view: View, seen: Seen, mode: Mode, away_timeout: float, now: float) -> View:
    since = view.missing_since or seen.heard or now
    until = f"for at most {away_timeout:g} s" if mode is Mode.FOLLOW else "until it is back (mode strict)"
    return replace(
        view, phase=Phase.MISSING, missing_since=since, why=f"The replica is away: commits wait {until}."
    )


def _attached(view: View, seen: Seen, now: float) -> Step:
    if not view.exposed_since:
        return _TOGETHER, []
    if seen.barrier is None:
        why = "The replica follows; what was written without it is still to be confirmed."
        return View(Phase.JOINING, 0.0, view.exposed_since, why), [Action.CONFIRM]
    if seen.confirmed is not None and seen.confirmed >= seen.barrier:
        return _TOGETHER, []
    short = seen.barrier - (seen.confirmed or 0)
    why = f"The replica follows; {short} bytes from the time without it are still to come."
    return View(Phase.JOINING, 0.0, view.exposed_since, why), []


def _async(view: View, seen: Seen, now: float) -> Step:
    actions = [Action.GO_ALONE] if seen.waiting else []
    behind = seen.flushed - seen.confirmed if seen.confirmed is not None else None
    if seen.streaming and behind is not None and behind <= 0:
        why = "Mode async: commits do not wait; the replica has everything at this moment."
        return View(Phase.ALONE, 0.0, 0.0, why), actions
    what = "has no replica" if not seen.streaming else f"is {behind} bytes ahead of its replica"
    why = f"Mode async: commits do not wait; this site {what}."
    return View(Phase.ALONE, 0.0, view.exposed_since or now, why), actions
