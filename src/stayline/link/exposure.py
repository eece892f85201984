"""Where a page or port may listen: without TLS on this machine only."""

import ipaddress

from stayline.domain.errors import refuse


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, *, tls: bool, what: str, code: str, fix: str) -> None:
    """Raises RefusedError ``code``: ``what`` ("this page") does not listen on a network without TLS.

    ``tls``: it is protected, by itself or by a proxy before it; ``fix``: what mends it.
    """
    if not tls and not is_loopback(host):
        raise refuse(code, f"Without TLS {what} must not listen on {host}.", fix=fix)
