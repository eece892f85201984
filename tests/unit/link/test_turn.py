"""Events are worked on one after the other."""

import pytest

from stayline.link.turn import Turn


def test_what_arises_during_an_event_comes_after_it() -> None:
    order: list[str] = []

    def work(event: str) -> None:
        order.append(f"{event} begins")
        if event == "first":
            turn("second")
        order.append(f"{event} ends")

    turn = Turn(work)
    turn("first")
    assert order == ["first begins", "first ends", "second begins", "second ends"]


def test_events_that_breed_without_end_are_an_error_and_the_next_turn_works() -> None:
    breeding = True

    def work(event: int) -> None:
        if breeding:
            turn(event + 1)

    turn = Turn(work)
    with pytest.raises(RuntimeError, match="one turn"):
        turn(0)
    breeding = False
    turn(0)


def test_an_error_of_the_work_does_not_block_the_next_turn() -> None:
    worked: list[str] = []

    def work(event: str) -> None:
        if event == "bad":
            turn("left over")
            raise ValueError(event)
        worked.append(event)

    turn = Turn(work)
    with pytest.raises(ValueError, match="bad"):
        turn("bad")
    turn("good")
    assert worked == ["good"]
