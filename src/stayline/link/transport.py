"""Opening links: ``connect`` on one side, :class:`Listener` on the other. TLS 1.3 always."""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError, StaylineError
from stayline.link.authority import TlsFiles, client_context, server_context
from stayline.link.frames import malformed
from stayline.link.handshake import Accepts, Certificate, check_listener, check_opener
from stayline.link.messages.envelope import (
    MAX_CLIENT_FRAME_BYTES,
    MAX_FRAME_BYTES,
    Frame,
    Hello,
    Identity,
    Kind,
)
from stayline.link.peer import PERSON_LIMITS, SERVER_LIMITS, Handler, Limits, Peer
from stayline.link.tokens import TokenVerifier
from stayline.link.wire import LINGER_SECONDS, Wire

__all__ = ["Accepts", "Endpoint", "Listener", "connect"]

log = structlog.get_logger(__name__)
_HELLO_FRAME_BYTES = 16_384
_FULL_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect and whom to expect there. ``local``/``remote``: ADDP seconds of this and the other side."""

    host: str
    port: int
    application: str
    cluster: str = ""
    local: float = 0.0
    remote: float = 0.0


def certificate_of(transport: asyncio.BaseTransport) -> Certificate | None:
    """Name and type in the other side's verified certificate; None when it showed none."""
    shown = transport.get_extra_info("peercert")
    if not shown:
        return None
    names = {key: value for part in shown.get("subject", ()) for key, value in part}
    return Certificate(names.get("commonName", ""), names.get("organizationalUnitName", ""))


def _address(transport: asyncio.BaseTransport) -> str:
    name = transport.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if name else ""


def _read_hello(frame: Frame, expected: Kind) -> Hello:
    """The hello in an opening frame. Raises RefusedError."""
    if frame.t is not expected:
        reason = f"The link must be opened with a {expected} frame, not {frame.t}."
        raise RefusedError(Refusal(code="frame.unexpected", reason=reason, field="t"))
    try:
        return msgspec.json.decode(frame.p, type=Hello)
    except msgspec.MsgspecError as error:
        raise RefusedError(malformed(error, "hello.malformed", str(expected))) from error


# ---------------------------------------------------------------------------------------------- opening


def _unreachable(endpoint: Endpoint, code: str, what: str) -> LinkLostError:
    reason = f"{endpoint.application} at {endpoint.host}:{endpoint.port} cannot be reached: {what}."
    return LinkLostError(Refusal(code=code, reason=reason, retryable=True))


