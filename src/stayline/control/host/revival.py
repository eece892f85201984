"""A database server that crashed is started again as what it was, with a growing delay."""

import asyncio
import time
from collections.abc import Callable

import structlog

from stayline.control.host.faults import FAULTS, sentence
from stayline.control.host.lifecycle import STABLE_AFTER, delay_after
from stayline.control.postgres.node import PostgresNode

log = structlog.get_logger("stayline.host.database")


class Revival:
    """Starts ``node`` again after a crash, under the lock ``turn``, as long as ``may_run()``.

    Its host agent lived through the crash, so nobody was told to take over meanwhile without fencing this
    site first; the watch on the peer corrects the rare rest.
    """

    def __init__(
        self, node: PostgresNode, turn: asyncio.Lock, may_run: Callable[[], bool], tell: Callable[[str], None]
    ) -> None:
        self._node = node
        self._turn = turn
        self._may_run = may_run
        self._tell = tell
        self._crashes = 0
        self._crashed_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def crashed(self, why: str) -> None:
        """The server ended without being asked to."""
        now = time.monotonic()
        self._crashes = 1 if now - self._crashed_at > STABLE_AFTER else self._crashes + 1
        self._crashed_at = now
        self._tell(f"the database ended: {why}")
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._start_again(), name="database revival")
            self._task.add_done_callback(_log_fault)

    async def stop(self) -> None:
        """Start nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _start_again(self) -> None:
        while True:
            await asyncio.sleep(delay_after(self._crashes))
            async with self._turn:
                if not self._may_run():
                    return
                if self._node.running or await self._started():
                    self._tell("the database runs again")
                    return

    async def _started(self) -> bool:
        try:
            await self._node.start()
        except FAULTS as error:
            log.error("database restart failed", why=sentence(error))
            self._crashes += 1
            return False
        return True


def _log_fault(task: "asyncio.Task[None]") -> None:
    """Nobody awaits the task while it runs: a fault of ours must not leave a database stopped without a word."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("database revival failed", why=repr(error), exc_info=error)
