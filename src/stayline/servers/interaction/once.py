"""Idempotency keys: a request that was carried out before gets its recorded result, and changes nothing."""

import asyncio
from collections.abc import Awaitable, Callable

from stayline.domain.errors import refuse
from stayline.link.peer import Request
from stayline.servers.interaction.ledger import Ledger
from stayline.store.interaction import RequestResult

MAX_KEY = 200
"""Characters of an idempotency key."""


class Once:
    """Carries keyed requests out once. ``scope`` says who may repeat a key: an agent, or the media servers."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._running: dict[tuple[str, str], asyncio.Event] = {}

    async def carry_out(
        self,
        scope: str,
        request: Request,
        perform: Callable[[RequestResult], Awaitable[object]],
        replay: Callable[[RequestResult], Awaitable[object]],
    ) -> object:
        """The answer of ``perform`` (given the result to record), or of ``replay`` when it was recorded before.

        Raises RefusedError ``request.key_missing``, ``request.key_reused`` and what perform refuses.
        """
        self._check(request)
        pair = (scope, request.key)
        while pair in self._running:
            # The same request is being carried out for another link; what comes of it decides.
            await self._running[pair].wait()
        known = self._ledger.model.results.get(pair)
        if known is not None:
            if known.method != request.method:
                raise refuse(
                    "request.key_reused",
                    f"Key {request.key!r} was used for {known.method} before; {request.method} needs its own.",
                    field="k",
                )
            return await replay(known)
        running = self._running[pair] = asyncio.Event()
        try:
            return await perform(
                RequestResult(scope=scope, key=request.key, method=request.method, at=self._ledger.clock())
            )
        finally:
            del self._running[pair]
            running.set()

    def _check(self, request: Request) -> None:
        if not request.key or len(request.key) > MAX_KEY:
            raise refuse(
                "request.key_missing",
                f"{request.method} changes something: it needs an idempotency key of 1 to {MAX_KEY} characters.",
                field="k",
            )
