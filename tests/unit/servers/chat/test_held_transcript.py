"""A Chat Server's copy of a transcript, its parties, its gate and its memory of owners."""

import msgspec
import pytest

from stayline.domain.errors import RefusedError
from stayline.link.messages.contact import Entry, EntryKind, Party
from stayline.link.messages.interaction import OwnerChanged, Ownership
from stayline.link.tokens import Grant
from stayline.servers.chat import protocol
from stayline.servers.chat.gate import Gate
from stayline.servers.chat.owners import Owners
from stayline.servers.chat.parties import Parties, ended
from stayline.servers.chat.transcript import HeldTranscript


def entry(seq: int, kind: EntryKind = EntryKind.MESSAGE) -> Entry:
    return Entry(id=f"e{seq}", kind=kind, party=Party.CUSTOMER, name="Ada", seq=seq)


def test_entries_are_shown_in_order_and_once() -> None:
    news: list[int] = []
    held = HeldTranscript("s", lambda: news.append(held.last))
    held.take([entry(2), entry(3)])
    assert (held.last, held.has_gap, news) == (0, True, [])
    held.take([entry(1)])
    assert (held.last, held.has_gap, news) == (3, False, [3])
    held.take([entry(2), entry(1)])
    assert ([e.seq for e in held.entries], news) == ([1, 2, 3], [3])
    assert [e.seq for e in held.after(1)] == [2, 3]


def test_too_much_ahead_is_dropped_but_the_next_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stayline.servers.chat.transcript.MAX_AHEAD", 2)
    held = HeldTranscript("s", lambda: None)
    held.take([entry(3), entry(4), entry(5), entry(1), entry(2)])
    assert held.last == 4


def test_who_holds_another_end_does_not_go_on_with_this_transcript() -> None:
    held = HeldTranscript("s", lambda: None)
    held.take([entry(1), entry(2)])
    first, second = held.entries
    assert held.continues(0, "")
    assert held.continues(1, first.id)
    assert held.continues(2, second.id)
    assert held.continues(2, "")  # does not say what it holds
    assert not held.continues(2, first.id)
    assert not held.continues(3, "lost")


def test_the_end_is_the_last_entry() -> None:
    held = HeldTranscript("s", lambda: None)
    held.take([entry(1)])
    assert not held.ended
    held.take([entry(2, EntryKind.ENDED)])
    assert held.ended


def test_an_agent_joins_and_leaves_once_per_stay() -> None:
    parties = Parties()
    joined = parties.joined("agent01", "Anna", 7)
    assert joined is not None
    assert joined.id == "joined:agent01:0:7"
    parties.take(msgspec.structs.replace(joined, seq=3))
    assert parties.joined("agent01", "Anna", 8) is None
    assert (parties.agents, parties.names, parties.joined_by("agent01")) == (["agent01"], ["Anna"], 7)
    left = parties.left("agent01")
    assert left is not None
    assert left.id == "left:agent01:3"
    parties.take(msgspec.structs.replace(left, seq=5))
    assert parties.left("agent01") is None
    again = parties.joined("agent01", "Anna", 7)
    assert again is not None
    assert again.id == "joined:agent01:5:7"
    assert ended(Party.AGENT).id == ended(Party.CUSTOMER).id


def owner(agent: str, version: int, state: Ownership = Ownership.OWNED) -> OwnerChanged:
    return OwnerChanged(interaction="i", chat_session="s", agent=agent, version=version, state=state)


def grant(agent: str, version: int) -> Grant:
    return Grant(interaction="i", chat_session="s", agent=agent, version=version, expires=0.0)


def test_a_grant_counts_until_something_newer_is_heard() -> None:
    owners = Owners()
    assert owners.objection(grant("a", 3)) is None
    assert owners.heard(owner("b", 5))
    refusal = owners.objection(grant("a", 3))
    assert refusal is not None
    assert refusal.code == "chat.not_owner"
    assert owners.objection(grant("a", 5)) is None
    assert owners.objection(grant("b", 3)) is None
    assert not owners.heard(owner("a", 4))
    assert owners.owner("s") == "b"
    assert owners.heard(owner("b", 6, Ownership.QUEUED))
    assert owners.owner("s") == ""
    assert owners.objection(grant("b", 5)) is not None
    assert owners.owner("unknown") is None


def test_the_gate_follows_the_core() -> None:
    gate = Gate()
    assert not gate.open(10.0, 0.0)
    gate = gate.lost(1.0)
    assert not gate.open(10.0, 1.0)  # there never was one
    gate = gate.found()
    assert gate.open(10.0, 2.0)
    gate = gate.lost(5.0)
    assert gate.open(10.0, 14.9)
    assert not gate.open(10.0, 15.0)
    assert gate.found().open(10.0, 99.0)
    leaving = gate.found().left()
    assert not leaving.open(10.0, 6.0)
    assert not leaving.lost(7.0).open(10.0, 7.0)
    assert "on command" in leaving.why(10.0)
    assert leaving.found().open(10.0, 8.0)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", ""),
        ("[]", ""),
        ('{"type":"buy"}', ""),
        ('{"type":"send","id":"a b","text":"x"}', "id"),
        ('{"type":"send","id":"a","text":"  "}', "text"),
        ('{"type":"resume","session":"short","secret":"x"}', "session"),
        ('{"type":"resume","session":"aaaaaaaaaaaaaaaa","secret":"short"}', "secret"),
        ('{"type":"send","id":"a","text":"\\ud800"}', ""),
        (
            '{"type":"start","session":"aaaaaaaaaaaaaaaa","secret":"aaaaaaaaaaaaaaaa","queue":"q","name":"'
            + "n" * 101
            + '"}',
            "name",
        ),
    ],
)
def test_what_is_no_message_is_refused_naming_the_field(text: str, field: str) -> None:
    with pytest.raises(RefusedError) as caught:
        protocol.decode(text)
    assert caught.value.refusal.field == field


def test_messages_travel_unchanged() -> None:
    sent = protocol.Send(id="m1", text='<img src=x onerror="alert(1)">')
    assert protocol.decode(protocol.encode(sent)) == sent
    answer = protocol.Ack(id="m1", seq=3, at=1.5)
    assert protocol.decode_answer(protocol.encode(answer)) == answer
    assert protocol.clean_text("a\r\nb\x00\x1b[0m\tc") == "a\nb[0m\tc"
