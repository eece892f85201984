"""What no entry of a transcript may be, whoever sent it."""

import pytest

from stayline.link.messages.contact import Append, Entry, EntryKind, Party
from stayline.servers.chat.parties import Parties, ended
from stayline.servers.contact.batch import check_append

LIMIT = 100


def append(entry: Entry) -> Append:
    return Append(session="session-of-a-customer", entry=entry)


def message(id_: str, text: str = "hello") -> Entry:
    return Entry(id=id_, kind=EntryKind.MESSAGE, party=Party.CUSTOMER, name="Ada", text=text)


def test_a_message_cannot_take_the_id_of_the_end_or_of_an_agents_coming_and_going() -> None:
    parties = Parties()
    joined = parties.joined("agent01", "Ann", 7)
    assert joined is not None
    joined.seq = 2
    parties.take(joined)
    left = parties.left("agent01")
    assert left is not None
    for entry in (ended(Party.SYSTEM), joined, left):
        assert check_append(append(entry), LIMIT) is None
        refusal = check_append(append(message(entry.id)), LIMIT)
        assert refusal is not None, entry.id
        assert (refusal.code, refusal.field) == ("message.malformed", "entry.id")


@pytest.mark.parametrize("id_", ["4vAq-_8", "c1:5", "leftover", "joined_late"])
def test_other_ids_are_free(id_: str) -> None:
    assert check_append(append(message(id_)), LIMIT) is None


def test_too_long_and_nul_are_refused() -> None:
    long = check_append(append(message("a", "x" * (LIMIT + 1))), LIMIT)
    assert long is not None
    assert long.code == "chat.too_long"
    nul = check_append(append(message("a", "x\0")), LIMIT)
    assert nul is not None
    assert nul.code == "message.malformed"
