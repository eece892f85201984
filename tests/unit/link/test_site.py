"""Which site, which cluster: the option, the search, statements, questions; with chance pinned to 0 and nearly 1."""

from dataclasses import replace

import pytest

from stayline.link.machine.plan import Plan
from stayline.link.machine.site import Phase, SiteEvent, SiteView, choose, step
from stayline.link.machine.site_events import (
    Ask,
    Asked,
    ConfigurationAway,
    EpochHeard,
    Planned,
    Probe,
    Probed,
    RoundFailed,
    SiteAction,
    SiteDue,
    SiteWait,
    Standing,
    StatementHeard,
)
from stayline.link.machine.standby_events import Stop, Woke
from tests.unit.link.plans import cluster, high, low, plan


class Machine:
    def __init__(self, random: object = low, now: float = 100.0) -> None:
        self.view = SiteView()
        self.random = random
        self.now = now
        self.actions: list[SiteAction] = []

    def feed(self, event: SiteEvent) -> list[SiteAction]:
        self.view, self.actions = step(self.view, event, self.now, self.random)  # type: ignore[arg-type]
        assert choose(self.view) == choose(self.view)
        return self.actions

    def probes(self) -> dict[str, Probe]:
        return {action.cluster: action for action in self.actions if isinstance(action, Probe)}

    def answer(self, **available: bool) -> None:
        number = self.view.probe
        for name, answer in available.items():
            self.feed(Probed(number, name, answer))

    def asked(self) -> Ask:
        (ask,) = (action for action in self.actions if isinstance(action, Ask))
        return ask


def chosen(wanted: str = "Site_A", *, random: object = low, current: bool = True) -> Machine:
    machine = Machine(random)
    machine.feed(Planned(plan(wanted), current))
    assert machine.view.phase is Phase.CHOSEN
    return machine


# -- a site is set


@pytest.mark.parametrize("random", [low, high])
def test_a_set_site_takes_its_first_cluster_at_once(random: object) -> None:
    machine = chosen("Site_B", random=random)
    view = machine.view
    assert (view.cluster, view.site, view.why) == ("Cluster_B", "Site_B", "option of Application Workspace")
    assert view.move_at == machine.now
    assert machine.actions == []


def test_of_two_clusters_of_a_site_the_first_of_the_list_is_taken() -> None:
    machine = Machine()
    machine.feed(Planned(plan("S", cluster("B", site="S"), cluster("A", site="S")), True))
    assert machine.view.cluster == "Cluster_B"


def test_a_site_that_no_cluster_carries_is_an_error_that_says_the_fix() -> None:
    machine = Machine()
    machine.feed(Planned(plan("Site_a"), True))
    refusal = machine.view.refusal
    assert machine.view.phase is Phase.BLOCKED
    assert refusal is not None
    assert refusal.code == "cluster.site_unknown"
    assert "Cluster_A (Site_A), Cluster_B (Site_B)" in refusal.reason
    assert refusal.fix == "Set the option to 'Site_A' or tag a cluster."
    assert refusal.field == "interaction-workspace/disaster-recovery.eservices-site"


def test_no_cluster_at_all_is_an_error() -> None:
    machine = Machine()
    machine.feed(Planned(Plan(refusal="Application 'Workspace' is connected to no cluster."), True))
    refusal = machine.view.refusal
    assert refusal is not None
    assert refusal.code == "cluster.none"
    assert refusal.reason == "Application 'Workspace' is connected to no cluster."
    assert refusal.fix


def test_the_same_error_again_keeps_its_time() -> None:
    machine = Machine()
    machine.feed(Planned(plan("Site_X"), True))
    since = machine.view.since
    machine.now += 50
    machine.feed(Planned(plan("Site_X"), True))
    assert machine.view.since == since


# -- a move


@pytest.mark.parametrize(("random", "wait"), [(low, 0.0), (high, 5.0)])
def test_a_move_is_spread_once_for_all_links(random: object, wait: float) -> None:
    machine = chosen(random=random)
    machine.now += 10
    machine.feed(Planned(plan("Site_B"), True))
    assert machine.view.cluster == "Cluster_B"
    assert machine.view.move_at == pytest.approx(machine.now + wait)
    assert machine.view.since == machine.now


@pytest.mark.parametrize(
    ("window", "option", "is_set", "spread"),
    [
        (0.0, 5.0, False, 5.0),
        (0.0, 9.0, True, 9.0),
        (3.0, 5.0, False, 3.0),
        (3.0, 9.0, True, 9.0),
        (30.0, 9.0, True, 30.0),
    ],
)
def test_the_window_sent_is_used_and_an_option_that_was_set_is_its_minimum(
    window: float, option: float, is_set: bool, spread: float
) -> None:
    machine = chosen(random=high)
    moved = replace(plan("Site_B", move=option, window=window), move_range_set=is_set)
    machine.feed(Planned(moved, True))
    assert machine.view.move_at == pytest.approx(machine.now + spread)


