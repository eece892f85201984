"""TLS session reuse for openers: who has been here before needs no full handshake.

Neither asyncio nor uvloop passes a session on, but both wrap their memory buffers with the context's ``wrap_bio``;
:class:`ReusingContext` gives the remembered session there. Sessions live in the context that made them, so they never
serve another authority or another certificate of our own, and their key names host, port and application, so never
another server. A server that does not know a ticket (it was restarted) makes a full handshake.

A resumed session shows the certificate of the handshake that made it, and the opener checks the application's name in
it each time; TLS itself checks that the other side holds the keys of that handshake.
"""

import ssl
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

MAX_SESSIONS = 256
"""Remembered in one context; the one not used for longest is forgotten first."""


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Whose session: the application expected at an address."""

    host: str
    port: int
    application: str


_wanted: ContextVar[SessionKey | None] = ContextVar("stayline_tls_session", default=None)


@contextmanager
def reusing(key: SessionKey) -> Iterator[None]:
    """TLS connections begun inside resume the session of ``key``, if their context remembers one."""
    token = _wanted.set(key)
    try:
        yield
    finally:
        _wanted.reset(token)


class ReusingContext(ssl.SSLContext):
    """A client's context that remembers sessions, at most :data:`MAX_SESSIONS`."""

    _sessions: "OrderedDict[SessionKey, ssl.SSLSession]"

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As the standard one, with the session of :func:`reusing`."""
        key = _wanted.get()
        if session is None and key is not None and not server_side:
            session = self._remembered(key)
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def keep(self, key: SessionKey, session: ssl.SSLSession) -> None:
        """Remember a session for the next connection."""
        sessions = self._store()
        sessions[key] = session
        sessions.move_to_end(key)
        if len(sessions) > MAX_SESSIONS:
            sessions.popitem(last=False)

    def is_fresh(self, key: SessionKey) -> bool:
        """Whether a session is remembered that has not lived half its time yet."""
        session = self._store().get(key)
        return session is not None and time.time() < session.time + session.timeout / 2

    def _remembered(self, key: SessionKey) -> ssl.SSLSession | None:
        sessions = self._store()
        session = sessions.get(key)
        if session is None:
            return None
        if time.time() >= session.time + session.timeout:
            del sessions[key]
            return None
        sessions.move_to_end(key)
        return session

    def _store(self) -> "OrderedDict[SessionKey, ssl.SSLSession]":
        # Made at first use: the constructor of a context belongs to OpenSSL.
        try:
            return self._sessions
        except AttributeError:
            self._sessions = OrderedDict()
            return self._sessions


def remember(tls: Any, key: SessionKey) -> None:
    """Remember the session of ``tls`` (an ``ssl.SSLObject``), once data has come over it: TLS 1.3 sends the tickets
    after the handshake. A session that was resumed and is still fresh is good for the next time too."""
    context = getattr(tls, "context", None)
    if not isinstance(context, ReusingContext) or (tls.session_reused and context.is_fresh(key)):
        return
    session = tls.session
    if session is not None and session.has_ticket:
        context.keep(key, session)
