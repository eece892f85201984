"""The runtime connection logic, case by case, with random pinned to 0 and to nearly 1."""

from dataclasses import replace

import pytest

from stayline.link.machine.pool import Assignment, Node, Order, Pool, shuffled
from stayline.link.machine.standby import (
    LEAST_PAUSE,
    Action,
    Assigned,
    Connect,
    Disconnect,
    Due,
    Event,
    Failed,
    Granted,
    Held,
    Idle,
    Lame,
    Lost,
    Opened,
    Proven,
    StandbyView,
    State,
    Stop,
    Wait,
    Woke,
    step,
)

ALMOST_ONE = 1.0 - 2**-53


def low() -> float:
    return 0.0


def high() -> float:
    return ALMOST_ONE


def node(name: str, site: str = "Site_A") -> Node:
    return Node(application=name, cluster=f"Cluster {site}", site=site, host="h", port=1)


def pool(
    site: str = "Site_A", count: int = 3, *, retry: tuple[float, ...] = (10.0,), spread: float = 2.0
) -> Pool:
    letter = site[-1]
    nodes = tuple(node(f"IxnProxy_{letter}_{number}", site) for number in range(1, count + 1))
    return Pool(cluster=f"Cluster {site}", site=site, nodes=nodes, retry_delays=retry, reconnect_range=spread)


def assigned(
    pool: Pool | None = None, *, wanted: str = "Site_A", move: float = 5.0, refusal: str = ""
) -> Assigned:
    return Assigned(Assignment(wanted=wanted, pool=pool, move_range=move, refusal=refusal))


class Machine:
    """Drives the pure machine and keeps what it asked for."""

    def __init__(self, random: object = low, now: float = 100.0) -> None:
        self.view = StandbyView()
        self.random = random
        self.now = now
        self.actions: list[Action] = []

    def feed(self, event: Event) -> list[Action]:
        self.view, self.actions = step(self.view, event, self.now, self.random)  # type: ignore[arg-type]
        return self.actions

    def connect(self) -> Connect:
        """The one connect asked for by the last event."""
        found = [action for action in self.actions if isinstance(action, Connect)]
        assert len(found) == 1, self.actions
        return found[0]

    def wait(self) -> Wait:
        found = [action for action in self.actions if isinstance(action, Wait)]
        assert len(found) == 1, self.actions
        return found[0]

    def tried(self) -> str:
        return self.connect().node.application

    def open(self, *, seconds: float = 60.0, proven: bool = True) -> None:
        """The attempt succeeds and lives for some time."""
        self.feed(Opened(self.view.generation))
        if proven:
            self.feed(Proven(self.view.generation))
        self.now += seconds

    def fail(self, why: str = "refused", retry_after: float | None = None) -> None:
        self.feed(Failed(self.view.generation, why, retry_after))

    def lose(self, why: str = "reset", retry_after: float | None = None) -> None:
        self.feed(Lost(self.view.generation, why, retry_after))

    def due(self) -> None:
        at = self.view.next_attempt_at
        assert at >= self.now
        self.now = at
        self.feed(Due(self.view.generation))


def up(machine: Machine, pool: Pool, seconds: float = 60.0) -> str:
    machine.feed(assigned(pool))
    name = machine.tried()
    machine.open(seconds=seconds)
    return name


# -- initial selection: steps 1 to 5 of the specification


@pytest.mark.parametrize("random", [low, high])
def test_every_server_of_the_site_is_tried_once_in_a_random_order(random: object) -> None:
    machine = Machine(random)
    machine.feed(assigned(pool()))
    tried = [machine.tried()]
    machine.fail()
    tried.append(machine.tried())
    machine.fail()
    tried.append(machine.tried())
    assert sorted(tried) == ["IxnProxy_A_1", "IxnProxy_A_2", "IxnProxy_A_3"]
    machine.fail()
    assert machine.view.state is State.WAITING
    assert machine.wait().at == pytest.approx(machine.now + (5.0 if random is low else 10.0))


