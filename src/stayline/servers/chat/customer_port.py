"""The customers' port: opened only if it is protected as its address demands, and anew when its options change."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import structlog

from stayline.domain.errors import RefusedError
from stayline.servers.chat.protection import Protection, PublicCertificate
from stayline.servers.chat.web import CustomerWeb, WebListener

log = structlog.get_logger(__name__)


class CustomerPort:
    """The web listener and what protects it."""

    def __init__(
        self, web: CustomerWeb, host: str, port: int, protection: Callable[[], Protection], folder: Path
    ) -> None:
        """``protection`` is read when needed; relative paths of certificates begin in ``folder``."""
        self._listener = WebListener(web, host, port)
        self._host = host
        self._wanted = protection
        self._folder = folder
        self._in_use = Protection()
        self._certificate: PublicCertificate | None = None
        self.refused = ""
        """Why the port may not be opened, and what mends it; empty when it may."""

    @property
    def is_open(self) -> bool:
        """Whether the port accepts connections."""
        return self._listener.is_open

    async def open(self) -> None:
        """Open the port, or note in :attr:`refused` why not. Raises OSError when it is taken."""
        if self.is_open:
            return
        wanted = self._wanted()
        try:
            context = self._prepare(wanted)
        except RefusedError as error:
            why = f"{error.refusal.reason} {error.refusal.fix}"
            if why != self.refused:  # said once, though it is tried again and again
                log.error("chat.customers_refused", code=error.refusal.code, why=why)
            self.refused = why
            return
        self.refused = ""
        await self._listener.open(context)
        self._in_use = wanted

    def _prepare(self, wanted: Protection) -> ssl.SSLContext | None:
        wanted.check(self._host)
        self._certificate = PublicCertificate(wanted, self._folder) if wanted.tls else None
        return None if self._certificate is None else self._certificate.context

    async def follow(self) -> None:
        """Close the port when the options that protect it were changed; take a renewed certificate."""
        if not self.is_open:
            return
        if self._wanted() != self._in_use:
            why = "the options that protect the customers' port were changed"
            log.info("chat.customers_closed", why=why)
            await self.close(why, retry_after=0.2)
        elif self._certificate is not None:
            self._certificate.renew(asyncio.get_running_loop().time())

    async def close(self, why: str, retry_after: float = 0.0) -> None:
        """Close the port at once, then send everybody away."""
        await self._listener.close(why, retry_after)
