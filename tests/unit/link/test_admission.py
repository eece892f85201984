"""Who is let in when, step by step."""

from typing import cast

import pytest

from stayline.link.machine.admission import Admission, AdmissionSettings, Enter, Kind, Refuse, Wait
from stayline.link.machine.setup_cost import DEFAULT_SECONDS, SetupCost


def admission(**changes: float) -> Admission:
    settings: dict[str, float] = {"setups": 1, "queue": 10, "longest_wait": 1.0, **changes}
    return Admission(AdmissionSettings(**settings))  # type: ignore[arg-type]


def near(seconds: float) -> float:
    """A time that a decision may say."""
    return cast(float, pytest.approx(seconds))


def test_who_finds_a_free_place_comes_in_at_once() -> None:
    door = admission(setups=2)
    assert door.arrive("a", Kind.RESUME, 0.0) == [Enter("a")]
    assert door.arrive("b", Kind.LOGIN, 0.0) == [Enter("b")]
    assert door.running == 2


def test_resumes_come_before_logins_that_waited_longer() -> None:
    door = admission()
    door.arrive("in", Kind.RESUME, 0.0)
    (told,) = door.arrive("login", Kind.LOGIN, 0.1)
    assert told == Wait("login", near(DEFAULT_SECONDS), 0)
    (told,) = door.arrive("resume", Kind.RESUME, 0.2)
    assert told == Wait("resume", near(DEFAULT_SECONDS), 0)
    assert door.finished("in", 0.3) == [Enter("resume")]
    assert door.finished("resume", 0.4) == [Enter("login")]


def test_logins_keep_to_their_rate_and_resumes_do_not() -> None:
    door = admission(setups=100, queue=100, longest_wait=100, login_rate=2.0)
    let_in = [i for i in range(5) if door.arrive(f"l{i}", Kind.LOGIN, 0.0) == [Enter(f"l{i}")]]
    assert let_in == [0, 1], "one second's worth at once"
    assert door.arrive("r", Kind.RESUME, 0.0) == [Enter("r")]
    assert door.wake_at(0.0) == pytest.approx(0.5, abs=1e-3)
    assert door.tick(0.4) == []
    assert door.tick(0.51) == [Enter("l2")]
    assert door.tick(10.0)[:2] == [Enter("l3"), Enter("l4")]


def test_who_would_wait_too_long_is_sent_away_behind_everything_promised() -> None:
    door = admission(login_rate=2.0, longest_wait=0.9)
    door.arrive("in", Kind.LOGIN, 0.0)
    door.arrive("second", Kind.LOGIN, 0.0)
    (kept,) = door.arrive("third", Kind.LOGIN, 0.0)
    assert isinstance(kept, Wait)
    (first,) = door.arrive("a", Kind.LOGIN, 0.0, chance=0.0, who="a")
    (second,) = door.arrive("b", Kind.LOGIN, 0.0, chance=0.0, who="b")
    assert isinstance(first, Refuse)
    assert isinstance(second, Refuse)
    assert first.retry_after > door.settings.longest_wait
    assert second.retry_after == pytest.approx(first.retry_after + 0.5), "one login later at two a second"


def test_chance_adds_at_most_half_a_second() -> None:
    times = []
    for chance in (0.0, 0.999_999):
        door = admission(login_rate=0.1)
        door.arrive("in", Kind.LOGIN, 0.0)
        (told,) = door.arrive("a", Kind.LOGIN, 0.0, chance=chance, who="a")
        assert isinstance(told, Refuse)
        times.append(told.retry_after)
    assert times[1] - times[0] == pytest.approx(0.5, abs=1e-3)


def test_who_comes_too_early_is_told_the_same_time_again() -> None:
    door = admission(login_rate=0.1)
    door.arrive("in", Kind.LOGIN, 0.0)
    (told,) = door.arrive("a1", Kind.LOGIN, 0.0, who="a")
    (again,) = door.arrive("a2", Kind.LOGIN, 2.0, who="a")
    (other,) = door.arrive("b", Kind.LOGIN, 2.0, who="b")
    assert isinstance(told, Refuse)
    assert isinstance(again, Refuse)
    assert isinstance(other, Refuse)
    assert again.retry_after == pytest.approx(told.retry_after - 2.0)
    assert other.retry_after == pytest.approx(again.retry_after + 10.0)


def test_who_comes_at_its_time_goes_ahead_of_those_who_came_unasked() -> None:
    door = admission(longest_wait=3.0, login_rate=1.0)
    for number in range(4):
        door.arrive(number, Kind.LOGIN, 0.0)
    (told,) = door.arrive("x", Kind.LOGIN, 0.0, who="x")
    assert told == Refuse("x", near(4.0), "it would wait longer than 3 s")
    door.finished(0, 0.1)
    door.arrive("new", Kind.LOGIN, 3.0)  # behind x: its slot is at 5 s
    door.arrive("x again", Kind.LOGIN, 3.5, who="x")
    order = []
    for second in range(1, 9):
        for decision in door.tick(second * 1.01):
            if isinstance(decision, Enter):
                order.append(decision.id)
                door.finished(decision.id, second * 1.01)
    assert order == [1, 2, 3, "x again", "new"]


