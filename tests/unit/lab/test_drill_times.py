"""The stop-watch: who lost controls, when it was noticed, and when the last of them was back."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stayline.lab.drill_times import (
    CONFIGURATION_LINK,
    LINKS,
    Controls,
    Outage,
    Spread,
    outage,
    server_of,
    spread,
)
from stayline.lab.history import AgentFact

FAULT = 100.0


def fact(kind: str, at: float, **details: str) -> AgentFact:
    return msgspec.convert({"fact": kind, "at": at, "agent": "ann", **details}, AgentFact)


def at_work() -> list[AgentFact]:
    """Logged in, all links up, one chat joined, well before the fault."""
    links = [fact("link.up", 1.0, link=link, application=f"{link} 1") for link in LINKS]
    rest = [
        fact("restored", 2.0),
        fact("owned", 3.0, interaction="i", chat_session="s"),
        fact("joined", 4.0, session="s"),
    ]
    return [fact("begun", 0.0), *links, *rest]


def full(facts: list[AgentFact]) -> bool:
    controls = Controls()
    for one in facts:
        controls.take(one)
    return controls.full


def test_full_controls_need_every_link_the_session_and_every_chat() -> None:
    whole = at_work()
    assert full(whole)
    for missing in range(1, len(whole)):
        without = [one for place, one in enumerate(whole) if place != missing]
        # Without the chat altogether nothing is missing; in any other case something is.
        assert full(without) is (whole[missing].fact == "owned"), whole[missing]


def test_an_outage_lasts_from_the_first_loss_to_the_last_return() -> None:
    facts = [
        *at_work(),
        fact("link.down", 100.5, link="Interaction Server"),
        fact("restricted", 100.5),
        fact("link.down", 101.0, link="Chat Server"),
        fact("link.up", 101.5, link="Interaction Server"),
        fact("restored", 102.0),
        fact("link.up", 102.5, link="Chat Server"),
        fact("joined", 103.0, session="s"),
    ]
    assert outage("ann", facts, FAULT, 1e9) == Outage("ann", FAULT, 100.5, 100.5, 103.0)


def test_a_second_loss_by_the_same_fault_prolongs_the_outage() -> None:
    facts = [*at_work(), fact("restricted", 101.0), fact("restored", 102.0), fact("restricted", 103.0)]
    assert outage("ann", facts, FAULT, 1e9) == Outage("ann", FAULT, 101.0, 101.0, None)
    back = [*facts, fact("restored", 105.0)]
    assert outage("ann", back, FAULT, 1e9) == Outage("ann", FAULT, 101.0, 101.0, 105.0)


def test_what_begins_after_the_next_strike_belongs_to_that() -> None:
    facts = [*at_work(), fact("restricted", 101.0), fact("restored", 102.0), fact("restricted", 203.0)]
    assert outage("ann", facts, FAULT, 200.0) == Outage("ann", FAULT, 101.0, 101.0, 102.0)


def test_the_notice_is_that_of_the_watched_link_when_there_is_one() -> None:
    facts = [
        *at_work(),
        fact("link.down", 100.1, link=CONFIGURATION_LINK),
        fact("restricted", 104.0),
        fact("restored", 105.0),
    ]
    assert outage("ann", facts, FAULT, 1e9, CONFIGURATION_LINK) == Outage("ann", FAULT, 100.1, 104.0, 105.0)


def test_who_loses_nothing_has_no_outage() -> None:
    assert outage("ann", at_work(), FAULT, 1e9) is None


def test_the_server_of_a_link_at_a_moment() -> None:
    facts = [
        fact("link.up", 1.0, link="Chat Server", application="Chat_A_1"),
        fact("link.down", 5.0, link="Chat Server", application="Chat_A_1"),
        fact("link.up", 6.0, link="Chat Server", application="Chat_A_2"),
    ]
    found = [server_of(facts, "Chat Server", at) for at in (0.5, 4.0, 5.5, 7.0)]
    assert found == ["", "Chat_A_1", "", "Chat_A_2"]


def test_ranks_are_measured_values() -> None:
    assert spread([]) == Spread()
    assert spread([float(number) for number in range(1, 101)]) == Spread(50.0, 99.0, 100.0)
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 3.0, 3.0)


@given(st.lists(st.floats(0.0, 1e6), min_size=1))
def test_ranks_are_ordered(values: list[float]) -> None:
    found = spread(values)
    assert found.p50 <= found.p99 <= found.max == pytest.approx(max(values), abs=1e-3)
