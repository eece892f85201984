"""Rows of the option catalogue: the customers' port of a Chat Server. Who may come, how often, and how the port is
protected."""

from stayline.domain.objects import ApplicationType
from stayline.domain.option_spec import OptionSpec, Target, ValueKind

SECTION = "settings"

_CHAT: frozenset[Target] = frozenset({ApplicationType.CHAT_SERVER})


def _row(
    key: str,
    kind: ValueKind,
    default: str,
    meaning: str,
    low: float = 0,
    high: float = float("inf"),
    effect_note: str = "",
) -> OptionSpec:
    return OptionSpec(
        section=SECTION,
        key=key,
        kind=kind,
        default=default,
        meaning=meaning,
        on=_CHAT,
        low=low,
        high=high,
        effect_note=effect_note,
    )


_REOPENED = "the customers' port is closed and opened again"

CUSTOMER_PORT: tuple[OptionSpec, ...] = (
    _row(
        "public-certificate",
        ValueKind.TEXT,
        "",
        "PEM file with the certificate chain of the customers' port, on the server's host (a relative path: in the "
        "site's folder). With public-key: the port speaks HTTPS. A renewed file is noticed within 10 seconds",
        effect_note=_REOPENED,
    ),
    _row(
        "public-key",
        ValueKind.TEXT,
        "",
        "PEM file with the private key of public-certificate, without a password",
        effect_note=_REOPENED,
    ),
    _row(
        "behind-tls-proxy",
        ValueKind.BOOLEAN,
        "false",
        "A proxy before the customers' port speaks TLS with customers and is the only one who can reach the port: "
        "it may listen on a network without TLS, and X-Forwarded-For is believed",
        effect_note=_REOPENED,
    ),
    _row(
        "public-address",
        ValueKind.ADDRESS,
        "",
        "Where customers reach this Chat Server, as https://name or https://name:port; empty: the host's address and "
        "the port",
    ),
    _row(
        "allowed-origins",
        ValueKind.LIST,
        "",
        "Web origins (https://shop.example) that may embed the widget; * for any",
    ),
    _row("max-message-length", ValueKind.INTEGER, "4000", "Characters of one chat message", 1, 16_000),
    _row(
        "max-connections",
        ValueKind.INTEGER,
        "5000",
        "Customers' connections to one Chat Server",
        1,
        10_000_000,
    ),
    _row("message-rate", ValueKind.INTEGER, "10", "Messages a second from one customer", 1, 10_000),
    _row(
        "max-starts-per-minute",
        ValueKind.INTEGER,
        "30",
        "Chats that one source address (IPv6: one /64 network) may start in a minute at one Chat Server",
        1,
        100_000,
    ),
)
"""Options of section ``settings`` of a Chat Server that concern its port ``http``."""
