"""Processes of the database: programs that run once, and a server watched by a process descriptor.

A server is a direct child (so that it can be reaped: a zombie postmaster blocks its successor), or one adopted from a
former supervisor. Both are watched by a pidfd, which tells of the end at once and never mistakes a reused pid.
"""

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from stayline.control.postgres.account import Account
from stayline.domain.errors import refuse

_log = structlog.get_logger("postgres.child")


class Child:
    """A running process: ``exited`` resolves with a sentence when it has ended."""

    def __init__(self, pid: int, popen: subprocess.Popen[bytes] | None) -> None:
        self.pid = pid
        self._popen = popen
        self._loop = asyncio.get_running_loop()
        self._fd = os.pidfd_open(pid)
        self.exited: asyncio.Future[str] = self._loop.create_future()
        self._loop.add_reader(self._fd, self._ended)

    @classmethod
    def spawn(
        cls, account: Account, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: Path
    ) -> "Child":
        """Start ``argv`` as a direct child in a session of its own (Ctrl-C at a terminal must not reach it)."""
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("ab") as log:
            popen = _launch(account, argv, cwd, env, log.fileno(), log.fileno())
        return cls(popen.pid, popen)

    @classmethod
    def adopt(cls, pid: int) -> "Child":
        """Watch a process that is not our child. Raises ProcessLookupError when there is none."""
        return cls(pid, None)

    @property
    def adopted(self) -> bool:
        """Whether it was started by somebody else: its exit status then stays unknown."""
        return self._popen is None

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return not self.exited.done()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process is gone."""
        if self.alive:
            try:
                signal.pidfd_send_signal(self._fd, number)
            except ProcessLookupError:
                _log.info(
                    "signal came too late", pid=self.pid, signal=number.name, why="the process has ended"
                )

    async def wait(self, timeout: float | None = None) -> bool:
        """Whether it ended within ``timeout`` seconds (None: wait for it)."""
        done, _ = await asyncio.wait({self.exited}, timeout=timeout)
        return bool(done)

    def forget(self) -> None:
        """Stop watching without ending the process (the supervisor itself is leaving)."""
        if self.alive:
            self._close()
            self.exited.cancel()
            if self._popen is not None:
                # Tell Python that nobody will wait for it, or its destructor warns about a running child.
                self._popen.returncode = 0

    def _ended(self) -> None:
        self._close()
        why = "ended" if self._popen is None else _describe(self._popen.wait())
        if not self.exited.done():
            self.exited.set_result(why)

    def _close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)


def _launch(
    account: Account, argv: Sequence[str], cwd: Path, env: Mapping[str, str], out: int, err: int
) -> "subprocess.Popen[bytes]":
    popen: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
        list(argv),
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        start_new_session=True,
        **account.popen(),
    )
    return popen


def _describe(status: int) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


async def run_program(
    account: Account,
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 120.0,
) -> str:
    """Run a program to its end and return its standard output.

    Raises RefusedError ``database.program_failed`` with the last line that it wrote to standard error; after
    ``timeout`` seconds, and when the caller is cancelled, the program is killed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        popen = _launch(account, argv, cwd, env or base_environment(), out.fileno(), err.fileno())
        child = Child(popen.pid, popen)
        try:
            in_time = await child.wait(timeout)
        finally:
            if child.alive:
                child.send(signal.SIGKILL)
                await child.wait()
        out.seek(0)
        err.seek(0)
        output, errors = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    name = Path(argv[0]).name
    if not in_time:
        raise refuse("database.program_failed", f"{name} did not end within {timeout:.0f} s.", retryable=True)
    if popen.returncode != 0:
        last = (errors.strip() or output.strip() or child.exited.result()).splitlines()[-1]
        _log.warning("program failed", program=name, status=popen.returncode, why=last, errors=errors[-2000:])
        raise refuse("database.program_failed", f"{name} failed: {last}")
    return output


def base_environment() -> dict[str, str]:
    """What PostgreSQL's programs get: nothing of ours but the path and, on musl, the ICU data."""
    keep = {name: os.environ[name] for name in ("PATH", "ICU_DATA", "LD_LIBRARY_PATH") if name in os.environ}
    return {**keep, "LC_ALL": "C", "TZ": "UTC"}
