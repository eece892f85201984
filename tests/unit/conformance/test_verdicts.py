"""Judging expectations by a record made by hand."""

from typing import Any

import pytest

from stayline.conformance import expectations as see
from stayline.conformance.actions import Link
from stayline.conformance.court import Court, Marks, Outcome, Scene, connected_or_last
from stayline.conformance.record import Record, Seen
from stayline.conformance.status import ClientStatus, LinkState, LinkStatus, SessionState, SessionStatus
from stayline.conformance.verdict import judge

A1, A2, B1, UCS = "IxnProxy_A_1", "IxnProxy_A_2", "IxnProxy_B_1", "UCS_Proxy_A_1"


class Bench:
    """A record whose time is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.record = Record(lambda: self.now)
        self.marks = Marks()
        self.scene = Scene(
            links={A1: Link.INTERACTION, A2: Link.INTERACTION, B1: Link.INTERACTION, UCS: Link.CONTACT},
            groups={"Cluster_A": frozenset({A1, A2, UCS}), "Cluster_B": frozenset({B1})},
        )

    def add(self, at: float, what: Seen, server: str = "", link: int = 0, **details: object) -> None:
        self.now = max(self.now, at)
        self.record.add(what, server, link, at=at, **details)

    def block(self, at: float) -> None:
        self.now = at
        self.marks.block(self.record, self.scene, at)

    def judge(self, expected: see.AnyExpectation, *, slack: float = 0.0) -> Outcome:
        court = Court(record=self.record, scene=self.scene, marks=self.marks, now=self.now, slack=slack)
        verdict = judge(expected, court)
        assert verdict.seen
        if verdict.outcome is Outcome.MET:
            self.marks.met(verdict, self.now)
        return verdict.outcome


def test_connected_is_the_newest_link_that_stands() -> None:
    bench = Bench()
    assert bench.judge(see.Connected(interaction="nothing")) is Outcome.MET
    bench.add(1, Seen.WELCOMED, A1, 1)
    assert bench.judge(see.Connected(interaction="Cluster_A", contact="nothing")) is Outcome.MET
    bench.add(2, Seen.CLOSED, A1, 1, by="server")
    assert bench.judge(see.Connected(interaction="Cluster_A")) is Outcome.NOT_YET
    assert connected_or_last(bench.record, bench.scene, Link.INTERACTION) == A1
    bench.add(3, Seen.WELCOMED, A2, 2)
    assert bench.judge(see.Connected(interaction=[B1, A2])) is Outcome.MET
    assert bench.judge(see.Connected(interaction="not Cluster_A")) is Outcome.NOT_YET


def test_the_link_name_means_the_server_when_the_block_began() -> None:
    bench = Bench()
    bench.add(1, Seen.WELCOMED, A1, 1)
    bench.block(2)
    bench.add(3, Seen.CLOSED, A1, 1, by="server")
    bench.add(4, Seen.WELCOMED, A2, 2)
    assert bench.judge(see.Connected(interaction="not @interaction")) is Outcome.MET
    assert bench.judge(see.Connected(interaction="@interaction")) is Outcome.NOT_YET


def test_attempts_are_used_up_in_order_and_measured_from_each_other() -> None:
    bench = Bench()
    bench.add(0.5, Seen.ATTEMPT, B1)
    bench.block(1)
    assert bench.judge(see.Attempted(to=A1)) is Outcome.NOT_YET
    bench.add(1.2, Seen.ATTEMPT, A1)
    bench.add(1.7, Seen.ATTEMPT, A2)
    assert bench.judge(see.Attempted(to=A2)) is Outcome.BROKEN
    assert bench.judge(see.Attempted(to=A1, after=(0.3, 0.5))) is Outcome.BROKEN
    assert bench.judge(see.Attempted(to=A1, after=(0.1, 0.3))) is Outcome.MET
    assert bench.judge(see.Attempted(to=A2, after=(0.4, 0.6))) is Outcome.MET
    assert bench.judge(see.Attempted()) is Outcome.NOT_YET


def test_slack_widens_a_range_upwards() -> None:
    bench = Bench()
    bench.block(0)
    bench.add(0.9, Seen.ATTEMPT, A1)
    assert bench.judge(see.Attempted(after=(0, 0.5))) is Outcome.BROKEN
    assert bench.judge(see.Attempted(after=(0, 0.5)), slack=0.5) is Outcome.MET


def test_a_round_is_each_server_once() -> None:
    bench = Bench()
    bench.block(0)
    bench.add(0.1, Seen.ATTEMPT, A2)
    assert bench.judge(see.Round(of="Cluster_A")) is Outcome.NOT_YET
    bench.add(0.2, Seen.ATTEMPT, A1)
    assert bench.judge(see.Round(of="Cluster_A", apart=(0, 0.05))) is Outcome.BROKEN
    assert bench.judge(see.Round(of="Cluster_A", apart=(0.05, 0.2))) is Outcome.MET


def test_a_round_with_a_server_twice_or_a_foreign_one_is_broken() -> None:
    for second in (A2, B1):
        bench = Bench()
        bench.block(0)
        bench.add(0.1, Seen.ATTEMPT, A2)
        bench.add(0.2, Seen.ATTEMPT, second)
        assert bench.judge(see.Round(of="Cluster_A")) is Outcome.BROKEN


def test_no_attempt_counts_from_what_was_found_last() -> None:
    bench = Bench()
    bench.block(0)
    bench.add(0.1, Seen.ATTEMPT, A1)
    assert bench.judge(see.NoAttempt(to="Cluster_B")) is Outcome.MET
    assert bench.judge(see.Attempted(to=A1)) is Outcome.MET
    assert bench.judge(see.NoAttempt(link=Link.INTERACTION)) is Outcome.MET
    bench.add(0.4, Seen.ATTEMPT, A2)
    assert bench.judge(see.NoAttempt(link=Link.INTERACTION)) is Outcome.BROKEN
    assert bench.judge(see.NoAttempt(link=Link.CONTACT)) is Outcome.MET


def test_left_is_the_clients_own_doing() -> None:
    bench = Bench()
    bench.block(0)
    bench.add(0.1, Seen.CLOSED, A1, 1, by="server", polite=False)
    assert bench.judge(see.Left(server=A1)) is Outcome.NOT_YET
    bench.add(0.2, Seen.CLOSED, A2, 2, by="client", polite=False)
    assert bench.judge(see.Left(server=A2, how=see.How.POLITELY)) is Outcome.BROKEN
    assert bench.judge(see.Left(server=A2, how=see.How.ABRUPTLY)) is Outcome.MET


def request(bench: Bench, at: float, key: str, **payload: object) -> None:
    bench.add(at, Seen.REQUEST, A1, 1, method="agent.login", key=key, payload=payload)


@pytest.mark.parametrize(
    ("expected", "outcome"),
    [
        ({"key": "same"}, Outcome.MET),
        ({"key": "new"}, Outcome.BROKEN),
        ({"workspace": "same"}, Outcome.BROKEN),
        ({"workspace": "new", "place": "same"}, Outcome.MET),
        ({"restore": ["email", "chat"]}, Outcome.MET),
        ({"restore": ["chat"]}, Outcome.BROKEN),
        ({"at": "Cluster_B"}, Outcome.BROKEN),
        ({"after": (0.9, 1.1)}, Outcome.MET),
        ({"after": (2.0, 3.0)}, Outcome.BROKEN),
    ],
)
def test_a_request_is_compared_with_the_one_before(expected: dict[str, Any], outcome: Outcome) -> None:
    bench = Bench()
    bench.block(0)
    request(bench, 1, "k1", workspace="w1", place="p")
    request(bench, 2, "k1", workspace="w2", place="p", restore=["chat", "email"])
    assert bench.judge(see.Requested(method="agent.login", key=see.Compared.NEW)) is Outcome.MET
    compared: dict[str, Any] = {
        name: see.Compared(value) if name in ("key", "workspace", "place") else value
        for name, value in expected.items()
    }
    assert bench.judge(see.Requested(method="agent.login", **compared)) is outcome


def test_a_renewed_ticket_is_the_newest_one_issued() -> None:
    bench = Bench()
    bench.block(0)
    bench.add(1, Seen.SAID, A1, 1, name="session.ticket", ticket="t2")
    bench.add(2, Seen.REQUEST, A1, 1, method="agent.resume", payload={"ticket": "t1"})
    bench.add(3, Seen.REQUEST, A1, 1, method="agent.resume", payload={"ticket": "t2"})
    assert bench.judge(see.Requested(method="agent.resume", ticket="renewed")) is Outcome.BROKEN
    assert bench.judge(see.Requested(method="agent.resume")) is Outcome.MET
    assert bench.judge(see.Requested(method="agent.resume", ticket="renewed")) is Outcome.MET


def test_set_ups_are_counted_from_attempt_to_outcome() -> None:
    bench = Bench()
    bench.block(0)
    bench.add(0.1, Seen.ATTEMPT, A1)
    bench.add(0.2, Seen.WELCOMED, A1, 1)
    bench.add(0.3, Seen.ATTEMPT, A2)
    bench.add(0.4, Seen.ATTEMPT, UCS)
    assert bench.judge(see.SetUps(most=2)) is Outcome.MET
    bench.add(0.5, Seen.ATTEMPT, B1)
    assert bench.judge(see.SetUps(most=2)) is Outcome.BROKEN


def test_a_spread_is_a_share_of_all() -> None:
    bench = Bench()
    for number in range(10):
        bench.add(number, Seen.WELCOMED, A1 if number < 3 else A2, number + 1)
    assert bench.judge(see.Spread(over="Cluster_A", each=(0.25, 0.75))) is Outcome.MET
    assert bench.judge(see.Spread(over="Cluster_A", each=(0.4, 0.6))) is Outcome.BROKEN


def test_what_the_client_shows_is_its_last_line() -> None:
    bench = Bench()
    assert bench.judge(see.ShowsSession(state="confirmed")) is Outcome.NOT_YET
    link = LinkStatus(state=LinkState.WAITING, server="", why="IxnProxy_A_1 is full", until=7.0)
    status = ClientStatus(
        links={"interaction": link},
        session=SessionStatus(state=SessionState.RESTRICTED, session="s1"),
        counted={"forged": 2},
    )
    bench.add(5, Seen.STATUS, status=status)
    assert bench.judge(see.ShowsLink(state=["held", "waiting"], says=["full"], until=(1, 3))) is Outcome.MET
    assert bench.judge(see.ShowsLink(until=(3, 9))) is Outcome.NOT_YET
    assert bench.judge(see.ShowsLink(says=["empty"])) is Outcome.NOT_YET
    assert bench.judge(see.ShowsSession(state="restricted", same=False)) is Outcome.MET
    bench.block(6)
    assert bench.judge(see.ShowsSession(same=True)) is Outcome.MET
    assert bench.judge(see.Counted(forged=2)) is Outcome.MET
    assert bench.judge(see.Counted(forged=3)) is Outcome.NOT_YET
    assert bench.judge(see.ShowsConfiguration(current=True)) is Outcome.NOT_YET
