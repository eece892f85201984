"""A reconnect storm as a discrete-event simulation: constants that spread over five seconds, beside the machine of
:mod:`stayline.link.machine.admission` in front of the same proxies.

One proxy is one serial worker, ten milliseconds for a set-up. Every client shuffles the proxies, comes first at
U(0, 5), and leaves after five seconds in which it hears nothing. *Original*: the next proxy at once, ten seconds
after the last one. *Guided*: it waits as long as it is told, and comes again when it is told.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from stayline.link.machine.admission import Admission, AdmissionSettings, Decision, Enter, Kind, Refuse, Wait

COST = 0.010
PATIENCE = 5.0
WINDOW = 5.0
ROUND_PAUSE = 10.0
HANG_UP_COST = 0.0001


@dataclass
class Storm:
    """How it went: ``back`` when each client was in, ``wasted`` set-ups nobody waited for."""

    agents: int
    back: list[float] = field(default_factory=list)
    wasted: int = 0

    @property
    def all_back(self) -> float:
        """Seconds until everybody was in (infinite: never)."""
        return max(self.back) if len(self.back) == self.agents else float("inf")


class Clock:
    """Events in their order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Do it then."""
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), what))

    def run(self, until: float) -> None:
        """Play everything that happens before ``until``."""
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()


def original(agents: int, proxies: int, *, noticed: bool, seed: int, until: float) -> Storm:
    """Proxies that take everybody, and the original's constants."""
    chance, clock, storm = random.Random(seed), Clock(), Storm(agents)
    free_at = [0.0] * proxies

    def call(order: list[int], tried: int) -> None:
        proxy, came = order[tried], clock.now
        starts = max(came, free_at[proxy])
        if noticed and starts > came + PATIENCE:
            free_at[proxy] = starts + HANG_UP_COST
            served = None
        else:
            free_at[proxy] = starts + COST
            served = free_at[proxy] if free_at[proxy] <= came + PATIENCE else None
        if served is not None:
            storm.back.append(served)
            return
        storm.wasted += 1
        again = (tried + 1) % proxies
        clock.at(came + PATIENCE + (ROUND_PAUSE if again == 0 else 0.0), lambda: call(order, again))

    for _ in range(agents):
        order = chance.sample(range(proxies), proxies)
        clock.at(chance.uniform(0, WINDOW), lambda order=order: call(order, 0))  # type: ignore[misc]
    clock.run(until)
    return storm


class GuidedProxy:
    """The machine in front of a serial worker."""

    def __init__(self, clock: Clock, storm: Storm, chance: random.Random, cost: float) -> None:
        self.door = Admission(AdmissionSettings())
        self._clock, self._storm, self._chance, self._cost = clock, storm, chance, cost
        self._work: deque[int] = deque()
        self._busy = False
        self._wake = float("inf")
        self._leaves: dict[int, float] = {}

    def call(self, number: int, kind: Kind) -> None:
        """A client comes."""
        self._leaves[number] = self._clock.now + PATIENCE
        self._take(
            self.door.arrive(number, kind, self._clock.now, chance=self._chance.random(), who=str(number)),
            kind,
        )

    def _take(self, decisions: list[Decision], kind: Kind | None = None) -> None:
        now = self._clock.now
        for decision in decisions:
            number = decision.id
            assert isinstance(number, int)
            if isinstance(decision, Enter):
                assert now <= self._leaves[number], "it left before it was let in"
                self._work.append(number)
            elif isinstance(decision, Wait):
                self._leaves[number] = now + decision.seconds + PATIENCE
            elif isinstance(decision, Refuse):
                assert kind is not None
                self._clock.at(now + decision.retry_after, lambda n=number: self.call(n, kind))  # type: ignore[misc]
        self._serve()
        self._set_timer()

    def _serve(self) -> None:
        if not self._busy and self._work:
            self._busy = True
            number = self._work.popleft()
            self._clock.at(self._clock.now + self._cost, lambda: self._served(number))

    def _served(self, number: int) -> None:
        self._busy = False
        self._storm.back.append(self._clock.now)
        self._take(self.door.finished(number, self._clock.now))

    def _set_timer(self) -> None:
        at = self.door.wake_at(self._clock.now)
        if at is not None and at < self._wake:
            self._wake = at
            self._clock.at(at, self._tick)

    def _tick(self) -> None:
        self._wake = float("inf")
        self._take(self.door.tick(self._clock.now), Kind.LOGIN)


def guided(
    agents: int, proxies: int, *, seed: int, cost: float = COST, kind: Kind = Kind.RESUME
) -> tuple[Storm, list[Admission]]:
    """The same crowd at proxies that say when."""
    chance, clock, storm = random.Random(seed), Clock(), Storm(agents)
    servers = [GuidedProxy(clock, storm, chance, cost) for _ in range(proxies)]
    for number in range(agents):
        server = chance.choice(servers)
        clock.at(chance.uniform(0, WINDOW), lambda s=server, n=number: s.call(n, kind))  # type: ignore[misc]
    clock.run(600.0)
    return storm, [server.door for server in servers]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_thousand_agents_need_no_guidance_and_lose_little_by_it(seed: int) -> None:
    ideal = 1_000 * COST / 2
    assert original(1_000, 2, noticed=False, seed=seed, until=60).all_back <= ideal * 1.2
    storm, _ = guided(1_000, 2, seed=seed)
    assert storm.all_back <= ideal * 1.2


def test_five_thousand_never_come_back_when_proxies_serve_those_who_left() -> None:
    storm = original(5_000, 2, noticed=False, seed=1, until=600)
    assert len(storm.back) < 0.4 * 5_000, "ten minutes later most are still outside"
    assert storm.wasted > 20_000


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_hang_ups_noticed_it_takes_twice_the_ideal(seed: int) -> None:
    storm = original(5_000, 2, noticed=True, seed=seed, until=600)
    ideal = 5_000 * COST / 2
    assert 1.6 * ideal <= storm.all_back <= 3 * ideal
    assert storm.wasted > 1_000


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_guided_five_thousand_are_back_in_little_more_than_the_ideal(seed: int) -> None:
    storm, doors = guided(5_000, 2, seed=seed)
    ideal = 5_000 * COST / 2
    assert storm.all_back <= 1.15 * ideal
    assert [door.wasted for door in doors] == [0, 0]
    assert [door.abandoned for door in doors] == [0, 0]
    assert all(door.cost.seconds == pytest.approx(COST, rel=0.1) for door in doors)


def test_a_cheap_resume_brings_five_thousand_back_in_a_fifth() -> None:
    storm, doors = guided(5_000, 2, seed=1, cost=0.002)
    assert storm.all_back <= 5_000 * 0.002 / 2 * 1.15 + WINDOW * 0.1
    assert sum(door.wasted for door in doors) == 0


def test_logins_take_no_more_than_their_share() -> None:
    storm, doors = guided(1_000, 2, seed=1, kind=Kind.LOGIN)
    ideal = 1_000 * COST / 2
    assert storm.all_back <= ideal / 0.6 * 1.4
    assert sum(door.wasted + door.abandoned for door in doors) == 0
