"""ADDP: noticing that the other side of a quiet link is gone, or that a link is open but delivers nothing. Pure.

One side of one link. After ``interval`` seconds without hearing anything it polls; when nothing is heard
for the same interval again, the link is dead (so detection takes at most twice the interval). Any traffic
counts as hearing. Time is an argument, in seconds of one monotonic clock.

A poll says the highest event sequence that was heard, its answer the highest that was sent; :func:`is_deaf` and
:class:`Delivery` compare them.
"""

import enum
from dataclasses import dataclass, replace


class AddpEvent(enum.Enum):
    """What happens to the machine. ``WOKE``: this machine has slept; whether the link survived must be known now."""

    HEARD = "heard"
    TICK = "tick"
    WOKE = "woke"


class AddpAction(enum.Enum):
    """What its owner has to do."""

    NOTHING = "nothing"
    POLL = "poll"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Addp:
    """State of one side. ``interval`` 0: this side does not poll by itself, and :attr:`due` is infinite.

    ``reprieved``: a deadline was once read much too late since the last sign of life, which means that this
    very process had been stopped; that silence was ours, so the other side gets one more interval.
    ``patience``: seconds that the answer to the present poll may take, where that is not the interval.
    """

    interval: float
    heard_at: float
    polled_at: float | None = None
    reprieved: bool = False
    patience: float | None = None

    @property
    def due(self) -> float:
        """When the next tick is needed."""
        if self.polled_at is not None:
            return self.polled_at + self.allowed
        return self.heard_at + self.interval if self.interval > 0 else float("inf")

    @property
    def allowed(self) -> float:
        """Seconds that the present (or next) poll waits for its answer."""
        return self.interval if self.patience is None else self.patience

    def step(self, now: float, event: AddpEvent, patience: float = 0.0) -> "tuple[Addp, AddpAction]":
        """The next state and what to do. ``HEARD`` with a time before the last one changes nothing; ``WOKE`` polls at
        once and gives the answer ``patience`` seconds."""
        if event is AddpEvent.HEARD:
            if now < self.heard_at:
                return self, AddpAction.NOTHING
            return Addp(self.interval, now), AddpAction.NOTHING
        if event is AddpEvent.WOKE:
            return replace(self, polled_at=now, reprieved=False, patience=patience), AddpAction.POLL
        if now < self.due:
            return self, AddpAction.NOTHING
        if self.polled_at is None:
            return replace(self, polled_at=now), AddpAction.POLL
        if now - self.due > self.allowed / 2 and not self.reprieved:
            return replace(self, polled_at=now, reprieved=True), AddpAction.POLL
        return self, AddpAction.DEAD


def is_deaf(heard: int, sent: int) -> bool:
    """Whether the link delivers nothing, seen by who gets the answer to a poll: the other side had ``sent`` more than
    was ``heard``. What was sent before the answer comes before it, so there is nothing to wait for."""
    return heard < sent


DEAF_POLLS = 2
"""Polls without any progress, after the one that first showed a gap."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Whether what this side sends is heard, as the other side's polls tell.

    A gap in one poll is nothing: the events may be on their way. The link delivers nothing when :data:`DEAF_POLLS`
    further polls, ``spacing`` seconds apart at least (a machine that wakes up polls twice in a row), show no progress
    and still less than had been sent at the first. ``promised`` is what had been sent then (0: no gap is open).
    """

    spacing: float
    promised: int = 0
    heard: int = 0
    polls: int = 0
    counted_at: float = 0.0

    def polled(self, now: float, heard: int, sent: int) -> "tuple[Delivery, bool]":
        """The next state, and whether the link delivers nothing: a poll said ``heard`` while ``sent`` had been sent."""
        if self.promised and heard < self.promised and heard <= self.heard:
            if now < self.counted_at + self.spacing:
                return self, False
            polls = self.polls + 1
            return replace(self, polls=polls, counted_at=now), polls >= DEAF_POLLS
        if heard < sent:
            return Delivery(self.spacing, sent, heard, 0, now), False
        return Delivery(self.spacing), False
