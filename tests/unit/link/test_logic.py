"""The connection machines together: one decision for all links, one epoch, two set-ups, one gate."""

from dataclasses import replace

import pytest

from stayline.link.machine.logic import (
    SETUP_SECONDS,
    Action,
    Ask,
    Asked,
    Bad,
    EpochHeard,
    Event,
    Idle,
    LinkDo,
    LogicView,
    OnLink,
    Planned,
    Probe,
    Probed,
    StatementBad,
    StatementHeard,
    Stop,
    Timer,
    TimerAt,
    TimerDue,
    Woke,
    step,
)
from stayline.link.machine.plan import Link, PairPlan, Plan
from stayline.link.machine.pool import Node
from stayline.link.machine.standby import Connect, Disconnect, Due, Failed, Lost, Opened, Proven, State, Wait
from tests.unit.link.plans import cluster, high, low, plan

POOLED = (Link.INTERACTION, Link.CONTACT, Link.CHAT)


class Machine:
    def __init__(self, random: object = low) -> None:
        self.view = LogicView()
        self.random = random
        self.now = 100.0
        self.actions: list[Action] = []
        self.trying: dict[Link, str] = {}

    def feed(self, event: Event) -> list[Action]:
        self.view, self.actions = step(self.view, event, self.now, self.random)  # type: ignore[arg-type]
        for action in self.actions:
            if isinstance(action, LinkDo) and isinstance(action.action, Connect):
                self.trying[action.link] = action.action.node.application
            elif isinstance(action, LinkDo) and isinstance(action.action, Disconnect):
                self.trying.pop(action.link, None)
        return self.actions

    def on(self, link: Link, kind: type[Opened] | type[Failed], *details: object) -> None:
        self.trying.pop(link, None)
        self.feed(OnLink(link, kind(self.view.links[link].generation, *details)))  # type: ignore[arg-type]

    def open_all(self, epoch: int = 7) -> None:
        while self.trying:
            link = next(iter(self.trying))
            self.on(link, Opened, epoch)
            self.feed(OnLink(link, Proven(self.view.links[link].generation)))

    def lose(self, link: Link, retry_after: float | None = None) -> None:
        self.feed(OnLink(link, Lost(self.view.links[link].generation, "reset", retry_after)))

    def states(self) -> dict[Link, State]:
        return {link: self.view.links[link].state for link in POOLED}

    def of(self, kind: type[Probe] | type[Ask] | type[TimerAt]) -> list[Action]:
        return [action for action in self.actions if isinstance(action, kind)]


def working(wanted: str = "Site_A", *, random: object = low, current: bool = True) -> Machine:
    machine = Machine(random)
    machine.feed(Planned(plan(wanted), current))
    machine.open_all()
    machine.now += 60
    return machine


def test_all_links_go_to_the_chosen_cluster_two_at_a_time() -> None:
    machine = Machine()
    machine.feed(Planned(plan("Site_B"), True))
    assert set(machine.trying) == {Link.INTERACTION, Link.CONTACT}
    chat = machine.view.links[Link.CHAT]
    assert chat.state is State.CONNECTING
    assert chat.why == "Chat_B_1 is next; 2 other connections are set up first."
    assert chat.until == machine.now + SETUP_SECONDS
    machine.on(Link.CONTACT, Opened)
    assert machine.trying[Link.CHAT] == "Chat_B_1"
    assert machine.view.links[Link.CHAT].until == 0.0
    machine.open_all()
    assert set(machine.states().values()) == {State.UP}
    assert {view.node.site for view in machine.view.links.values() if view.node} == {"Site_B"}


def test_a_failed_attempt_lets_the_one_who_waits_go_first() -> None:
    machine = Machine()
    machine.feed(Planned(plan("Site_A"), True))
    machine.on(Link.INTERACTION, Failed, "closed")
    assert set(machine.trying) == {Link.CONTACT, Link.CHAT}
    assert [w.id for w in machine.view.setups.waiting] == ["interaction:2"]


def test_waiting_for_a_turn_has_a_deadline_that_names_what_was_waited_for() -> None:
    machine = Machine()
    machine.feed(Planned(plan("Site_A"), True))
    (timer,) = machine.of(TimerAt)
    assert isinstance(timer, TimerAt)
    assert (timer.timer, timer.at) == (Timer.SETUPS, machine.now + SETUP_SECONDS)
    machine.now = timer.at
    machine.feed(TimerDue(Timer.SETUPS, timer.number))
    chat = machine.view.links[Link.CHAT]
    assert chat.state is State.WAITING
    assert "interaction:1, contact:1" in chat.why
    assert len(machine.view.setups.running) == 2


