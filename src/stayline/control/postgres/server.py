"""The server process of a data folder: started as a direct child or adopted, watched, stopped, killed."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from stayline.control.postgres.account import Account
from stayline.control.postgres.child import Child, base_environment
from stayline.control.postgres.postmaster import (
    clear_stale_locks,
    is_server,
    kill_all,
    lingering,
    running_postmaster,
    says_ready,
)
from stayline.control.postgres.settings import Files
from stayline.domain.errors import refuse

_log = structlog.get_logger("postgres.server")

_STOP = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}

_LINGER = 5.0
"""Seconds that the children of a killed postmaster get to notice and leave."""

_LOG_TAIL = 8_192


class ServerProcess:
    """At most one running server of ``files.data``. ``unasked`` is called with a sentence when it ends by itself."""

    def __init__(
        self, site: str, files: Files, account: Account, log: Path, unasked: Callable[[str], None]
    ) -> None:
        self._site = site
        self._files = files
        self._account = account
        self._log_path = log
        self._log_size = 0
        self._unasked = unasked
        self._child: Child | None = None
        self._expected: set[int] = set()
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Pid of the running postmaster; 0: not running."""
        return self._child.pid if self._child is not None and self._child.alive else 0

    async def wait_exit(self) -> str:
        """Wait until the server has ended; the sentence that says how."""
        if self._child is None:
            return "was not running"
        return await asyncio.shield(self._child.exited)

    async def spawn(self, argv: Sequence[str], timeout: float) -> None:
        """Start the server and wait until it answers.

        Raises RefusedError ``database.start_failed`` with its own last words; retryable when it was only too slow.
        """
        await self._until_nobody_lingers()
        if why := clear_stale_locks(self._files.data, self._files.run):
            _log.warning("stale lock removed", site=self._site, why=why)
        self._log_size = self._log_path.stat().st_size if self._log_path.exists() else 0
        self._watch_child(
            Child.spawn(
                self._account, argv, cwd=self._files.root, env=base_environment(), output=self._log_path
            )
        )
        await self.until_ready(timeout)

    def adopt(self) -> bool:
        """Take over the server that runs in the data folder, if one does."""
        if self.pid:
            return True
        pid = running_postmaster(self._files.data)
        if pid is None:
            return False
        try:
            child = Child.adopt(pid)
        except ProcessLookupError:
            return False
        if not is_server(pid, self._files.data):
            # It ended and another process got its pid between the look and the descriptor.
            child.forget()
            return False
        self._watch_child(child)
        _log.info("database adopted", site=self._site, pid=pid, why="already running in the data folder")
        return True

    async def until_ready(self, timeout: float) -> None:
        """Wait until the running server accepts connections. Raises as :meth:`spawn`."""
        child = self._child
        if child is None:
            raise refuse("database.start_failed", "The database is not running.")
        deadline = asyncio.get_running_loop().time() + timeout
        while not says_ready(self._files.data, child.pid):
            if not child.alive:
                why = f"The database {child.exited.result()}: {self._last_words()}"
                raise refuse("database.start_failed", why)
            if asyncio.get_running_loop().time() > deadline:
                why = f"The database is not ready after {timeout:.0f} s: {self._last_words()}"
                raise refuse("database.start_failed", why, retryable=True)
            await asyncio.sleep(0.005)

    async def stop(self, mode: str, timeout: float) -> None:
        """Stop it: ``smart``, ``fast`` or ``immediate``; harder when it is still there after ``timeout`` seconds."""
        if self._child is None or not self._child.alive:
            return
        self._expected.add(self._child.pid)
        self._child.send(_STOP[mode])
        if not await self._child.wait(timeout):
            _log.error("database does not stop", site=self._site, mode=mode, why="goes down hard now")
            self._child.send(signal.SIGQUIT)
            if not await self._child.wait(5.0):
                self._child.send(signal.SIGKILL)
                await self._child.wait()
        await self._until_nobody_lingers()

    async def kill(self) -> None:
        """SIGKILL every process of the data folder; returns when none is left."""
        if self._child is not None:
            self._expected.add(self._child.pid)
            self._child.send(signal.SIGKILL)
            await self._child.wait()
        kill_all(self._files.data)
        await self._until_nobody_lingers()

    def forget(self) -> None:
        """Stop watching and leave it running."""
        if self._watch is not None:
            self._watch.cancel()
        if self._child is not None:
            self._child.forget()
            self._child = None

    def _watch_child(self, child: Child) -> None:
        self._child = child
        self._watch = asyncio.get_running_loop().create_task(self._tell_exit(child))

    async def _tell_exit(self, child: Child) -> None:
        why = await asyncio.shield(child.exited)
        if child.pid in self._expected:
            self._expected.discard(child.pid)
            return
        _log.error("database ended unasked", site=self._site, pid=child.pid, why=why)
        self._unasked(why)

    def _last_words(self) -> str:
        """What the server itself said since this start: its log's last lines."""
        with self._log_path.open("rb") as log:
            log.seek(max(self._log_size, self._log_path.stat().st_size - _LOG_TAIL))
            lines = log.read().decode(errors="replace").splitlines()
        return " / ".join(line.split("] ", 1)[-1].strip() for line in lines[-2:]) or "it said nothing"

    async def _until_nobody_lingers(self) -> None:
        deadline = asyncio.get_running_loop().time() + _LINGER
        while lingering(self._files.data):
            if asyncio.get_running_loop().time() > deadline:
                count = kill_all(self._files.data)
                _log.warning("killed leftovers", site=self._site, count=count, why="their postmaster is gone")
            await asyncio.sleep(0.01)
