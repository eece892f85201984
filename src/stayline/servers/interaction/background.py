"""Work that nobody waits for: bounded, named, ended with the term; what it is refused is logged, not lost."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from stayline.domain.errors import RefusedError
from stayline.servers.interaction.ledger import TermOverError

RETRY_SECONDS = 0.5
MAX_TRIES = 20

log = structlog.get_logger(__name__)


class Background:
    """Runs work for the length of a term. Work that is refused only because the writer is busy is tried again."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        """Run ``work()``; ``what`` names it in the log."""
        task = asyncio.get_running_loop().create_task(self._run(what, work), name=what)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Cancel what still runs and wait for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("background.failed", what=task.get_name(), exc_info=task.exception())

    async def _run(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        for _ in range(MAX_TRIES):
            try:
                await work()
            except RefusedError as error:
                refusal = error.refusal
                if refusal.retryable and refusal.code.partition(".")[0] not in ("interaction", "session"):
                    await asyncio.sleep(refusal.retry_after or RETRY_SECONDS)
                    continue
                # The state moved on between the decision and its turn: what is true now has its own timers.
                log.info("background.refused", what=what, code=refusal.code, why=refusal.reason)
            except TermOverError as error:
                log.info("background.dropped", what=what, why=str(error))
            return
        log.error(
            "background.given_up", what=what, why=f"refused {MAX_TRIES} times; a new primary will do it"
        )
