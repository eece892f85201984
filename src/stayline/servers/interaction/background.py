"""Work that nobody waits for: bounded, named, ended with the term; what it is refused is logged, not lost."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import structlog

from stayline.domain.errors import RefusedError
from stayline.servers.interaction.ledger import TermOverError

RETRY_SECONDS = 0.5
"""Pause before work is tried again; doubles up to :data:`LONGEST_RETRY_SECONDS`."""

LONGEST_RETRY_SECONDS = 5.0
LATE_AFTER = 20
"""Tries after which the log says loudly that work does not get done."""

log = structlog.get_logger(__name__)


class Background:
    """Runs work for the length of a term. Work that is refused only because the writer is busy is tried again until
    the term is over: nobody else would end an offer or give a closed session's interactions back."""

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
        for tried in itertools.count(1):
            try:
                await work()
            except RefusedError as error:
                refusal = error.refusal
                if refusal.retryable and refusal.code.partition(".")[0] not in ("interaction", "session"):
                    if tried == LATE_AFTER:
                        log.error(
                            "background.late", what=what, why=f"refused {tried} times: {refusal.reason}"
                        )
                    await asyncio.sleep(_pause(tried, refusal.retry_after))
                    continue
                # The state moved on between the decision and its turn: what is true now has its own timers.
                log.info("background.refused", what=what, code=refusal.code, why=refusal.reason)
            except TermOverError as error:
                log.info("background.dropped", what=what, why=str(error))
            return


def _pause(tried: int, advice: float | None) -> float:
    """Seconds until the next try: as advised at first, then longer and longer."""
    return min(LONGEST_RETRY_SECONDS, (advice or RETRY_SECONDS) * 2.0 ** min(tried - 1, 10))
