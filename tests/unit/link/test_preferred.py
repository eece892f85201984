"""Primary and backup, preferred and peer site: which group of servers is current."""

from dataclasses import replace

import pytest

from stayline.link.machine.plan import PairPlan
from stayline.link.machine.pool import Node, Order
from stayline.link.machine.preferred import (
    Group,
    PairAction,
    PairDown,
    PairDue,
    PairEvent,
    PairPlanned,
    PairUp,
    PairWait,
    PreferredView,
    Use,
    step,
)
from stayline.link.machine.standby_events import Stop
from tests.unit.link.plans import high, low


def node(name: str, site: str) -> Node:
    return Node(application=name, cluster="", site=site, host="h", port=1)


SERVERS = (
    node("Stat_B", "Site_B"),
    node("Stat_A_1", "Site_A"),
    node("Stat_A_2", "Site_A"),
    node("Stat_C", "Site_C"),
)


def pair(**changes: object) -> PairPlan:
    plan = PairPlan(nodes=SERVERS, enabled=True, preferred="Site_A", peer="Site_B", timeout=60.0)
    return replace(plan, **changes)  # type: ignore[arg-type]


class Machine:
    def __init__(self, plan: PairPlan | None, random: object = low) -> None:
        self.view = PreferredView()
        self.random = random
        self.now = 100.0
        self.actions: list[PairAction] = []
        self.feed(PairPlanned(plan))

    def feed(self, event: PairEvent) -> None:
        self.view, self.actions = step(self.view, event, self.now, self.random)  # type: ignore[arg-type]

    def used(self) -> list[str]:
        (use,) = (action for action in self.actions if isinstance(action, Use))
        pool = use.assignment.pool
        assert pool is not None
        assert pool.order is Order.LISTED
        assert {n.cluster for n in pool.nodes} == {pool.cluster}
        return [n.application for n in pool.nodes]

    def waits(self) -> list[PairWait]:
        return [action for action in self.actions if isinstance(action, PairWait)]

    def ring(self) -> None:
        assert self.view.until > 0
        self.now = self.view.until
        self.feed(PairDue(self.view.timer))


def test_without_the_model_all_are_one_pair_in_the_order_of_the_list() -> None:
    machine = Machine(pair(enabled=False))
    assert machine.used() == ["Stat_B", "Stat_A_1", "Stat_A_2", "Stat_C"]
    assert machine.view.group is Group.ALL
    assert machine.waits() == []


def test_with_it_those_of_the_preferred_site_are_used_first() -> None:
    machine = Machine(pair())
    assert machine.used() == ["Stat_A_1", "Stat_A_2"]
    assert machine.view.group is Group.PREFERRED


@pytest.mark.parametrize(("random", "jitter"), [(low, 0.0), (high, 2.0)])
def test_lost_from_the_start_the_peer_site_follows_after_the_timeout(random: object, jitter: float) -> None:
    machine = Machine(pair(), random)
    assert machine.view.until == pytest.approx(machine.now + 60.0 + jitter), "all lost it together"
    machine.ring()
    assert machine.used() == ["Stat_B"]
    assert machine.view.why == "Site_A has been lost for 60 s"


def test_the_time_counts_from_the_loss_and_ends_when_a_link_stands_again() -> None:
    machine = Machine(pair())
    machine.feed(PairUp())
    assert machine.view.until == 0.0
    machine.now += 500
    machine.feed(PairDown())
    assert machine.view.until == machine.now + 60.0
    machine.now += 59
    machine.feed(PairUp())
    stale = machine.view.number
    machine.feed(PairDue(stale))
    assert (machine.view.group, machine.view.ignored) == (Group.PREFERRED, 1)


def test_accepting_and_dropping_does_not_hold_the_group() -> None:
    machine = Machine(pair())
    until = machine.view.until
    for _ in range(5):
        machine.now += 10
        machine.feed(PairUp())
        machine.now += 0.5
        machine.feed(PairDown())
        assert machine.view.until == until
    machine.ring()
    assert machine.view.group is Group.PEER


def test_the_peer_site_stays_until_it_is_lost_as_long() -> None:
    machine = Machine(pair())
    machine.ring()
    machine.feed(PairUp())
    machine.now += 10_000
    machine.feed(PairDown())
    machine.ring()
    assert machine.used() == ["Stat_A_1", "Stat_A_2"]


def test_without_a_peer_the_preferred_site_is_never_given_up() -> None:
    machine = Machine(pair(peer=""))
    assert machine.view.until == 0.0
    assert machine.waits() == []


def test_without_servers_at_the_preferred_site_the_peer_site_is_used() -> None:
    machine = Machine(pair(preferred="Site_X"))
    assert machine.used() == ["Stat_B"]


def test_servers_of_neither_site_are_an_error() -> None:
    machine = Machine(pair(preferred="Site_X", peer="Site_Y"))
    refusal = machine.view.refusal
    assert refusal is not None
    assert refusal.code == "pair.site_unknown"
    assert "Stat_C (Site_C)" in refusal.reason
    assert refusal.fix
    (use,) = machine.actions
    assert isinstance(use, Use)
    assert use.assignment.pool is None
    machine.feed(PairPlanned(pair()))
    assert machine.used() == ["Stat_A_1", "Stat_A_2"]


def test_servers_that_are_needed_are_used_as_one_pair_when_they_carry_neither_site() -> None:
    machine = Machine(replace(pair(preferred="Site_X", peer="Site_Y"), needed=True))
    refusal = machine.view.refusal
    assert refusal is not None
    assert refusal.code == "pair.site_unknown"
    assert machine.used() == [node.application for node in pair().nodes]
    machine.feed(PairPlanned(replace(pair(), needed=True)))
    assert machine.view.refusal is None
    assert machine.used() == [node.application for node in pair().nodes if node.site == "Site_A"]


def test_the_same_again_changes_nothing() -> None:
    machine = Machine(pair())
    before = machine.view
    machine.now += 10
    machine.feed(PairPlanned(pair()))
    assert (machine.view, machine.actions) == (before, [])


def test_another_server_in_the_group_is_told_without_changing_the_group() -> None:
    machine = Machine(pair())
    machine.ring()
    machine.feed(PairPlanned(pair(nodes=(*SERVERS, node("Stat_B_2", "Site_B")))))
    assert machine.used() == ["Stat_B", "Stat_B_2"]
    assert machine.view.group is Group.PEER


def test_no_connection_is_nothing_to_do_and_a_lost_one_is_said() -> None:
    machine = Machine(None)
    assert (machine.actions, machine.view.group) == ([], Group.NONE)
    machine = Machine(pair())
    machine.feed(PairPlanned(None))
    (use,) = machine.actions
    assert isinstance(use, Use)
    assert use.assignment.refusal


def test_stopping_leaves_no_timer() -> None:
    machine = Machine(pair())
    machine.feed(Stop())
    assert (machine.view.group, machine.view.timer, machine.view.until) == (Group.NONE, 0, 0.0)
