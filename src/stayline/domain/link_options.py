"""Rows of the option catalogue: how servers take and keep links, whom they let in and when."""

from stayline.domain.objects import ApplicationType as App
from stayline.domain.option_rows import LISTENERS, POOLED, SERVERS, count, other, seconds
from stayline.domain.option_spec import Effect, OptionSpec, ValueKind

ADMISSION_OPTIONS: list[OptionSpec] = [
    count("admission", "set-ups", "8", LISTENERS, "Clients being set up at a time", 1, 1_000),
    count(
        "admission",
        "handshakes",
        "32",
        LISTENERS,
        "TLS handshakes at a time; more wait unaccepted",
        1,
        1_000,
    ),
    count("admission", "queue", "2000", LISTENERS, "Clients that may wait for their turn"),
    seconds(
        "admission",
        "longest-wait",
        "60",
        LISTENERS,
        "A client that would wait longer is refused, with the time at which it shall come again; who waits on its link "
        "has its turn as soon as there is a place, who was sent away comes at the time it was told",
        low=0.1,
    ),
    OptionSpec(
        section="admission",
        key="login-rate",
        kind=ValueKind.NUMBER,
        default="0",
        meaning="Logins let in per second, beside any number of resumes; 0: six tenths of what was measured",
        on=LISTENERS,
        high=100_000,
        unit="per second",
    ),
]

COMMON_OPTIONS: list[OptionSpec] = [
    seconds(
        "addp",
        "addp-timeout",
        "0",
        POOLED,
        "Local timeout of links to this server, instead of the connection's",
    ),
    seconds("addp", "addp-remote-timeout", "0", POOLED, "Remote timeout of links to this server, likewise"),
    other(
        "addp",
        "addp-trace",
        ValueKind.CHOICE,
        "off",
        POOLED,
        "Trace of heartbeats on links to this server",
        values=("off", "local", "remote", "both"),
    ),
    other(
        "transport",
        "ip-version",
        ValueKind.CHOICE,
        "4,6",
        POOLED,
        "Order of address families to try",
        values=("4", "6", "4,6", "6,4"),
        effect=Effect.NEXT_CONNECTION,
    ),
    count("limits", "max-connections", "12000", SERVERS, "Links accepted at a time"),
    count("limits", "max-in-flight", "256", SERVERS, "Requests of one link answered at a time"),
    count("limits", "max-pending", "20000", SERVERS, "Requests waiting in this server, all links together"),
    count("limits", "max-pending-per-client", "64", SERVERS, "Requests of one client waiting for the core"),
    count("limits", "request-rate", "50", SERVERS, "Requests a second from one person's link", 1, 100_000),
    count("limits", "request-burst", "100", SERVERS, "Requests a person's link may send at once", 1, 100_000),
    other(
        "log",
        "level",
        ValueKind.CHOICE,
        "info",
        SERVERS | {App.WORKSPACE},
        "Least important line written",
        values=("debug", "info", "warning", "error"),
    ),
]
