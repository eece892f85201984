"""ADDP in virtual time: a living peer is never declared dead, a dead one within twice the interval."""

from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import given

from stayline.link.machine.addp import Addp, AddpAction, AddpEvent

INTERVALS = st.floats(0.1, 20.0)


@dataclass
class Simulation:
    """One side that polls, and a peer that answers each poll ``delay`` s later while it lives."""

    interval: float
    delay: float
    dies_at: float
    now: float = 0.0
    polls: int = 0
    answers: list[float] = field(default_factory=list)

    def run(self, until: float, traffic: list[float]) -> float | None:
        """When the peer is declared dead, None if not before ``until``."""
        addp = Addp(self.interval, 0.0)
        arrivals = sorted(at for at in traffic if at <= self.dies_at)
        while True:
            upcoming = [at for at in (*arrivals, *self.answers) if at >= self.now]
            next_heard = min(upcoming, default=float("inf"))
            self.now = min(next_heard, addp.due)
            if self.now > until:
                return None
            if next_heard <= addp.due:
                addp, _ = addp.step(self.now, AddpEvent.HEARD)
                arrivals = [at for at in arrivals if at > self.now]
                self.answers = [at for at in self.answers if at > self.now]
                continue
            addp, action = addp.step(self.now, AddpEvent.TICK)
            if action is AddpAction.DEAD:
                return self.now
            if action is AddpAction.POLL:
                self.polls += 1
                if self.now < self.dies_at:
                    self.answers.append(self.now + self.delay)


@given(INTERVALS, st.floats(0.0, 0.99), st.lists(st.floats(0, 100), max_size=20))
def test_a_peer_that_answers_in_time_is_never_dead(
    interval: float, share: float, traffic: list[float]
) -> None:
    simulation = Simulation(interval, share * interval, dies_at=float("inf"))
    assert simulation.run(100.0, traffic) is None


@given(INTERVALS, st.floats(0.0, 50.0), st.lists(st.floats(0, 50), max_size=20))
def test_a_silent_peer_is_dead_within_twice_the_interval(
    interval: float, dies_at: float, traffic: list[float]
) -> None:
    simulation = Simulation(interval, 0.0, dies_at)
    dead_at = simulation.run(1_000.0, traffic)
    assert dead_at is not None
    last_sign = max([at for at in traffic if at <= dies_at], default=0.0)
    assert dead_at > last_sign
    assert dead_at - dies_at <= 2 * interval * 1.000001


@given(INTERVALS, st.integers(1, 200))
def test_a_busy_link_is_not_polled(interval: float, count: int) -> None:
    step = interval * 0.9
    simulation = Simulation(interval, 0.0, dies_at=float("inf"))
    simulation.run(step * count, [step * number for number in range(count + 1)])
    assert simulation.polls == 0


@given(INTERVALS, st.floats(0.6, 1_000))
def test_who_was_stopped_himself_polls_anew_once(interval: float, pause: float) -> None:
    addp, action = Addp(interval, 0.0).step(interval, AddpEvent.TICK)
    assert action is AddpAction.POLL
    late = addp.due + pause * interval
    addp, action = addp.step(late, AddpEvent.TICK)
    assert action is AddpAction.POLL
    assert addp.reprieved
    later = addp.due + pause * interval
    assert addp.step(later, AddpEvent.TICK)[1] is AddpAction.DEAD
    heard, _ = addp.step(late + interval / 2, AddpEvent.HEARD)
    assert not heard.reprieved


@given(INTERVALS, st.floats(0, 100), st.floats(0, 100))
def test_news_from_the_past_changes_nothing(interval: float, first: float, second: float) -> None:
    addp = Addp(interval, max(first, second) + 1)
    assert addp.step(min(first, second), AddpEvent.HEARD) == (addp, AddpAction.NOTHING)


def test_interval_zero_means_that_this_side_does_not_poll() -> None:
    addp = Addp(0.0, 5.0)
    assert addp.due == float("inf")
    assert addp.step(1e9, AddpEvent.TICK) == (addp, AddpAction.NOTHING)