def test_a_site_move_takes_all_links_at_one_time_and_aborts_set_ups() -> None:
    machine = working(random=high)
    machine.lose(Link.CONTACT, 0.0)
    assert Link.CONTACT in machine.trying
    machine.feed(Planned(plan("Site_B"), True))
    dropped = [a.link for a in machine.actions if isinstance(a, LinkDo) and isinstance(a.action, Disconnect)]
    assert sorted(dropped) == sorted(POOLED)
    waits = {a.action.at for a in machine.actions if isinstance(a, LinkDo) and isinstance(a.action, Wait)}
    assert waits == {machine.view.site.move_at}
    assert machine.view.site.move_at == pytest.approx(machine.now + 5.0)
    assert machine.view.setups.running == ()
    assert machine.view.links[Link.INTERACTION].why == (
        "The configuration moved this agent from Site_A to Site_B."
    )
    machine.now = machine.view.site.move_at
    for link in POOLED:
        machine.feed(OnLink(link, Due(machine.view.links[link].generation)))
    machine.open_all(8)
    assert {view.node.site for view in machine.view.links.values() if view.node} == {"Site_B"}


def test_an_unknown_site_drops_all_links_and_says_the_fix_on_each() -> None:
    machine = working()
    machine.feed(Planned(plan("Site_a"), True))
    assert set(machine.states().values()) == {State.BLOCKED}
    why = machine.view.links[Link.CONTACT].why
    assert why.startswith("No cluster carries site 'Site_a'")
    assert why.endswith("Set the option to 'Site_A' or tag a cluster.")


def test_contact_and_chat_follow_the_cluster_that_was_found_for_interactions() -> None:
    machine = Machine()
    machine.feed(Planned(plan(""), True))
    assert machine.trying == {}
    assert "being looked for" in machine.view.links[Link.CHAT].why
    for probe in list(machine.of(Probe)):
        assert isinstance(probe, Probe)
        machine.feed(Probed(probe.number, probe.cluster, probe.cluster == "Cluster_B"))
    machine.open_all()
    assert {view.node.cluster for view in machine.view.links.values() if view.node} == {"Cluster_B"}


def test_losing_one_pool_leaves_the_other_alone() -> None:
    machine = working()
    machine.lose(Link.CONTACT)
    assert machine.states()[Link.INTERACTION] is State.UP
    assert machine.trying == {Link.CONTACT: machine.trying[Link.CONTACT]}


def round_of(machine: Machine, link: Link) -> None:
    while machine.trying.get(link):
        machine.on(link, Failed, "closed")


def test_only_a_failed_round_of_the_interaction_pool_searches_again() -> None:
    machine = Machine()
    machine.feed(Planned(plan(""), True))
    for probe in list(machine.of(Probe)):
        assert isinstance(probe, Probe)
        machine.feed(Probed(probe.number, probe.cluster, True))
    machine.open_all()
    machine.now += 60
    machine.lose(Link.CONTACT)
    round_of(machine, Link.CONTACT)
    assert machine.of(Probe) == []
    machine.lose(Link.INTERACTION)
    round_of(machine, Link.INTERACTION)
    assert len(machine.of(Probe)) == 2


def test_asking_other_clusters_takes_a_place_among_the_set_ups() -> None:
    machine = working(current=False)
    machine.lose(Link.CONTACT)
    machine.lose(Link.CHAT)
    machine.lose(Link.INTERACTION)
    while (
        Link.INTERACTION in machine.trying or machine.view.links[Link.INTERACTION].state is State.CONNECTING
    ):
        if Link.INTERACTION not in machine.trying:
            machine.on(Link.CONTACT, Failed, "closed")
            continue
        machine.on(Link.INTERACTION, Failed, "closed")
    running = machine.view.setups
    assert len(running.running) <= 2
    assert machine.view.site.ask
    if not machine.of(Ask):
        assert machine.view.waiting_ask is not None
        link = next(iter(machine.trying))
        machine.on(link, Opened)
    (ask,) = machine.of(Ask)
    assert isinstance(ask, Ask)
    assert f"question:{ask.number}" in machine.view.setups.running
    machine.feed(Asked(ask.number, ask.cluster, ("Site_B", 8)))
    assert machine.view.site.cluster == "Cluster_B"
    assert not any(id.startswith("question") for id in machine.view.setups.running)


# -- one epoch


def test_a_server_of_a_lower_epoch_is_left_at_once() -> None:
    machine = Machine()
    machine.feed(EpochHeard(8))
    machine.feed(Planned(plan("Site_A"), True))
    tried = machine.trying[Link.INTERACTION]
    machine.on(Link.INTERACTION, Opened, 7)
    assert machine.view.links[Link.INTERACTION].state is State.CONNECTING
    assert machine.view.links[Link.INTERACTION].node_name != tried
    assert machine.view.counted["stale"] == 1