def test_the_first_connection_is_not_delayed() -> None:
    machine = Machine(high)
    machine.feed(assigned(pool(), move=60.0))
    assert machine.view.state is State.CONNECTING


def test_the_random_order_differs_with_the_random_numbers() -> None:
    nodes = list(pool(count=4).nodes)
    assert shuffled(nodes, low) != shuffled(nodes, high)
    assert sorted(n.application for n in shuffled(nodes, low)) == [n.application for n in nodes]


def test_the_same_server_listed_twice_is_tried_once_a_round() -> None:
    one = node("IxnProxy_A_1")
    machine = Machine()
    machine.feed(assigned(replace(pool(), nodes=(one, one))))
    machine.fail()
    assert machine.view.state is State.WAITING


# -- the whole pool failed: warm-standby.retry-delay


@pytest.mark.parametrize(("random", "share"), [(low, 0.5), (high, 1.0)])
def test_a_list_gives_one_longest_wait_a_round_and_its_lower_half_is_jitter(
    random: object, share: float
) -> None:
    machine = Machine(random)
    machine.feed(assigned(pool(count=1, retry=(1.0, 2.0, 5.0))))
    waits = []
    for _ in range(5):
        machine.fail()
        waits.append(machine.wait().at - machine.now)
        machine.due()
    assert waits == pytest.approx([share * value for value in (1.0, 2.0, 5.0, 5.0, 5.0)])


def test_a_proven_link_starts_the_list_of_delays_again() -> None:
    machine = Machine()
    machine.feed(assigned(pool(count=1, retry=(1.0, 9.0), spread=0.0)))
    machine.fail()
    machine.due()
    machine.open()
    machine.lose()
    machine.fail()
    assert machine.wait().at == machine.now + 0.5


def test_a_server_that_proves_itself_and_drops_does_not_start_the_list_again() -> None:
    machine = Machine()
    machine.feed(assigned(pool(count=1, retry=(1.0, 9.0))))
    machine.fail()
    machine.due()
    machine.open(seconds=0.5)
    machine.lose()
    assert machine.wait().at == machine.now + 4.5


def test_a_delay_of_0_does_not_hammer() -> None:
    machine = Machine()
    machine.feed(assigned(pool(count=1, retry=(0.0,))))
    machine.fail()
    assert machine.wait().at == machine.now + LEAST_PAUSE


def test_a_time_named_by_a_server_outranks_the_retry_delay() -> None:
    machine = Machine()
    machine.feed(assigned(pool(count=2, retry=(10.0,))))
    machine.fail("full", 3.0)
    machine.fail("full", 4.0)
    assert machine.wait().at == machine.now + 3.0
    first = machine.view.not_before
    machine.due()
    assert machine.tried() in first
    machine.fail("full", 20.0)
    assert machine.wait().at == machine.now + 1.0, "the other one, as it asked"


def test_a_server_that_asked_for_time_is_not_asked_earlier_than_the_others() -> None:
    machine = Machine()
    machine.feed(assigned(pool(count=2, retry=(2.0,))))
    busy = machine.tried()
    machine.fail("full", 60.0)
    machine.fail("closed")
    assert machine.wait().at == machine.now + 1.0
    machine.due()
    assert machine.tried() != busy
    machine.fail("closed")
    assert machine.view.state is State.WAITING, "the busy one is left out of this round"


# -- a lost link: the pool that was found first


def test_the_lost_node_is_tried_first_after_a_random_wait_then_the_others() -> None:
    machine = Machine(high)
    lost = up(machine, pool(spread=2.0))
    machine.lose()
    assert machine.wait().at == pytest.approx(machine.now + 2.0)
    machine.due()
    assert machine.tried() == lost
    machine.fail()
    others = {machine.tried()}
    machine.fail()
    others.add(machine.tried())
    assert others == {f"IxnProxy_A_{n}" for n in (1, 2, 3)} - {lost}


