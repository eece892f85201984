"""Passive means closed: when a Chat Server listens. Pure: time is an argument.

It listens while it has a primary Contact Server, and for ``core-grace`` after it lost it, so that a failover inside
the site is not seen by customers. A primary that said ``server.leaving`` is not waited for.
"""

from typing import NamedTuple


class Gate(NamedTuple):
    """What is known of the Contact Server's primary. Times are seconds of one clock."""

    primary: bool = False
    lost_at: float | None = None
    leaving: bool = False

    def found(self) -> "Gate":
        """A primary is there."""
        return Gate(primary=True)

    def lost(self, now: float) -> "Gate":
        """The primary's link is gone."""
        if not self.primary:
            return self
        return Gate(primary=False, lost_at=now, leaving=self.leaving)

    def left(self) -> "Gate":
        """The primary says that it stops on command."""
        return self._replace(leaving=True)

    def open(self, grace: float, now: float) -> bool:
        """Whether to listen."""
        if self.leaving:
            return False
        return self.primary or (self.lost_at is not None and now - self.lost_at < grace)

    def why(self, grace: float) -> str:
        """The reason, as a sentence."""
        if self.leaving:
            return "the Contact Server stops on command"
        if self.primary:
            return "the Contact Server of this site is primary"
        if self.lost_at is None:
            return "no Contact Server of this site is primary"
        return f"the Contact Server of this site is away (listening for {grace:g} s after its loss)"
