"""ADDP: noticing that the other side of a quiet link is gone, as a pure machine.

One side of one link. After ``interval`` seconds without hearing anything it polls; when nothing is heard
for the same interval again, the link is dead (so detection takes at most twice the interval). Any traffic
counts as hearing. Time is an argument, in seconds of one monotonic clock.
"""

import enum
from dataclasses import dataclass, replace


class AddpEvent(enum.Enum):
    """What happens to the machine."""

    HEARD = "heard"
    TICK = "tick"


class AddpAction(enum.Enum):
    """What its owner has to do."""

    NOTHING = "nothing"
    POLL = "poll"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Addp:
    """State of one side. ``interval`` 0: this side does not poll, and :attr:`due` is infinite.

    ``reprieved``: a deadline was once read much too late since the last sign of life, which means that this
    very process had been stopped; that silence was ours, so the other side gets one more interval.
    """

    interval: float
    heard_at: float
    polled_at: float | None = None
    reprieved: bool = False

    @property
    def due(self) -> float:
        """When the next tick is needed."""
        if self.interval <= 0:
            return float("inf")
        since = self.heard_at if self.polled_at is None else self.polled_at
        return since + self.interval

    def step(self, now: float, event: AddpEvent) -> "tuple[Addp, AddpAction]":
        """The next state and what to do. ``HEARD`` with a time before the last one changes nothing."""
        if event is AddpEvent.HEARD:
            if now < self.heard_at:
                return self, AddpAction.NOTHING
            return Addp(self.interval, now), AddpAction.NOTHING
        if now < self.due:
            return self, AddpAction.NOTHING
        if self.polled_at is None:
            return replace(self, polled_at=now), AddpAction.POLL
        if now - self.due > self.interval / 2 and not self.reprieved:
            return replace(self, polled_at=now, reprieved=True), AddpAction.POLL
        return self, AddpAction.DEAD
