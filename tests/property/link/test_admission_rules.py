"""Whatever comes and goes at the door: the rules of admission hold after each step."""

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stayline.link.machine.admission import Admission, AdmissionSettings, Decision, Enter, Kind, Refuse, Wait

KINDS = st.sampled_from(list(Kind))


class Door(RuleBasedStateMachine):
    """Openers come, wait, leave and are set up, in any order."""

    @initialize(
        setups=st.integers(1, 4),
        queue=st.integers(1, 6),
        longest=st.floats(0.1, 5.0),
        rate=st.sampled_from([0.0, 0.5, 3.0]),
    )
    def begin(self, setups: int, queue: int, longest: float, rate: float) -> None:
        """Limits of this run."""
        self.now = 0.0
        self.numbers = 0
        self.kinds: dict[int, Kind] = {}
        self.inside: set[int] = set()
        self.waiting: dict[int, Wait] = {}
        self.door = Admission(
            AdmissionSettings(setups=setups, queue=queue, longest_wait=longest, login_rate=rate)
        )

    def take(self, decisions: list[Decision]) -> None:
        """Note what was decided; each decision is possible at that moment."""
        for decision in decisions:
            number = decision.id
            assert isinstance(number, int)
            if isinstance(decision, Enter):
                if self.kinds[number] is Kind.LOGIN:
                    ahead = [one for one in self.waiting if self.kinds[one] is Kind.RESUME and one != number]
                    assert not ahead, "a login came in before a resume that waited"
                self.waiting.pop(number, None)
                self.inside.add(number)
            elif isinstance(decision, Wait):
                assert 0.0 <= decision.seconds < math.inf
                assert 0 <= decision.ahead < self.door.settings.queue
                self.waiting[number] = decision
            else:
                assert 0.0 <= decision.retry_after < math.inf
                assert decision.why
                self.waiting.pop(number, None)

    @rule(kind=KINDS, who=st.sampled_from(["", "a", "b", "c"]), chance=st.floats(0, 0.999))
    def arrive(self, kind: Kind, who: str, chance: float) -> None:
        """Somebody comes, perhaps again."""
        self.numbers += 1
        self.kinds[self.numbers] = kind
        decisions = self.door.arrive(self.numbers, kind, self.now, chance=chance, who=who)
        assert any(decision.id == self.numbers for decision in decisions), "nobody is left without an answer"
        self.take(decisions)

    @rule(pick=st.randoms(use_true_random=False), well=st.booleans())
    def end(self, pick: random.Random, well: bool) -> None:
        """A set-up ends."""
        if self.inside:
            number = pick.choice(sorted(self.inside))
            self.inside.discard(number)
            ended = self.door.finished if well else self.door.left
            self.take(ended(number, self.now))

    @rule(pick=st.randoms(use_true_random=False))
    def lose_patience(self, pick: random.Random) -> None:
        """Somebody who waits leaves."""
        if self.waiting:
            number = pick.choice(sorted(self.waiting))
            del self.waiting[number]
            before = self.door.wasted
            self.take(self.door.left(number, self.now))
            assert self.door.wasted == before

    @rule(seconds=st.floats(0.001, 4.0))
    def pass_time(self, seconds: float) -> None:
        """Time passes as the shell's timer would have it."""
        until = self.now + seconds
        while (at := self.door.wake_at(self.now)) is not None and at <= until:
            self.now = max(at, self.now + 1e-6)
            wasted = self.door.wasted
            decisions = self.door.tick(self.now)
            if self.door.wasted > wasted:  # set-ups that never ended: the shell is not told which
                self.inside = {one for one in self.inside if one in self.door._running}
            self.take(decisions)
        self.now = max(self.now, until)

    @invariant()
    def limits_hold(self) -> None:
        """Never more than allowed, and both sides count alike."""
        if not hasattr(self, "door"):
            return
        door = self.door
        assert door.running <= door.settings.setups
        assert door.waiting <= door.settings.queue
        assert door.waiting == len(self.waiting)
        assert door.running == len(self.inside)
        assert door.entered == door.running + door.finished_count + door.wasted

    @invariant()
    def a_free_place_is_not_kept_from_a_resume(self) -> None:
        """No resume waits beside a free place."""
        if hasattr(self, "door") and any(self.kinds[one] is Kind.RESUME for one in self.waiting):
            assert self.door.running == self.door.settings.setups


TestDoor = Door.TestCase
TestDoor.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@settings(max_examples=25, deadline=None)
@given(
    clients=st.integers(50, 600),
    cost=st.sampled_from([0.004, 0.01, 0.03]),
    seed=st.integers(0, 1_000_000),
)
def test_promises_are_kept(clients: int, cost: float, seed: int) -> None:
    """A server whose cost is known, a crowd at once, clients that obey: everybody sent away comes in at its time."""
    chance = random.Random(seed)
    door = Admission(AdmissionSettings(setups=4, queue=100, longest_wait=1.0))
    for _ in range(400):
        door.cost.spaced(cost)
    calls: list[tuple[float, int]] = sorted((chance.uniform(0, 0.2), number) for number in range(clients))
    free_at = 0.0
    ends: list[tuple[float, int]] = []
    promised: dict[int, float] = {}
    late: dict[int, float] = {}
    entered: dict[int, float] = {}
    now = 0.0

    def take(decisions: list[Decision]) -> None:
        nonlocal free_at
        for decision in decisions:
            number = decision.id
            assert isinstance(number, int)
            if isinstance(decision, Enter):
                entered[number] = now
                late[number] = now - promised.get(number, now)
                free_at = max(now, free_at) + cost
                ends.append((free_at, number))
            elif isinstance(decision, Refuse):
                promised[number] = now + decision.retry_after
                calls.append((now + decision.retry_after, number))
                calls.sort()

    while len(entered) < clients:
        wake = door.wake_at(now)
        times = [calls[0][0] if calls else math.inf, ends[0][0] if ends else math.inf]
        now = max(now, min([*times, math.inf if wake is None else wake]))
        if ends and ends[0][0] <= now:
            take(door.finished(ends.pop(0)[1], now))
        elif calls and calls[0][0] <= now:
            number = calls.pop(0)[1]
            take(door.arrive(number, Kind.RESUME, now, chance=chance.random(), who=str(number)))
        else:
            now += 1e-6
            take(door.tick(now))
    assert door.wasted == 0
    assert max(late.values()) <= 1.0, "sent away, come at the time, and let in within a second"
    ideal = clients * cost
    assert now <= ideal * 1.2 + 1.0


@settings(max_examples=20, deadline=None)
@given(resumes=st.integers(1, 200), logins=st.integers(1, 40))
def test_logins_get_their_turn_when_resumes_pause(resumes: int, logins: int) -> None:
    door = Admission(AdmissionSettings(setups=2, queue=500, longest_wait=1_000.0, login_rate=20.0))
    inside: list[object] = []

    def take(decisions: list[Decision]) -> None:
        inside.extend(decision.id for decision in decisions if isinstance(decision, Enter))

    for number in range(resumes):
        take(door.arrive(("r", number), Kind.RESUME, 0.0))
    for number in range(logins):
        take(door.arrive(("l", number), Kind.LOGIN, 0.0))
    now, order = 0.0, []
    while door.waiting or inside:
        now += 0.01
        take(door.tick(now))
        if inside:
            order.append(inside.pop(0))
            take(door.finished(order[-1], now))
    assert len(order) == resumes + logins
    assert now <= 0.01 * (resumes + logins) + logins / 20.0 + 2.0
