"""The parent's side of a load generator: start it, follow its state, give it orders."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from stayline.domain.errors import refuse
from stayline.lab.attendant import environment
from stayline.lab.load import MAX_LINE, LoadState, Order

FINISH_SECONDS = 30.0


class LoadProcess:
    """``stayline lab load ...`` as a child. ``state`` is what it said last; ``changed`` is set with each news."""

    def __init__(self, name: str, arguments: Sequence[str], output: Path, changed: asyncio.Event) -> None:
        self.name = name
        self.state = LoadState()
        self._arguments = list(arguments)
        self._output = output
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._changed = changed

    def add(self, argument: str) -> None:
        """One more argument, before :meth:`start`."""
        self._arguments.append(argument)

    async def start(self) -> None:
        """Start it."""
        with self._output.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "stayline.cli.main",
                "lab",
                "load",
                *self._arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=out,
                limit=MAX_LINE,
                env=environment(),
                start_new_session=True,
            )
        self._reading = asyncio.create_task(self._read(), name=self.name)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        decoder = msgspec.json.Decoder(LoadState)
        async for line in self._process.stdout:
            self.state = decoder.decode(line)
            self._changed.set()
        self._changed.set()

    def check(self) -> None:
        """Raises RefusedError ``drill.load_failed`` when it died or says that it cannot go on."""
        if self._reading is not None and (self._reading.done() or self.state.problem):
            why = self.state.problem or f"it ended by itself; see {self._output}"
            raise refuse("drill.load_failed", f"The load generator of the {self.name} failed: {why}.")

    def order(self, order: Order) -> None:
        """Tell it what to do."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(f"{order}\n".encode())

    async def finish(self) -> None:
        """Let it write its history and end; kill it when it does not. Raises RefusedError then."""
        process, reading = self._process, self._reading
        if process is None or reading is None:
            return
        self._process = None
        assert process.stdin is not None
        if process.returncode is None:
            process.stdin.write(f"{Order.FINISH}\n".encode())
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                status = await process.wait()
                await reading
        except TimeoutError:
            process.send_signal(signal.SIGKILL)
            await process.wait()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            reason = f"The load generator of the {self.name} did not end within {FINISH_SECONDS:g} s."
            raise refuse("drill.load_stuck", reason) from None
        if status:
            raise refuse(
                "drill.load_failed", f"The load generator of the {self.name} ended with status {status}."
            )

    async def kill(self) -> None:
        """End it whatever it does; its history is not wanted."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