def test_with_range_0_the_others_are_tried_at_once_and_the_lost_one_last() -> None:
    machine = Machine(high)
    lost = up(machine, pool(spread=0.0))
    machine.lose()
    tried = [machine.tried()]
    machine.fail()
    tried.append(machine.tried())
    machine.fail()
    tried.append(machine.tried())
    assert tried[-1] == lost
    assert lost not in tried[:2]


def test_with_random_0_the_wait_is_none_at_all() -> None:
    machine = Machine(low)
    lost = up(machine, pool(spread=2.0))
    machine.lose()
    assert machine.tried() == lost, "the wait may be none, the order is the same"


def test_a_server_that_said_good_bye_is_not_tried_again_in_this_round() -> None:
    machine = Machine(high)
    left = up(machine, pool(spread=2.0))
    machine.lose("leaving", 30.0)
    tried = [machine.tried()]
    machine.fail()
    tried.append(machine.tried())
    machine.fail()
    assert left not in tried
    assert machine.wait().at == machine.now + 10.0


def test_accepting_and_dropping_counts_as_a_failed_attempt() -> None:
    machine = Machine()
    machine.feed(assigned(pool(count=1)))
    machine.open(seconds=0.0, proven=True)
    machine.lose()
    assert machine.view.state is State.WAITING
    assert machine.wait().at == machine.now + 5.0


def test_a_link_that_never_did_anything_counts_as_failed_until_it_is_old() -> None:
    machine = Machine(low)
    machine.feed(assigned(pool(count=1)))
    machine.open(seconds=5.0, proven=False)
    machine.lose()
    assert machine.view.state is State.WAITING
    machine.due()
    machine.open(seconds=31.0, proven=False)
    machine.lose()
    assert machine.tried() == "IxnProxy_A_1"


# -- a change of site


def test_a_site_change_disconnects_waits_at_random_and_takes_the_new_pool() -> None:
    machine = Machine(high)
    up(machine, pool())
    actions = machine.feed(assigned(pool("Site_B"), wanted="Site_B", move=5.0))
    assert isinstance(actions[0], Disconnect)
    assert "Site_A to Site_B" in actions[0].why
    assert machine.wait().at == pytest.approx(machine.now + 5.0)
    assert machine.view.since == machine.now
    machine.due()
    assert machine.tried().startswith("IxnProxy_B_")


def test_a_site_change_is_taken_at_once_out_of_a_retry_delay() -> None:
    machine = Machine(low)
    machine.feed(assigned(pool(count=1, retry=(3600.0,))))
    machine.fail()
    stale = machine.wait()
    machine.feed(assigned(pool("Site_B"), wanted="Site_B"))
    assert machine.tried().startswith("IxnProxy_B_")
    before = machine.view
    machine.feed(Due(stale.generation))
    assert machine.actions == []
    assert machine.view == replace(before, ignored=before.ignored + 1)


def test_a_site_change_while_connecting_drops_the_attempt_and_its_late_answer() -> None:
    machine = Machine(low)
    machine.feed(assigned(pool()))
    late = machine.connect().generation
    actions = machine.feed(assigned(pool("Site_B"), wanted="Site_B"))
    assert isinstance(actions[0], Disconnect)
    machine.feed(Opened(late))
    assert machine.view.state is State.CONNECTING
    assert machine.view.ignored == 1


def test_what_the_old_site_asked_for_does_not_bind_at_the_new_one() -> None:
    machine = Machine(low)
    machine.feed(assigned(pool(count=1)))
    machine.fail("full", 500.0)
    machine.feed(assigned(pool("Site_B"), wanted="Site_B"))
    assert machine.view.not_before == {}


