"""The specification, the cases and the table of what proves what agree."""

import re
from collections import defaultdict

from stayline.conformance.actions import ACTIONS, Becomes
from stayline.conformance.case import Case, find_cases, load_suite, parse_cases, suite_folder
from stayline.conformance.expectations import EXPECTATIONS
from stayline.conformance.pure_run import run_pure

SUITE = load_suite()
SPEC = (suite_folder() / "SPEC.md").read_text(encoding="utf-8")
COVERAGE = (suite_folder() / "COVERAGE.md").read_text(encoding="utf-8")


def rules() -> list[str]:
    return re.findall(r"^(\d+\.\d+) ", SPEC, re.MULTILINE)


def row(name: str) -> set[str]:
    """Case ids in the row of COVERAGE.md that begins with ``name``."""
    found = re.search(rf"^\| {re.escape(name)} \|(.*)$", COVERAGE, re.MULTILINE)
    assert found is not None, f"COVERAGE.md has no row {name}"
    return set(re.findall(r"C-\d+", found[1]))


def by_source(pattern: str) -> dict[str, set[str]]:
    """Source -> the ids of the cases that name it."""
    cases: dict[str, set[str]] = defaultdict(set)
    for case in SUITE:
        for source in case.sources:
            if re.fullmatch(pattern, source):
                cases[source].add(case.id)
    return cases


def chapter_of(case: Case) -> int:
    return int(case.id.removeprefix("C-")) // 100


def test_there_are_enough_cases() -> None:
    assert len(SUITE) >= 150


def test_rules_are_numbered_without_gaps() -> None:
    expected: dict[int, int] = defaultdict(int)
    for rule in rules():
        chapter, number = (int(part) for part in rule.split("."))
        expected[chapter] += 1
        assert number == expected[chapter], f"rule {rule} is out of order"


def test_every_rule_says_where_it_comes_from() -> None:
    texts = re.split(r"\n\n", SPEC)
    told = [text for text in texts if re.match(r"\d+\.\d+ ", text)]
    assert len(told) == len(rules())
    for text in told:
        assert re.search(r"\((seed|F |P |ADR |issue )[^()]*\)$", text.strip()), text


def test_every_rule_is_proven_and_every_case_proves_one() -> None:
    proven = {rule for case in SUITE for rule in case.rules}
    assert proven == set(rules())


def test_a_case_is_numbered_by_its_file_and_proves_a_rule_of_its_chapter() -> None:
    for case in SUITE:
        chapter = chapter_of(case)
        assert case.file.startswith(f"{chapter:02}-"), case.id
        own = [rule for rule in case.rules if rule.split(".")[0] == str(chapter)]
        others = ("2", "3") if chapter in (2, 3) else ()
        assert own or any(rule.split(".")[0] in others for rule in case.rules), case.id


def test_titles_are_told_once() -> None:
    titles = [case.title for case in SUITE]
    assert len(titles) == len(set(titles))


def test_good_practice_is_covered_as_the_table_says() -> None:
    cases = by_source(r"P \d+")
    for number in range(1, 39):
        assert cases[f"P {number}"], f"no case of P {number}"
        assert row(f"P {number}") == cases[f"P {number}"], f"COVERAGE.md, row P {number}"


def test_known_failures_are_covered_as_the_table_says() -> None:
    cases = by_source(r"F 10\.\d+")
    for number in range(1, 49):
        name = f"F 10.{number}"
        assert row(name) == cases[name], f"COVERAGE.md, row {name}"
        if not cases[name]:
            assert re.search(rf"^\| {re.escape(name)} \|.*no case: .{{8,}} \|$", COVERAGE, re.MULTILINE), name


def test_every_sentence_of_the_seed_is_covered_or_explained() -> None:
    known = {case.id for case in SUITE}
    section = COVERAGE.split("## Groups of cases")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| Part")]
    rows = [line for line in rows if not line.startswith("| Failure")]
    assert len(rows) > 30
    for line in rows:
        ids = set(re.findall(r"C-\d+", line))
        assert ids <= known, line
        assert ids or "no case: " in line, line


def test_cases_are_found_by_id_file_and_rule() -> None:
    assert [case.id for case in find_cases(SUITE, ["C-301"])] == ["C-301"]
    assert {chapter_of(case) for case in find_cases(SUITE, ["14-draining"])} == {14}
    assert "C-301" in {case.id for case in find_cases(SUITE, ["3.2"])}
    assert find_cases(SUITE, []) == SUITE


def test_every_verb_is_explained() -> None:
    readme = (suite_folder() / "README.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in readme.splitlines() if line.startswith("| `"))
    for verb in [*ACTIONS, *EXPECTATIONS]:
        assert re.search(rf"`{re.escape(verb)}[`:]", table), verb
    for becomes in Becomes:
        assert f"`{becomes}`" in table


def test_the_example_in_the_readme_is_the_case() -> None:
    readme = (suite_folder() / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(.*?)```", readme, re.DOTALL)
    assert example is not None
    (told,) = parse_cases("chapter: x\ncases:\n" + example[1], "README.md")
    (case,) = find_cases(SUITE, [told.id])
    assert (told.title, told.rules) == (case.title, case.rules)
    assert run_pure(told) == []
