"""A token bucket, as a pure machine: how many requests one client may make."""


class TokenBucket:
    """Allows ``burst`` at once and ``rate`` per second in the long run. Times are seconds of one clock."""

    __slots__ = ("burst", "level", "rate", "updated")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self.level = float(burst)
        self.updated = now

    def take(self, now: float) -> float:
        """Take one token. 0.0: granted; else refused, and the seconds until one is there again."""
        level = min(self.burst, self.level + max(0.0, now - self.updated) * self.rate)
        self.updated = max(now, self.updated)
        if level >= 1.0:
            self.level = level - 1.0
            return 0.0
        self.level = level
        return (1.0 - level) / self.rate
