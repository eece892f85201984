"""Curves of agents back, and what is said about them."""

from stayline.lab.storm_curve import BLOCKS, curve, ideal_curve, lines, rate_of, sparkline, told


def test_shares_are_reached_by_whole_agents() -> None:
    one = curve("a", 4, [4.0, 1.0, 3.0, 2.0])
    assert [one.reached(share) for share in (0.25, 0.5, 0.95, 1.0)] == [1.0, 2.0, 4.0, 4.0]


def test_a_share_that_was_never_reached_is_none() -> None:
    one = curve("a", 4, [1.0, 2.0], capped=9.0)
    assert one.reached(0.5) == 2.0
    assert one.reached(1.0) is None
    assert one.end == 9.0
    assert told(one) == "50% 2.0 s, 95% never, all never, 2 of 4 after 9 s"


def test_who_was_back_before_anybody_was_told_counts_from_the_beginning() -> None:
    assert curve("a", 2, [-0.5, 1.0]).back == (0.0, 1.0)


def test_the_ideal_takes_agents_times_cost_over_proxies() -> None:
    one = ideal_curve(5000, 0.01, 2)
    assert one.reached(1.0) == 25.0
    assert one.count(0.009) == 0
    assert one.count(0.0101) == 2


def test_only_everybody_fills_the_block() -> None:
    nearly = curve("a", 1000, [1.0] * 999, capped=2.0)
    assert sparkline(nearly, 2.0, 2) == BLOCKS[-2] * 2
    everybody = curve("a", 1000, [1.0] * 1000)
    assert sparkline(everybody, 2.0, 4) == BLOCKS[0] + BLOCKS[-1] * 3


def test_all_curves_share_one_axis() -> None:
    drawn = lines([curve("fast", 2, [1.0, 1.0]), curve("slow one", 2, [1.0, 10.0])], width=10)
    assert drawn[0].startswith("fast     |█")
    assert drawn[1].startswith("slow one |▄▄▄▄▄▄▄▄▄█|")
    assert drawn[2].rstrip().endswith("10 s")


def test_a_rate_leaves_beginning_and_end_out() -> None:
    steady = [number * 0.01 for number in range(100)]
    late = [*steady[:-3], 50.0, 60.0, 70.0]
    assert abs(rate_of(steady) - 100.0) < 1.0
    assert abs(rate_of(late) - 100.0) < 1.0


def test_no_rate_without_two_times() -> None:
    assert rate_of([]) == rate_of([1.0]) == rate_of([2.0, 2.0]) == 0.0
