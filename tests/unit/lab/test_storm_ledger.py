"""What the account of an agent's links counts."""

from dataclasses import replace

import pytest

from stayline.lab.storm_ledger import LATE_SECONDS, LinkLedger
from stayline.lab.storm_orders import Counts
from stayline.link.machine.logic import Event, LogicView, OnLink, Planned, step
from stayline.link.machine.plan import ClusterPlan, Link, Plan
from stayline.link.machine.pool import Node, Pool
from stayline.link.machine.session import SessionView
from stayline.link.machine.session import State as SessionState
from stayline.link.machine.standby import Failed, Held, Lost, Opened, Proven, State

NOW = 1000.0


def pool(kind: str) -> Pool:
    nodes = tuple(
        Node(application=f"{kind}_{number}", cluster="A", site="Site_A", host="h", port=number)
        for number in (1, 2)
    )
    return Pool(cluster="A", site="Site_A", nodes=nodes)


PLAN = Plan(
    wanted="Site_A",
    clusters=(
        ClusterPlan(
            name="A", site="Site_A", pools={Link.INTERACTION: pool("Ixn"), Link.CONTACT: pool("UCS")}
        ),
    ),
)


class Played:
    """A ledger beside the machines it keeps account of."""

    def __init__(self) -> None:
        self.view = LogicView()
        self.counts = Counts()
        self.codes: list[str] = []
        self.ledger = LinkLedger(self.codes.append)
        self.tell(Planned(PLAN, current=True))

    def tell(self, event: Event, at: float = NOW) -> None:
        before = self.view
        self.view, _ = step(before, event, at, lambda: 0.5)
        self.ledger.take(before, event, self.view, at, self.counts)

    def generation(self, link: Link = Link.INTERACTION) -> int:
        return self.view.links[link].generation

    def look(self, at: float = NOW, session: SessionView | None = None) -> None:
        self.ledger.look(self.view, session or SessionView(seed=""), "robot0001", at, self.counts)


def test_a_link_that_was_proven_is_not_wasted_when_it_is_lost() -> None:
    played = Played()
    generation = played.generation()
    played.tell(OnLink(Link.INTERACTION, Opened(generation)))
    played.tell(OnLink(Link.INTERACTION, Proven(generation)))
    played.tell(OnLink(Link.INTERACTION, Lost(generation, "gone")), NOW + 5)
    assert (played.counts.opened, played.counts.wasted, played.counts.lost_at) == (1, 0, NOW + 5)


def test_a_link_lost_before_the_session_stood_is_wasted() -> None:
    played = Played()
    generation = played.generation()
    played.tell(OnLink(Link.INTERACTION, Opened(generation)))
    played.tell(OnLink(Link.INTERACTION, Lost(generation, "gone")))
    assert played.counts.wasted == 1


def test_a_ucs_link_is_of_use_as_soon_as_it_stands() -> None:
    played = Played()
    generation = played.generation(Link.CONTACT)
    played.tell(OnLink(Link.CONTACT, Opened(generation)))
    played.tell(OnLink(Link.CONTACT, Lost(generation, "gone")))
    assert (played.counts.opened, played.counts.wasted) == (1, 0)


def test_a_refusal_with_a_time_is_no_waste_but_a_long_wait() -> None:
    played = Played()
    played.tell(OnLink(Link.INTERACTION, Failed(played.generation(), "not now", 12.5, "link.not_now")))
    assert (played.counts.turned_away, played.counts.longest_wait, played.counts.wasted) == (1, 12.5, 0)
    assert played.codes == ["link.not_now"]


@pytest.mark.parametrize(
    ("why", "wasted"), [("no welcome within 10 s", 1), ("no answer within 5 s", 0)], ids=["hello", "connect"]
)
def test_only_an_attempt_whose_hello_was_sent_is_wasted(why: str, wasted: int) -> None:
    played = Played()
    played.tell(OnLink(Link.INTERACTION, Failed(played.generation(), why, code="link.timeout")))
    assert played.counts.wasted == wasted


def test_what_comes_from_an_earlier_attempt_counts_for_nothing() -> None:
    played = Played()
    played.tell(OnLink(Link.INTERACTION, Failed(played.generation() - 1, "late", 3.0)))
    assert played.counts == Counts()
    assert played.codes == []


def test_an_attempt_is_known_to_end() -> None:
    played = Played()
    played.look()
    assert (played.counts.looks, played.counts.uninformed, played.counts.late) == (2, 0, 0)
    played.look(NOW + 15.0 + LATE_SECONDS + 1)
    assert (played.counts.looks, played.counts.late) == (4, 2)


def test_a_held_attempt_waits_until_its_turn() -> None:
    played = Played()
    played.tell(OnLink(Link.INTERACTION, Held(played.generation(), NOW + 30, "others first")))
    played.look(NOW + 29)
    assert (played.counts.uninformed, played.counts.longest_wait) == (0, 30.0)
    assert played.counts.late == 1  # the UCS link's attempt, which nobody held


def test_a_wait_without_a_time_is_told_with_the_agents_name() -> None:
    played = Played()
    waiting = replace(
        played.view.links[Link.CONTACT], state=State.WAITING, next_attempt_at=0.0, why="no reason"
    )
    played.view = replace(played.view, links={**played.view.links, Link.CONTACT: waiting})
    played.look()
    assert played.counts.uninformed == 1
    assert played.counts.told == "robot0001, contact: waiting, no reason"


def test_a_session_that_is_asked_for_is_known_to_be_answered() -> None:
    played = Played()
    for link in (Link.INTERACTION, Link.CONTACT):
        played.tell(OnLink(link, Opened(played.generation(link))))
    asking = SessionView(seed="", state=SessionState.ASKING, since=NOW)
    played.look(session=asking)
    assert (played.counts.looks, played.counts.uninformed) == (1, 0)
    played.look(session=replace(asking, state=SessionState.AWAY))
    assert played.counts.uninformed == 1
    played.look(session=replace(asking, state=SessionState.CONFIRMED))
    assert played.counts.looks == 2
