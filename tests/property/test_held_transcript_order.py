"""However entries arrive, they are shown in order, once and without a gap (invariants I7 and I9)."""

from hypothesis import given
from hypothesis import strategies as st

from stayline.link.messages.contact import Entry, EntryKind, Party
from stayline.servers.chat.transcript import HeldTranscript


@given(
    st.integers(1, 12).flatmap(lambda last: st.lists(st.lists(st.integers(1, last), max_size=6), max_size=12))
)
def test_shown_is_always_a_prefix(batches: list[list[int]]) -> None:
    shown: list[int] = []
    held = HeldTranscript("s", lambda: shown.extend(entry.seq for entry in held.after(len(shown))))
    seen: set[int] = set()
    for batch in batches:
        seen.update(batch)
        held.take(
            Entry(id=str(seq), kind=EntryKind.MESSAGE, party=Party.AGENT, name="", seq=seq) for seq in batch
        )
        complete = next(number for number in range(1, 99) if number not in seen) - 1
        assert shown == list(range(1, complete + 1))
        assert held.has_gap == bool(seen - set(shown))
