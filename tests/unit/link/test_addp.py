"""ADDP's rarer events: polls on waking up, and what sequences in polls prove."""

import pytest

from stayline.link.machine.addp import DEAF_POLLS, Addp, AddpAction, AddpEvent, Delivery, is_deaf


def test_who_wakes_up_polls_at_once_and_gives_the_answer_its_own_time() -> None:
    addp, action = Addp(30.0, 100.0).step(110.0, AddpEvent.WOKE, 2.0)
    assert action is AddpAction.POLL
    assert addp.due == 112.0
    assert addp.step(111.9, AddpEvent.TICK)[1] is AddpAction.NOTHING
    assert addp.step(112.0, AddpEvent.TICK)[1] is AddpAction.DEAD
    heard, _ = addp.step(111.0, AddpEvent.HEARD)
    assert (heard.due, heard.patience) == (141.0, None)


def test_waking_up_polls_also_where_polls_are_off_and_leaves_them_off() -> None:
    addp, action = Addp(0.0, 100.0).step(110.0, AddpEvent.WOKE, 2.0)
    assert action is AddpAction.POLL
    assert addp.due == 112.0
    heard, _ = addp.step(110.5, AddpEvent.HEARD)
    assert heard.due == float("inf")


def test_waking_up_during_a_poll_begins_anew() -> None:
    polled, _ = Addp(5.0, 100.0).step(105.0, AddpEvent.TICK)
    addp, action = polled.step(109.0, AddpEvent.WOKE, 2.0)
    assert action is AddpAction.POLL
    assert addp.due == 111.0


@pytest.mark.parametrize(
    ("heard", "sent", "deaf"), [(0, 0, False), (5, 5, False), (6, 5, False), (4, 5, True)]
)
def test_who_was_answered_compares_at_once(heard: int, sent: int, deaf: bool) -> None:
    assert is_deaf(heard, sent) is deaf


def polls(*said: tuple[float, int, int]) -> list[bool]:
    """The verdict after each poll (time, heard, sent), with a spacing of one second."""
    delivery, verdicts = Delivery(1.0), []
    for now, heard, sent in said:
        delivery, deaf = delivery.polled(now, heard, sent)
        verdicts.append(deaf)
    return verdicts


def test_polls_without_progress_after_a_gap_prove_a_deaf_link() -> None:
    assert DEAF_POLLS == 2
    assert polls((10, 3, 5), (12, 3, 5), (14, 3, 9)) == [False, False, True]


@pytest.mark.parametrize(
    "said",
    [
        # All was heard by the next poll; then a new gap.
        [(10, 3, 5), (12, 5, 5), (14, 5, 6), (16, 6, 6)],
        # Slowly, but it advances.
        [(10, 3, 50), (12, 4, 50), (14, 5, 50), (16, 6, 50), (18, 7, 50)],
        # What was sent after the first poll of the gap may be on its way.
        [(10, 3, 5), (12, 5, 90), (14, 90, 200)],
        # A machine that wakes up polls several times in a row, with what it heard before it slept.
        [(10, 3, 5), (40.0, 3, 5), (40.1, 3, 5), (40.2, 3, 5)],
        [(10, 3, 5), (10.1, 3, 5), (10.2, 3, 5), (10.3, 5, 5)],
    ],
)
def test_a_gap_that_closes_proves_nothing(said: list[tuple[float, int, int]]) -> None:
    assert not any(polls(*said))
