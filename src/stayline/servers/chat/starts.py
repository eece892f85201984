"""How many chats one source address may start. Pure: time is an argument, memory is bounded."""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Sequence

import structlog

from stayline.domain.errors import refuse
from stayline.link.rate import TokenBucket

log = structlog.get_logger(__name__)

MINUTE = 60.0

MAX_SOURCES = 20_000
"""Addresses remembered; the one that started longest ago is forgotten first. After a minute without a start an
address has its full allowance anyway."""

IPV6_NETWORK = 64
"""Bits of an IPv6 address that count: one household or machine has all the rest."""


class StartLimit:
    """Counts the starts of each source in the last minute, roughly: a bucket that refills evenly."""

    def __init__(self, most: int = MAX_SOURCES) -> None:
        self._most = most
        self._sources: OrderedDict[str, TokenBucket] = OrderedDict()
        self._refused: set[str] = set()

    def __len__(self) -> int:
        """Sources remembered."""
        return len(self._sources)

    def take(self, source: str, per_minute: int, now: float) -> None:
        """Count a start; ``now`` is seconds of a monotonic clock.

        Raises RefusedError ``chat.too_many_starts``, retryable after ``retry_after`` whole seconds.
        """
        bucket = self._sources.pop(source, None)
        if bucket is None or bucket.burst != per_minute:  # the option was changed: everybody begins anew
            bucket = TokenBucket(per_minute / MINUTE, per_minute, now)
        self._sources[source] = bucket  # the newest is last
        while len(self._sources) > self._most:
            oldest, _ = self._sources.popitem(last=False)
            self._refused.discard(oldest)
        wait = bucket.take(now)
        if wait <= 0:
            self._refused.discard(source)
            return
        if source not in self._refused:
            self._refused.add(source)
            log.warning("chat.starts", source=source, why=f"more than {per_minute} starts in a minute")
        raise refuse(
            "chat.too_many_starts",
            f"More than {per_minute} chats were started from this address in a minute.",
            retryable=True,
            retry_after=float(math.ceil(wait)),
            fix="Wait, or raise the option max-starts-per-minute of the Chat Server.",
        )


def source_of(peer: str, forwarded: Sequence[str], *, behind_proxy: bool) -> str:
    """What counts as the source of a connection: an IPv4 address or an IPv6 network.

    ``peer`` is the address that connected, ``forwarded`` the values of ``X-Forwarded-For``. They are believed only
    ``behind_proxy``, and only their last entry: that one the proxy wrote, the others the customer may have.
    """
    said = ",".join(forwarded).rpartition(",")[2].strip() if behind_proxy else ""
    return _network(said) or _network(peer) or "unknown"


def _network(text: str) -> str:
    """The source that an address (some proxies add its port) stands for; empty when it is none."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, IPV6_NETWORK), strict=False))
    return str(address)