def test_reading_the_same_configuration_again_changes_nothing() -> None:
    machine = Machine()
    up(machine, pool())
    before = machine.view
    assert machine.feed(assigned(pool())) == []
    assert machine.view == before


def test_a_second_change_during_the_wait_starts_a_new_wait() -> None:
    machine = Machine(high)
    up(machine, pool())
    machine.feed(assigned(pool("Site_B"), wanted="Site_B"))
    machine.now += 1.0
    machine.feed(assigned(pool("Site_A"), wanted="Site_A"))
    assert machine.wait().at == pytest.approx(machine.now + 5.0)
    machine.due()
    assert machine.tried().startswith("IxnProxy_A_")


# -- which cluster


def test_no_cluster_carries_the_site_is_an_error_and_never_a_fallback() -> None:
    machine = Machine()
    up(machine, pool())
    actions = machine.feed(assigned(wanted="Site_C", refusal="No cluster carries site 'Site_C'."))
    assert isinstance(actions[0], Disconnect)
    assert machine.view.state is State.BLOCKED
    assert machine.view.why == "No cluster carries site 'Site_C'."
    assert machine.view.since == machine.now
    since = machine.view.since
    machine.now += 50
    machine.feed(assigned(wanted="Site_C", refusal="No cluster carries site 'Site_C'."))
    assert machine.view.since == since
    machine.feed(assigned(pool(), move=0.0))
    assert machine.tried().startswith("IxnProxy_A_")


def test_a_cluster_without_servers_of_the_type_is_an_error() -> None:
    machine = Machine()
    machine.feed(assigned(pool(count=0)))
    assert machine.view.state is State.BLOCKED
    assert "Cluster Site_A" in machine.view.why


def test_setting_the_site_where_one_is_already_moves_nobody() -> None:
    machine = Machine()
    machine.feed(assigned(pool("Site_A"), wanted=""))
    machine.open()
    assert machine.feed(assigned(pool("Site_A"), wanted="Site_A")) == []
    assert machine.view.state is State.UP


# -- the pool itself changes


def test_a_server_added_while_the_whole_pool_has_failed_is_tried_at_once() -> None:
    machine = Machine()
    machine.feed(assigned(pool(count=1)))
    machine.fail()
    machine.feed(assigned(pool(count=2)))
    assert machine.view.state is State.CONNECTING


def test_an_attempt_at_a_removed_server_is_given_up_and_its_late_answer_ignored() -> None:
    machine = Machine()
    machine.feed(assigned(pool(count=3)))
    assert machine.tried() == "IxnProxy_A_2"
    late = machine.view.generation
    actions = machine.feed(assigned(pool(count=1)))
    assert isinstance(actions[0], Disconnect)
    assert machine.tried() == "IxnProxy_A_1"
    machine.feed(Opened(late))
    assert machine.view.ignored == 1
    machine.fail()
    assert machine.wait().at > machine.now


def test_a_link_to_a_removed_server_is_kept_until_it_is_lost() -> None:
    machine = Machine()
    up(machine, pool(count=3, spread=0.0))
    kept = replace(
        pool(count=3, spread=0.0), nodes=tuple(n for n in pool(count=3).nodes if n != machine.view.node)
    )
    assert machine.feed(assigned(kept)) == []
    assert machine.view.state is State.UP
    machine.lose()
    assert machine.view.node in kept.nodes


def without(lost: str, **how: float) -> Assigned:
    """The pool as it is after one server was taken out of it."""
    whole = pool(spread=0.0)
    return assigned(replace(whole, nodes=tuple(n for n in whole.nodes if n.application != lost)), **how)  # type: ignore[arg-type]


def test_a_removed_server_is_left_as_soon_as_nothing_is_owned() -> None:
    machine = Machine(high)
    removed = up(machine, pool(spread=0.0))
    assert machine.feed(without(removed, move=4.0)) == []
    machine.feed(Idle())
    assert machine.wait().at == pytest.approx(machine.now + 4.0)
    assert machine.view.state is State.UP
    assert "taken out" in machine.view.leaving_why
    machine.now = machine.view.until
    actions = machine.feed(Due(machine.view.generation))
    assert isinstance(actions[0], Disconnect)
    assert machine.tried() != removed