def test_a_full_queue_sends_a_login_away_for_a_resume() -> None:
    door = admission(queue=2, longest_wait=100)
    door.arrive("in", Kind.RESUME, 0.0)
    door.arrive("l1", Kind.LOGIN, 0.0)
    door.arrive("l2", Kind.LOGIN, 0.0)
    displaced, told = door.arrive("r", Kind.RESUME, 0.0)
    assert isinstance(displaced, Refuse)
    assert displaced.id == "l2"
    assert displaced.retry_after > 0
    assert isinstance(told, Wait)
    assert told.id == "r"
    (refused,) = door.arrive("l3", Kind.LOGIN, 0.0)
    assert isinstance(refused, Refuse)
    assert "2 others wait already" in refused.why


def test_who_leaves_while_waiting_costs_nothing_and_is_counted() -> None:
    door = admission()
    door.arrive("in", Kind.RESUME, 0.0)
    door.arrive("a", Kind.RESUME, 0.0)
    door.arrive("b", Kind.RESUME, 0.0)
    assert door.left("a", 0.1) == []
    assert door.finished("in", 0.2) == [Enter("b")]
    assert (door.abandoned, door.wasted) == (1, 0)
    assert door.left("nobody", 0.3) == []


def test_a_set_up_that_ends_with_its_link_is_wasted_and_frees_its_place() -> None:
    door = admission()
    door.arrive("in", Kind.RESUME, 0.0)
    door.arrive("a", Kind.RESUME, 0.0)
    assert door.left("in", 0.1) == [Enter("a")]
    assert door.wasted == 1


def test_a_set_up_that_never_ends_frees_its_place() -> None:
    door = admission(setup_timeout=10.0)
    door.arrive("in", Kind.RESUME, 0.0)
    door.arrive("a", Kind.RESUME, 9.5)
    assert Enter("a") not in door.tick(9.9)
    assert door.wake_at(9.9) == pytest.approx(10.0)
    assert Enter("a") in door.tick(10.0)
    assert door.wasted == 1
    assert door.finished("in", 10.1) == [], "too late: its place is somebody else's"


def test_who_waits_is_told_again_when_the_time_is_over() -> None:
    door = admission()
    door.arrive("in", Kind.RESUME, 0.0)
    door.arrive("a", Kind.RESUME, 0.0)
    at = door.wake_at(0.0)
    assert at == pytest.approx(1.0)
    assert door.tick(1.0) == [Wait("a", near(DEFAULT_SECONDS), 0)]


def test_more_places_let_in_at_once_who_waits() -> None:
    door = admission()
    door.arrive("in", Kind.RESUME, 0.0)
    door.arrive("a", Kind.RESUME, 0.0)
    assert door.configure(AdmissionSettings(setups=2), 0.1) == [Enter("a")]


def test_a_closing_door_forgets_who_waits() -> None:
    door = admission()
    door.arrive("in", Kind.RESUME, 0.0)
    door.arrive("a", Kind.LOGIN, 0.0)
    door.arrive("b", Kind.RESUME, 0.0)
    assert door.send_away() == ["b", "a"]
    assert door.waiting == 0
    assert door.finished("in", 0.1) == []


def test_cost_under_saturation_is_the_distance_between_ends() -> None:
    door = admission(setups=4, queue=1_000, longest_wait=1_000)
    now, running = 0.0, []
    for number in range(600):
        running += [d.id for d in door.arrive(number, Kind.RESUME, now) if isinstance(d, Enter)]
    for _ in range(500):
        now += 0.02
        running += [d.id for d in door.finished(running.pop(0), now) if isinstance(d, Enter)]
    assert door.cost.seconds == pytest.approx(0.02, rel=0.05)
    assert door.cost.measured


def test_cost_in_quiet_times_is_the_share_of_a_place() -> None:
    door = admission(setups=8)
    for number in range(2_000):
        door.arrive(number, Kind.RESUME, float(number))
        door.finished(number, number + 0.04)
    assert door.cost.seconds == pytest.approx(0.005, rel=0.05)


def test_what_was_held_up_by_somebody_else_is_not_measured() -> None:
    door = admission(setups=8)
    door.arrive("a", Kind.RESUME, 0.0)
    door.disturbed()
    door.finished("a", 5.0)
    door.arrive("b", Kind.RESUME, 5.0)
    door.finished("b", 9.0, measured=False)
    assert door.cost.samples == 0
    assert door.cost.seconds == DEFAULT_SECONDS


def test_quiet_samples_do_not_soon_outweigh_what_was_learnt_under_load() -> None:
    cost = SetupCost()
    for _ in range(300):
        cost.spaced(0.02)
    for _ in range(30):
        cost.took(0.02, 8)
    assert cost.seconds > 0.015
