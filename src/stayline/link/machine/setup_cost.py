"""What one set-up of a client costs a server of its time, as a moving average. Pure: times are arguments."""

DEFAULT_SECONDS = 0.01
"""Believed until something was measured."""

LEAST_SECONDS = 0.0002
MOST_SECONDS = 2.0

LOADED_WEIGHT = 0.02
"""Weight of a new sample under saturation: about fifty of them make up the average."""

QUIET_WEIGHT = 0.005
"""Weight of a sample in quiet times. It is an estimate from below (nothing competed), so it must not soon outweigh
what was learnt under load."""

_PRIOR = 4
"""The default counts as so many samples, while there are few."""

_ENOUGH = 8


class SetupCost:
    """The average, in ``seconds``; ``samples`` says how many set-ups went into it."""

    def __init__(self) -> None:
        self.seconds = DEFAULT_SECONDS
        self.samples = 0

    @property
    def measured(self) -> bool:
        """Whether the average rests on measurements rather than on the default."""
        return self.samples >= _ENOUGH

    def spaced(self, seconds: float) -> None:
        """Two set-ups ended ``seconds`` after each other while others waited all the time: 1/throughput."""
        self._take(seconds, LOADED_WEIGHT)

    def took(self, seconds: float, at_a_time: int) -> None:
        """One set-up took ``seconds`` of which ``at_a_time`` may run beside each other, and nobody waited."""
        self._take(seconds / at_a_time, QUIET_WEIGHT)

    def _take(self, sample: float, weight: float) -> None:
        weight = max(weight, 1.0 / (self.samples + 1 + _PRIOR))
        self.samples += 1
        average = self.seconds + weight * (min(sample, MOST_SECONDS) - self.seconds)
        self.seconds = min(max(average, LEAST_SECONDS), MOST_SECONDS)


ROOM = 1.2
"""A crowd is spread over so much longer than the set-ups take."""

LEAST_DRAIN_SECONDS = 1.0
"""The shortest window over which the clients of a drained server leave, unless an operator gave another one."""


def spread_seconds(clients: int, setup_seconds: float, servers: int) -> float:
    """Seconds in which ``clients`` can be set up at ``servers`` of this cost each, with some room."""
    return ROOM * clients * setup_seconds / max(1, servers)
