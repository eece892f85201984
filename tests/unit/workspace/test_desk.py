"""The desk believes versions, not the order in which news arrive."""

from typing import Any

from stayline.link.messages.interaction import InteractionView, Missed, Ownership, Snapshot
from stayline.workspace.desk import Desk

Facts = list[tuple[str, dict[str, Any]]]


def desk() -> tuple[Desk, Facts]:
    facts: Facts = []
    return Desk(lambda: 1000.0, lambda fact, **details: facts.append((fact, details))), facts


def view(version: int, state: Ownership = Ownership.OWNED, id: str = "i", **more: Any) -> InteractionView:
    return InteractionView(
        id=id, tenant="T", media="chat", state=state, version=version, queue="q", owner="agent01", **more
    )


def snapshot(*views: InteractionView) -> Snapshot:
    return Snapshot(
        session="s", agent="agent01", place="P", media=[], interactions=list(views), as_of=9, epoch=1, term=1
    )


def test_an_offer_has_a_deadline_on_the_own_clock_and_loses_it_when_owned() -> None:
    it, facts = desk()
    case = it.put(view(2, Ownership.OFFERED, offer_seconds=30.0))
    assert case is not None
    assert case.deadline == 1030.0
    assert it.owned() == []
    it.put(view(3))
    assert case.deadline == 0.0
    assert [owned.id for owned in it.owned()] == ["i"]
    assert [fact for fact, _ in facts] == ["offered", "owned"]


def test_an_older_version_changes_nothing() -> None:
    it, _ = desk()
    it.put(view(5))
    assert it.put(view(4, Ownership.OFFERED)) is None
    assert it.cases["i"].interaction.version == 5


def test_the_same_version_again_is_no_new_fact() -> None:
    it, facts = desk()
    it.put(view(5))
    it.put(view(5))
    assert [fact for fact, _ in facts] == ["owned"]


def test_what_has_gone_is_not_brought_back_by_late_news() -> None:
    it, _ = desk()
    it.put(view(5))
    gone = it.remove("i", 6, "requeued", "timeout")
    assert gone is not None
    assert gone.why == "timeout"
    assert it.put(view(5)) is None
    assert it.put(view(6)) is None
    assert it.put(view(7, Ownership.OFFERED)) is not None, "offered again later"


def test_late_news_of_going_does_not_remove_what_came_back() -> None:
    it, _ = desk()
    it.put(view(8))
    assert it.remove("i", 6, "requeued", "old") is None
    assert "i" in it.cases


def test_going_before_coming_is_remembered() -> None:
    it, _ = desk()
    assert it.remove("i", 6, "requeued", "early") is None
    assert it.put(view(5)) is None


def test_the_snapshot_is_the_truth() -> None:
    it, _ = desk()
    it.put(view(5, id="stays"))
    it.put(view(5, id="goes"))
    it.doubt()
    assert not it.cases["stays"].confirmed
    missed = [Missed(seq=8, interaction="goes", event="requeued", why="restore timeout")]
    departures = it.replace(snapshot(view(5, id="stays"), view(2, Ownership.OFFERED, id="new")), missed)
    assert [(d.interaction.id, d.event, d.why) for d in departures] == [
        ("goes", "requeued", "restore timeout")
    ]
    assert set(it.cases) == {"stays", "new"}
    assert all(case.confirmed for case in it.cases.values())


def test_a_snapshot_brings_back_even_what_had_gone() -> None:
    it, _ = desk()
    it.put(view(5))
    it.remove("i", 5, "gone", "")
    it.replace(snapshot(view(5)), [])
    assert "i" in it.cases


def test_states_of_nobody_are_not_put_on_a_desk() -> None:
    it, _ = desk()
    assert it.put(view(5, Ownership.QUEUED)) is None
    assert it.cases == {}
