"""The client under test: how the player starts and ends one, and what any client is told and may tell.

A client is started with these variables in its environment and prints a status line (``status.py``) on its standard
output whenever its status changes:

======================  =============================================================================================
STAYLINE_BOOTSTRAP      ``bootstrap.json``: Configuration Servers, folder of ``ca.pem``, folder of ``token-verify.pem``
STAYLINE_USER           the agent's user name
STAYLINE_PASSWORD       the agent's password
STAYLINE_PLACE          the agent's place
STAYLINE_STATE          folder that the client may keep things in; the same from start to start within a case
======================  =============================================================================================
"""

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from stayline.conformance.status import ClientStatus, read_line
from stayline.domain.errors import refuse

BOOTSTRAP = "STAYLINE_BOOTSTRAP"
USER = "STAYLINE_USER"
PASSWORD = "STAYLINE_PASSWORD"
PLACE = "STAYLINE_PLACE"
STATE = "STAYLINE_STATE"

STOP_SECONDS = 5.0
"""How long a client may take to end when it is told to; then it is killed."""

MAX_LINE = 1_048_576

WAKE_UP = "wake-up"
"""Ability of a client whose machine can be made to sleep."""

Tell = Callable[[ClientStatus], None]


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Where the client works: see the module. ``tell`` takes each status line; ``until_connected(x)`` waits until
    the client has a connection to any server of the case (or none any more)."""

    bootstrap: Path
    user: str
    password: str
    place: str
    state: Path
    tell: Tell
    until_connected: Callable[[bool], Awaitable[None]]

    @property
    def environment(self) -> dict[str, str]:
        """The variables for a client of its own process."""
        return {
            BOOTSTRAP: str(self.bootstrap),
            USER: self.user,
            PASSWORD: self.password,
            PLACE: self.place,
            STATE: str(self.state),
        }


class Client(Protocol):
    """A client under test, for one case. ``abilities``: what only some clients can be told to do. ``takes_time``: its
    start is over only with the first sign of it, a connection or a status line."""

    abilities: frozenset[str]
    takes_time: bool

    async def start(self) -> None:
        """Start it; it logs in by itself. Raises RefusedError when it cannot be started."""

    async def stop(self) -> None:
        """The agent ends it. What it keeps on disk stays."""

    def wake_up(self, slept: float) -> None:
        """Its machine has slept so many seconds."""


MakeClient = Callable[[Desk], Client]


class CommandClient:
    """A client of its own process: any command."""

    abilities: frozenset[str] = frozenset()
    takes_time = True

    def __init__(self, command: str, desk: Desk) -> None:
        self._words = shlex.split(command)
        self._desk = desk
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process, in a group of its own."""
        if not self._words:
            raise refuse("conformance.command", "The command is empty.")
        errors = self._desk.state / "stderr.log"
        try:
            with errors.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self._words,
                    env={**os.environ, **self._desk.environment},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                    limit=MAX_LINE,
                )
        except OSError as error:
            reason = f"{self._words[0]} cannot be started: {error.strerror}."
            raise refuse("conformance.command", reason) from error
        self._reading = asyncio.create_task(self._read(self._process), name="client's status lines")

    async def stop(self) -> None:
        """SIGTERM to the process; its whole group is killed when it does not end."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            if self._reading is not None:
                self._reading.cancel()
                await asyncio.wait([self._reading])

    def wake_up(self, slept: float) -> None:
        """Nobody can put another process's machine to sleep."""
        raise refuse("conformance.ability", "A client of its own process cannot be made to sleep.")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await _line(process.stdout):
            try:
                status = read_line(line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue  # a client may print other things as well
            self._desk.tell(status)


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line, empty at the end. One that is too long is given up in parts, which are no status lines."""
    try:
        return await stream.readline()
    except ValueError:
        return b"\n"
