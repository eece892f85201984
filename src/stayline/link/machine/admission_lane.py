"""One lane of an admission: who waits in it, in the order of their slots, and which slots were promised to those who
were sent away. Pure: times are seconds of one clock, given as arguments."""

import bisect
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

GRACE_SECONDS = 5.0
"""A promise is forgotten so long after its time: who comes later is a newcomer."""

MAX_PROMISES = 20_000
"""Promises remembered; the oldest are forgotten beyond."""


@dataclass(slots=True, order=True)
class Waiter:
    """One who waits. ``slot``: when its turn was to be, ``number``: order of arrival, ``told_until``: the time that it
    was told last, ``who``: how it is known when it comes again."""

    slot: float
    number: int
    id: Hashable = field(compare=False)
    who: str = field(compare=False)
    told_until: float = field(compare=False, default=0.0)


class Lane:
    """Waiters by slot, promises by who."""

    def __init__(self) -> None:
        self._waiting: list[Waiter] = []
        self._by_id: dict[Hashable, Waiter] = {}
        self._promises: OrderedDict[str, float] = OrderedDict()
        self.last_slot = 0.0
        """The latest slot that was given to anybody, in the lane or sent away."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self._waiting)

    def __contains__(self, id: Hashable) -> bool:
        return id in self._by_id

    def join(self, waiter: Waiter) -> int:
        """Wait in the order of slots; how many are ahead."""
        self._by_id[waiter.id] = waiter
        self.last_slot = max(self.last_slot, waiter.slot)
        at = bisect.bisect(self._waiting, waiter)
        self._waiting.insert(at, waiter)
        return at

    def first(self) -> Waiter:
        """Take out whose turn it is. The lane must not be empty."""
        waiter = self._waiting.pop(0)
        del self._by_id[waiter.id]
        return waiter

    def last(self) -> Waiter:
        """Take out who would be let in last. The lane must not be empty."""
        waiter = self._waiting.pop()
        del self._by_id[waiter.id]
        return waiter

    def leave(self, id: Hashable) -> bool:
        """Somebody went away while waiting; False when it was not here."""
        waiter = self._by_id.pop(id, None)
        if waiter is None:
            return False
        del self._waiting[bisect.bisect_left(self._waiting, waiter)]
        return True

    def promise(self, who: str, slot: float) -> None:
        """``who`` was sent away and told to come again at ``slot``."""
        self.last_slot = max(self.last_slot, slot)
        self._promises[who] = slot
        if len(self._promises) > MAX_PROMISES:
            self._promises.popitem(last=False)

    def promised(self, who: str) -> float | None:
        """When ``who`` was told to come again; None: nothing was promised."""
        return self._promises.get(who)

    def redeem(self, who: str) -> None:
        """``who`` is here: the promise is used up."""
        self._promises.pop(who, None)

    def outstanding(self, now: float) -> bool:
        """Whether anybody who was sent away may still come. Slots are promised in their order, so the overdue ones
        are at the head."""
        while self._promises:
            who, slot = next(iter(self._promises.items()))
            if slot + GRACE_SECONDS > now:
                return True
            del self._promises[who]
        return False
