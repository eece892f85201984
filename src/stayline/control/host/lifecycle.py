"""The life of a supervised process, as a table: what happens next, and why."""

import enum
from typing import NamedTuple

import msgspec

from stayline.link.messages.control import ProcessState

FIRST_DELAY = 0.2
"""Seconds until a crashed process is started again for the first time."""

LONGEST_DELAY = 5.0
"""Seconds: the delay doubles with each crash up to this."""

STABLE_AFTER = 30.0
"""Seconds a process must have lived for its earlier crashes to be forgotten."""


class Event(enum.StrEnum):
    """What can happen to a supervised process."""

    START = "start"
    STOP = "stop"
    SPAWN_FAILED = "spawn failed"
    REPORTED = "reported"
    EXITED = "exited"
    RETRY = "retry"
    STOP_TIMEOUT = "stop timeout"


class Action(enum.StrEnum):
    """What the supervisor's shell does about it."""

    SPAWN = "spawn"
    TERMINATE = "terminate"
    KILL = "kill"
    WAIT = "wait before the next start"
    NOTHING = "nothing"


class Transition(NamedTuple):
    """The new state, what to do, and the reason as a sentence."""

    new: ProcessState
    action: Action
    why: str


_S = ProcessState

TABLE: dict[tuple[ProcessState, Event], Transition] = {
    (_S.STOPPED, Event.START): Transition(_S.STARTING, Action.SPAWN, "asked to start"),
    (_S.STARTING, Event.REPORTED): Transition(_S.RUNNING, Action.NOTHING, "the process reported itself"),
    (_S.STARTING, Event.EXITED): Transition(_S.CRASHED, Action.WAIT, "ended before it was ready"),
    (_S.STARTING, Event.SPAWN_FAILED): Transition(_S.CRASHED, Action.WAIT, "could not be started"),
    (_S.STARTING, Event.STOP): Transition(_S.STOPPING, Action.TERMINATE, "asked to stop while starting"),
    (_S.RUNNING, Event.EXITED): Transition(_S.CRASHED, Action.WAIT, "ended without being asked to"),
    (_S.RUNNING, Event.STOP): Transition(_S.STOPPING, Action.TERMINATE, "asked to stop"),
    (_S.CRASHED, Event.RETRY): Transition(_S.STARTING, Action.SPAWN, "starting it again after a crash"),
    (_S.CRASHED, Event.START): Transition(_S.STARTING, Action.SPAWN, "asked to start, so not waiting longer"),
    (_S.CRASHED, Event.STOP): Transition(_S.STOPPED, Action.NOTHING, "asked to stop after a crash"),
    (_S.STOPPING, Event.EXITED): Transition(_S.STOPPED, Action.NOTHING, "stopped as asked"),
    (_S.STOPPING, Event.SPAWN_FAILED): Transition(
        _S.STOPPED, Action.NOTHING, "stopped before it had started"
    ),
    (_S.STOPPING, Event.STOP_TIMEOUT): Transition(_S.STOPPING, Action.KILL, "did not stop in time"),
}
"""Every pair that is not here leaves the process as it is."""


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """One process as its supervisor sees it. ``since`` and ``spawned_at`` are seconds of the caller's clock.

    ``wanted`` is the last command: a process that was told to start while it was still stopping starts again
    when it has gone. ``failures`` counts crashes in a row, ``restarts`` all starts after a crash.
    """

    state: ProcessState = ProcessState.STOPPED
    wanted: bool = False
    since: float = 0.0
    spawned_at: float = 0.0
    failures: int = 0
    restarts: int = 0
    why: str = "not started yet"


class Step(NamedTuple):
    """The process afterwards, what to do, and for :attr:`Action.WAIT` after how many seconds to retry."""

    life: Life
    action: Action
    delay: float


def delay_after(failures: int) -> float:
    """Seconds to wait after the ``failures``-th crash in a row (1: the first)."""
    return float(min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(max(0, failures - 1), 10)))


def step(life: Life, event: Event, now: float) -> Step:
    """Apply one event; pure. Unlisted pairs change nothing but ``wanted``."""
    wanted = {Event.START: True, Event.STOP: False}.get(event, life.wanted)
    transition = TABLE.get((life.state, event))
    if transition is None:
        return Step(msgspec.structs.replace(life, wanted=wanted), Action.NOTHING, 0.0)
    if transition.new is ProcessState.STOPPED and wanted:
        transition = Transition(
            ProcessState.STARTING, Action.SPAWN, "asked to start again while it was stopping"
        )
    failures, restarts = life.failures, life.restarts
    if transition.action is Action.WAIT:
        lived = now - life.spawned_at if event is Event.EXITED else 0.0
        failures = 1 if lived >= STABLE_AFTER else failures + 1
    if event is Event.RETRY:
        restarts += 1
    if event is Event.START:
        failures = 0
    moved = transition.new is not life.state
    after = Life(
        state=transition.new,
        wanted=wanted,
        since=now if moved else life.since,
        spawned_at=now if transition.action is Action.SPAWN else life.spawned_at,
        failures=failures,
        restarts=restarts,
        why=transition.why,
    )
    return Step(after, transition.action, delay_after(failures) if transition.action is Action.WAIT else 0.0)
