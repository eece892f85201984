"""At most so many connections being set up at a time, first come first served: a pure gate.

A set-up is what costs a server most (handshake, identity, session). One process never has more than ``limit`` of them
under way; the next ones wait in the order in which they came, each with a deadline.
"""

from dataclasses import dataclass, replace

from stayline.domain.errors import Refusal


@dataclass(frozen=True)
class Waiter:
    """One that waits its turn: since ``since``, until ``deadline`` at most (Unix seconds)."""

    id: str
    since: float
    deadline: float


@dataclass(frozen=True, kw_only=True)
class Setups:
    """Who is being set up (``running``) and who waits, in order."""

    limit: int = 2
    running: tuple[str, ...] = ()
    waiting: tuple[Waiter, ...] = ()

    def request(self, id: str, now: float, deadline: float) -> tuple["Setups", bool]:
        """Ask for a place. True: begin at once; False: wait (asking again while waiting or running changes nothing)."""
        if id in self.running:
            return self, True
        if any(waiter.id == id for waiter in self.waiting):
            return self, False
        if len(self.running) < self.limit and not self.waiting:
            return replace(self, running=(*self.running, id)), True
        return replace(self, waiting=(*self.waiting, Waiter(id, now, deadline))), False

    def release(self, id: str) -> tuple["Setups", tuple[str, ...]]:
        """Give the place back, or stop waiting. Says who begins now."""
        running = tuple(other for other in self.running if other != id)
        waiting = tuple(waiter for waiter in self.waiting if waiter.id != id)
        free = max(0, self.limit - len(running))
        begun = tuple(waiter.id for waiter in waiting[:free])
        return replace(self, running=(*running, *begun), waiting=waiting[len(begun) :]), begun

    def expire(self, now: float) -> tuple["Setups", tuple[tuple[str, Refusal], ...]]:
        """Take out those whose deadline has passed, with what to tell them."""
        late = [waiter for waiter in self.waiting if waiter.deadline <= now]
        kept = tuple(waiter for waiter in self.waiting if waiter.deadline > now)
        told = tuple((waiter.id, self._refusal(waiter, now)) for waiter in late)
        return replace(self, waiting=kept), told

    @property
    def due(self) -> float:
        """When the first deadline passes (0: nobody waits)."""
        return min((waiter.deadline for waiter in self.waiting), default=0.0)

    def _refusal(self, waiter: Waiter, now: float) -> Refusal:
        busy = ", ".join(self.running)
        return Refusal(
            code="setup.timeout",
            reason=f"{waiter.id} waited {now - waiter.since:.1f} s for its turn to connect; being set up: {busy}.",
            retryable=True,
        )
