"""The model of a storm gives the figures that its description was published with."""

from random import Random

import pytest

from stayline.lab.storm_model import GUIDED, ORIGINAL, ORIGINAL_UNNOTICED, Modelled, Policy, simulate


def play(policy: Policy, agents: int, cost: float, cap: float = 600.0) -> Modelled:
    return simulate(policy, agents=agents, cost=cost, proxies=2, random=Random(7).random, cap=cap)


def times(model: Modelled, agents: int) -> list[float]:
    return [model.back[int(share * agents) - 1] for share in (0.5, 0.95, 1.0)]


@pytest.mark.parametrize(
    ("policy", "agents", "cost", "expected"),
    [
        (ORIGINAL, 1000, 0.01, [2.6, 4.9, 5.2]),
        (ORIGINAL, 5000, 0.01, [26.0, 50.0, 51.0]),
        (GUIDED, 5000, 0.01, [13.0, 24.0, 25.5]),
        (GUIDED, 5000, 0.002, [2.5, 4.8, 5.1]),
    ],
    ids=["original-1000", "original-5000", "guided-5000", "guided-cheap"],
)
def test_times_of_the_published_table(
    policy: Policy, agents: int, cost: float, expected: list[float]
) -> None:
    model = play(policy, agents, cost)
    assert not model.capped
    assert times(model, agents) == pytest.approx(expected, rel=0.06)


def test_guided_clients_never_give_up() -> None:
    assert play(GUIDED, 5000, 0.01).given_up == 0
    assert play(ORIGINAL, 5000, 0.01).given_up > 1000


def test_proxies_that_serve_who_has_left_never_recover() -> None:
    model = play(ORIGINAL_UNNOTICED, 5000, 0.01, cap=300.0)
    assert model.capped
    assert len(model.back) < 0.4 * 5000


def test_the_same_chance_gives_the_same_storm() -> None:
    assert play(ORIGINAL, 1000, 0.01) == play(ORIGINAL, 1000, 0.01)
