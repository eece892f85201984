"""The suite tells good clients from bad ones, and says what it could not judge. Clients are real processes."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

STAYLINE = (sys.executable, "-m", "stayline.cli.main")
SAMPLE = shlex.join([*STAYLINE, "conformance", "client"])

SEEN = "C-301"
"""A case about what servers see only."""

SHOWN = "C-120"
"""A case about what the client shows."""


def judge(command: str, *cases: str) -> tuple[int, list[dict[str, object]], str]:
    """Exit status, JSON lines and what was said on standard error."""
    words = [*STAYLINE, "conformance", "run", "--json", "--command", command]
    for case in cases:
        words += ["--only", case]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_the_sample_client_passes_as_a_process_of_its_own() -> None:
    status, lines, errors = judge(SAMPLE, SEEN, SHOWN)
    assert lines[-1] == {"cases": 2, "passed": 2, "failed": 0}, (lines, errors)
    assert status == 0
    assert {line["case"] for line in lines[:-1]} == {SEEN, SHOWN}


def test_a_client_that_does_nothing_fails() -> None:
    status, lines, _ = judge("sleep 60", SEEN)
    assert lines[-1] == {"cases": 1, "passed": 0, "failed": 1}
    assert status == 1
    failed = lines[0]
    assert failed["case"] == SEEN
    assert failed["expected"]
    assert failed["seen"]
    assert failed["timeline"]


def test_without_status_lines_nothing_shown_is_judged() -> None:
    silent = shlex.join(["sh", "-c", f"exec {SAMPLE} > /dev/null"])
    status, lines, _ = judge(silent, SEEN, SHOWN)
    assert lines[-1] == {"cases": 2, "passed": 1, "failed": 0}
    assert status == 0
    unjudged = next(line for line in lines if line.get("case") == SHOWN)
    assert "no status" in str(unjudged["not_judged"])


def test_a_command_that_cannot_be_started_is_said() -> None:
    status, lines, _ = judge("/nonexistent/client", SEEN)
    assert status == 1
    assert "/nonexistent/client" in str(lines[0]["seen"])


def test_unknown_cases_and_missing_environment_are_refused(tmp_path: Path) -> None:
    _, lines, errors = judge(SAMPLE, "C-999999")
    assert not lines
    assert "C-999999" in errors
    done = subprocess.run(
        [*STAYLINE, "conformance", "client"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "STAYLINE_BOOTSTRAP" in done.stderr
