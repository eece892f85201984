"""Requests to the Configuration Servers: logins, changes, history, at whichever of them can answer."""

import uuid
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError, StaylineError
from stayline.link.authority import TlsFiles
from stayline.link.messages.configuration import (
    Change,
    ChangeMade,
    ChangeRecord,
    GetChangeHistory,
    LoggedIn,
    Login,
    Operation,
    Renew,
)
from stayline.link.messages.envelope import Hello
from stayline.link.peer import BaseHandler, Peer
from stayline.link.transport import Endpoint, connect

log = structlog.get_logger(__name__)

T = TypeVar("T")

ELSEWHERE = frozenset(
    {
        "config.read_only",
        "config.unavailable",
        "config.behind",
        "auth.busy",
        "link.refused",
        "link.busy",
        "link.full",
    }
)
"""Refusals that another Configuration Server may answer differently."""


class ConfigurationRequests:
    """What can be asked. ``endpoints`` in order of preference; ``hello`` is called for every link; ``token`` gives a
    person's token (None: a server, proven by its certificate)."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        hello: Callable[[], Hello],
        tls: TlsFiles,
        token: Callable[[], str] | None = None,
    ) -> None:
        self._endpoints = list(endpoints)
        self._hello = hello
        self._tls = tls
        self._token = token
        self._peer: Peer | None = None

    @property
    def peer(self) -> Peer | None:
        """The live link, or None."""
        return self._peer

    async def login(self, user: str, password: str, source: str = "") -> LoggedIn:
        """Prove a person by password at any Configuration Server, on a link of its own. ``source``: where the
        person is. Raises RefusedError (``auth.failed``, ``auth.busy`` ...) or LinkLostError when none answers."""
        request = Login(user=user, password=password, source=source)
        return await self._anywhere("auth.login", request, LoggedIn, token="", key="", timeout=30.0)

    async def renew(self) -> LoggedIn:
        """A new token for this client's person, who still has a good one, at any Configuration Server. Raises
        RefusedError (``token.expired``, ``auth.disabled`` ...) or LinkLostError when none answers."""
        token = self._token() if self._token is not None else ""
        return await self._here_or_elsewhere("auth.renew", Renew(token=token), LoggedIn, "")

    async def change(self, operations: list[Operation], reason: str, *, key: str = "") -> ChangeMade:
        """Make all operations or none, at whichever Configuration Server can write. Repeating it with the
        same ``key`` is harmless. Raises RefusedError or LinkLostError."""
        request = Change(operations=operations, reason=reason)
        return await self._here_or_elsewhere("config.change", request, ChangeMade, key or uuid.uuid4().hex)

    async def history(self, limit: int = 50, type: str = "", name: str = "") -> list[ChangeRecord]:
        """The newest changes (of one object, if named), newest first."""
        request = GetChangeHistory(limit=limit, type=type, name=name)
        return await self._here_or_elsewhere("config.history", request, list[ChangeRecord], "")

    async def _here_or_elsewhere(self, method: str, params: object, result: type[T], key: str) -> T:
        peer = self._peer
        if peer is not None and not peer.is_closed:
            try:
                return await peer.request(method, params, result, key=key)
            except LinkLostError as error:
                log.info("configuration.elsewhere", method=method, why=str(error))
            except RefusedError as error:
                if error.refusal.code not in ELSEWHERE:
                    raise
                log.info("configuration.elsewhere", method=method, why=str(error))
        token = self._token() if self._token is not None else ""
        return await self._anywhere(method, params, result, token=token, key=key, timeout=10.0)

    async def _anywhere(
        self, method: str, params: object, result: type[T], *, token: str, key: str, timeout: float
    ) -> T:
        """One request on a link of its own, at the first server of the list that does not send us on."""
        last: StaylineError = LinkLostError(self._unreachable("the list is empty"))
        for endpoint in self._endpoints:
            try:
                peer = await connect(endpoint, self._own_hello(token), BaseHandler(), self._tls)
            except LinkLostError as error:
                last = last if isinstance(last, RefusedError) else error
                continue
            except RefusedError as error:
                if error.refusal.code not in ELSEWHERE:
                    raise
                last = error
                continue
            try:
                return await peer.request(method, params, result, key=key, timeout=timeout)
            except LinkLostError as error:
                last = error
            except RefusedError as error:
                if error.refusal.code not in ELSEWHERE:
                    raise
                last = error
            finally:
                await peer.close()
        raise last

    def _own_hello(self, token: str) -> Hello:
        return msgspec.structs.replace(self._hello(), token=token)

    def _unreachable(self, why: str) -> Refusal:
        names = ", ".join(e.application for e in self._endpoints) or "none is known"
        return Refusal(
            code="config.unreachable",
            reason=f"No Configuration Server answers ({names}): {why}.",
            retryable=True,
            fix="Start a Configuration Server, or look at the network between here and it.",
        )