def test_reading_the_same_again_changes_nothing() -> None:
    machine = chosen()
    before = machine.view
    machine.now += 10
    assert machine.feed(Planned(plan("Site_A"), True)) == []
    assert machine.view == before


def test_a_corrected_option_is_followed_spread_over_time() -> None:
    machine = Machine(high)
    machine.feed(Planned(plan("Site_X"), True))
    machine.feed(Planned(plan("Site_A"), True))
    assert machine.view.move_at == pytest.approx(machine.now + 5.0)


def test_taking_the_option_away_leaves_everybody_where_he_is() -> None:
    machine = chosen("Site_B")
    assert machine.feed(Planned(plan(""), True)) == []
    assert machine.view.cluster == "Cluster_B"


def test_a_cluster_that_is_gone_is_searched_for_anew() -> None:
    machine = chosen("Site_B")
    machine.feed(Planned(plan("", cluster("A")), True))
    assert (machine.view.phase, set(machine.probes())) == (Phase.PROBING, {"Cluster_A"})


# -- the first available cluster


def searching(random: object = low) -> Machine:
    machine = Machine(random)
    machine.feed(Planned(plan(""), True))
    return machine


def test_all_clusters_are_probed_at_the_same_time_each_in_random_order() -> None:
    machine = searching()
    probes = machine.probes()
    assert set(probes) == {"Cluster_A", "Cluster_B"}
    names = [node.application for node in probes["Cluster_A"].nodes]
    assert sorted(names) == ["IxnProxy_A_1", "IxnProxy_A_2", "IxnProxy_A_3"]
    assert [n.application for n in searching(high).probes()["Cluster_A"].nodes] != names
    assert probes["Cluster_A"].timeout == 5.0
    assert machine.view.phase is Phase.PROBING


def test_the_first_of_the_list_is_taken_as_soon_as_it_says_yes() -> None:
    machine = searching()
    machine.answer(Cluster_A=True)
    assert (machine.view.cluster, machine.view.why) == ("Cluster_A", "first available cluster")
    assert machine.view.move_at == machine.now


def test_a_later_one_waits_for_the_no_of_those_before_it() -> None:
    machine = searching(high)
    machine.answer(Cluster_B=True)
    assert machine.view.phase is Phase.PROBING
    machine.answer(Cluster_A=False)
    assert machine.view.cluster == "Cluster_B"
    assert machine.view.move_at == machine.now, "nothing to spread at the start"


def test_a_cluster_without_servers_is_not_available() -> None:
    machine = Machine()
    machine.feed(Planned(plan("", cluster("A", interaction=0), cluster("B")), True))
    assert set(machine.probes()) == {"Cluster_B"}
    machine.answer(Cluster_B=True)
    assert machine.view.cluster == "Cluster_B"


@pytest.mark.parametrize(("random", "wait"), [(low, 5.0), (high, 10.0)])
def test_nothing_available_is_said_and_searched_again_after_the_retry_delay(
    random: object, wait: float
) -> None:
    machine = searching(random)
    machine.answer(Cluster_A=False, Cluster_B=False)
    view = machine.view
    assert view.phase is Phase.BLOCKED
    assert view.refusal is not None
    assert view.refusal.code == "cluster.none_available"
    assert view.refusal.fix
    assert view.until == pytest.approx(machine.now + wait)
    assert machine.actions == [SiteWait(view.timer, view.until)]
    machine.now = view.until
    machine.feed(SiteDue(view.timer))
    assert set(machine.probes()) == {"Cluster_A", "Cluster_B"}
    machine.answer(Cluster_A=True)
    assert machine.view.cluster == "Cluster_A"


def test_after_a_sleep_it_is_searched_at_once() -> None:
    machine = searching()
    machine.answer(Cluster_A=False, Cluster_B=False)
    machine.feed(Woke())
    assert machine.probes()


def test_late_answers_and_timers_change_nothing_but_the_counter() -> None:
    machine = searching()
    old = machine.view.probe
    machine.answer(Cluster_A=False, Cluster_B=False)
    timer = machine.view.timer
    machine.feed(SiteDue(timer))
    before = machine.view
    machine.feed(Probed(old, "Cluster_A", True))
    machine.feed(SiteDue(timer))
    machine.feed(Asked(old, "Cluster_A", ("Site_B", 99)))
    assert machine.view == replace(before, ignored=before.ignored + 3)


