"""The player in virtual time finds out machines that do not follow the rules, and says what it saw."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stayline.conformance import pure_run
from stayline.conformance.case import Case, find_cases, load_suite, parse_cases
from stayline.conformance.pure_run import chances, run_pure
from stayline.link.machine import plan, session, setups, standby
from stayline.link.machine.site_view import SiteView

SUITE = load_suite()
Break = Callable[[pytest.MonkeyPatch], None]


def case(name: str) -> Case:
    return find_cases(SUITE, [name])[0]


def listed_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("stayline.link.machine.pool.shuffled", lambda nodes, random: list(dict.fromkeys(nodes)))


def no_identity(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("stayline.conformance.virtual_attempt.check_listener", lambda *_: None)


def no_limit_of_setups(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(setups.Setups, "request", lambda self, id, now, deadline: (self, True))


def silent_fallback(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plan.Plan, "cluster_of", lambda self, site: self.clusters[0])


def long_spread(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plan.Plan, "spread", property(lambda self: 3.0))


def no_end_is_final(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(session, "FINAL", frozenset())


def statements_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SiteView, "by_statement", property(lambda self: False))


def times_are_ignored(patch: pytest.MonkeyPatch) -> None:
    blamed: Any = standby._blamed
    patch.setattr(standby, "_blamed", lambda view, why, retry_after, now: blamed(view, why, None, now))


def tickets_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    take: Any = session._take

    def without(*arguments: Any) -> Any:
        view, actions = take(*arguments)
        return replace(view, ticket=""), actions

    patch.setattr(session, "_take", without)


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (listed_order, "C-205"),
        (no_identity, "C-701"),
        (no_limit_of_setups, "C-209"),
        (silent_fallback, "C-116"),
        (long_spread, "C-506"),
        (no_end_is_final, "C-1110"),
        (statements_are_ignored, "C-1009"),
        (times_are_ignored, "C-1305"),
        (tickets_are_forgotten, "C-1102"),
    ],
)
def test_a_broken_machine_is_found_out(broken: Break, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_pure(case(name)) == []
    broken(monkeypatch)
    assert run_pure(case(name))


TEXT = """
chapter: Test
cases:
  - id: C-1
    title: What is expected does not happen
    rules: ["1.1"]
    from: ["seed"]
    given: {clusters: [{name: Cluster_A, site: Site_A}, {name: Cluster_B, site: Site_B}]}
    story:
      - do: {start: }
      - see: {connected: {interaction: Cluster_B}}
        within: 1
"""


def test_a_failure_says_case_chance_step_what_was_seen_and_the_story_so_far() -> None:
    (wrong,) = parse_cases(TEXT, "x.yaml")
    failures = run_pure(wrong)
    assert len(failures) == len(chances(wrong)) == 7
    text = str(failures[0])
    for words in ("C-1", "chance 0", "step 2", "connected interaction: Cluster_B", "IxnProxy_A_", "welcomed"):
        assert words in text


def test_about_a_distribution_only_seeds_say_anything() -> None:
    assert [name for name in chances(case("C-205")) if not name.startswith("seed")] == []
    assert {"chance 0", "chance almost 1"} < set(chances(case("C-301")))


def test_the_same_seed_plays_the_same_story() -> None:
    first, second = (
        pure_run.PurePlayer(one, "seed 1", chances(one)["seed 1"]) for one in (case("C-303"), case("C-303"))
    )
    assert first.play() is None
    assert second.play() is None
    assert first.timeline() == second.timeline()
