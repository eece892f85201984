"""The suite tells good clients from bad ones, and says what it could not judge. Clients are real processes."""

import json
import os
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


def test_a_case_is_served_to_a_client_started_by_hand() -> None:
    words = [*STAYLINE, "conformance", "serve", SEEN]
    serving = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    environment = dict(os.environ)
    client: subprocess.Popen[bytes] | None = None
    lines: list[str] = []
    try:
        assert serving.stdout is not None
        for line in serving.stdout:
            lines.append(line.rstrip())
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").rstrip().partition("=")
                environment[name] = value
            elif line.startswith("==> Start"):
                client = subprocess.Popen(
                    [*STAYLINE, "conformance", "client"], env=environment, stdout=subprocess.DEVNULL
                )
            elif line.startswith("==> End") and client is not None:
                client.terminate()
        assert serving.wait(timeout=30) == 0, "\n".join(lines)
        assert lines[-1].startswith(f"passed      {SEEN}")
        assert client is not None
        assert client.wait(timeout=10) == 0
    finally:
        for process in (serving, client):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()


def test_cases_are_listed_and_shown() -> None:
    listed = subprocess.run(
        [*STAYLINE, "conformance", "list", "--only", "3.2"], capture_output=True, text=True, check=True
    )
    assert any(line.startswith(SEEN) for line in listed.stdout.splitlines())
    shown = subprocess.run(
        [*STAYLINE, "conformance", "show", SEEN], capture_output=True, text=True, check=True
    )
    for word in ("given:", "story:", "rules:", "do start", "3.2 The server last open"):
        assert word in shown.stdout


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