def test_a_failed_round_searches_again_and_keeps_the_cluster_meanwhile() -> None:
    machine = searching(high)
    machine.answer(Cluster_A=True)
    machine.now += 30
    machine.feed(RoundFailed())
    assert set(machine.probes()) == {"Cluster_A", "Cluster_B"}
    assert (machine.view.phase, machine.view.cluster) == (Phase.CHOSEN, "Cluster_A")
    machine.answer(Cluster_A=False, Cluster_B=True)
    assert machine.view.cluster == "Cluster_B"
    assert machine.view.move_at == pytest.approx(machine.now + 5.0), (
        "who loses a cluster loses it with others"
    )


def test_a_cluster_that_accepts_and_does_not_serve_comes_last_in_the_next_search() -> None:
    """The ports of a frozen host accept: else its agents would never leave it."""
    machine = searching()
    machine.answer(Cluster_A=True)
    machine.feed(RoundFailed())
    number = machine.view.probe
    machine.feed(Probed(number, "Cluster_A", True))
    assert machine.view.cluster == "Cluster_A", "the others have not answered yet"
    machine.feed(Probed(number, "Cluster_B", True))
    assert machine.view.cluster == "Cluster_B"
    machine.feed(RoundFailed())
    machine.answer(Cluster_A=True, Cluster_B=True)
    assert machine.view.cluster == "Cluster_A"


def test_a_cluster_whose_servers_name_a_time_is_overloaded_and_not_left() -> None:
    machine = searching()
    machine.answer(Cluster_A=True)
    machine.feed(RoundFailed(busy=True))
    machine.answer(Cluster_A=True, Cluster_B=True)
    assert machine.view.cluster == "Cluster_A"


def test_the_only_cluster_that_accepts_is_kept_although_it_failed() -> None:
    machine = searching()
    machine.answer(Cluster_A=True)
    machine.feed(RoundFailed())
    machine.answer(Cluster_A=True, Cluster_B=False)
    assert machine.view.cluster == "Cluster_A"
    machine.feed(Standing())
    assert machine.view.doubted == ""


def test_a_search_in_vain_keeps_the_cluster_and_says_so() -> None:
    machine = searching()
    machine.answer(Cluster_A=True)
    machine.feed(RoundFailed())
    machine.answer(Cluster_A=False, Cluster_B=False)
    assert machine.view.cluster == "Cluster_A"
    assert machine.view.refusal is not None
    assert machine.view.refusal.code == "cluster.none_available"
    machine.feed(Standing())
    assert machine.view.refusal is None


def test_a_recovered_earlier_cluster_pulls_nobody_back() -> None:
    machine = searching()
    machine.answer(Cluster_A=False, Cluster_B=True)
    machine.feed(Standing())
    machine.feed(Planned(plan(""), True))
    assert machine.actions == []
    assert machine.view.cluster == "Cluster_B"


def test_a_search_under_way_ends_when_the_link_stands_or_a_site_is_set() -> None:
    for event in (Standing(), Planned(plan("Site_A"), True)):
        machine = searching()
        machine.answer(Cluster_A=True)
        machine.feed(RoundFailed())
        number = machine.view.probe
        machine.feed(event)
        machine.feed(Probed(number, "Cluster_A", False))
        assert machine.view.ignored == 1
        assert machine.view.cluster == "Cluster_A"


def test_a_set_site_never_falls_back() -> None:
    machine = chosen("Site_A")
    assert machine.feed(RoundFailed()) == []
    assert machine.view.cluster == "Cluster_A"


# -- signed statements


def test_while_the_configuration_is_current_a_statement_moves_nobody() -> None:
    machine = chosen("Site_A")
    machine.feed(StatementHeard("Site_B", 8))
    assert machine.view.cluster == "Cluster_A"
    machine.feed(ConfigurationAway("it is down"))
    assert machine.view.cluster == "Cluster_B", "it is newer than what was read"
    assert machine.view.why == "signed statement of epoch 8"


def test_without_a_current_configuration_a_higher_epoch_names_the_site() -> None:
    machine = chosen("Site_A", random=high)
    machine.feed(StatementHeard("Site_A", 7))
    machine.feed(ConfigurationAway("it is down"))
    assert machine.view.why == "option of Application Workspace"
    machine.feed(StatementHeard("Site_B", 8))
    assert (machine.view.cluster, machine.view.epoch) == ("Cluster_B", 8)
    assert machine.view.move_at == pytest.approx(machine.now + 5.0)


def test_an_equal_epoch_is_not_higher_than_the_configuration_read_under_it() -> None:
    machine = chosen("Site_A")
    machine.feed(EpochHeard(8))
    machine.feed(Planned(plan("Site_A"), True))
    machine.feed(ConfigurationAway("it is down"))
    machine.feed(StatementHeard("Site_B", 8))
    assert machine.view.cluster == "Cluster_A"


