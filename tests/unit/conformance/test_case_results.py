"""Results of cases for people and programs, and the text of rules beside a case."""

from pathlib import Path

from stayline.conformance.case import load_suite, suite_folder
from stayline.conformance.play import CaseResult, StepResult
from stayline.conformance.run import report, row, sums
from stayline.conformance.shown_case import lines_of, rule_texts

GOOD = CaseResult(case="C-1", title="Good", seconds=0.5)
BAD = CaseResult(
    case="C-1",
    title="Good",
    way="virtual time",
    failed=StepResult(number=3, step="see connected", why="connected to nothing"),
    timeline=["0.001 something"],
)
UNSURE = CaseResult(case="C-1", title="Good", unjudged="step 2: the client tells no status")


def test_a_case_has_passed_when_it_has_in_every_way() -> None:
    case = load_suite()[:1]
    one = {"case": case[0].id}

    def of(result: CaseResult) -> CaseResult:
        return CaseResult(
            title=result.title, failed=result.failed, unjudged=result.unjudged, case=str(one["case"])
        )

    outcomes = [
        ([GOOD], (1, 1, 0)),
        ([GOOD, GOOD], (1, 1, 0)),
        ([GOOD, BAD], (1, 0, 1)),
        ([BAD, BAD], (1, 0, 1)),
        ([GOOD, UNSURE], (1, 0, 0)),
        ([UNSURE, BAD], (1, 0, 1)),
    ]
    for results, expected in outcomes:
        total = sums(case, [of(result) for result in results])
        assert (total.cases, total.passed, total.failed) == expected


def test_a_failure_says_step_expectation_and_what_was_seen() -> None:
    text = report(BAD)
    for word in ("FAILED", "C-1", "virtual time", "step 3", "see connected", "connected to nothing", "0.001"):
        assert word in text
    told = row(BAD)
    assert told["passed"] is False
    assert (told["step"], told["expected"], told["seen"]) == (3, "see connected", "connected to nothing")
    assert "not judged" in report(UNSURE)
    assert row(UNSURE)["not_judged"] == UNSURE.unjudged
    assert report(GOOD).startswith("passed")


def test_rules_are_read_in_whole_and_end_with_their_paragraph(tmp_path: Path) -> None:
    spec = tmp_path / "SPEC.md"
    spec.write_text(
        "# T\n\n1.1 One,\nand more. (F 1)\n\nNot a rule.\n\n1.2 Two.\n## 2. Next\n", encoding="utf-8"
    )
    assert rule_texts(spec) == {"1.1": "1.1 One, and more. (F 1)", "1.2": "1.2 Two."}


def test_every_case_is_shown_with_the_text_of_its_rules() -> None:
    rules = rule_texts(suite_folder() / "SPEC.md")
    for case in load_suite():
        lines = lines_of(case)
        assert lines[0] == f"{case.id}  {case.title}"
        assert sum(line.lstrip()[:2].rstrip(".").isdigit() for line in lines) >= len(case.story)
        for number in case.rules:
            assert f"  {rules[number]}" in lines
