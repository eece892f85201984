"""A listening port that follows a wish: open while wanted, closed (everybody hung up on) as soon as it is not."""

import asyncio
from collections.abc import Callable

import structlog

from stayline.domain.errors import Refusal
from stayline.link.transport import Listener

log = structlog.get_logger(__name__)

RETRY_SECONDS = 0.5
"""Until the next attempt to listen on a port that somebody else holds."""


class FollowingPort:
    """Opens and closes ``listener`` one after the other, whatever the order and speed of wishes.

    ``on_change(why)`` is told when it has opened, closed or could not open.
    """

    def __init__(self, listener: Listener, on_change: Callable[[str], None]) -> None:
        self.listener = listener
        self._on_change = on_change
        self._wanted = False
        self._held = False
        self._why = ""
        self._refusal: Refusal | None = None
        self._wake = asyncio.Event()

    @property
    def wanted(self) -> bool:
        """Whether the port should be open."""
        return self._wanted

    @property
    def held(self) -> bool:
        """Whether it stays closed although it should be open (for those who are linked already)."""
        return self._held

    def hold(self, why: str) -> None:
        """Close the port to newcomers, whatever is wished, and hang up on nobody."""
        self._held = True
        self._why = why
        self._wake.set()

    def release(self, why: str) -> None:
        """Take :meth:`hold` back."""
        self._held = False
        self._why = why
        self._wake.set()

    def want(self, wanted: bool, why: str, refusal: Refusal | None = None) -> None:
        """Wish it open or closed; ``refusal`` is said to those who are hung up on."""
        if wanted == self._wanted:
            return
        self._wanted = wanted
        self._why = why
        self._refusal = refusal
        self._wake.set()

    async def run(self) -> None:
        """Fulfil wishes until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            listener = self.listener
            if not self._wanted:
                if listener.is_open or listener.peers:
                    await self.close(self._refusal, self._why)
            elif self._held:
                if listener.is_open:
                    await self._close_door()
            elif not listener.is_open:
                await self._open()

    async def _open(self) -> None:
        try:
            await self.listener.open()
        except OSError as error:
            why = f"cannot listen on {self.listener.host}:{self.listener.port}: {error.strerror or error}"
            log.error("port.blocked", why=why)
            self._on_change(why)
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._wake.set)
            return
        log.info("port.open", port=self.listener.port, why=self._why)
        self._on_change(self._why)

    async def _close_door(self) -> None:
        await self.listener.close(drop=False)
        log.info("port.held", port=self.listener.port, why=self._why)
        self._on_change(self._why)

    async def close(self, refusal: Refusal | None, why: str) -> None:
        """Close now and hang up on everybody."""
        await self.listener.close(refusal, drop=True)
        log.info("port.closed", port=self.listener.port, why=why)
        self._on_change(why)