def test_who_owns_something_again_stays_at_the_removed_server() -> None:
    machine = Machine(high)
    removed = up(machine, pool(spread=0.0))
    machine.feed(Idle())
    machine.feed(without(removed, move=4.0))
    machine.feed(Idle(False))
    assert machine.view.until == 0.0
    machine.now += 5.0
    assert machine.feed(Due(machine.view.generation)) == []
    assert machine.view.state is State.UP


def test_a_server_put_back_is_not_left() -> None:
    machine = Machine(high)
    removed = up(machine, pool(spread=0.0))
    machine.feed(Idle())
    machine.feed(without(removed))
    machine.feed(assigned(pool(spread=0.0)))
    assert machine.view.leaving_at == 0.0


# -- a pair: as listed, with a pause before the backup


def pair() -> Pool:
    return replace(pool(count=2), order=Order.LISTED, backup_delay=3.0)


@pytest.mark.parametrize("random", [low, high])
def test_a_pair_is_tried_in_its_order(random: object) -> None:
    machine = Machine(random)
    machine.feed(assigned(pair()))
    assert machine.tried() == "IxnProxy_A_1"
    machine.fail()
    assert machine.tried() == "IxnProxy_A_2"
    machine.fail()
    machine.due()
    assert machine.tried() == "IxnProxy_A_1"


def test_after_the_lost_server_failed_again_the_next_one_waits_for_the_backup_delay() -> None:
    machine = Machine(low)
    up(machine, pair())
    machine.lose()
    assert machine.tried() == "IxnProxy_A_1"
    machine.fail()
    assert machine.wait().at == machine.now + 3.0
    machine.due()
    assert machine.tried() == "IxnProxy_A_2"
    machine.fail()
    assert machine.wait().at == machine.now + 5.0, "only before the next one, not before every one"


def test_the_backup_delay_is_not_waited_for_when_nothing_is_left_to_try() -> None:
    machine = Machine(low)
    up(machine, replace(pool(count=1), backup_delay=3.0))
    machine.lose()
    machine.fail()
    assert machine.wait().at == machine.now + 5.0


# -- waiting one's turn


def test_waiting_ones_turn_says_why_and_until_when() -> None:
    machine = Machine()
    machine.feed(assigned(pool()))
    generation = machine.view.generation
    assert machine.feed(Held(generation, machine.now + 7.0, "3 others come first")) == []
    assert (machine.view.until, machine.view.why) == (machine.now + 7.0, "3 others come first")
    assert machine.feed(Granted(generation)) == []
    assert (machine.view.until, machine.view.why) == (0.0, "First connection."), "no flicker of the reason"
    machine.feed(Opened(generation))
    assert machine.view.state is State.UP


def test_a_turn_of_an_earlier_attempt_means_nothing() -> None:
    machine = Machine()
    machine.feed(assigned(pool()))
    machine.fail()
    before = machine.view
    machine.feed(Held(before.generation - 1, 500.0, "late"))
    assert machine.view == replace(before, ignored=1)


# -- a server that is drained


def test_a_drained_server_is_left_at_the_slot_and_left_alone() -> None:
    machine = Machine(high)
    drained = up(machine, pool(spread=2.0))
    machine.feed(Lame(machine.view.generation, machine.now + 8.0, "drained", 60.0))
    assert machine.wait().at == machine.view.until == machine.now + 8.0
    assert machine.view.state is State.UP, "it works on until then"
    machine.now += 8.0
    actions = machine.feed(Due(machine.view.generation))
    assert actions[0] == Disconnect("drained")
    assert machine.tried() != drained
    machine.fail()
    assert machine.tried() != drained
    machine.fail()
    assert machine.wait().at > machine.now, "the drained one is left out of the round"


