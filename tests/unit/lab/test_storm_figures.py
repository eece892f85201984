"""What the figures of a storm say, and what they call a fault."""

import json
import struct
from pathlib import Path

import msgspec

from stayline.lab.storm_curve import curve, ideal_curve
from stayline.lab.storm_figures import Move, StormDetail, StormFigures, judged
from stayline.lab.storm_orders import Counts
from stayline.lab.storm_picture import draw

KEYS = [
    "agents",
    "ideal_seconds",
    "all_back_seconds",
    "ratio",
    "wasted_setups",
    "logins_per_second",
    "resumes_per_second",
    "original_defaults_seconds",
]


def move(
    *,
    back: int = 10,
    agents: int = 10,
    counts: Counts | None = None,
    wasted: int = 0,
    kept: int | None = None,
) -> Move:
    return Move(
        told_at=100.0,
        times=[100.0 + 0.12 * (number + 1) for number in range(back)],
        counts=counts or Counts(lost_at=98.0, looks=50),
        sessions_kept=back if kept is None else kept,
        wasted=wasted,
        complete=back == agents,
        seconds=30.0,
    )


def judge(
    moved: Move, original: Move | None = None, *, logins: float = 1.0, resumes: float = 10.0
) -> tuple[StormFigures, StormDetail, bool]:
    return judged(
        agents=10,
        proxies=3,
        cost=3 / resumes,
        reported_cost=0.2,
        window=1.2,
        logins=logins,
        rounds=[resumes * 0.9, resumes, resumes * 3],
        moved=moved,
        original=original,
    )


def test_a_good_storm() -> None:
    figures, detail, passed = judge(move(), move())
    assert passed
    assert detail.why == "everything is as promised"
    assert json.loads(msgspec.json.encode(figures)) == {
        "agents": 10,
        "ideal_seconds": 1.0,
        "all_back_seconds": 1.2,
        "ratio": 1.2,
        "wasted_setups": 0,
        "logins_per_second": 1.0,
        "resumes_per_second": 10.0,
        "original_defaults_seconds": 1.2,
    }
    assert list(json.loads(msgspec.json.encode(figures))) == KEYS
    assert detail.outage_seconds == 3.2


def test_not_everybody_back_is_a_fault_and_no_figure() -> None:
    figures, detail, passed = judge(move(back=9))
    assert not passed
    assert (figures.all_back_seconds, figures.ratio) == (None, None)
    assert "1 of 10 agents were not back after 30 s" in detail.why


def test_wasted_setups_are_those_of_the_side_that_saw_more() -> None:
    figures, detail, passed = judge(move(wasted=2, counts=Counts(wasted=3)))
    assert (figures.wasted_setups, passed) == (3, False)
    assert (detail.wasted_at_servers, detail.wasted_at_clients) == (2, 3)


def test_waiting_without_knowing_until_when_is_a_fault() -> None:
    _, detail, passed = judge(move(counts=Counts(looks=50, uninformed=4, told="robot0001 waits")))
    assert not passed
    assert "4 of 50 looks" in detail.why
    assert "robot0001 waits" in detail.why


def test_another_session_is_a_fault() -> None:
    _, detail, passed = judge(move(kept=8))
    assert not passed
    assert "2 agents got another session" in detail.why


def test_a_slow_machine_is_no_fault_but_is_told() -> None:
    figures, detail, passed = judge(move(), logins=4.0, resumes=12.0)
    assert passed
    assert figures.ratio == 1.44
    assert "1.44 times the ideal" in detail.why
    assert "3.0 times as fast as logging in" in detail.why


def test_sooner_than_the_ideal_says_that_the_ideal_was_measured_badly() -> None:
    figures, detail, passed = judge(move(), resumes=5.0)
    assert (figures.ratio, passed) == (0.6, True)
    assert "sooner than the ideal" in detail.why
    assert detail.resume_rounds == [4.5, 5.0, 15.0]


def test_the_original_capped_is_null_and_says_how_many_were_back() -> None:
    figures, detail, _ = judge(move(), move(back=4))
    assert figures.original_defaults_seconds is None
    assert (detail.original_capped, detail.original_back, detail.original_seconds) == (True, 4, 30.0)


def test_the_original_not_played_is_null_as_well() -> None:
    figures, detail, _ = judge(move())
    assert figures.original_defaults_seconds is None
    assert not detail.original_played


def test_counts_of_processes_add_up() -> None:
    total = Counts(lost_at=5.0, wasted=1, longest_wait=2.0)
    total.take(Counts(lost_at=3.0, wasted=2, longest_wait=1.0, told="x"))
    total.take(Counts())
    assert total == Counts(lost_at=3.0, wasted=3, longest_wait=2.0, told="x")


def test_the_picture_is_a_png_and_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    figures, detail, _ = judge(move(), move(back=4))
    curves = [curve("Stayline", 10, [0.1, 0.2]), ideal_curve(10, 0.1, 1)]
    png, page = draw(tmp_path / "out", curves, figures, detail)
    head = png.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert min(struct.unpack(">II", head[16:24])) > 400
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 1
    assert "<?xml" not in text
    assert "src=" not in text
    assert "Stayline" in text
    assert "<th>ratio</th><td>1.2</td>" in text
    assert "4" in text