def test_a_server_of_a_higher_epoch_makes_the_other_links_stale() -> None:
    machine = working()
    machine.lose(Link.CONTACT)
    machine.on(Link.CONTACT, Opened, 8)
    assert machine.states()[Link.CONTACT] is State.UP
    assert machine.states()[Link.INTERACTION] is not State.UP
    assert "acts under epoch 7, but 8 is known" in machine.view.links[Link.INTERACTION].why
    assert machine.view.counted["stale"] == 2
    assert machine.view.epoch == 8


def test_a_promotion_in_place_told_on_each_link_drops_none() -> None:
    machine = working()
    for link in POOLED:
        machine.feed(EpochHeard(8, link))
    assert set(machine.states().values()) == {State.UP}
    assert set(machine.view.epochs.values()) == {8}


def test_a_signed_statement_moves_all_links_while_no_configuration_is_current() -> None:
    machine = working(current=False)
    machine.feed(StatementHeard("Site_B", 8))
    machine.open_all(8)
    assert machine.view.site.why == "signed statement of epoch 8"
    assert {view.node.site for view in machine.view.links.values() if view.node} == {"Site_B"}


# -- what is counted


def test_everything_that_was_not_believed_is_counted() -> None:
    machine = working(current=False)
    machine.feed(StatementBad(Bad.FORGED))
    machine.feed(StatementBad(Bad.EXPIRED))
    machine.feed(StatementHeard("Site_B", 5))
    machine.feed(OnLink(Link.CHAT, Due(0)))
    machine.feed(TimerDue(Timer.SETUPS, 99))
    machine.lose(Link.CONTACT)
    machine.on(Link.CONTACT, Failed, "another one", None, "hello.application")
    machine.on(Link.CONTACT, Failed, "old", None, "epoch.unknown")
    assert machine.view.counted == {
        "forged": 1,
        "expired": 1,
        "lower": 1,
        "foreign": 1,
        "stale": 1,
        "ignored": 2,
    }


# -- Stat Servers


def with_statistics() -> Plan:
    nodes = tuple(
        Node(application=f"Stat_{letter}", cluster="", site=f"Site_{letter}", host="h", port=1)
        for letter in "AB"
    )
    pair = PairPlan(nodes=nodes, enabled=True, preferred="Site_A", peer="Site_B", timeout=60.0)
    return replace(plan("Site_A", cluster("A")), statistics=pair)


def test_stat_servers_follow_their_own_rule_and_not_the_site() -> None:
    machine = Machine()
    machine.feed(Planned(with_statistics(), True))
    machine.open_all()
    assert machine.view.links[Link.STATISTICS].node_name == "Stat_A"
    machine.now += 100
    machine.lose(Link.STATISTICS)
    (timer,) = machine.of(TimerAt)
    assert isinstance(timer, TimerAt)
    assert (timer.timer, timer.at) == (Timer.STATISTICS, machine.now + 60.0)
    machine.on(Link.STATISTICS, Failed, "closed")
    machine.now = timer.at
    machine.feed(TimerDue(timer.timer, timer.number))
    assert machine.view.links[Link.STATISTICS].assignment.wanted == "Site_B"
    assert machine.view.site.cluster == "Cluster_A"


# -- all at once


def test_after_a_sleep_every_link_tries_at_once() -> None:
    machine = working(random=high)
    machine.lose(Link.CONTACT)
    machine.lose(Link.CHAT)
    assert machine.trying == {}
    machine.feed(Woke())
    assert set(machine.trying) == {Link.CONTACT, Link.CHAT}


def test_a_removed_server_is_left_when_nothing_is_owned() -> None:
    machine = working()
    connected = machine.view.links[Link.INTERACTION].node_name
    whole = cluster("A")
    pool = whole.pools[Link.INTERACTION]
    rest = tuple(node for node in pool.nodes if node.application != connected)
    smaller = replace(whole, pools={**whole.pools, Link.INTERACTION: replace(pool, nodes=rest)})
    machine.feed(Planned(plan("Site_A", smaller, cluster("B")), True))
    assert machine.states()[Link.INTERACTION] is State.UP
    assert machine.view.links[Link.INTERACTION].leaving_at == 0.0
    machine.feed(Idle())
    view = machine.view.links[Link.INTERACTION]
    assert view.leaving_at == machine.now
    machine.feed(OnLink(Link.INTERACTION, Due(view.generation)))
    assert machine.trying[Link.INTERACTION] in {node.application for node in rest}


def test_stopping_ends_every_link_and_forgets_no_epoch() -> None:
    machine = working()
    machine.feed(Stop())
    assert {view.state for view in machine.view.links.values()} == {State.STOPPED}
    assert machine.view.setups.running == ()
    assert machine.view.epoch == 7
    machine.feed(Planned(plan("Site_A"), True))
    machine.open_all()
    assert set(machine.states().values()) == {State.UP}
