"""``stayline lab up`` as a command: it says what to open, keeps the data, and leaves no process, however it
ends."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import stayline
from stayline.lab.centre import living
from stayline.lab.layout import read_layout, remove

pytestmark = [pytest.mark.postgres, pytest.mark.drill]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "lab"
    yield folder
    remove(folder)


def _start(state: Path, *more: str) -> tuple[subprocess.Popen[str], Path]:
    output = state.with_name("up.out")
    environment = os.environ | {"PYTHONPATH": str(Path(stayline.__file__).parents[1])}
    command = [sys.executable, "-m", "stayline.cli.main", "lab", "up", "--state", str(state), *more]
    with output.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, text=True)
    limit = time.monotonic() + 90
    while "Ready after" not in output.read_text():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < limit, output.read_text()
        time.sleep(0.1)
    return process, output


def _until_nobody(state: Path) -> None:
    limit = time.monotonic() + 40
    while left := living(read_layout(state)):
        assert time.monotonic() < limit, f"these processes are left: {left}"
        time.sleep(0.1)


def test_ctrl_c_stops_everything_and_the_data_is_kept(state: Path) -> None:
    process, output = _start(state)
    text = output.read_text()
    pages = re.findall(r"http://127\.0\.0\.1:\d+", text)
    for page in pages[:2]:
        with urllib.request.urlopen(page, timeout=10) as answer:
            assert answer.status == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert living(read_layout(state)) == []
    first = read_layout(state)

    process, output = _start(state, "--agents", "2")
    assert read_layout(state).laid.ports == first.laid.ports
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert living(read_layout(state)) == []


def test_when_the_lab_is_killed_everything_ends_by_itself(state: Path) -> None:
    process, _ = _start(state)
    assert len(living(read_layout(state))) > 25
    process.kill()
    process.wait()
    _until_nobody(state)


def test_a_second_lab_in_the_same_folder_is_refused(state: Path) -> None:
    process, _ = _start(state)
    environment = os.environ | {"PYTHONPATH": str(Path(stayline.__file__).parents[1])}
    command = [sys.executable, "-m", "stayline.cli.main", "lab", "up", "--state", str(state), "--fresh"]
    second = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert second.returncode == 1
    assert "Another lab runs" in second.stderr
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
