"""The fake Configuration Servers: logins, the configuration at a revision, and what changed since."""

import time
from collections.abc import Callable

from stayline.conformance.centre import TENANT
from stayline.conformance.fake_link import FakeLink
from stayline.conformance.fake_server import Service
from stayline.domain.errors import refuse
from stayline.domain.topology import Configuration
from stayline.link.handlers import read
from stayline.link.messages.configuration import Changes, LoggedIn, Login, Read
from stayline.link.messages.envelope import Frame, Identity
from stayline.link.tokens import TokenSigner

PASSWORD = "right"
"""The password of the agent of every case."""

TOKEN_SECONDS = 3_600.0


class ConfigurationService(Service):
    """One Configuration Server. ``now()`` is the configuration in truth; while ``stale`` it stays at what it knew."""

    anonymous = True

    def __init__(self, now: Callable[[], Configuration], signer: TokenSigner) -> None:
        self._now = now
        self._signer = signer
        self._known: Configuration | None = None
        self._subscribed: list[tuple[FakeLink, int]] = []

    @property
    def stale(self) -> bool:
        """Whether its database is away."""
        return self._known is not None

    def answer(self, link: FakeLink, frame: Frame) -> object:
        """Serve a request. Raises RefusedError."""
        if frame.m == "auth.login":
            return self._login(read(frame.p, Login, frame.m))
        if not link.user:
            raise refuse(
                "method.forbidden", f"{frame.m} may not be called by somebody not logged in.", field="m"
            )
        if frame.m == "auth.renew":
            return self._token(link.user)
        if frame.m == "config.read":
            asked = read(frame.p, Read, frame.m)
            changes = self._changes(asked.since)
            if asked.subscribe:
                self._subscribed = [(one, at) for one, at in self._subscribed if one is not link]
                self._subscribed.append((link, changes.revision))
            return changes
        return super().answer(link, frame)

    def gone(self, link: FakeLink) -> None:
        """A subscriber is gone."""
        self._subscribed = [(one, at) for one, at in self._subscribed if one is not link]

    def changed(self) -> None:
        """The configuration has changed: subscribers are told, unless this server cannot know."""
        if self._known is None:
            self._tell()

    def become(self, *, stale: bool) -> None:
        """Lose the database, or have it again; subscribers are told."""
        if stale is not self.stale:
            self._known = self._now() if stale else None
            self._tell()

    def _tell(self) -> None:
        told = []
        for link, revision in self._subscribed:
            changes = self._changes(revision)
            link.event("config.changed", changes)
            told.append((link, changes.revision))
        self._subscribed = told

    def _changes(self, since: int) -> Changes:
        known = self._known or self._now()
        return Changes(
            revision=known.revision,
            full=since == 0,
            objects=[obj for obj in known.objects if since == 0 or obj.revision > since],
            writable=not self.stale,
            mark=f"1-{known.revision}",
            current=not self.stale,
        )

    def _login(self, login: Login) -> LoggedIn:
        if login.password != PASSWORD:
            raise refuse("auth.failed", "The user name or the password is wrong.", field="password")
        return self._token(login.user)

    def _token(self, user: str) -> LoggedIn:
        identity = Identity(
            user=user,
            tenant=TENANT,
            roles=["agent"],
            expires=time.time() + TOKEN_SECONDS,
            display_name=user.title(),
        )
        return LoggedIn(token=self._signer.sign_identity(identity), identity=identity)
