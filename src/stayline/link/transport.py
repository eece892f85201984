"""Opening links: ``connect`` here, :class:`Listener` on the other side. TLS 1.3 always."""

import asyncio
import ssl
from dataclasses import dataclass

import msgspec

from stayline.domain.errors import LinkLostError, Refusal, RefusedError, StaylineError
from stayline.domain.objects import TraceMode
from stayline.link.authority import TlsFiles, client_context
from stayline.link.handshake import Accepts, check_listener
from stayline.link.listener import Listener
from stayline.link.messages.envelope import MAX_CLIENT_FRAME_BYTES, MAX_FRAME_BYTES, Frame, Hello, Kind
from stayline.link.opening import address_of, certificate_of, read_hello
from stayline.link.peer import SERVER_LIMITS, Handler, Limits, Peer
from stayline.link.wire import LINGER_SECONDS, Wire

__all__ = ["Accepts", "Endpoint", "Listener", "connect"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect and whom to expect there. ``local``/``remote``: ADDP seconds of this and the other side,
    ``trace`` which of them log their polls."""

    host: str
    port: int
    application: str
    cluster: str = ""
    local: float = 0.0
    remote: float = 0.0
    trace: TraceMode = TraceMode.OFF


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
        trace=endpoint.trace in (TraceMode.REMOTE, TraceMode.BOTH),
    )
    wire = await _dial(endpoint, tls, connect_timeout, limits, max_frame)
    try:
        peer = await _introduce(wire, endpoint, own, tls, limits, hello_timeout)
    except BaseException:  # also when cancelled: a connection that nobody owns would stay open
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
    traced = endpoint.trace in (TraceMode.LOCAL, TraceMode.BOTH)
    wire.start_addp(own.local, trace=endpoint.application if traced else "")
    return peer


def _welcomed(wire: Wire, frame: Frame, own: Hello, limits: Limits) -> Peer:
    if frame.t in (Kind.REFUSED, Kind.BYE):
        raise RefusedError(frame.e or Refusal(code="link.error", reason="Refused without a reason."))
    welcome = read_hello(frame, Kind.WELCOME)
    assert wire.transport is not None
    certificate = certificate_of(wire.transport)
    refusal = check_listener(welcome, own, certificate)
    if refusal is not None:
        wire.say_bye(refusal, refusal.reason)
        raise RefusedError(refusal)
    address = address_of(wire.transport)
    return Peer(wire, welcome, certificate=certificate, limits=limits, remote_address=address)
