"""A storm, as a user runs it: two real sites, three score agents who all move at once. Its speed is not judged here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.drill, pytest.mark.postgres, pytest.mark.timeout(280)]

AGENTS = 60
KEYS = {
    "agents",
    "ideal_seconds",
    "all_back_seconds",
    "ratio",
    "wasted_setups",
    "logins_per_second",
    "resumes_per_second",
    "original_defaults_seconds",
}


def descendants_of(state: Path) -> list[str]:
    """Command lines of processes that still work in the state folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(state) in command:
                found.append(command)
    return found


def test_everybody_comes_back_with_the_session_and_knew_until_when(tmp_path: Path) -> None:
    state, pictures = tmp_path / "state", tmp_path / "pictures"
    command = [sys.executable, "-m", "stayline.cli.main", "lab", "storm"]
    options = [f"--agents={AGENTS}", "--processes=2", "--cap=90", "--json"]
    places = ["--state", str(state), "--pictures", str(pictures)]
    done = subprocess.run(
        [*command, *options, *places], capture_output=True, text=True, timeout=260, check=False
    )
    sys.stderr.write(done.stderr)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stdout
    detail, figures = (json.loads(line) for line in lines)
    assert done.returncode == 0, detail["why"]
    assert set(figures) == KEYS
    assert figures["agents"] == AGENTS
    # Everybody was away, came back, and no work was done in vain.
    assert figures["all_back_seconds"] > 0
    assert figures["ratio"] == pytest.approx(figures["all_back_seconds"] / figures["ideal_seconds"], rel=0.02)
    assert figures["wasted_setups"] == 0
    assert detail["sessions_kept"] == AGENTS
    assert detail["outage_seconds"] >= figures["all_back_seconds"]
    # Whoever waited was looked at, and knew until when.
    assert detail["looks"] > AGENTS
    assert (detail["uninformed"], detail["late"]) == (0, 0)
    # The window was computed by the switch and sent with the site.
    assert detail["window"] >= 0.5
    # The original's constants were played by the same agents: they leave within five seconds, not at once.
    assert detail["original_played"]
    assert 2.0 < figures["original_defaults_seconds"] < 90.0
    for name in ("storm.png", "storm.html"):
        assert (pictures / name).stat().st_size > 10_000
    assert not descendants_of(state)
