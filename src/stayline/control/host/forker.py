"""A preloaded parent: imports everything once, then forks each server in a few milliseconds.

Sixteen Python services started cold take 6.5 s on two cores; forked from a parent that has the modules
already they take a fraction of it and share their memory. The parent is forked from the host agent before
any event loop or thread exists there and never has one itself, because a fork copies neither safely.

Each server is forked twice: the process in between ends at once, so that the server becomes a child of the
host agent (the nearest subreaper), which waits for it and reads its exit status, and survives the host agent
if need be.
"""

import asyncio
import gc
import importlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

from stayline.control.host.procinfo import name_process, start_ticks
from stayline.domain.errors import refuse

_MAX_MESSAGE = 65_536
_SPAWN_TIMEOUT = 30.0  # the first spawn waits until the parent has imported everything

_UNLOADABLE = (
    ImportError,
    SyntaxError,
    NameError,
    AttributeError,
    TypeError,
    ValueError,
    LookupError,
    OSError,
)
"""How a module that is missing or broken fails to load."""

LIFELINE_VARIABLE = "STAYLINE_LIFELINE_FD"
"""Environment variable with the number of an inherited pipe end: end of file there means that the lab is
gone."""


class Launch(msgspec.Struct, kw_only=True):
    """What to start: ``target`` is ``"package.module:function"``, called with ``arguments`` in the new
    process; standard output and error go to the file ``output``. ``environment`` is added to the inherited
    one."""

    target: str
    arguments: list[str]
    output: str
    environment: dict[str, str] = {}
    title: str = ""


class Launched(msgspec.Struct, kw_only=True):
    """Answer of the preloaded parent: the pid, or why there is none."""

    pid: int = 0
    error: str = ""


class ProcessId(msgspec.Struct, frozen=True):
    """A pid together with its start time in clock ticks after boot: one process for ever."""

    pid: int
    ticks: int


class Forker:
    """The host agent's end: asks the preloaded parent for processes.

    Build it before the process has an event loop or a thread; use :meth:`spawn` inside the loop.
    """

    def __init__(self, preload: Sequence[str]) -> None:
        """Fork the preloaded parent; it imports the modules of ``preload`` while the caller goes on."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _parent_main(theirs, preload)
        theirs.close()
        ours.setblocking(False)
        self.pid = pid
        self._socket = ours
        self._turn: asyncio.Lock | None = None

    async def spawn(self, launch: Launch) -> ProcessId:
        """Start a process. Raises :class:`RefusedError` ``process.spawn_failed`` when that is not
        possible."""
        if self._turn is None:
            self._turn = asyncio.Lock()
        loop = asyncio.get_running_loop()
        try:
            async with self._turn, asyncio.timeout(_SPAWN_TIMEOUT):
                await loop.sock_sendall(self._socket, msgspec.json.encode(launch))
                answer = await loop.sock_recv(self._socket, _MAX_MESSAGE)
        except (OSError, TimeoutError) as error:
            raise refuse(
                "process.spawn_failed", f"the preloaded parent does not answer: {error!r}"
            ) from error
        if not answer:
            raise refuse(
                "process.spawn_failed",
                "the preloaded parent of the servers has ended",
                fix="restart the host agent; the servers that run are adopted",
            )
        launched = msgspec.json.decode(answer, type=Launched)
        if launched.error:
            raise refuse("process.spawn_failed", launched.error)
        return ProcessId(launched.pid, start_ticks(launched.pid))

    def close(self) -> None:
        """End the preloaded parent (it reads end of file) and wait for it. Idempotent."""
        self._socket.close()
        if self.pid:
            pid, self.pid = self.pid, 0
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                return


def _parent_main(channel: socket.socket, preload: Sequence[str]) -> NoReturn:
    """The preloaded parent: one blocking loop, ended by end of file. Never returns."""
    try:
        # The terminal's Ctrl-C goes to the whole group; whoever commands us closes the channel when it is
        # time.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for name in preload:
            _import(name)
        gc.collect()
        # Keeps the collector from touching (and so unsharing) the pages that all servers have in common
        gc.freeze()
        while data := channel.recv(_MAX_MESSAGE):
            channel.send(msgspec.json.encode(_launch(channel, msgspec.json.decode(data, type=Launch))))
    finally:
        _end_process()


def _import(name: str) -> None:
    """Import one module (``"module:function"``: and call that function) ahead of time; one that is missing or
    broken fails in the process that needs it, not here."""
    try:
        module, _, function = name.partition(":")
        found = importlib.import_module(module)
        if function:
            getattr(found, function)()
    except _UNLOADABLE as error:
        print(f"preload of {name}: {error!r}", file=sys.stderr, flush=True)  # noqa: T201 - this is the log


def _launch(channel: socket.socket, launch: Launch) -> Launched:
    read_end, write_end = os.pipe()
    try:
        middle = os.fork()
    except OSError as error:
        os.close(read_end)
        os.close(write_end)
        return Launched(error=f"fork failed: {error}")
    if middle == 0:
        os.close(read_end)
        channel.close()
        _between(write_end, launch)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        told = pipe.read()
    os.waitpid(middle, 0)
    if not told:
        return Launched(error="the second fork failed")
    return Launched(pid=int(told))


def _between(write_end: int, launch: Launch) -> NoReturn:
    """The process in between: forks the server, tells its pid and ends."""
    try:
        pid = os.fork()
    except OSError:
        os._exit(1)
    if pid == 0:
        os.close(write_end)
        _server_main(launch)
    os.write(write_end, str(pid).encode())
    os._exit(0)


def _server_main(launch: Launch) -> NoReturn:
    """The server process: own session, default signals, output to its file, then the target. Never
    returns."""
    try:
        os.setsid()
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(one, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        _redirect(Path(launch.output))
        name_process(launch.title)
        os.environ.update(launch.environment)
        module, _, function = launch.target.partition(":")
        getattr(importlib.import_module(module), function)(*launch.arguments)
    finally:
        _end_process()


def _end_process() -> NoReturn:
    """End a forked process in its last frame, as the interpreter would: nothing may run on into the frames of the
    process it was forked from. An exception under way is said and becomes the exit status."""
    error = sys.exc_info()[1]
    status = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        status = 1
    try:
        if error is not None and not isinstance(error, SystemExit):
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _redirect(output: Path) -> None:
    """Standard input from nowhere, standard output and error to the end of ``output``."""
    output.parent.mkdir(parents=True, exist_ok=True)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nowhere, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for one in (nowhere, log):
        if one > 2:
            os.close(one)