def test_a_timer_that_rings_early_waits_for_the_slot() -> None:
    machine = Machine()
    up(machine, pool())
    at = machine.now + 8.0
    machine.feed(Lame(machine.view.generation, at, "drained"))
    machine.now += 7.9
    machine.feed(Due(machine.view.generation))
    assert machine.wait().at == at
    assert machine.view.state is State.UP


def test_a_slot_in_the_past_is_left_for_at_once() -> None:
    machine = Machine()
    drained = up(machine, pool())
    machine.feed(Lame(machine.view.generation, machine.now, "drained", 5.0))
    assert machine.tried() != drained


def test_a_drained_server_that_hangs_up_before_the_slot_is_left_alone_too() -> None:
    machine = Machine(high)
    drained = up(machine, pool(spread=2.0))
    machine.feed(Lame(machine.view.generation, machine.now + 8.0, "drained", 60.0))
    machine.lose("reset")
    assert machine.tried() != drained


# -- a sleep of this machine


def test_after_a_sleep_what_was_waited_for_is_tried_at_once() -> None:
    machine = Machine(high)
    machine.feed(assigned(pool(count=1, retry=(3600.0,))))
    machine.fail()
    machine.feed(Woke())
    assert machine.tried() == "IxnProxy_A_1"


def test_a_sleep_does_not_outrank_a_time_that_the_server_named() -> None:
    machine = Machine(high)
    machine.feed(assigned(pool(count=1)))
    machine.fail("full", 30.0)
    before = machine.view
    assert machine.feed(Woke()) == []
    assert machine.view.next_attempt_at == before.next_attempt_at
    assert machine.view.rounds == before.rounds


def test_a_link_lost_by_the_sleep_is_tried_again_without_a_wait() -> None:
    machine = Machine(high)
    lost = up(machine, pool(spread=60.0))
    machine.feed(Woke())
    machine.now += 2.0
    machine.lose("dead")
    assert machine.tried() == lost


def test_a_link_lost_long_after_the_sleep_is_not() -> None:
    machine = Machine(high)
    up(machine, pool(spread=60.0))
    machine.feed(Woke())
    machine.now += 20.0
    machine.lose("dead")
    assert machine.wait().at == pytest.approx(machine.now + 60.0)


def test_an_attempt_begun_before_the_sleep_is_begun_anew() -> None:
    machine = Machine()
    machine.feed(assigned(pool()))
    tried, generation = machine.tried(), machine.view.generation
    actions = machine.feed(Woke())
    assert isinstance(actions[0], Disconnect)
    assert machine.tried() == tried
    assert machine.view.generation > generation


# -- a time given from outside


def test_at_another_cluster_the_links_begin_when_they_are_told() -> None:
    machine = Machine(high)
    up(machine, pool())
    new = assigned(pool("Site_B"), wanted="Site_B", move=60.0)
    machine.feed(replace(new, at=machine.now + 1.5))
    assert machine.wait().at == machine.now + 1.5
    machine.feed(replace(assigned(pool("Site_A")), at=machine.now))
    assert machine.tried().startswith("IxnProxy_A_")


# -- stopping


def test_stop_hangs_up_and_nothing_starts_again() -> None:
    machine = Machine()
    up(machine, pool())
    generation = machine.view.generation
    actions = machine.feed(Stop())
    assert isinstance(actions[0], Disconnect)
    assert machine.feed(Lost(generation, "late")) == []
    assert machine.view.state is State.STOPPED


def test_every_wait_says_why_since_when_and_until_when() -> None:
    machine = Machine()
    machine.feed(assigned(pool(count=1)))
    machine.fail("its port is closed")
    view = machine.view
    assert view.why == "its port is closed"
    assert view.until == view.next_attempt_at == machine.now + 5.0
    assert view.failures == 1
