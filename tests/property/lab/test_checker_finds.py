"""The checker finds nothing in a sound history, and each kind of fault that is planted into one."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stayline.lab.checker import Fault, check
from stayline.lab.history import AgentFact, CustomerFact, EntryRow, History
from tests.property.lab.histories import Story, sound

replace = msgspec.structs.replace
CHAT, INTERACTION = "chat0", "ixn-chat0"


def owner(history: History) -> str:
    return next(row.owner for row in history.interactions if row.id == INTERACTION)


def number_of(history: History, draw: st.DataObject, fact: str) -> int:
    """Place of some fact of that kind of the first chat among its customer's facts."""
    facts = history.customers[CHAT]
    return draw.draw(st.sampled_from([place for place, one in enumerate(facts) if one.kind == fact]))


def lose_row(history: History, draw: st.DataObject) -> None:
    history.interactions = [row for row in history.interactions if row.id != INTERACTION]


def stop_row(history: History, draw: st.DataObject) -> None:
    history.interactions = [
        replace(row, state="stopped", owner="", session="") if row.id == INTERACTION else row
        for row in history.interactions
    ]


def owned_and_unknown(history: History, draw: st.DataObject) -> None:
    history.agents["ann"].insert(0, AgentFact("owned", 1.0, "ann", interaction="ixn-gone", chat_session="x"))


def second_row_for_chat(history: History, draw: st.DataObject) -> None:
    row = next(row for row in history.interactions if row.id == INTERACTION)
    history.interactions.append(replace(row, id="ixn-again"))


def same_row_twice(history: History, draw: st.DataObject) -> None:
    history.interactions.append(next(row for row in history.interactions if row.id == INTERACTION))


def journal_gap(history: History, draw: st.DataObject) -> None:
    steps = [step for step in history.journal if step.interaction == INTERACTION]
    history.journal.remove(draw.draw(st.sampled_from(steps)))


def journal_fork(history: History, draw: st.DataObject) -> None:
    steps = [step for step in history.journal if step.interaction == INTERACTION and step.version > 1]
    step = draw.draw(st.sampled_from(steps))
    history.journal.append(replace(step, agent="eve"))


def taken_from_another(history: History, draw: st.DataObject) -> None:
    places = [
        place
        for place, step in enumerate(history.journal)
        if step.interaction == INTERACTION and step.version > 1
    ]
    place = draw.draw(st.sampled_from(places))
    history.journal[place] = replace(history.journal[place], previous_agent="eve")


def two_believers(history: History, draw: st.DataObject) -> None:
    """Another agent believes to own, while the owner of the first moment does."""
    first = next(
        one for one in history.agents["ann"] if one.fact == "owned" and one.interaction == INTERACTION
    )
    facts = [replace(first, agent="eve", at=first.at + 0.1)]
    facts.append(AgentFact("gone", first.at + 0.1, "eve", interaction=INTERACTION))
    history.agents["eve"] = facts


def lose_stored(history: History, draw: st.DataObject) -> None:
    """Acknowledged, and in no transcript."""
    entries = [entry for entry in history.entries if entry.session == CHAT]
    history.entries.remove(draw.draw(st.sampled_from(entries)))


def not_shown_to_customer(history: History, draw: st.DataObject) -> None:
    del history.customers[CHAT][number_of(history, draw, "shown")]


def not_shown_to_owner(history: History, draw: st.DataObject) -> None:
    facts = history.agents[owner(history)]
    begun = max(
        place for place, one in enumerate(facts) if one.fact == "owned" and one.interaction == INTERACTION
    )
    seen = [one for one in facts[begun:] if one.fact == "seen" and one.session == CHAT]
    facts.remove(draw.draw(st.sampled_from(seen)))


def shown_twice(history: History, draw: st.DataObject) -> None:
    facts = history.customers[CHAT]
    facts.append(facts[number_of(history, draw, "shown")])


def stored_under_two_ids(history: History, draw: st.DataObject) -> None:
    """Typed once, stored twice: only its text gives it away. It is shown properly on both sides."""
    entries = [entry for entry in history.entries if entry.session == CHAT]
    again = replace(draw.draw(st.sampled_from(entries)), id="again", seq=len(entries) + 1)
    history.entries.append(again)
    history.customers[CHAT].append(CustomerFact("shown", 9e9, CHAT, id="again", seq=again.seq))
    history.agents[owner(history)].append(
        AgentFact("seen", 9e9, owner(history), session=CHAT, message="again", seq=again.seq)
    )


