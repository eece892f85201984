"""Reading cases: what an administrator may write, and what is said when it is wrong."""

from pathlib import Path

import pytest

from stayline.conformance import actions as do
from stayline.conformance import expectations as see
from stayline.conformance.case import CaseError, find_cases, load_suite, parse_cases
from stayline.domain.errors import RefusedError

HEAD = """
chapter: Test
cases:
  - id: C-1
    title: A title
    rules: ["1.1"]
    from: ["seed"]
    given: {clusters: [{name: Cluster_A, site: Site_A}]}
    story:
"""


def story(*lines: str) -> str:
    return HEAD + "".join(f"      {line}\n" for line in lines)


def test_a_story_becomes_typed_steps() -> None:
    (case,) = parse_cases(
        story(
            "- do: {start: }",
            "- do: {time passes: 0.5}",
            "- do: {set: {on: Workspace, key: a, value: 1}}",
            "- see: {connected: {interaction: Cluster_A}}",
            "  within: 2",
            "- see: {no request: agent.login}",
            "  for: 0.3",
        ),
        "test.yaml",
    )
    assert [step.number for step in case.story] == [1, 2, 3, 4, 5]
    assert case.story[0].do == do.Start()
    assert case.story[1].do == do.TimePasses(seconds=0.5)
    assert case.story[2].do == do.SetOption(on="Workspace", key="a", value=1)
    assert case.story[3].see == see.Connected(interaction="Cluster_A")
    assert case.story[3].within == 2
    assert case.story[4].see == see.NoRequest(method="agent.login")
    assert case.story[4].lasting == 0.3
    assert "no request" in case.story[4].words


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["- do: {fly: }", "- see: {session: confirmed}"], ["step 1", "fly", "known", "start"]),
        (["- see: {sessions: confirmed}"], ["step 1", "sessions", "session"]),
        (["- do: {start: , stop: }", "- see: {session: confirmed}"], ["step 1", "one verb"]),
        (["- do: {start: }", "  see: {session: confirmed}"], ["step 1", "exactly one"]),
        (["- do: {server: {name: X, becomes: purple}}", "- see: {session: confirmed}"], ["step 1", "purple"]),
        (["- do: {server: {becomes: open}}", "- see: {session: confirmed}"], ["step 1", "name"]),
        (["- see: {no attempt: {link: interaction}}"], ["step 1", "no attempt", "for"]),
        (["- do: {start: {fast: true}}", "- see: {session: confirmed}"], ["step 1", "fast"]),
        (["- do: {start: }"], ["nothing is expected"]),
        (["- do: {time passes: -1}", "- see: {session: confirmed}"], ["step 1", "time passes"]),
    ],
)
def test_a_wrong_step_is_refused_with_file_case_and_step(lines: list[str], words: list[str]) -> None:
    with pytest.raises(CaseError) as caught:
        parse_cases(story(*lines), "test.yaml")
    for word in ["test.yaml", "C-1", *words]:
        assert word in caught.value.refusal.reason


def test_an_unknown_field_of_a_case_is_refused() -> None:
    with pytest.raises(CaseError, match="colour"):
        parse_cases(
            story("- see: {session: confirmed}").replace("rules:", "colour: red\n    rules:"), "x.yaml"
        )


def test_broken_yaml_is_refused_with_its_file() -> None:
    with pytest.raises(CaseError, match=r"x\.yaml"):
        parse_cases("chapter: [", "x.yaml")


def test_python_objects_are_not_made_of_yaml() -> None:
    with pytest.raises(CaseError):
        parse_cases("chapter: !!python/object/apply:os.getcwd []\ncases: []", "x.yaml")


def test_one_id_in_two_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / "cases" / name).write_text(story("- see: {session: confirmed}"), encoding="utf-8")
    with pytest.raises(CaseError, match=r"C-1 is in a\.yaml"):
        load_suite(tmp_path)


def test_a_case_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RefusedError, match="C-9999"):
        find_cases(load_suite(), ["C-9999"])
