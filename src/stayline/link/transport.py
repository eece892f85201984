"""Opening links: ``connect`` here, :class:`Listener` on the other side. TLS 1.3 always."""

import asyncio
from collections.abc import Callable

import msgspec

from stayline.domain.errors import Refusal, RefusedError, StaylineError
from stayline.domain.objects import TraceMode
from stayline.link.authority import TlsFiles
from stayline.link.dial import Endpoint, dial, unreachable
from stayline.link.door import Door
from stayline.link.frames import UNREADABLE, malformed
from stayline.link.handshake import Accepts, check_listener
from stayline.link.listener import Listener
from stayline.link.messages.envelope import (
    MAX_CLIENT_FRAME_BYTES,
    MAX_FRAME_BYTES,
    Frame,
    Hello,
    Kind,
    Waiting,
)
from stayline.link.opening import address_of, certificate_of, read_hello
from stayline.link.peer import SERVER_LIMITS, Handler, Limits, Peer
from stayline.link.tls_sessions import remember
from stayline.link.wire import Wire

__all__ = ["Accepts", "Door", "Endpoint", "Listener", "connect"]

LONGEST_WAIT = 600.0
"""Seconds; a listener that names a longer wait is not believed: the opener gives up after this."""

OnWait = Callable[[Waiting], None]


async def connect(
    endpoint: Endpoint,
    hello: Hello,
    handler: Handler,
    tls: TlsFiles,
    *,
    connect_timeout: float = 5.0,
    hello_timeout: float = 10.0,
    on_wait: OnWait | None = None,
    limits: Limits = SERVER_LIMITS,
    max_frame: int = MAX_FRAME_BYTES,
) -> Peer:
    """Open a link. Timeouts in seconds. ``expect``, cluster, site and ADDP of the hello come from ``endpoint``.

    A listener may let this opener wait for its turn: each ``wait`` frame gives it the seconds it names and
    ``hello_timeout`` more, and is told to ``on_wait``.

    Raises LinkLostError (``link.refused``: port closed, ``link.timeout``, ``link.tls``, ``link.unreachable``,
    ``link.lost``) or RefusedError (either side's refusal of the other's hello, or the handler's ``on_open``).
    """
    own = msgspec.structs.replace(
        hello,
        expect=endpoint.application,
        expect_cluster=endpoint.cluster,
        expect_site=endpoint.site,
        local=endpoint.local,
        remote=endpoint.remote,
        trace=endpoint.trace in (TraceMode.REMOTE, TraceMode.BOTH),
    )

    def make() -> Wire:
        return Wire(_speak_later, max_frame=max_frame, write_limit=limits.write_buffer)

    wire = await dial(endpoint, tls, make, connect_timeout)
    opening = _Opening(wire, endpoint, own, limits, hello_timeout, on_wait)
    try:
        peer = await opening.welcome()
    except BaseException:  # also when cancelled: a connection that nobody owns would stay open
        wire.abort("opening failed")
        raise
    if tls.cert is None:
        # The listener accepts only small frames of a person's application; better to know before sending.
        wire.send_limit = MAX_CLIENT_FRAME_BYTES
    traced = endpoint.trace in (TraceMode.LOCAL, TraceMode.BOTH)
    wire.liveness.start(own.local, others=own.remote, trace=endpoint.application if traced else "")
    await peer.start(handler)
    return peer


def _speak_later(wire: Wire) -> None:
    """An opener speaks first, when its caller is ready."""


class _Opening:
    """Hello and welcome; the peer is made in the turn of the welcome, so that no later frame is missed."""

    def __init__(
        self,
        wire: Wire,
        endpoint: Endpoint,
        own: Hello,
        limits: Limits,
        timeout: float,
        on_wait: OnWait | None,
    ) -> None:
        self._wire = wire
        self._endpoint = endpoint
        self._own = own
        self._limits = limits
        self._timeout = timeout
        self._on_wait = on_wait
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[Peer] = self._loop.create_future()
        self._waiting: Waiting | None = None
        self._deadline = asyncio.timeout(timeout)
        wire.on_frame, wire.on_lost = self._frame, self._lost

    async def welcome(self) -> Peer:
        """Say hello; the peer once it welcomes us. Raises LinkLostError or RefusedError."""
        if self._wire.lost:
            raise unreachable(self._endpoint, "link.lost", self._wire.why)
        self._wire.send(Frame(Kind.HELLO, p=msgspec.Raw(msgspec.json.encode(self._own))))
        try:
            async with self._deadline:
                return await self._done
        except TimeoutError:
            raise unreachable(self._endpoint, "link.timeout", self._unanswered()) from None

    def _unanswered(self) -> str:
        if self._waiting is None:
            return f"no welcome within {self._timeout:g} s"
        waited = f"the {self._waiting.seconds:g} s that it asked us to wait"
        return f"no welcome within {waited} and {self._timeout:g} s more"

    def _frame(self, frame: Frame) -> None:
        if self._done.done():
            return
        try:
            if frame.t is Kind.WAIT:
                self._wait(frame)
            else:
                self._done.set_result(self._welcomed(frame))
        except StaylineError as error:
            self._done.set_exception(error)

    def _lost(self, why: str) -> None:
        if not self._done.done():
            self._done.set_exception(unreachable(self._endpoint, "link.lost", why))

    def _wait(self, frame: Frame) -> None:
        try:
            waiting = msgspec.json.decode(frame.p, type=Waiting)
        except UNREADABLE as error:
            raise RefusedError(malformed(error, "frame.malformed", "wait")) from error
        self._waiting = waiting
        seconds = min(max(waiting.seconds, 0.0), LONGEST_WAIT)
        self._deadline.reschedule(self._loop.time() + seconds + self._timeout)
        if self._on_wait is not None:
            self._on_wait(waiting)

    def _welcomed(self, frame: Frame) -> Peer:
        if frame.t in (Kind.REFUSED, Kind.BYE):
            self._remember_session()
            raise RefusedError(frame.e or Refusal(code="link.error", reason="Refused without a reason."))
        welcome = read_hello(frame, Kind.WELCOME)
        assert self._wire.transport is not None
        certificate = certificate_of(self._wire.transport)
        refusal = check_listener(welcome, self._own, certificate)
        if refusal is not None:
            self._wire.say_bye(refusal, refusal.reason)
            raise RefusedError(refusal)
        self._remember_session()
        address = address_of(self._wire.transport)
        return Peer(self._wire, welcome, certificate=certificate, limits=self._limits, remote_address=address)

    def _remember_session(self) -> None:
        """Data has come, so the server's tickets have; also of one that refused us for now."""
        transport = self._wire.transport
        assert transport is not None
        shown = certificate_of(transport)
        if shown is not None and shown.application == self._endpoint.application:
            remember(transport.get_extra_info("ssl_object"), self._endpoint.session_key)
