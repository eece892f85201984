"""``stayline lab up`` as a process of its own, as a person starts it."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

from stayline.control.host.run_file import read_run_file, run_file_path
from stayline.lab.layout import remove
from stayline.link.messages.control import CentreStatus

STAYLINE = [sys.executable, "-m", "stayline.cli.main"]


class RunningLab:
    """A lab in ``state``. ``agents`` and ``customers`` are the addresses it printed."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.lines: list[str] = []
        self.agents = ""
        self.customers = ""
        command = [*STAYLINE, "lab", "up", "--state", str(state)]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TERM": "dumb"},
        )
        self._told = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)
            found = re.match(r"\s*(agents|customers)\s+(http://\S+)", line)
            if found is not None and found[1] == "agents":
                self.agents = found[2]
            elif found is not None:
                self.customers = found[2]
            if self.agents and self.customers:
                self._told.set()

    def wait_ready(self, seconds: float = 90.0) -> None:
        """Until the addresses are printed."""
        assert self._told.wait(seconds), "".join(self.lines[-30:])

    def pid(self, application: str) -> int:
        """Pid of a server that runs now."""
        site = "Site_" + re.findall(r"_([AB])(?:_|$)", application)[-1]
        return read_run_file(run_file_path(self.state / site)).processes[application].pid

    def kill(self, application: str) -> None:
        """SIGKILL."""
        os.kill(self.pid(application), signal.SIGKILL)

    def kill_database(self, site: str) -> None:
        """SIGKILL the postmaster of a site."""
        told = msgspec.json.decode(self.operator("site", "status", "--json"), type=CentreStatus)
        host = next(one.host for one in told.sites if one.site == site)
        assert host is not None
        assert host.database is not None
        os.kill(host.database.pid, signal.SIGKILL)

    def kill_host(self, name: str) -> None:
        """SIGKILL a host agent; the lab starts it again."""
        children = psutil.Process(self._process.pid).children(recursive=False)
        next(one for one in children if "host" in one.cmdline() and name in one.cmdline()).kill()

    def wait_streaming(self, seconds: float = 60.0) -> None:
        """Until both hosts answer and the replica follows: what a planned switch needs."""
        deadline = time.monotonic() + seconds
        while True:
            told = msgspec.json.decode(self.operator("site", "status", "--json"), type=CentreStatus)
            if not told.warnings:
                return
            assert time.monotonic() < deadline, told.warnings
            time.sleep(0.1)

    def kill_workspace(self) -> None:
        """SIGKILL the process that serves the agents' page; the lab starts it again."""
        children = psutil.Process(self._process.pid).children(recursive=True)
        next(one for one in children if "workspace" in one.cmdline()).kill()

    def primary(self, pair: str) -> str:
        """The member of a pair ("Ixn_A", "UCS_A") that is primary, as the operator is told."""
        told = msgspec.json.decode(self.operator("site", "status", "--json"))
        return next(one for one in _applications(told) if one.startswith(pair))

    def operator(self, *arguments: str) -> str:
        """Run an operator's command; its output. It must succeed."""
        done = subprocess.run(
            [*STAYLINE, *arguments, "--state", str(self.state)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self) -> None:
        """Ctrl-C; everything must be gone in time."""
        self._process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if self._process.poll() is None:
            self._process.kill()
            raise AssertionError("the lab did not stop: " + "".join(self.lines[-20:]))
        self._reader.join(timeout=10)
        # Its databases may lie outside the test's folder, which nobody else would clean.
        remove(self.state)


def _applications(told: object) -> Iterator[str]:
    """Names of the applications that report to be primary, anywhere in a status."""
    if isinstance(told, dict):
        report = told.get("report")
        if isinstance(report, dict) and report.get("role") == "primary":
            yield str(told["application"])
        for part in told.values():
            yield from _applications(part)
    elif isinstance(told, list):
        for part in told:
            yield from _applications(part)
