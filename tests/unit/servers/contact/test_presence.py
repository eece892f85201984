"""Absence is judged from what the Chat Servers say."""

from stayline.link.messages.contact import ChatState
from stayline.servers.contact.presence import Presence
from stayline.servers.contact.settlement import REPEAT, Settlement


def test_an_open_session_without_a_word_is_due_after_the_timeout() -> None:
    presence = Presence()
    presence.open(["s"], 10.0)
    assert presence.due(5.0, 14.9) == []
    assert presence.due(5.0, 15.0) == ["s"]


def test_a_customer_at_any_server_is_present() -> None:
    presence = Presence()
    presence.open(["s"], 0.0)
    assert presence.signal("s", "one", True, 1.0)
    assert not presence.signal("s", "two", True, 2.0)
    assert not presence.signal("s", "one", False, 3.0)
    assert presence.due(5.0, 100.0) == []
    assert presence.signal("s", "two", False, 100.0)
    assert presence.due(5.0, 104.0) == []
    assert presence.due(5.0, 105.0) == ["s"]


def test_a_lost_server_takes_its_presences_along() -> None:
    presence = Presence()
    presence.open(["s", "t", "u"], 0.0)
    for session in ("s", "t"):
        presence.signal(session, "one", True, 1.0)
    presence.signal("t", "two", True, 1.0)
    assert presence.lost("one", 50.0) == ["s"]
    assert not presence.is_present("s")
    assert presence.is_present("t")
    assert presence.due(10.0, 60.0) == ["u", "s"]


def test_a_signal_for_an_ended_session_is_nothing() -> None:
    presence = Presence()
    presence.open(["s"], 0.0)
    presence.ended("s")
    assert not presence.signal("s", "one", True, 1.0)
    assert presence.open_count == 0


def test_a_repeated_open_does_not_restart_the_clock() -> None:
    presence = Presence()
    presence.open(["s"], 0.0)
    presence.open(["s"], 9.0)
    assert presence.due(10.0, 10.0) == ["s"]


def state(session: str) -> ChatState:
    return ChatState(
        session=session,
        tenant="T",
        interaction=session,
        contact="",
        customer="",
        subject="",
        queue="q",
        ended=True,
        submitted=True,
        last_seq=1,
        created_at=0.0,
    )


def test_a_debt_is_asked_for_again_until_it_is_paid() -> None:
    settlement = Settlement()
    settlement.owe([state("s"), state("t")], 0.0)
    assert [item.session for item in settlement.due(0.0)] == ["s", "t"]
    assert [item.session for item in settlement.due(0.0, limit=1)] == ["s"]
    settlement.asked("s", 0.0)
    assert [item.session for item in settlement.due(1.0)] == ["t"]
    assert [item.session for item in settlement.due(REPEAT)] == ["s", "t"]
    settlement.settled("s")
    settlement.asked("s", 5.0)
    assert [item.session for item in settlement.due(100.0)] == ["t"]
    assert len(settlement) == 1