async def _dial(endpoint: Endpoint, tls: TlsFiles, timeout: float, limits: Limits, max_frame: int) -> Wire:
    """A TLS connection to the endpoint. Raises LinkLostError with the precise reason."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            _, wire = await loop.create_connection(
                lambda: Wire(_nothing, max_frame=max_frame, write_limit=limits.write_buffer),
                endpoint.host,
                endpoint.port,
                ssl=client_context(tls),
                server_hostname=endpoint.host,
                ssl_handshake_timeout=timeout,
                ssl_shutdown_timeout=LINGER_SECONDS,
            )
    except TimeoutError:
        raise _unreachable(endpoint, "link.timeout", f"no answer within {timeout:g} s") from None
    except ConnectionRefusedError:
        raise _unreachable(endpoint, "link.refused", "its port is closed") from None
    except ssl.SSLError as error:
        raise _unreachable(endpoint, "link.tls", f"TLS failed ({error.reason or error})") from error
    except OSError as error:
        raise _unreachable(endpoint, "link.unreachable", error.strerror or str(error)) from error
    return wire


def _nothing(wire: Wire) -> None:
    """An opener speaks first, when its caller is ready."""


async def connect(
    endpoint: Endpoint,
    hello: Hello,
    handler: Handler,
    tls: TlsFiles,
    *,
    connect_timeout: float = 5.0,
    hello_timeout: float = 10.0,
    limits: Limits = SERVER_LIMITS,
    max_frame: int = MAX_FRAME_BYTES,
) -> Peer:
    """Open a link. Timeouts in seconds. ``expect``, cluster and ADDP of the hello are filled in from ``endpoint``.

    Raises LinkLostError (``link.refused``: port closed, ``link.timeout``, ``link.tls``, ``link.unreachable``,
    ``link.lost``) or RefusedError (either side's refusal of the other's hello, or the handler's ``on_open``).
    """
    own = msgspec.structs.replace(
        hello,
        expect=endpoint.application,
        expect_cluster=endpoint.cluster,
        local=endpoint.local,
        remote=endpoint.remote,
    )
    wire = await _dial(endpoint, tls, connect_timeout, limits, max_frame)
    try:
        peer = await _introduce(wire, endpoint, own, tls, limits, hello_timeout)
    except BaseException:
        wire.abort("opening failed")
        raise
    await peer.start(handler)
    return peer


async def _introduce(
    wire: Wire, endpoint: Endpoint, own: Hello, tls: TlsFiles, limits: Limits, timeout: float
) -> Peer:
    """Exchange hello and welcome; the peer is made in the turn of the welcome, so that no later frame is missed."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Peer] = loop.create_future()

    def on_frame(frame: Frame) -> None:
        if done.done():
            return
        try:
            done.set_result(_welcomed(wire, frame, own, limits))
        except StaylineError as error:
            done.set_exception(error)

    def on_lost(why: str) -> None:
        if not done.done():
            done.set_exception(_unreachable(endpoint, "link.lost", why))

    wire.on_frame, wire.on_lost = on_frame, on_lost
    if wire.lost:
        raise _unreachable(endpoint, "link.lost", wire.why)
    wire.send(Frame(Kind.HELLO, p=msgspec.Raw(msgspec.json.encode(own))))
    try:
        async with asyncio.timeout(timeout):
            peer = await done
    except TimeoutError:
        what = f"no welcome within {timeout:g} s"
        raise _unreachable(endpoint, "link.timeout", what) from None
    if tls.cert is None:
        # The listener accepts only small frames of a person's application; better to know before sending.
        wire.send_limit = MAX_CLIENT_FRAME_BYTES
    wire.start_addp(own.local)
    return peer


def _welcomed(wire: Wire, frame: Frame, own: Hello, limits: Limits) -> Peer:
    if frame.t in (Kind.REFUSED, Kind.BYE):
        raise RefusedError(frame.e or Refusal(code="link.error", reason="Refused without a reason."))
    welcome = _read_hello(frame, Kind.WELCOME)
    assert wire.transport is not None
    certificate = certificate_of(wire.transport)
    refusal = check_listener(welcome, own, certificate)
    if refusal is not None:
        wire.say_bye(refusal, refusal.reason)
        raise RefusedError(refusal)
    address = _address(wire.transport)
    return Peer(wire, welcome, certificate=certificate, limits=limits, remote_address=address)


# -------------------------------------------------------------------------------------------- listening


class Listener:
    """Accepts links on one port.

    ``hello()`` gives our own hello at any moment. ``handler_factory(peer)`` makes the handler of a new link; it may
    raise RefusedError, which the opener gets instead of a welcome. ``on_higher_epoch(epoch, peer)`` is told when
    a *server* knows a higher epoch than ours (a person's claim proves nothing).
    """

    def __init__(
        self,
        hello: Callable[[], Hello],
        handler_factory: Callable[[Peer], Handler],
        tls: TlsFiles,
        *,
        host: str,
        port: int,
        accepts: Accepts,
        verify: TokenVerifier | None = None,
        max_connections: int = 12_000,
        max_frame: int = MAX_FRAME_BYTES,
        max_client_frame: int = MAX_CLIENT_FRAME_BYTES,
        person_limits: Limits = PERSON_LIMITS,
        server_limits: Limits = SERVER_LIMITS,
        hello_timeout: float = 10.0,
        on_higher_epoch: Callable[[int, Peer], None] | None = None,
    ) -> None:
        self.hello = hello
        self.handler_factory = handler_factory
        self.tls = tls
        self.host = host
        self.port = port
        self.accepts = accepts
        self.verify = verify
        self.max_connections = max_connections
        self.max_frame = max_frame
        self.max_client_frame = max_client_frame
        self.person_limits = person_limits
        self.server_limits = server_limits
        self.hello_timeout = hello_timeout
        self.on_higher_epoch = on_higher_epoch
        self.peers: set[Peer] = set()
        self.openings: set[Wire] = set()
        self._server: asyncio.Server | None = None
        self._starting: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether the port accepts connections."""
        return self._server is not None

    async def open(self) -> None:
        """Listen. Port 0 takes a free one, which ``port`` then says. Raises OSError when the port is taken."""
        if self._server is not None:
            return
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._wire,
            self.host,
            self.port,
            ssl=server_context(self.tls),
            backlog=1_024,
            reuse_address=True,
            ssl_handshake_timeout=self.hello_timeout,
            ssl_shutdown_timeout=LINGER_SECONDS,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self, refusal: Refusal | None = None, *, drop: bool) -> None:
        """Close the port. ``drop``: also say bye (with ``refusal``) on all live links and wait for their end."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        if not drop:
            return
        for wire in list(self.openings):
            wire.say_bye(refusal, "the listener closed", Kind.REFUSED)
        leaving = list(self.peers)
        for peer in leaving:
            peer.hang_up(refusal)
        waiting = [peer.closed for peer in leaving if not peer.closed.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=LINGER_SECONDS + 1.0)

    # -- one incoming connection

    def _wire(self) -> Wire:
        # Only the hello is read with this limit; what follows has the limit of what the hello proved.
        return Wire(
            self._connected, max_frame=_HELLO_FRAME_BYTES, write_limit=self.person_limits.write_buffer
        )

    def _connected(self, wire: Wire) -> None:
        if len(self.peers) + len(self.openings) >= self.max_connections:
            reason = f"{self.hello().application} has its {self.max_connections} connections already."
            self._refuse(
                wire,
                Refusal(code="link.full", reason=reason, retryable=True, retry_after=_FULL_RETRY_SECONDS),
            )
            return
        self.openings.add(wire)
        timer = asyncio.get_running_loop().call_later(self.hello_timeout, self._no_hello, wire)

        def on_frame(frame: Frame) -> None:
            timer.cancel()
            self.openings.discard(wire)
            self._opening(wire, frame)

        def on_lost(why: str) -> None:
            timer.cancel()
            self.openings.discard(wire)

        wire.on_frame, wire.on_lost = on_frame, on_lost

    def _no_hello(self, wire: Wire) -> None:
        reason = f"No hello within {self.hello_timeout:g} s."
        self._refuse(wire, Refusal(code="hello.timeout", reason=reason, retryable=True))

    def _refuse(self, wire: Wire, refusal: Refusal, application: str = "") -> None:
        log.warning("link.refused", who=application, code=refusal.code, why=refusal.reason)
        wire.say_bye(refusal, refusal.reason, Kind.REFUSED)

    def _opening(self, wire: Wire, frame: Frame) -> None:
        application = ""
        try:
            opener = _read_hello(frame, Kind.HELLO)
            application = opener.application
            peer = self._admit(wire, opener)
            handler = self.handler_factory(peer)
        except StaylineError as error:
            self._refuse(wire, error.refusal, application)
            return
        wire.send(Frame(Kind.WELCOME, p=msgspec.Raw(msgspec.json.encode(self.hello()))))
        wire.start_addp(opener.remote)
        self.peers.add(peer)
        peer.closed.add_done_callback(lambda _: self.peers.discard(peer))
        task = asyncio.get_running_loop().create_task(self._start(peer, handler))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    def _admit(self, wire: Wire, opener: Hello) -> Peer:
        """Check the opener. Raises RefusedError."""
        assert wire.transport is not None
        own = self.hello()
        certificate = certificate_of(wire.transport)
        if self._server is None:
            reason = f"{own.application} does not take new links at the moment."
            raise RefusedError(Refusal(code="link.closed", reason=reason, retryable=True))
        server = certificate is not None
        peer = Peer(
            wire,
            opener,
            certificate=certificate,
            limits=self.server_limits if server else self.person_limits,
            accepts=self.accepts,
            remote_address=_address(wire.transport),
        )
        if server and opener.epoch > own.epoch and self.on_higher_epoch is not None:
            self.on_higher_epoch(opener.epoch, peer)
        refusal = check_opener(opener, own, certificate, self.accepts)
        if refusal is not None:
            raise RefusedError(refusal)
        peer.identity = self._identify(opener)
        wire.limit_frames(self.max_frame if server else self.max_client_frame)
        return peer

    def _identify(self, opener: Hello) -> Identity | None:
        if not opener.token:
            return None
        if self.verify is None:
            reason = f"{self.hello().application} cannot check tokens."
            raise RefusedError(Refusal(code="token.invalid", reason=reason, field="token"))
        return self.verify.identity(opener.token, time.time())

    async def _start(self, peer: Peer, handler: Handler) -> None:
        try:
            await peer.start(handler)
        except StaylineError as error:
            log.warning("link.refused", who=peer.hello.application, code=error.refusal.code, why=str(error))
