"""The newest signed statement of who is master that this proxy has heard from its core, for hellos and polls."""

import time
from collections.abc import Callable

import structlog

from stayline.domain.errors import RefusedError
from stayline.link.tokens import Statement, TokenVerifier

log = structlog.get_logger(__name__)


class Statements:
    """Keeps the statement of the highest epoch, of equal ones the one valid longest. ``clock``: Unix seconds."""

    def __init__(self, verifier: TokenVerifier, clock: Callable[[], float] = time.time) -> None:
        self._verifier = verifier
        self._clock = clock
        self._token = ""
        self._known: Statement | None = None

    def heard(self, token: str) -> None:
        """The core has sent one; a bad or older one changes nothing."""
        try:
            said = self._verifier.statement(token, self._clock())
        except RefusedError as error:
            log.warning("proxy.statement_ignored", code=error.refusal.code, why=error.refusal.reason)
            return
        known = self._known
        if known is not None and (said.epoch, said.expires) <= (known.epoch, known.expires):
            return
        if known is None or (said.epoch, said.site) != (known.epoch, known.site):
            log.info("proxy.statement", site=said.site, epoch=said.epoch, why="the core has signed it")
        self._token, self._known = token, said

    def current(self) -> str:
        """What hellos and polls carry: empty when nothing was heard or it has expired."""
        if self._known is not None and self._known.expires <= self._clock():
            log.warning(
                "proxy.statement_expired", epoch=self._known.epoch, why="the core has sent no newer one"
            )
            self._token, self._known = "", None
        return self._token