def swapped_on_screen(history: History, draw: st.DataObject) -> None:
    facts = history.customers[CHAT]
    shown = [place for place, one in enumerate(facts) if one.kind == "shown"]
    place = draw.draw(st.integers(0, len(shown) - 2))
    first, second = shown[place], shown[place + 1]
    facts[first], facts[second] = facts[second], facts[first]


def other_number_on_screen(history: History, draw: st.DataObject) -> None:
    facts = history.customers[CHAT]
    place = number_of(history, draw, "shown")
    facts[place] = replace(facts[place], seq=facts[place].seq + 100)


PLANTED: list[tuple[Fault, Callable[[History, st.DataObject], None]]] = [
    (Fault.LOST_INTERACTION, lose_row),
    (Fault.LOST_INTERACTION, stop_row),
    (Fault.LOST_INTERACTION, owned_and_unknown),
    (Fault.DOUBLED_INTERACTION, second_row_for_chat),
    (Fault.DOUBLED_INTERACTION, same_row_twice),
    (Fault.TWO_OWNERS, journal_gap),
    (Fault.TWO_OWNERS, journal_fork),
    (Fault.TWO_OWNERS, taken_from_another),
    (Fault.TWO_OWNERS, two_believers),
    (Fault.LOST_MESSAGE, lose_stored),
    (Fault.LOST_MESSAGE, not_shown_to_customer),
    (Fault.LOST_MESSAGE, not_shown_to_owner),
    (Fault.DOUBLED_MESSAGE, shown_twice),
    (Fault.DOUBLED_MESSAGE, stored_under_two_ids),
    (Fault.OUT_OF_ORDER, swapped_on_screen),
    (Fault.OUT_OF_ORDER, other_number_on_screen),
]


@given(history=sound())
@settings(max_examples=100, deadline=None)
def test_a_sound_history_has_no_findings(history: History) -> None:
    findings = check(history)
    assert findings.found == []
    assert findings.open == len(history.interactions)
    assert findings.sent == len(history.entries)


@given(history=sound(), draw=st.data())
@settings(max_examples=40, deadline=None)
def test_who_left_misses_nothing_of_what_came_later(history: History, draw: st.DataObject) -> None:
    facts = history.customers[CHAT]
    cut = number_of(history, draw, "shown")
    later = [one for one in facts[cut:] if one.kind != "shown"]
    history.customers[CHAT] = [*facts[:cut], *later, CustomerFact("left", 9e9, CHAT)]
    assert check(history).found == []


def test_a_closed_page_does_not_know_that_a_lost_entry_made_room() -> None:
    history = Story().told()
    history.entries = [EntryRow(CHAT, 1, "answer", "message", "agent", "ann", "text")]
    page = [
        CustomerFact("shown", 1.0, CHAT, id="lost", seq=1),
        CustomerFact("shown", 2.0, CHAT, id="answer", seq=2),
    ]
    history.customers[CHAT] = page
    assert check(history).count(Fault.OUT_OF_ORDER) == 1
    history.customers[CHAT] = [*page, CustomerFact("left", 3.0, CHAT)]
    assert {(one.fault, one.subject) for one in check(history).found} == {(Fault.LOST_MESSAGE, "lost")}


@given(history=sound())
@settings(max_examples=40, deadline=None)
def test_after_a_rewind_only_what_is_shown_anew_counts(history: History) -> None:
    facts = history.customers[CHAT]
    shown = [one for one in facts if one.kind == "shown"]
    lost = replace(shown[-1], id="lost with its site")
    history.customers[CHAT] = [*facts, lost, CustomerFact("rewound", 9e9, CHAT), *shown]
    assert check(history).found == []


@pytest.mark.parametrize(("fault", "plant"), PLANTED, ids=[plant.__name__ for _, plant in PLANTED])
@given(history=sound(), draw=st.data())
@settings(max_examples=40, deadline=None)
def test_a_planted_fault_is_found(
    fault: Fault, plant: Callable[[History, st.DataObject], None], history: History, draw: st.DataObject
) -> None:
    plant(history, draw)
    assert check(history).count(fault) >= 1


def test_every_kind_of_fault_is_planted() -> None:
    assert {fault for fault, _ in PLANTED} == set(Fault)
