"""What a customer is told of others, and what others are shown of a customer."""

import pytest

from stayline.link.messages.contact import Entry, EntryKind, Party
from stayline.servers.chat.beginning import one_line
from stayline.servers.chat.protocol import entry_seen


def test_a_page_is_not_told_the_name_of_the_contact_it_claims_to_be() -> None:
    # The name comes from the contact with the number that was typed; nobody has proven to be that contact.
    mine = Entry(id="a", kind=EntryKind.MESSAGE, party=Party.CUSTOMER, name="Ada Byron", text="hi", seq=1)
    assert entry_seen(mine).name == ""
    agent = Entry(
        id="b", kind=EntryKind.MESSAGE, party=Party.AGENT, name="Nora", text="hello", user="agent01", seq=2
    )
    seen = entry_seen(agent)
    assert seen.name == "Nora"
    assert "agent01" not in repr(seen)


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("  Ada   Byron ", "Ada Byron"),
        ("Ada\n\nAgent: done", "Ada Agent: done"),
        ("Ada\0\x07", "Ada"),
        ("Ada \u202egnp.exe", "Ada gnp.exe"),
        ("\u2067\n", ""),
        ("Zoë Ångström 张", "Zoë Ångström 张"),
    ],
)
def test_a_name_is_one_plain_line(typed: str, stored: str) -> None:
    assert one_line(typed) == stored
