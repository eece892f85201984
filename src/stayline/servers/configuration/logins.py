"""Logins: a password once, checked off the event loop; afterwards tokens are enough."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import structlog

from stayline.domain.errors import Refusal, RefusedError, refuse
from stayline.domain.objects import ConfigObject
from stayline.link.messages.configuration import LoggedIn, Login
from stayline.link.messages.envelope import Identity
from stayline.link.tokens import TokenSigner
from stayline.servers.persons import not_admitted
from stayline.store.passwords import nobodys_hash, verify_password

log = structlog.get_logger(__name__)

REMEMBERED = 20_000
"""Pairs of name and place whose failures are remembered; of more, the longest untouched is forgotten."""

PLACES_OF_ONE_ADDRESS = 10
"""A link's address may fail for a user as often as this many places behind it: a Workspace process tells from
which browser a password comes, and nobody at another browser is to wait for that one's failures; but whoever
invents browsers gains only this much."""

MAX_USER = 256
"""Characters of a name that are compared."""

MAX_SOURCE = 64
"""Characters of the place that a Workspace process names."""

CHECK_SECONDS = 0.05
"""What one check takes, about, until some were measured: from it follows when to come back."""

WEIGHT = 0.1
"""Of the newest measured check in the average."""

LONGEST_WAIT = 120.0
"""Seconds after which who found no room is to come back at the latest, however many were sent away before."""


class Logins:
    """Checks passwords. ``find`` gives a person (with hash) by name; ``option`` a number of section
    ``configuration-server`` by its key; ``standing`` revision and mark of the configuration that ``find`` looks into.
    At most ``concurrency`` checks run at a time, further ones wait in line."""

    def __init__(
        self,
        find: Callable[[str], ConfigObject | None],
        option: Callable[[str], float],
        signer: TokenSigner,
        *,
        concurrency: int = 2,
        clock: Callable[[], float] = time.time,
        verify: Callable[[str, str], bool] = verify_password,
        standing: Callable[[], tuple[int, str]] = lambda: (0, ""),
    ) -> None:
        self._find = find
        self._option = option
        self._signer = signer
        self._concurrency = concurrency
        self._clock = clock
        self._verify = verify
        self._standing = standing
        self._cost = CHECK_SECONDS
        self._promised = 0.0
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="password")
        self._running = asyncio.Semaphore(concurrency)
        self._waiting = 0
        self._attempts: OrderedDict[_Key, list[float]] = OrderedDict()
        # Made now, not while somebody waits for the first refusal.
        nobodys_hash()

    def close(self) -> None:
        """Give the threads back."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def login(
        self, request: Login, address: str = "", gone: Callable[[], bool] = lambda: False
    ) -> LoggedIn:
        """``address``: the host at the other end of the link, ``gone()`` whether that link has ended: nobody checks a
        password that nobody waits for. Raises RefusedError ``auth.failed``, ``auth.throttled`` or ``auth.busy`` (both
        with ``retry_after``), ``auth.abandoned``."""
        limit = int(self._option("login-queue"))
        if self._waiting >= limit:
            raise RefusedError(self._no_room())
        keys = _keys(request, address)
        at = self._admit(request.user, keys)
        self._waiting += 1
        try:
            async with self._running:
                if gone():
                    # Nothing was learnt by it, so it is no failure either.
                    self._take_back(keys, at)
                    raise refuse("auth.abandoned", "Who wanted to log in has left.", retryable=True)
                logged_in = await self._check(request)
                self._forget(keys)
                return logged_in
        finally:
            self._waiting -= 1

    def renew(self, identity: Identity) -> LoggedIn:
        """A new token for a person whose own is still good, without a password. Raises RefusedError ``token.expired``,
        ``auth.disabled``, or ``config.behind`` when the person may be newer than what is known here."""
        now = self._clock()
        if identity.expires <= now:
            raise refuse(
                "token.expired", "The token to be renewed has expired.", field="token", fix="Log in again."
            )
        revision, mark = self._standing()
        person = self._find(identity.user)
        refusal = not_admitted(identity, person, mark, revision)
        if refusal is None and person is None:
            reason = f"This Configuration Server does not know '{identity.user}' yet."
            refusal = Refusal(code="config.behind", reason=reason, retryable=True, retry_after=0.25)
        if refusal is not None or person is None:
            assert refusal is not None
            log.warning("login.not_renewed", user=identity.user[:64], code=refusal.code, why=refusal.reason)
            raise RefusedError(refusal)
        log.info("login.renewed", user=person.name, why="its token was still good")
        return self._signed(person)

    def _no_room(self) -> Refusal:
        """Behind everybody who waits, and everybody who was sent away before: they do not come back together."""
        now, each = self._clock(), self._cost / self._concurrency
        self._promised = max(self._promised, now + self._waiting * each) + each
        self._promised = min(self._promised, now + LONGEST_WAIT)
        wait = round(self._promised - now + 0.05, 1)
        reason = f"{self._waiting} logins are waiting already; each takes {self._cost * 1000:.0f} ms."
        return Refusal(code="auth.busy", reason=reason, retryable=True, retry_after=wait)

    async def _check(self, request: Login) -> LoggedIn:
        person = self._find(request.user)
        known = person is not None and bool(person.password_hash)
        # An unknown user costs what a known one does, so that the time tells nobody who exists.
        encoded = person.password_hash if person is not None and known else nobodys_hash()
        loop = asyncio.get_running_loop()
        right, seconds = await loop.run_in_executor(self._threads, self._timed, encoded, request.password)
        self._cost += WEIGHT * (seconds - self._cost)
        if person is None or not (known and right and person.enabled):
            log.warning("login.refused", user=request.user[:64], why="wrong user or password, or disabled")
            raise RefusedError(
                Refusal(
                    code="auth.failed", reason="The user name or the password is wrong.", field="password"
                )
            )
        log.info("login.done", user=person.name, why="password right")
        return self._signed(person)

    def _timed(self, encoded: str, password: str) -> tuple[bool, float]:
        """In a thread: whether it is right, and how many seconds that took."""
        began = time.perf_counter()
        return self._verify(encoded, password), time.perf_counter() - began

    def _signed(self, person: ConfigObject) -> LoggedIn:
        revision, mark = self._standing()
        identity = Identity(
            user=person.name,
            tenant=person.tenant,
            roles=list(person.roles),
            expires=self._clock() + self._option("token-validity"),
            display_name=person.display_name or person.name,
            revision=revision,
            mark=mark,
        )
        return LoggedIn(token=self._signer.sign_identity(identity), identity=identity)

    def _admit(self, user: str, keys: "tuple[_Key, _Key]") -> float:
        """Every attempt counts as failed until it succeeds, so that guesses side by side count too; the time under
        which it counts.

        Failures count for the place they come from, so that nobody can lock out somebody else.
        """
        now = self._clock()
        window, allowed = self._option("login-failure-window"), int(self._option("login-failures"))
        limits = (allowed, allowed * PLACES_OF_ONE_ADDRESS)
        recent = [[at for at in self._attempts.get(key, ()) if now - at < window] for key in keys]
        for attempts, limit in zip(recent, limits, strict=True):
            if len(attempts) >= limit:
                raise RefusedError(_throttled(user, len(attempts), attempts[0] + window - now))
        for key, attempts in zip(keys, recent, strict=True):
            self._attempts[key] = [*attempts, now]
            self._attempts.move_to_end(key)
        while len(self._attempts) > REMEMBERED:
            self._attempts.popitem(last=False)
        return now

    def _take_back(self, keys: "tuple[_Key, _Key]", at: float) -> None:
        """One attempt is as if it had not been."""
        for key in keys:
            attempts = self._attempts.get(key, [])
            if at in attempts:
                attempts.remove(at)
            if not attempts:
                self._attempts.pop(key, None)

    def _forget(self, keys: "tuple[_Key, _Key]") -> None:
        """The right password: the place's failures are forgiven, and counted no longer for its address."""
        place, address = keys
        forgiven = self._attempts.pop(place, [])
        kept = [at for at in self._attempts.get(address, ()) if at not in forgiven]
        if kept:
            self._attempts[address] = kept
        else:
            self._attempts.pop(address, None)


class _Key(NamedTuple):
    """Whose failures, and from where; ``source`` None: from the whole address."""

    user: str
    address: str
    source: str | None


def _keys(request: Login, address: str) -> tuple[_Key, _Key]:
    user = request.user[:MAX_USER]
    return _Key(user, address, request.source[:MAX_SOURCE]), _Key(user, address, None)


def _throttled(user: str, failures: int, left: float) -> Refusal:
    wait = round(max(1.0, left), 1)
    log.warning("login.throttled", user=user[:64], why=f"{failures} failures")
    reason = f"Too many wrong passwords for this user from here; try again in {wait:.0f} s."
    return Refusal(code="auth.throttled", reason=reason, retryable=True, retry_after=wait, field="user")
