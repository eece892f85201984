"""Processes that belong to a lab but to no site: the agents' pages, synthetic agents and customers."""

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

import stayline
from stayline.control.host.lifecycle import delay_after

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 8.0

log = structlog.get_logger("stayline.lab")


class Attendant:
    """Runs ``stayline ARGUMENTS`` for as long as it is wanted, and again when it ends by itself.

    It dies with the process that runs the lab. ``on_line`` gets its standard output line by line when given;
    otherwise that goes to ``output``.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        output: Path,
        *,
        on_line: Callable[[str], None] | None = None,
        on_event: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.name = name
        self._arguments = list(arguments)
        self._output = output
        self._on_line = on_line
        self._on_event = on_event
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Its pid; 0: it does not run at the moment."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    def start(self) -> None:
        """Start it, once."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """SIGTERM, after some seconds SIGKILL; returns when it is gone."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _run(self) -> None:
        crashes = 0
        while True:
            began = time.monotonic()
            status = await self._once()
            crashes = 1 if time.monotonic() - began > 30.0 else crashes + 1
            delay = delay_after(crashes)
            log.warning("attendant ended", name=self.name, status=status, why=f"started again in {delay:g} s")
            self._on_event(
                f"{self.name} ended (status {status}), started again in {delay:g} s; see {self._output}"
            )
            await asyncio.sleep(delay)

    async def _once(self) -> int:
        self._output.parent.mkdir(parents=True, exist_ok=True)
        with self._output.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "stayline.cli.main",
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if self._on_line else out,
                stderr=out,
                env=environment(),
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        if self._on_line is not None and self._process.stdout is not None:
            async for line in self._process.stdout:
                self._on_line(line.decode(errors="replace").rstrip())
        return await self._process.wait()


def environment(**more: str) -> dict[str, str]:
    """The environment of a process of ours: it finds this very package, installed or not."""
    roots = [str(Path(stayline.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(root for root in roots if root)} | more


def _die_with_parent() -> None:
    """In the new process: ask the kernel for SIGTERM when the lab's process dies, however it dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
