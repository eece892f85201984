"""How much of what a session missed is told."""

from stayline.link.messages.interaction import Missed
from stayline.servers.interaction.resumption import MISSED_SECONDS, story_of
from stayline.store.interaction_history import MAX_MISSED, MissedRow

NOW = 10_000.0


def rows(count: int, first_at: float = NOW) -> list[MissedRow]:
    return [MissedRow(n, f"i{n}", "offer", "why", first_at + n) for n in range(count)]


def test_a_short_and_young_story_is_told_whole() -> None:
    oldest = NOW - MISSED_SECONDS
    assert story_of([], oldest) == ([], False)
    told = story_of(rows(MAX_MISSED), oldest)
    assert not told.gap
    assert told.missed[0] == Missed(seq=0, interaction="i0", event="offer", why="why")
    assert len(told.missed) == MAX_MISSED
    assert not story_of(rows(2, oldest), oldest).gap


def test_a_longer_or_older_one_is_not_told_at_all() -> None:
    oldest = NOW - MISSED_SECONDS
    assert story_of(rows(MAX_MISSED + 1), oldest) == ([], True)
    assert story_of(rows(2, oldest - 0.001), oldest) == ([], True)
