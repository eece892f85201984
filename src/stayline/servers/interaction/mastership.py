"""Who is master, signed by the Interaction Server that leads: what proxies carry to Workspaces in hellos and polls.

A statement is only made when this server has just proven that the term is still its own: at the takeover, and then in a
transaction that checks the term before each renewal. One that lost its term makes no more, and what it made is true of
its epoch: a higher one outranks it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog

from stayline.domain.errors import RefusedError
from stayline.link.messages import interaction as messages
from stayline.link.peer import Peer
from stayline.link.tokens import Statement, TokenSigner

VALID_SECONDS = 3_600.0
RENEW_SECONDS = 600.0
RETRY_SECONDS = 5.0
"""Pause before the term is checked again, when the database was too busy to say."""

log = structlog.get_logger(__name__)


class Mastership:
    """The statement of a term that has just begun. ``prove()`` returns when the term is still held and raises
    RefusedError otherwise (retryable: nobody could say); ``proxies()`` are the links to tell; ``clock`` gives Unix
    seconds."""

    def __init__(
        self,
        signer: TokenSigner,
        site: str,
        epoch: int,
        *,
        prove: Callable[[], Awaitable[object]],
        proxies: Callable[[], Iterable[Peer]],
        clock: Callable[[], float],
    ) -> None:
        self._signer = signer
        self._site = site
        self._epoch = epoch
        self._prove = prove
        self._proxies = proxies
        self._clock = clock
        self._newest = self._signed()

    def tell(self, proxy: Peer) -> None:
        """Give the newest statement to a proxy."""
        proxy.event("server.mastership", messages.Statement(statement=self._newest))

    async def renew_for_ever(self) -> None:
        """Make and tell a new statement every :data:`RENEW_SECONDS`; returns when the term is over."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if not await self._is_held():
                return
            self._newest = self._signed()
            proxies = list(self._proxies())
            for proxy in proxies:
                self.tell(proxy)
            log.info(
                "mastership.stated", site=self._site, epoch=self._epoch, proxies=len(proxies), why="renewed"
            )

    async def _is_held(self) -> bool:
        while True:
            try:
                await self._prove()
            except RefusedError as error:
                if error.refusal.code == "core.not_primary" or not error.refusal.retryable:
                    log.warning("mastership.over", epoch=self._epoch, why=error.refusal.reason)
                    return False
                log.info("mastership.unproven", why=error.refusal.reason)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return True

    def _signed(self) -> str:
        now = self._clock()
        return self._signer.sign_statement(
            Statement(site=self._site, epoch=self._epoch, issued=now, expires=now + VALID_SECONDS)
        )
