"""A transcript without gaps or doubles, whatever order entries and acknowledgements come in."""

from hypothesis import given
from hypothesis import strategies as st

from stayline.link.messages.contact import Entry, EntryKind, Party
from stayline.workspace.chat_session import ChatSession
from stayline.workspace.saved import OutMessage
from stayline.workspace.view import EntryState


def session() -> ChatSession:
    return ChatSession(id="s", interaction="i", grant="g", user="agent01")


def entry(
    seq: int, party: Party = Party.CUSTOMER, id: str = "", kind: EntryKind = EntryKind.MESSAGE
) -> Entry:
    user = "agent01" if party is Party.AGENT else ""
    return Entry(id=id or f"e{seq}", kind=kind, party=party, name="n", text=f"t{seq}", user=user, seq=seq)


def message(id: str, at: float = 1.0) -> OutMessage:
    return OutMessage(id=id, session="s", interaction="i", text=f"text of {id}", at=at)


def test_what_comes_after_a_gap_waits_for_the_gap_to_be_filled() -> None:
    chat = session()
    assert chat.add([entry(1), entry(3)]) == ([entry(1)], True)
    assert chat.last_seq == 1
    new, gap = chat.add([entry(2), entry(3)])
    assert [e.seq for e in new] == [2, 3]
    assert not gap


@given(st.lists(st.lists(st.integers(1, 6), max_size=6), max_size=20))
def test_entries_are_taken_once_and_in_order(batches: list[list[int]]) -> None:
    chat = session()
    taken: list[int] = []
    for batch in batches:
        new, _ = chat.add([entry(seq) for seq in batch])
        taken += [e.seq for e in new]
    assert taken == list(range(1, len(taken) + 1))
    assert [e.seq for e in chat.entries] == taken


def test_an_own_entry_takes_its_message_out_of_the_outbox() -> None:
    chat = session()
    chat.outbox = [message("m1"), message("m2")]
    chat.add([entry(1, Party.AGENT, "m1")])
    assert [m.id for m in chat.outbox] == ["m2"]


def test_an_acknowledgement_places_the_message_without_waiting_for_its_event() -> None:
    chat = session()
    chat.outbox = [message("m1")]
    assert chat.acknowledged("m1", 1, 5.0, "Agent One")
    assert chat.outbox == []
    assert chat.entries[0].text == "text of m1"
    chat.add([entry(1, Party.AGENT, "m1")])
    assert len(chat.entries) == 1


def test_an_acknowledgement_beyond_a_gap_leaves_the_message_where_it_is() -> None:
    chat = session()
    chat.outbox = [message("m1")]
    assert not chat.acknowledged("m1", 3, 5.0, "Agent One")
    assert [m.id for m in chat.outbox] == ["m1"]


def test_unread_counts_messages_of_others_only() -> None:
    chat = session()
    chat.add(
        [entry(1, kind=EntryKind.JOINED), entry(2), entry(3, Party.AGENT), entry(4)],
    )
    assert chat.unread == 2
    chat.read = 2
    assert chat.unread == 1


def test_an_ended_entry_ends_the_session() -> None:
    chat = session()
    chat.add([entry(1, Party.SYSTEM, kind=EntryKind.ENDED)])
    assert chat.ended


def test_shown_is_committed_first_then_what_is_under_way_or_failed() -> None:
    chat = session()
    chat.add([entry(1)])
    chat.outbox = [message("m2", 3.0)]
    chat.outbox.append(message("m1", 2.0))
    chat.refuse(chat.outbox[0], "too long")
    shown = chat.shown("Agent One")
    assert [(line.id, line.state) for line in shown] == [
        ("e1", EntryState.SENT),
        ("m1", EntryState.SENDING),
        ("m2", EntryState.FAILED),
    ]
    assert shown[2].why == "too long"
    assert shown[2].text == "text of m2"


def test_after_a_loss_what_was_written_here_is_sent_again_and_nothing_else() -> None:
    chat = session()
    chat.add([entry(1), entry(2, Party.AGENT, "a"), entry(3), entry(4, Party.AGENT, "b")])
    chat.outbox = [message("c")]
    chat.rewind()
    assert (chat.last_seq, chat.last_id) == (0, "")
    assert [m.id for m in chat.outbox] == ["a", "b", "c"]
    # The transcript that is left has the first answer; another entry stands where the lost question stood.
    chat.add([entry(1), entry(2, Party.AGENT, "a"), entry(3, id="other")])
    assert [m.id for m in chat.outbox] == ["b", "c"]
    assert [line.id for line in chat.shown("n")] == ["e1", "a", "other", "b", "c"]
