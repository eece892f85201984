"""A link that delivers in order is never called deaf, whatever the delays; one that delivers nothing always is."""

import hypothesis.strategies as st
from hypothesis import given

from stayline.link.machine.addp import DEAF_POLLS, Delivery, is_deaf

DELAYS = st.floats(0.0, 3.0)
STEPS = st.lists(st.tuples(st.floats(0.01, 2.0), st.integers(0, 5)), min_size=1, max_size=60)


@given(STEPS, DELAYS, DELAYS, st.floats(0.1, 2.0))
def test_an_orderly_link_is_never_called_deaf(
    steps: list[tuple[float, int]], there: float, back: float, interval: float
) -> None:
    """One side sends events, the other polls ``interval`` after the last answer; every delay is constant."""
    sends: list[tuple[float, int]] = []
    now, number = 0.0, 0
    for pause, events in steps:
        now += pause
        number += events
        sends.append((now, number))

    def sent_by(time: float) -> int:
        return max((count for at, count in sends if at <= time), default=0)

    delivery, poll_at = Delivery(interval / 2), interval
    while poll_at < now + 10:
        heard = sent_by(poll_at - there)
        arrives = poll_at + back
        delivery, deaf = delivery.polled(arrives, heard, sent_by(arrives))
        assert not deaf
        answered_at = arrives + there
        assert not is_deaf(sent_by(answered_at - there), sent_by(arrives))
        poll_at = answered_at + interval


@given(st.integers(0, 50), st.integers(1, 50), st.floats(0.1, 5.0))
def test_a_link_that_delivers_nothing_is_found_by_both_sides(heard: int, more: int, interval: float) -> None:
    sent = heard + more
    assert is_deaf(heard, sent)
    delivery, verdicts = Delivery(interval / 2), []
    for number in range(1 + DEAF_POLLS):
        delivery, deaf = delivery.polled(number * interval, heard, sent + number)
        verdicts.append(deaf)
    assert verdicts == [False] * DEAF_POLLS + [True]
