"""Reaching a server: its addresses raced by family, then TLS. What is said over the connection is not decided here."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import aiohappyeyeballs

from stayline.domain.errors import LinkLostError, Refusal, refuse
from stayline.domain.objects import TraceMode
from stayline.link.authority import TlsFiles, client_context
from stayline.link.tls_sessions import SessionKey, reusing
from stayline.link.wire import LINGER_SECONDS, Wire

FAMILY_DELAY = 0.25
"""Seconds that the preferred address family of an endpoint has before the other one is tried beside it."""

_FAMILIES = {
    "4": (socket.AF_INET,),
    "6": (socket.AF_INET6,),
    "4,6": (socket.AF_INET, socket.AF_INET6),
    "6,4": (socket.AF_INET6, socket.AF_INET),
}
_NAMES = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect and whom to expect there.

    ``cluster`` and ``site``: where the server must say it belongs (empty: anywhere). ``local``/``remote``: ADDP
    seconds of this and the other side, ``trace`` which of them log their polls. ``ip_version``: address families in
    the order of preference, ``4``, ``6``, ``4,6`` or ``6,4``.
    """

    host: str
    port: int
    application: str
    cluster: str = ""
    local: float = 0.0
    remote: float = 0.0
    trace: TraceMode = TraceMode.OFF
    site: str = ""
    ip_version: str = "4,6"

    @property
    def session_key(self) -> SessionKey:
        """Under which its TLS session is remembered."""
        return SessionKey(self.host, self.port, self.application)


def unreachable(endpoint: Endpoint, code: str, what: str) -> LinkLostError:
    """The error for an endpoint that cannot be reached because of ``what``."""
    reason = f"{endpoint.application} at {endpoint.host}:{endpoint.port} cannot be reached: {what}."
    return LinkLostError(Refusal(code=code, reason=reason, retryable=True))


async def dial(endpoint: Endpoint, tls: TlsFiles, make: Callable[[], Wire], timeout: float) -> Wire:
    """A TLS connection to the endpoint, at most ``timeout`` seconds for all of it.

    Raises LinkLostError: ``link.refused`` (port closed), ``link.timeout``, ``link.tls``, ``link.lost`` (it hung up
    during the handshake), ``link.unreachable``.
    """
    try:
        async with asyncio.timeout(timeout):
            sock = await _reach(endpoint)
            try:
                return await _secure(endpoint, tls, make, sock, timeout)
            except ConnectionError as error:
                what = "it hung up during the TLS handshake"
                raise unreachable(endpoint, "link.lost", what) from error
    except TimeoutError:
        raise unreachable(endpoint, "link.timeout", f"no answer within {timeout:g} s") from None
    except ConnectionRefusedError:
        raise unreachable(endpoint, "link.refused", "its port is closed") from None
    except ssl.SSLError as error:
        raise unreachable(endpoint, "link.tls", f"TLS failed ({error.reason or error})") from error
    except OSError as error:
        raise unreachable(endpoint, "link.unreachable", error.strerror or str(error)) from error
    except (ValueError, OverflowError) as error:  # a host or port that cannot be one
        raise unreachable(endpoint, "link.unreachable", str(error)) from error


async def addresses(endpoint: Endpoint) -> list[aiohappyeyeballs.AddrInfoType]:
    """The endpoint's addresses, the preferred family first.

    Raises OSError when its name cannot be resolved or has no address of the families asked for, RefusedError
    ``link.ip_version`` when it is not known which those are.
    """
    families = _FAMILIES.get(endpoint.ip_version.replace(" ", ""))
    if families is None:
        raise refuse(
            "link.ip_version",
            f"'{endpoint.ip_version}' is no ip-version for {endpoint.application}.",
            field="ip-version",
            fix="Write one of: 4; 6; 4,6; 6,4.",
        )
    found = _literal(endpoint) or await asyncio.get_running_loop().getaddrinfo(
        endpoint.host, endpoint.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    chosen = [info for family in families for info in found if info[0] == family]
    if not chosen:
        wanted = " or ".join(_NAMES[family] for family in families)
        raise OSError(f"{endpoint.host} has no {wanted} address")
    return chosen


def _literal(endpoint: Endpoint) -> list[aiohappyeyeballs.AddrInfoType]:
    """The address in the endpoint itself; nothing when it has a name (or a zone) that must be resolved."""
    try:
        address = ipaddress.ip_address(endpoint.host)
    except ValueError:
        return []
    host, port = endpoint.host, endpoint.port
    if address.version == 4:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    if "%" in host:
        return []
    return [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))]


async def _reach(endpoint: Endpoint) -> socket.socket:
    """A TCP connection: addresses of one endpoint are raced, families in turns. Raises OSError."""
    infos = await addresses(endpoint)
    return await aiohappyeyeballs.start_connection(infos, happy_eyeballs_delay=FAMILY_DELAY, interleave=1)


async def _secure(
    endpoint: Endpoint, tls: TlsFiles, make: Callable[[], Wire], sock: socket.socket, timeout: float
) -> Wire:
    """TLS on a connected socket, which it owns from here on. Raises OSError."""
    # The socket is its transport's, which closes it when the handshake fails or is cancelled, a turn later. Closed here
    # as well its descriptor would be another connection's by then, and that one would lose its reader.
    with reusing(endpoint.session_key):
        _, wire = await asyncio.get_running_loop().create_connection(
            make,
            sock=sock,
            ssl=client_context(tls),
            server_hostname=endpoint.host,
            ssl_handshake_timeout=timeout,
            ssl_shutdown_timeout=LINGER_SECONDS,
        )
    return wire
