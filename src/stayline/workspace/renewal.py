"""Keeps an agent's token alive: a new one is asked for at four fifths of the life of the old one."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError
from stayline.link.messages.configuration import LoggedIn

log = structlog.get_logger(__name__)

SHARE = 0.8
"""Part of a token's life after which a new one is asked for."""

RETRY_SHARE = 0.02
"""Part of a token's life between two attempts while no Configuration Server answers."""

LOOK_SECONDS = 30.0
"""Between two looks at the clock: pauses do not pass while the machine sleeps, and the token's life does."""

LEAST_PAUSE = 0.5
LONGEST_PAUSE = 60.0


class Renewal:
    """``renew`` asks a Configuration Server; ``renewed`` takes the answer; ``refused`` is told when the person gets no
    new token: the old one is good until it expires. ``clock`` gives Unix seconds, ``random`` numbers in [0, 1)."""

    def __init__(
        self,
        renew: Callable[[], Awaitable[LoggedIn]],
        renewed: Callable[[LoggedIn], None],
        refused: Callable[[Refusal], None],
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._renew = renew
        self._renewed = renewed
        self._refused = refused
        self._clock = clock
        self._random = random
        self._task: asyncio.Task[None] | None = None

    def start(self, issued: float, expires: float) -> None:
        """Keep the token of this life (Unix seconds) alive from now on."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(issued, expires), name="token")

    async def stop(self) -> None:
        """Renew no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, issued: float, expires: float) -> None:
        while True:
            life = max(1.0, expires - issued)
            # A little chance: who logged in together shall not come back together.
            due = issued + life * (SHARE - 0.1 * self._random())
            await self._until(due)
            answer = await self._attempt(life, expires)
            if answer is None:
                return
            issued, expires = self._clock(), answer.identity.expires

    async def _until(self, due: float) -> None:
        while True:
            left = due - self._clock()
            if left <= 0.0:
                return
            await asyncio.sleep(min(left, LOOK_SECONDS))

    async def _attempt(self, life: float, expires: float) -> LoggedIn | None:
        """Until a server answers; None when the answer is no, or the token has expired meanwhile."""
        pause = min(LONGEST_PAUSE, max(LEAST_PAUSE, life * RETRY_SHARE))
        while self._clock() < expires:
            try:
                answer = await self._renew()
            except LinkLostError as error:
                wait, why = pause, error.refusal.reason
            except RefusedError as error:
                if not error.refusal.retryable:
                    log.warning("workspace.token", code=error.refusal.code, why=error.refusal.reason)
                    self._refused(error.refusal)
                    return None
                wait, why = error.refusal.retry_after or pause, error.refusal.reason
            else:
                log.info("workspace.token", expires=answer.identity.expires, why="renewed before it expires")
                self._renewed(answer)
                return answer
            log.info("workspace.token", wait=round(wait, 3), why=why)
            await asyncio.sleep(wait)
        reason = (
            "It has expired, and no Configuration Server has answered in time; what is connected goes on."
        )
        log.warning("workspace.token", code="token.expired", why=reason)
        self._refused(Refusal(code="token.expired", reason=reason))
        return None
