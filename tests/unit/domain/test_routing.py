"""Who gets which interaction."""

import pytest

from stayline.domain.capacity import capacity_for, free_capacity, why_no_capacity
from stayline.domain.routing import Candidate, Match, Waiting, match

ALL = {"q": frozenset[str](), "sales": frozenset({"Sales"})}


def waiting(id: str, since: float = 0.0, queue: str = "q", tenant: str = "T") -> Waiting:
    return Waiting(id, tenant, queue, "chat", since)


def agent(
    session: str, idle: float = 0.0, free: int = 1, load: int = 0, groups: frozenset[str] = frozenset()
) -> Candidate:
    return Candidate(session, "T", groups, {"chat": free}, load, idle)


def route(
    items: list[Waiting],
    agents: list[Candidate],
    refused: set[tuple[str, str]] | None = None,
    limit: int = 100,
) -> list[Match]:
    return match(items, agents, ALL, lambda i, s: (i, s) in (refused or set()), limit)


def test_longest_waiting_to_longest_idle() -> None:
    found = route([waiting("late", 5), waiting("early", 1)], [agent("fresh", 9), agent("idle", 2)])
    assert found == [("early", "idle"), ("late", "fresh")]


def test_least_loaded_first_then_capacity_ends_it() -> None:
    agents = [agent("busy", idle=0, free=1, load=2), agent("free", idle=9, free=2, load=0)]
    assert [m.session for m in route([waiting(str(n), n) for n in range(5)], agents)] == [
        "free",
        "free",
        "busy",
    ]


def test_groups_unknown_queues_and_tenants() -> None:
    seller = agent("seller", groups=frozenset({"Sales"}), free=3)
    helper = agent("helper", groups=frozenset({"Support"}), free=3)
    assert route([waiting("s", queue="sales")], [helper]) == []
    assert route([waiting("s", queue="sales")], [helper, seller]) == [("s", "seller")]
    assert route([waiting("s", queue="deleted")], [helper]) == []
    assert route([waiting("s", tenant="other")], [helper]) == []


def test_who_refused_it_is_passed_over_but_gets_the_next() -> None:
    found = route(
        [waiting("i1", 1), waiting("i2", 2)], [agent("first", 1), agent("second", 2)], {("i1", "first")}
    )
    assert found == [("i1", "second"), ("i2", "first")]
    assert route([waiting("i1")], [agent("only")], {("i1", "only")}) == []


def test_limit() -> None:
    assert len(route([waiting(str(n), n) for n in range(9)], [agent("a", free=9)], limit=4)) == 4


@pytest.mark.parametrize(
    ("rule", "media", "capacity"),
    [
        (None, "chat", 0),
        (None, "voice", 1),
        ({"chat": 3}, "chat", 3),
        ({"chat": 3}, "voice", 0),
        ({"chat": -1}, "chat", 0),
    ],
)
def test_capacity(rule: dict[str, int] | None, media: str, capacity: int) -> None:
    assert capacity_for(rule, media) == capacity
    assert free_capacity(rule, media, 2) == max(0, capacity - 2)
    assert bool(why_no_capacity("a", rule, media)) == (capacity == 0)
