"""The switch-over journal: durable order, a chain that shows tampering, a torn last line that is cut."""

from pathlib import Path

import pytest

from stayline.control.switch.journal import Event, Journal, JournalBrokenError, Record
from stayline.domain.switchover import Mode, Step


def begun(plan: str, target: str = "Site_B") -> Record:
    return Record(
        plan=plan,
        event=Event.BEGUN,
        at=1.0,
        source="Site_A",
        target=target,
        mode=Mode.PLANNED,
        by="op",
        reason="x",
    )


def test_records_survive_reopening_in_order(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "switch.jsonl"
    journal = Journal(path)
    journal.append(begun("p1"))
    journal.append(Record(plan="p1", event=Event.DONE, at=2.0, step=Step.DETECT, facts={"epoch": "2"}))
    again = Journal(path)
    assert [record.event for record in again.records] == [Event.BEGUN, Event.DONE]
    assert again.done("p1") == {Step.DETECT}
    assert again.facts("p1") == {"epoch": "2"}
    unfinished = again.unfinished()
    assert unfinished is not None
    assert unfinished.plan == "p1"


def test_an_ended_plan_is_not_unfinished(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(begun("p1"))
    journal.append(Record(plan="p1", event=Event.ENDED, at=3.0))
    assert journal.unfinished() is None
    journal.append(begun("p2"))
    found = journal.unfinished()
    assert found is not None
    assert found.plan == "p2"


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_cut_and_the_journal_goes_on(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    journal.append(begun("p1"))
    kept = path.stat().st_size
    journal.append(Record(plan="p1", event=Event.INTENT, at=2.0, step=Step.DETECT))
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(path)
    assert [record.event for record in again.records] == [Event.BEGUN]
    assert path.stat().st_size == kept
    again.append(Record(plan="p1", event=Event.INTENT, at=2.0, step=Step.DECIDE))
    assert [record.step for record in Journal(path).records] == [None, Step.DECIDE]


def test_a_changed_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    journal.append(begun("p1"))
    journal.append(Record(plan="p1", event=Event.ENDED, at=2.0))
    path.write_bytes(path.read_bytes().replace(b'"by":"op"', b'"by":"me"'))
    with pytest.raises(JournalBrokenError, match="line 1"):
        Journal(path)


def test_a_removed_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    for number in range(3):
        journal.append(Record(plan="p1", event=Event.INTENT, at=float(number), step=Step.STOP))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(JournalBrokenError, match="line 2"):
        Journal(path)