@pytest.mark.parametrize("epoch", [1, 6, 7])
def test_a_lower_statement_is_ignored_and_counted(epoch: int) -> None:
    machine = chosen("Site_A", current=False)
    machine.feed(StatementHeard("Site_B", 8))
    before = machine.view
    machine.feed(StatementHeard("Site_A", epoch))
    assert machine.view == replace(before, lower=1)


def test_a_statement_below_the_epoch_of_a_server_is_ignored_too() -> None:
    machine = chosen("Site_A", current=False)
    machine.feed(EpochHeard(9))
    machine.feed(StatementHeard("Site_B", 8))
    assert (machine.view.cluster, machine.view.lower) == ("Cluster_A", 1)


def test_the_same_statement_again_is_no_event_and_a_contradiction_is_counted() -> None:
    machine = chosen("Site_A", current=False)
    machine.feed(StatementHeard("Site_B", 8))
    before = machine.view
    machine.now += 5
    assert machine.feed(StatementHeard("Site_B", 8)) == []
    assert machine.view == before
    machine.feed(StatementHeard("Site_A", 8))
    assert machine.view == replace(before, foreign=1)


def test_a_copy_on_disk_as_new_as_the_statement_keeps_its_site() -> None:
    machine = Machine()
    machine.feed(Planned(plan("Site_B"), False, epoch=8))
    machine.feed(StatementHeard("Site_A", 8))
    assert machine.view.cluster == "Cluster_B"
    machine.feed(StatementHeard("Site_A", 9))
    assert machine.view.cluster == "Cluster_A"


def test_a_stated_site_that_no_cluster_carries_is_an_error() -> None:
    machine = chosen("Site_A", current=False)
    machine.feed(StatementHeard("Site_C", 8))
    refusal = machine.view.refusal
    assert refusal is not None
    assert refusal.code == "cluster.site_unknown"
    assert "signed statement of epoch 8" in refusal.reason
    assert refusal.fix == "Tag a cluster with site 'Site_C'."


def test_a_current_configuration_that_comes_back_outranks_the_statement() -> None:
    machine = chosen("Site_A", current=False)
    machine.feed(StatementHeard("Site_B", 8))
    machine.feed(Planned(plan("Site_A"), True))
    assert (machine.view.cluster, machine.view.why) == ("Cluster_A", "option of Application Workspace")


# -- asking other clusters


def lonely() -> Machine:
    machine = Machine()
    both = plan("Site_A", cluster("A"), cluster("B"), cluster("C"))
    machine.feed(Planned(both, False))
    machine.feed(RoundFailed())
    return machine


def test_the_other_clusters_are_asked_one_after_the_other() -> None:
    machine = lonely()
    first = machine.asked()
    assert first.cluster == "Cluster_B"
    assert sorted(n.application for n in first.nodes) == ["IxnProxy_B_1", "IxnProxy_B_2", "IxnProxy_B_3"]
    machine.feed(Asked(first.number, "Cluster_B", None))
    second = machine.asked()
    assert second.cluster == "Cluster_C"
    machine.feed(Asked(second.number, "Cluster_C", None))
    assert machine.actions == []
    assert machine.view.cluster == "Cluster_A", "asking is no change of site"
    machine.feed(RoundFailed())
    assert machine.asked().cluster == "Cluster_B"


def test_a_statement_found_by_asking_moves_and_ends_the_asking() -> None:
    machine = lonely()
    machine.feed(Asked(machine.asked().number, "Cluster_B", ("Site_B", 8)))
    assert machine.view.cluster == "Cluster_B"
    assert machine.actions == []
    assert machine.view.ask == 0


def test_a_statement_for_the_own_site_lets_the_asking_go_on() -> None:
    machine = lonely()
    machine.feed(Asked(machine.asked().number, "Cluster_B", ("Site_A", 8)))
    assert machine.view.cluster == "Cluster_A"
    assert machine.asked().cluster == "Cluster_C"


def test_nobody_is_asked_twice_at_the_same_time() -> None:
    machine = lonely()
    assert machine.feed(RoundFailed()) == []


def test_a_current_configuration_ends_the_asking() -> None:
    machine = lonely()
    number = machine.asked().number
    machine.feed(Planned(plan("Site_A"), True))
    machine.feed(Asked(number, "Cluster_B", ("Site_B", 8)))
    assert (machine.view.cluster, machine.view.ignored) == ("Cluster_A", 1)


# -- stopping


def test_stopping_forgets_the_choice_but_no_epoch() -> None:
    machine = chosen("Site_A", current=False)
    machine.feed(StatementHeard("Site_B", 8))
    machine.feed(Stop())
    assert (machine.view.phase, machine.view.cluster, machine.view.epoch) == (Phase.STOPPED, "", 8)
    machine.feed(Planned(plan("Site_A"), False))
    assert machine.view.cluster == "Cluster_B"
