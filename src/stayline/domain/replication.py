"""When a commit waits for the other site: the three modes as one table of states and what was seen.

``follow``  an acknowledged write is on both sites while the replica follows; when it is away for longer than
            ``away_timeout`` the primary goes on alone and is *exposed* until the replica has everything again.
``strict``  a commit always waits: without the replica nothing is acknowledged.
``async``   a commit never waits: the primary is exposed by whatever the replica has not confirmed yet.
"""

import enum
from dataclasses import dataclass, replace


class Mode(enum.StrEnum):
    """What an acknowledged write means. Same words as ``ReplicationMode`` of the management messages."""

    FOLLOW = "follow"
    STRICT = "strict"
    ASYNC = "async"


class Phase(enum.StrEnum):
    """Where a primary stands with its replica.

    ``alone``: commits do not wait. ``joining``: they wait again, but what was acknowledged while alone is not yet
    known to be over there. ``together``: every acknowledged write is on both sites. ``missing``: they wait for a
    replica that is not there.
    """

    ALONE = "alone"
    JOINING = "joining"
    TOGETHER = "together"
    MISSING = "missing"


class Action(enum.StrEnum):
    """What the server has to be told. ``confirm``: find the position from which on commits surely wait."""

    WAIT_FOR_REPLICA = "wait for the replica"
    GO_ALONE = "go alone"
    CONFIRM = "confirm"


@dataclass(frozen=True)
class Seen:
    """One look at the primary. Positions in bytes; ``confirmed`` what the replica has flushed (None: not attached);
    ``waiting`` whether the server is set to wait; ``barrier`` the position of the last ``confirm`` (None: not yet)."""

    streaming: bool
    waiting: bool
    flushed: int
    confirmed: int | None
    barrier: int | None = None


@dataclass(frozen=True)
class Exposure:
    """What ``site status`` shows. ``exposed_since`` Unix seconds, 0: every acknowledged write is on both sites."""

    synchronous: bool
    exposed_since: float
    why: str


@dataclass(frozen=True)
class View:
    """The keeper's memory. ``missing_since`` and ``exposed_since`` Unix seconds, 0: not."""

    phase: Phase = Phase.ALONE
    missing_since: float = 0.0
    exposed_since: float = 0.0
    why: str = "just started"

    @property
    def exposure(self) -> Exposure:
        """For the status."""
        return Exposure(self.phase is Phase.TOGETHER, self.exposed_since, self.why)


def step(view: View, seen: Seen, *, mode: Mode, away_timeout: float, now: float) -> tuple[View, list[Action]]:
    """The next view after a look at ``now`` (Unix seconds), and what to do. ``away_timeout`` in seconds."""
    if mode is Mode.ASYNC:
        return _async(view, seen, now)
    if mode is Mode.FOLLOW and not seen.streaming and _may_go_on(view, away_timeout, now):
        return _alone(view, seen, away_timeout, now)
    if not seen.waiting:
        return _begin_waiting(view, seen, mode, now)
    if not seen.streaming:
        return _missing(view, mode, away_timeout, now), []
    return _attached(view, seen, now)


def _may_go_on(view: View, away_timeout: float, now: float) -> bool:
    """Alone already, or the replica has been away long enough."""
    if view.phase is Phase.ALONE:
        return True
    return bool(view.missing_since) and now - view.missing_since >= away_timeout


def _alone(view: View, seen: Seen, away_timeout: float, now: float) -> tuple[View, list[Action]]:
    gone = f"has been away for more than {away_timeout:g} s" if view.missing_since else "is not there"
    why = (
        view.why
        if view.phase is Phase.ALONE and view.exposed_since
        else f"The replica {gone}: this site goes on alone."
    )
    # Exposed from the moment the replica went: what waited for it is released now, without it.
    since = view.exposed_since or view.missing_since or now
    actions = [Action.GO_ALONE] if seen.waiting else []
    return View(Phase.ALONE, view.missing_since, since, why), actions


def _begin_waiting(view: View, seen: Seen, mode: Mode, now: float) -> tuple[View, list[Action]]:
    missing = 0.0 if seen.streaming else view.missing_since or now
    why = "The replica follows again: commits wait for it from now on."
    if not seen.streaming:
        why = f"Mode {mode.value}: commits wait, and there is no replica."
    since = view.exposed_since or now
    return View(Phase.JOINING, missing, since, why), [Action.WAIT_FOR_REPLICA, Action.CONFIRM]


def _missing(view: View, mode: Mode, away_timeout: float, now: float) -> View:
    since = view.missing_since or now
    until = f"for at most {away_timeout:g} s" if mode is Mode.FOLLOW else "until it is back (mode strict)"
    return replace(
        view, phase=Phase.MISSING, missing_since=since, why=f"The replica is away: commits wait {until}."
    )


def _attached(view: View, seen: Seen, now: float) -> tuple[View, list[Action]]:
    if not view.exposed_since and view.phase in (Phase.TOGETHER, Phase.MISSING):
        return View(Phase.TOGETHER, why="Every acknowledged write is on both sites."), []
    if seen.barrier is None:
        actions = [] if view.phase is Phase.JOINING else [Action.CONFIRM]
        return replace(
            view, phase=Phase.JOINING, missing_since=0.0, exposed_since=view.exposed_since or now
        ), actions
    if seen.confirmed is not None and seen.confirmed >= seen.barrier:
        return View(Phase.TOGETHER, why="Every acknowledged write is on both sites."), []
    short = seen.barrier - (seen.confirmed or 0)
    why = f"The replica follows; {short} bytes from the time without it are still to come."
    return View(Phase.JOINING, 0.0, view.exposed_since or now, why), []


def _async(view: View, seen: Seen, now: float) -> tuple[View, list[Action]]:
    behind = seen.flushed - seen.confirmed if seen.confirmed is not None else None
    actions = [Action.GO_ALONE] if seen.waiting else []
    if seen.streaming and behind is not None and behind <= 0:
        return View(
            Phase.ALONE, 0.0, 0.0, "Mode async: commits do not wait; the replica has everything now."
        ), actions
    what = "has no replica" if not seen.streaming else f"is {behind} bytes ahead of its replica"
    return View(
        Phase.ALONE, 0.0, view.exposed_since or now, f"Mode async: commits do not wait; this site {what}."
    ), actions
