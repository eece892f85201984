"""A live link to another application: requests, replies and events over one :class:`Wire`."""

import asyncio
import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError, StaylineError
from stayline.link.handlers import BaseHandler, Handler, Request, read, unknown_method
from stayline.link.handshake import Accepts, Certificate
from stayline.link.messages.envelope import EMPTY, Frame, Hello, Identity, Kind, RoleChanged
from stayline.link.rate import TokenBucket
from stayline.link.wire import LINGER_SECONDS, Wire

__all__ = [
    "PERSON_LIMITS",
    "SERVER_LIMITS",
    "BaseHandler",
    "Handler",
    "Limits",
    "Peer",
    "Request",
    "read",
    "unknown_method",
]

log = structlog.get_logger(__name__)
T = TypeVar("T")
_encode = msgspec.json.Encoder().encode
_generations = itertools.count(1)
_BUSY_RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one link. ``in_flight``: requests being worked on; ``write_buffer``: bytes waiting for a slow
    reader; ``rate``/``burst``: frames per second / at once that the other side may send (rate 0: unlimited);
    ``early_bytes``: payload that may come before the link is open here, from who waits at a door among others."""

    in_flight: int = 256
    write_buffer: int = 4 * 1024 * 1024
    rate: float = 0.0
    burst: int = 0
    early_bytes: int = 16_384


PERSON_LIMITS = Limits(rate=50.0, burst=200)
SERVER_LIMITS = Limits(in_flight=16_384, write_buffer=64 * 1024 * 1024, early_bytes=64 * 1024 * 1024)


class Peer:
    """The other side of a live link.

    ``hello``: what it said of itself (role, epoch and term follow its ``server.role`` events). ``identity``: the
    person proven by the token, None for a server, which is proven by its ``certificate``. ``generation`` is new
    with each link of this process. ``closed`` gets the reason when the link is gone; ``silent`` then says whether
    ADDP found it dead. ``farewell`` is the refusal said in a ``bye`` by either side. ``statement`` is the newest
    signed statement of mastership heard on this link ("" none), unverified; the handler's ``on_statement`` is told of
    each.
    """

    def __init__(
        self,
        wire: Wire,
        hello: Hello,
        *,
        certificate: Certificate | None = None,
        limits: Limits = SERVER_LIMITS,
        accepts: Accepts | None = None,
        remote_address: str = "",
    ) -> None:
        self.hello = hello
        self.certificate = certificate
        self.identity: Identity | None = None
        self.generation = next(_generations)
        self.remote_address = remote_address
        self.statement = hello.statement
        self.limits = limits
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[str] = self._loop.create_future()
        self._handler: Handler | None = None
        self._opened = False
        self._early: list[Frame] = []
        self._early_bytes = 0
        self._raw: Callable[[Frame], None] | None = None
        self._raw_everything = False
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._accepts = accepts
        self._allowed: frozenset[str] | None = frozenset()
        self._bucket = TokenBucket(limits.rate, limits.burst, self._loop.time()) if limits.rate > 0 else None
        wire.write_limit = limits.write_buffer
        wire.on_frame = self._frame
        wire.on_lost = self._lost
        wire.liveness.on_statement = self._stated

    def _methods(self) -> frozenset[str] | None:
        if self._accepts is None or self.is_server:
            return None
        person = self.identity is not None
        return self._accepts.person_methods if person else self._accepts.anonymous_methods

    def __repr__(self) -> str:
        return f"<Peer {self.hello.application} #{self.generation} {self.remote_address}>"

    # -- what it is

    @property
    def is_server(self) -> bool:
        """Whether the other side has proven itself by a certificate."""
        return self.certificate is not None

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._wire.is_closing

    @property
    def silent(self) -> bool:
        """Whether the link died of silence (ADDP) rather than by a reset or a bye."""
        return self._wire.silent

    @property
    def farewell(self) -> Refusal | None:
        """The refusal of the ``bye`` that ended the link, if one did."""
        return self._wire.farewell

    @property
    def heard_seq(self) -> int:
        """The highest event sequence heard on this link."""
        return self._wire.heard_seq

    @property
    def sent_seq(self) -> int:
        """The highest event sequence sent on this link."""
        return self._wire.sent_seq

    def poll_now(self, deadline: float) -> None:
        """This machine has slept: poll at once; the link is dead when nothing is heard within ``deadline`` seconds."""
        self._wire.liveness.poll_now(deadline)

    # -- opening (called by the transport)

    async def start(self, handler: Handler) -> None:
        """Give the link its handler. Raises what ``on_open`` refuses, after saying it to the other side; what the other
        side said, or LinkLostError, when the link has ended before: its handler would never be told that."""
        if self.is_closed:
            raise RefusedError(self.farewell) if self.farewell is not None else self._lost_error()
        self._handler = handler
        self._allowed = self._methods()
        try:
            await handler.on_open(self)
        except StaylineError as error:
            self._wire.say_bye(error.refusal, error.refusal.reason)
            raise
        self._opened = True
        if self.statement:
            handler.on_statement(self, self.statement)
        early, self._early = self._early, []
        for frame in early:
            self._frame(frame)

    # -- sending

    async def request(
        self,
        method: str,
        params: object,
        result: type[T],
        *,
        key: str = "",
        channel: int = 0,
        timeout: float = 10.0,
    ) -> T:
        """Ask and wait for the answer, at most ``timeout`` seconds.

        Raises RefusedError (the other side refused), LinkLostError (the link went, or ``link.timeout``: no answer
        in time; the link itself is not declared dead by that, ADDP does that).
        """
        if self.is_closed:
            raise self._lost_error()
        number = next(self._numbers)
        waiter: asyncio.Future[msgspec.Raw] = self._loop.create_future()
        self._waiting[number] = waiter
        try:
            self._wire.send(Frame(Kind.REQUEST, number, channel, method, key, 0, _raw(params)))
            async with asyncio.timeout(timeout):
                payload = await waiter
        except TimeoutError:
            reason = f"{self.hello.application} did not answer {method} within {timeout:g} s."
            raise LinkLostError(Refusal(code="link.timeout", reason=reason, retryable=True)) from None
        finally:
            self._waiting.pop(number, None)
        return read(payload, result, f"reply to {method}")

    def event(self, name: str, params: object, *, seq: int = 0, channel: int = 0) -> None:
        """Send an event; lost silently when the link is closing."""
        self._wire.send(Frame(Kind.EVENT, 0, channel, name, "", seq, _raw(params)))

    def send_frame(self, frame: Frame) -> None:
        """Send a ready frame (a proxy's way). Raises RefusedError ``link.too_large``."""
        self._wire.send(frame)

    def set_raw(self, callback: Callable[[Frame], None] | None, *, everything: bool = False) -> None:
        """Give request, reply, error and event frames to ``callback`` instead of the handler: those with a channel
        (a proxy's link to its core), or all with ``everything`` (a proxy's link to its client). A RefusedError
        of the callback ends the link with it."""
        self._raw = callback
        self._raw_everything = everything

    async def close(self, refusal: Refusal | None = None) -> None:
        """Say bye and close, after everything sent before has been taken (or :data:`LINGER_SECONDS`)."""
        self._wire.say_bye(refusal, refusal.reason if refusal else "closed by this side")
        if not self.closed.done():
            await asyncio.wait([self.closed], timeout=LINGER_SECONDS + 1.0)

    def hang_up(self, refusal: Refusal | None = None) -> None:
        """Like :meth:`close` without waiting for it."""
        self._wire.say_bye(refusal, refusal.reason if refusal else "closed by this side")

    def abort(self, why: str) -> None:
        """Cut the link at once."""
        self._wire.abort(why)

    # -- receiving

    def _frame(self, frame: Frame) -> None:
        kind = frame.t
        if kind is Kind.REPLY or kind is Kind.ERROR:
            if not self._unread(frame):
                self._answer(frame)
        elif kind is Kind.REQUEST or kind is Kind.EVENT:
            self._incoming(frame)
        elif kind is Kind.BYE:
            self._wire.farewell = frame.e
            self._wire.end(f"bye: {frame.e.reason}" if frame.e else "the other side said bye")
        else:
            refusal = Refusal(code="frame.unexpected", reason=f"A {kind} frame on an open link.", field="t")
            self._wire.say_bye(refusal, refusal.reason)

    def _answer(self, frame: Frame) -> None:
        waiter = self._waiting.get(frame.i)
        if waiter is None or waiter.done():
            return
        if frame.t is Kind.REPLY:
            waiter.set_result(frame.p)
        else:
            refusal = frame.e or Refusal(code="link.error", reason="Refused without a reason.", field="e")
            waiter.set_exception(RefusedError(refusal))

    def _incoming(self, frame: Frame) -> None:
        if not self._opened:
            self._wait_for_opening(frame)
            return
        refusal = self._objection(frame)
        if refusal is not None:
            if frame.t is Kind.REQUEST:
                self._refuse(frame, refusal)
            return
        if self._unread(frame):
            return
        if frame.t is Kind.REQUEST:
            self._serve(frame)
        else:
            self._event(frame)

    def _unread(self, frame: Frame) -> bool:
        """Give the frame to the raw callback, if it is for it."""
        if self._raw is None or not (frame.c or self._raw_everything):
            return False
        try:
            self._raw(frame)
        except StaylineError as error:
            self._wire.say_bye(error.refusal, error.refusal.reason)
        return True

    def _wait_for_opening(self, frame: Frame) -> None:
        size = self._early_bytes + len(memoryview(frame.p)) + len(frame.m) + len(frame.k)
        if len(self._early) < self.limits.in_flight and size <= self.limits.early_bytes:
            self._early_bytes = size
            self._early.append(frame)
        elif frame.t is Kind.REQUEST:
            self._refuse(frame, self._busy())

    def _objection(self, frame: Frame) -> Refusal | None:
        """Why a frame is not let in: too many, or not for persons."""
        if self._bucket is not None:
            wait = self._bucket.take(self._loop.time())
            if wait > 0:
                reason = f"More than {self.limits.rate:g} requests per second on one link."
                # A little more than needed: clocks of event loops count in milliseconds.
                advice = round(wait + 0.005, 3)
                return Refusal(code="link.rate", reason=reason, retryable=True, retry_after=advice)
        if self._allowed is not None and frame.t is Kind.REQUEST and frame.m not in self._allowed:
            who = f"{self.identity.user} (a person)" if self.identity else "somebody not logged in"
            reason = f"{frame.m} may not be called by {who}."
            return Refusal(code="method.forbidden", reason=reason, field="m")
        return None

    def _busy(self) -> Refusal:
        reason = f"{self.limits.in_flight} requests are being worked on for this link already."
        return Refusal(code="link.busy", reason=reason, retryable=True, retry_after=_BUSY_RETRY_SECONDS)

    def _event(self, frame: Frame) -> None:
        if self._handler is None:
            return
        try:
            if frame.m == "server.role" and self.is_server and not frame.c:
                self._role(read(frame.p, RoleChanged, frame.m))
            self._handler.on_event(self, frame.m, frame.p, frame.c, frame.s)
        except StaylineError as error:
            self._wire.say_bye(error.refusal, f"event {frame.m} refused: {error.refusal.reason}")

    def _role(self, now: RoleChanged) -> None:
        self.hello = msgspec.structs.replace(self.hello, role=now.role, epoch=now.epoch, term=now.term)

    def _stated(self, statement: str) -> None:
        """An answer to our poll carried a statement; one that comes before the link is open is told when it is."""
        self.statement = statement
        if self._opened and self._handler is not None:
            self._handler.on_statement(self, statement)

    # -- serving requests

    def _serve(self, frame: Frame) -> None:
        if len(self._serving) >= self.limits.in_flight:
            self._refuse(frame, self._busy())
            return
        task = self._loop.create_task(self._run(frame))
        self._serving.add(task)
        task.add_done_callback(functools.partial(self._served, frame))

    async def _run(self, frame: Frame) -> None:
        assert self._handler is not None
        try:
            result = await self._handler.on_request(self, Request(frame.m, frame.p, frame.k, frame.c))
            self._wire.send(Frame(Kind.REPLY, frame.i, frame.c, p=_raw(result)))
        except StaylineError as error:
            self._refuse(frame, error.refusal)

    def _served(self, frame: Frame, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        if task.cancelled():
            reason = f"{frame.m} was given up because this server is stopping."
            self._refuse(frame, Refusal(code="server.stopping", reason=reason, retryable=True))
            return
        error = task.exception()
        if error is not None:
            log.error("request.fault", method=frame.m, peer=self.hello.application, exc_info=error)
            reason = f"{frame.m} failed inside the server; its log says why."
            self._refuse(frame, Refusal(code="server.fault", reason=reason))

    def _refuse(self, frame: Frame, refusal: Refusal) -> None:
        self._wire.send(Frame(Kind.ERROR, frame.i, frame.c, e=refusal))

    # -- the end

    def _lost(self, why: str) -> None:
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(self._lost_error())
        self._waiting.clear()
        self._early.clear()
        if not self.closed.done():
            self.closed.set_result(why)
        if self._handler is not None:
            self._handler.on_closed(self, why)

    def _lost_error(self) -> LinkLostError:
        reason = f"The link to {self.hello.application} is gone: {self._wire.why or 'closing'}."
        return LinkLostError(Refusal(code="link.lost", reason=reason, retryable=True))


def _raw(value: object) -> msgspec.Raw:
    if isinstance(value, msgspec.Raw):
        return value
    return EMPTY if value is None else msgspec.Raw(_encode(value))
