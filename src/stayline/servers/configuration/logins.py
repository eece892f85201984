"""Logins: a password once, checked off the event loop; afterwards tokens are enough."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from stayline.domain.errors import Refusal, RefusedError
from stayline.domain.objects import ConfigObject
from stayline.link.messages.configuration import LoggedIn, Login
from stayline.link.messages.envelope import Identity
from stayline.link.tokens import TokenSigner
from stayline.store.passwords import nobodys_hash, verify_password

log = structlog.get_logger(__name__)

REMEMBERED_USERS = 10_000
"""Names whose failures are remembered; of more, the longest untouched is forgotten."""

CHECK_SECONDS = 0.05
"""What one check takes, about: from it the time to wait is told to whom the queue has no room for."""


class Logins:
    """Checks passwords. ``find`` gives a person (with hash) by name; ``option`` a number of section
    ``configuration-server`` by its key. At most ``concurrency`` checks run at a time, further ones wait in
    line."""

    def __init__(
        self,
        find: Callable[[str], ConfigObject | None],
        option: Callable[[str], float],
        signer: TokenSigner,
        *,
        concurrency: int = 2,
        clock: Callable[[], float] = time.time,
        verify: Callable[[str, str], bool] = verify_password,
    ) -> None:
        self._find = find
        self._option = option
        self._signer = signer
        self._concurrency = concurrency
        self._clock = clock
        self._verify = verify
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="password")
        self._running = asyncio.Semaphore(concurrency)
        self._waiting = 0
        self._attempts: OrderedDict[str, list[float]] = OrderedDict()
        # Made now, not while somebody waits for the first refusal.
        nobodys_hash()

    def close(self) -> None:
        """Give the threads back."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def login(self, request: Login) -> LoggedIn:
        """Raises RefusedError ``auth.failed``, ``auth.throttled`` or ``auth.busy`` (both with
        ``retry_after``)."""
        limit = int(self._option("login-queue"))
        if self._waiting >= limit:
            wait = round(limit * CHECK_SECONDS / self._concurrency, 1)
            reason = f"{limit} logins are waiting already."
            raise RefusedError(Refusal(code="auth.busy", reason=reason, retryable=True, retry_after=wait))
        self._admit(request.user)
        self._waiting += 1
        try:
            async with self._running:
                return await self._check(request)
        finally:
            self._waiting -= 1

    async def _check(self, request: Login) -> LoggedIn:
        person = self._find(request.user)
        known = person is not None and bool(person.password_hash)
        # An unknown user costs what a known one does, so that the time tells nobody who exists.
        encoded = person.password_hash if person is not None and known else nobodys_hash()
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(self._threads, self._verify, encoded, request.password)
        if person is None or not (known and right and person.enabled):
            log.warning("login.refused", user=request.user[:64], why="wrong user or password, or disabled")
            raise RefusedError(
                Refusal(
                    code="auth.failed", reason="The user name or the password is wrong.", field="password"
                )
            )
        self._attempts.pop(request.user, None)
        identity = Identity(
            user=person.name,
            tenant=person.tenant,
            roles=list(person.roles),
            expires=self._clock() + self._option("token-validity"),
            display_name=person.display_name or person.name,
        )
        log.info("login.done", user=person.name, why="password right")
        return LoggedIn(token=self._signer.sign_identity(identity), identity=identity)

    def _admit(self, user: str) -> None:
        """Every attempt counts as failed until it succeeds, so that guesses side by side count too."""
        now = self._clock()
        window, allowed = self._option("login-failure-window"), int(self._option("login-failures"))
        recent = [at for at in self._attempts.get(user, ()) if now - at < window]
        if len(recent) >= allowed:
            wait = round(max(1.0, recent[0] + window - now), 1)
            log.warning("login.throttled", user=user[:64], why=f"{len(recent)} failures in {window:g} s")
            reason = f"Too many wrong passwords for this user; try again in {wait:.0f} s."
            raise RefusedError(
                Refusal(code="auth.throttled", reason=reason, retryable=True, retry_after=wait, field="user")
            )
        self._attempts[user] = [*recent, now]
        self._attempts.move_to_end(user)
        while len(self._attempts) > REMEMBERED_USERS:
            self._attempts.popitem(last=False)
