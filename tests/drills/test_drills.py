"""Every drill, as a user runs it: two real sites, a dozen agents at work, something is broken, nothing is lost."""

import json
import subprocess
import sys
from typing import Any

import pytest

from stayline.lab.drills import DRILLS

pytestmark = [pytest.mark.drill, pytest.mark.postgres, pytest.mark.timeout(240)]

SPREAD = {"p50", "p99", "max"}
KEYS = {"drill", "agents", "interactions", "messages", "seconds", "verdict", "why"}

COUNTS: dict[str, set[str]] = {
    "interactions": {"open", "lost", "doubled", "two_owners"},
    "messages": {"sent", "lost", "doubled", "out_of_order"},
}


def run_drill(name: str, *options: str, agents: int = 12) -> tuple[int, dict[str, Any]]:
    """Exit status and the object of the last line."""
    command = [
        sys.executable,
        "-m",
        "stayline.cli.main",
        "lab",
        "drill",
        name,
        "--agents",
        str(agents),
        "--pause=2",
        "--json",
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=220, check=False)
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    sys.stderr.write(done.stderr)
    return done.returncode, json.loads(lines[-1])


def check_shape(result: dict[str, Any]) -> None:
    """Exactly the promised keys."""
    assert set(result) == KEYS
    for part, keys in COUNTS.items():
        assert set(result[part]) == keys
    assert set(result["seconds"]) == {"detection", "restricted", "restored"}
    assert all(set(spread) == SPREAD for spread in result["seconds"].values())


@pytest.mark.parametrize("name", DRILLS)
def test_drill(name: str) -> None:
    status, result = run_drill(name)
    check_shape(result)
    assert (status, result["verdict"]) == (0, "pass"), result["why"]
    assert result["interactions"] == {"open": 24, "lost": 0, "doubled": 0, "two_owners": 0}
    messages = result["messages"]
    assert (messages["lost"], messages["doubled"], messages["out_of_order"]) == (0, 0, 0)
    assert messages["sent"] >= 4 * 24
    assert 0 < result["seconds"]["detection"]["max"] <= result["seconds"]["restored"]["max"]


def test_what_an_asynchronous_replica_missed_is_sent_again_or_reported() -> None:
    status, result = run_drill("site-loss", "--replication", "async")
    check_shape(result)
    assert (status, result["verdict"]) == (0, "pass"), result["why"]
    assert result["interactions"] == {"open": 24, "lost": 0, "doubled": 0, "two_owners": 0}
    # One in six customers writes once more and goes: nobody can send that again, so it must be reported.
    assert result["messages"]["lost"] == 4
    assert "all of them reported" in result["why"]


def test_an_unknown_drill_is_refused_with_the_known_ones() -> None:
    command = [sys.executable, "-m", "stayline.cli.main", "lab", "drill", "no-such"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "proxy-kill" in done.stderr
