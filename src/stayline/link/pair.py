"""Links to both members of a primary/backup pair, and requests that survive a failover between them."""

import asyncio
import random as random_module
from collections.abc import Callable
from typing import TypeVar

import msgspec
import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError, StaylineError, refuse
from stayline.link.authority import TlsFiles
from stayline.link.kept import KeptLink
from stayline.link.messages.envelope import Hello, Role
from stayline.link.peer import SERVER_LIMITS, Handler, Limits, Peer, Request
from stayline.link.transport import Endpoint

log = structlog.get_logger(__name__)
T = TypeVar("T")

NOT_PRIMARY = frozenset({"core.not_primary", "server.stopping"})
"""Refusals that mean: ask the primary, which may be another one by now."""

_NOT_PRIMARY_PAUSE = 0.1
_LONGEST_TIMEOUT = 86_400.0


class PairLink:
    """Keeps links to all ``endpoints()`` and follows whoever is primary.

    Primary is the linked member that says so with the highest (epoch, term), never one with a lower (epoch, term)
    than was seen before: a server that was frozen and does not know that it was replaced is not listened to.
    ``handler`` is shared by all links. ``on_primary(peer)`` and ``on_lost(why)`` are called as the primary comes
    and goes; call :meth:`refresh` when ``endpoints()`` may give something else.
    """

    def __init__(
        self,
        endpoints: Callable[[], list[Endpoint]],
        hello: Callable[[], Hello],
        handler: Handler,
        tls: TlsFiles,
        *,
        random: random_module.Random | None = None,
        limits: Limits = SERVER_LIMITS,
        max_waiting: int = 10_000,
    ) -> None:
        self.primary: Peer | None = None
        self.epoch = 0
        self.term = 0
        self.why = "no server of the pair has been reached yet"
        self.on_primary: list[Callable[[Peer], None]] = []
        self.on_lost: list[Callable[[str], None]] = []
        self._endpoints = endpoints
        self._hello = hello
        self._handler = _Member(self, handler)
        self._tls = tls
        self._random = random or random_module.Random()
        self._limits = limits
        self._max_waiting = max_waiting
        self._links: dict[str, KeptLink] = {}
        self._live: set[Peer] = set()
        self._waiting: set[asyncio.Future[None]] = set()
        self._stopping: set[asyncio.Task[None]] = set()
        self._started = False

    # -- life

    async def start(self) -> None:
        """Begin to connect; does not wait for it."""
        self._started = True
        self.refresh()

    async def stop(self) -> None:
        """Close all links; ``on_lost`` is not called for that."""
        self._started = False
        links, self._links = list(self._links.values()), {}
        await asyncio.gather(*(link.stop() for link in links), *self._stopping)
        self._live.clear()
        self._choose("this side stopped")

    def refresh(self) -> None:
        """Start links to new endpoints, stop those to endpoints that are no more."""
        if not self._started:
            return
        try:
            names = {endpoint.application for endpoint in self._endpoints()}
        except StaylineError as error:
            log.error("pair.endpoints_unknown", why=f"{error.refusal.reason} The links stay as they are.")
            return
        for name in names - self._links.keys():
            link = KeptLink(
                lambda name=name: self._endpoint(name),  # type: ignore[misc]
                self._hello,
                self._handler,
                self._tls,
                random=self._random,
                on_up=self._up,
                on_down=self._down,
                limits=self._limits,
            )
            self._links[name] = link
            link.start()
        for name in self._links.keys() - names:
            task = asyncio.get_running_loop().create_task(self._links.pop(name).stop())
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    def _endpoint(self, name: str) -> Endpoint | None:
        return next((one for one in self._endpoints() if one.application == name), None)

    @property
    def connected_to(self) -> list[str]:
        """Names of the members that a link stands to."""
        return sorted(peer.hello.application for peer in self._live)

    # -- requests

    async def request(
        self,
        method: str,
        params: object,
        result: type[T],
        *,
        key: str = "",
        channel: int = 0,
        timeout: float = 30.0,
    ) -> T:
        """Ask the primary; over a failover the same request with the same ``key`` is asked again at the new one.

        A request that changes something must have a key. Raises RefusedError, or LinkLostError
        (``pair.no_primary``, ``link.timeout``) when there was no answer for ``timeout`` seconds.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        payload = params if isinstance(params, msgspec.Raw) else msgspec.Raw(msgspec.json.encode(params))
        while True:
            peer = await self._wait_for_primary(method, deadline)
            left = max(0.001, deadline - loop.time())
            try:
                return await peer.request(method, payload, result, key=key, channel=channel, timeout=left)
            except LinkLostError as error:
                if error.refusal.code == "link.timeout":
                    raise
                log.info("pair.repeat", method=method, key=key, why=error.refusal.reason)
            except RefusedError as error:
                if error.refusal.code not in NOT_PRIMARY or deadline - loop.time() < _NOT_PRIMARY_PAUSE:
                    raise
                log.info("pair.repeat", method=method, key=key, why=error.refusal.reason)
                await asyncio.sleep(_NOT_PRIMARY_PAUSE)

    async def _wait_for_primary(self, method: str, deadline: float) -> Peer:
        loop = asyncio.get_running_loop()
        while self.primary is None or self.primary.is_closed:
            left = deadline - loop.time()
            if left <= 0:
                reason = f"There is no primary to ask {method}: {self.why}."
                raise LinkLostError(Refusal(code="pair.no_primary", reason=reason, retryable=True))
            if len(self._waiting) >= self._max_waiting:
                reason = f"{self._max_waiting} requests wait for a primary already."
                raise refuse("link.busy", reason, retryable=True, retry_after=1.0)
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiting.add(waiter)
            try:
                await asyncio.wait([waiter], timeout=min(left, _LONGEST_TIMEOUT))
            finally:
                self._waiting.discard(waiter)
        return self.primary

    # -- who is primary

    def _up(self, peer: Peer) -> None:
        self._live.add(peer)
        self._choose(f"{peer.hello.application} was reached as {peer.hello.role}")

    def _down(self, peer: Peer, why: str) -> None:
        self._live.discard(peer)
        self._choose(f"{peer.hello.application}: {why}")

    def role_changed(self, peer: Peer) -> None:
        """A member announced another role."""
        if peer in self._live:
            self._choose(f"{peer.hello.application} is now {peer.hello.role}")

    def gone(self, peer: Peer, why: str) -> None:
        """A member's link is gone."""
        if peer in self._live:
            self._down(peer, why)

    def _choose(self, why: str) -> None:
        """Settle who is primary after something changed."""
        if not self._started:
            self.primary = None  # Our own doing: nobody needs to be told.
            return
        candidates = [
            peer
            for peer in self._live
            if peer.hello.role is Role.PRIMARY
            and not peer.is_closed
            and (peer.hello.epoch, peer.hello.term) >= (self.epoch, self.term)
        ]
        best = max(candidates, key=lambda peer: (peer.hello.epoch, peer.hello.term), default=None)
        before = self.primary
        if best is before:
            if best is not None:
                self.epoch, self.term = best.hello.epoch, best.hello.term
            return
        self.primary = best
        if before is not None:
            self.why = why
            log.warning("pair.primary_lost", was=before.hello.application, why=why)
            for lost in list(self.on_lost):
                lost(why)
            if best is not None and not before.is_closed:
                # It may be frozen: who waits for its answers shall ask the new one now, not after ADDP's verdict.
                before.abort(f"{best.hello.application} is primary with term {best.hello.term}")
        if best is not None:
            self._follow(best)

    def _follow(self, peer: Peer) -> None:
        self.epoch, self.term = peer.hello.epoch, peer.hello.term
        self.why = ""
        log.info("pair.primary", is_now=peer.hello.application, epoch=self.epoch, term=self.term)
        for callback in list(self.on_primary):
            callback(peer)
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


class _Member:
    """The shared handler, with the pair looking over its shoulder."""

    def __init__(self, pair: PairLink, handler: Handler) -> None:
        self._pair = pair
        self._handler = handler

    async def on_open(self, peer: Peer) -> None:
        await self._handler.on_open(peer)

    async def on_request(self, peer: Peer, request: Request) -> object:
        return await self._handler.on_request(peer, request)

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        self._handler.on_event(peer, name, payload, channel, seq)
        if name == "server.role":
            self._pair.role_changed(peer)

    def on_statement(self, peer: Peer, statement: str) -> None:
        self._handler.on_statement(peer, statement)

    def on_closed(self, peer: Peer, why: str) -> None:
        self._handler.on_closed(peer, why)
        # At once, not in the next turn when the kept link wakes up.
        self._pair.gone(peer, why)
