"""The catalogue of options: one row each, read by the checks, the documentation and by whoever needs a
default."""

from stayline.domain.customer_options import CUSTOMER_PORT
from stayline.domain.objects import ApplicationType as App
from stayline.domain.objects import ObjectType as Obj
from stayline.domain.option_spec import OptionSpec, Target, ValueKind

_HIERARCHY: frozenset[Target] = frozenset({App.WORKSPACE, Obj.TENANT, Obj.AGENT_GROUP, Obj.PERSON})
_SERVERS: frozenset[Target] = frozenset(set(App) - {App.WORKSPACE, App.CLUSTER})
_POOLED = _SERVERS | {App.CLUSTER}
_IXN: frozenset[Target] = frozenset({App.INTERACTION_SERVER})
_UCS: frozenset[Target] = frozenset({App.CONTACT_SERVER})
_CHAT: frozenset[Target] = frozenset({App.CHAT_SERVER})
_CONFIG: frozenset[Target] = frozenset({App.CONFIGURATION_SERVER})
_SCS: frozenset[Target] = frozenset({App.SOLUTION_CONTROL_SERVER})
_HOST: frozenset[Target] = frozenset({Obj.HOST})
_TENANT: frozenset[Target] = frozenset({Obj.TENANT})

MEDIA = ("chat", "email", "sms")
"""Media types of this release's options."""

_WS = "interaction-workspace"


def _seconds(
    section: str,
    key: str,
    default: str,
    on: frozenset[Target],
    meaning: str,
    low: float = 0,
    high: float = 86_400,
) -> OptionSpec:
    return OptionSpec(
        section=section,
        key=key,
        kind=ValueKind.NUMBER,
        default=default,
        meaning=meaning,
        on=on,
        low=low,
        high=high,
        unit="seconds",
    )


def _count(
    section: str,
    key: str,
    default: str,
    on: frozenset[Target],
    meaning: str,
    low: int = 1,
    high: int = 10_000_000,
) -> OptionSpec:
    return OptionSpec(
        section=section,
        key=key,
        kind=ValueKind.INTEGER,
        default=default,
        meaning=meaning,
        on=on,
        low=low,
        high=high,
    )


def _other(
    section: str,
    key: str,
    kind: ValueKind,
    default: str,
    on: frozenset[Target],
    meaning: str,
    values: tuple[str, ...] = (),
    effect: str = "immediately",
) -> OptionSpec:
    return OptionSpec(
        section=section,
        key=key,
        kind=kind,
        default=default,
        meaning=meaning,
        on=on,
        values=values,
        effect=effect,
    )


_WORKSPACE = [
    _other(
        _WS,
        "disaster-recovery.eservices-site",
        ValueKind.SITE,
        "",
        _HIERARCHY,
        "Site whose cluster must be used; empty: the first available cluster of the connection list",
    ),
    _seconds(
        _WS,
        "disaster-recovery.eservices-random-delay-range",
        "5",
        _HIERARCHY,
        "Upper bound of the random wait between learning of a site change and the first attempt there",
    ),
    _other(
        _WS, "disaster-recovery.site", ValueKind.SITE, "", _POOLED, "Site in which this cluster or server is"
    ),
    _seconds(
        _WS,
        "warm-standby.reconnection-random-delay-range",
        "2",
        _HIERARCHY | _POOLED,
        "Upper bound of the random wait before the endpoint that was last open is tried again",
    ),
    OptionSpec(
        section=_WS,
        key="warm-standby.retry-delay",
        kind=ValueKind.NUMBERS,
        default="10",
        meaning="Wait after every endpoint of the pool failed; a list gives one value for each round",
        on=_HIERARCHY | _POOLED,
        high=86_400,
        unit="seconds",
    ),
    _seconds(
        _WS,
        "warm-standby.open-timeout",
        "5",
        _HIERARCHY | _POOLED,
        "Time for one attempt to connect",
        low=0.1,
    ),
    _other(
        _WS,
        "eservices.session-restore-mediatype",
        ValueKind.CHOICES,
        "chat,email,sms",
        _HIERARCHY,
        "Media whose interactions Workspace owns again after a reconnection",
        values=MEDIA,
    ),
    _seconds(
        _WS,
        "eservices.session-restore-timeout",
        "60",
        _HIERARCHY,
        "How long after the Interaction Server is back interactions may still be owned again",
    ),
    _other(
        _WS,
        "interaction.unconditional-force-close",
        ValueKind.BOOLEAN,
        "false",
        _HIERARCHY,
        "Whether a case may always be closed by force, not only when the server has given it up",
    ),
    _other(
        _WS,
        "login.media",
        ValueKind.CHOICES,
        "chat",
        _HIERARCHY,
        "Media for which an agent logs in",
        values=MEDIA,
        effect="at login",
    ),
]

_CORE = [
    _seconds(
        "settings",
        "agent-session-restore-timeout",
        "120",
        _IXN,
        "How long interactions of an agent whose link is lost are kept for this agent",
        high=7 * 86_400,
    ),
    _seconds("settings", "delivering-timeout", "30", _IXN, "Time to answer an offer", low=1),
    OptionSpec(
        section="settings",
        key="handling-timeout",
        kind=ValueKind.INTEGER,
        default="180",
        on=_IXN,
        low=1,
        high=1440,
        unit="minutes",
        meaning="Longest time in which an owner does nothing with an interaction before it goes back to its queue; "
        "a chat is not judged while its customer is there",
        effect="for interactions accepted from then on",
    ),
    _count(
        "settings", "max-interactions-per-snapshot", "500", _IXN, "Interactions in one snapshot", 100, 10_000
    ),
    _other(
        "settings",
        "allow-multiple-agent-connections",
        ValueKind.CHOICE,
        "force-logout",
        _IXN,
        "What a second login of an agent does: a second session, a refusal, or it takes the session over",
        values=("true", "false", "force-logout"),
    ),
    _seconds(
        "settings",
        "reoffer-delay",
        "30",
        _IXN,
        "How long an interaction is not offered again to an agent who refused it",
    ),
    _seconds(
        "settings",
        "flex-disconnect-timeout",
        "45",
        _UCS | _CHAT,
        "A chat session ends when its customer was at no Chat Server for this long",
        low=1,
        high=1_728_000,
    ),
    _seconds(
        "interaction-server-proxy",
        "core-grace",
        "10",
        frozenset({App.INTERACTION_SERVER_PROXY}),
        "How long a proxy keeps listening through a failover of its core",
    ),
    _seconds(
        "contact-server-proxy",
        "core-grace",
        "10",
        frozenset({App.CONTACT_SERVER_PROXY}),
        "How long a proxy keeps listening through a failover of its core",
    ),
    _seconds(
        "settings",
        "core-grace",
        "10",
        _CHAT,
        "How long a Chat Server keeps listening through a failover of its core",
    ),
]

_COMMON = [
    _seconds(
        "addp",
        "addp-timeout",
        "0",
        _POOLED,
        "Local timeout of links to this server, instead of the connection's",
    ),
    _seconds("addp", "addp-remote-timeout", "0", _POOLED, "Remote timeout of links to this server, likewise"),
    _other(
        "addp",
        "addp-trace",
        ValueKind.CHOICE,
        "off",
        _POOLED,
        "Trace of heartbeats on links to this server",
        values=("off", "local", "remote", "both"),
    ),
    _other(
        "transport",
        "ip-version",
        ValueKind.CHOICE,
        "4,6",
        _POOLED,
        "Order of address families to try",
        values=("4", "6", "4,6", "6,4"),
        effect="at the next connection",
    ),
    _count("limits", "max-connections", "12000", _SERVERS, "Links accepted at a time"),
    _count("limits", "max-in-flight", "256", _SERVERS, "Requests of one link answered at a time"),
    _count("limits", "max-pending", "20000", _SERVERS, "Requests waiting in this server, all links together"),
    _count("limits", "max-pending-per-client", "64", _SERVERS, "Requests of one client waiting for the core"),
    _count("limits", "request-rate", "50", _SERVERS, "Requests a second from one person's link", 1, 100_000),
    _count(
        "limits", "request-burst", "100", _SERVERS, "Requests a person's link may send at once", 1, 100_000
    ),
    _other(
        "log",
        "level",
        ValueKind.CHOICE,
        "info",
        _SERVERS | {App.WORKSPACE},
        "Least important line written",
        values=("debug", "info", "warning", "error"),
    ),
]

_MANAGEMENT = [
    _count("configuration-server", "login-concurrency", "2", _CONFIG, "Passwords checked at a time", 1, 64),
    _count("configuration-server", "login-queue", "500", _CONFIG, "Logins that may wait for a check"),
    _count(
        "configuration-server",
        "login-failures",
        "5",
        _CONFIG,
        "Wrong passwords of one user before a pause",
        1,
        100,
    ),
    _seconds(
        "configuration-server",
        "login-failure-window",
        "60",
        _CONFIG,
        "Time in which wrong passwords are counted, and the pause after too many",
        low=1,
    ),
    _seconds("configuration-server", "token-validity", "43200", _CONFIG, "Life of an identity token", low=60),
    _count(
        "configuration-server",
        "history-kept",
        "1000",
        _CONFIG,
        "Revisions told one by one to a client that comes back; an older client gets everything",
    ),
    _seconds(
        "database",
        "replication-away-timeout",
        "2",
        _HOST | _SCS,
        "Mode follow: how long the primary waits for an absent replica before it goes on alone",
        low=0.1,
    ),
    _other(
        "database",
        "replication",
        ValueKind.CHOICE,
        "follow",
        _HOST | _SCS,
        "What an acknowledged write means",
        values=("follow", "strict", "async"),
    ),
    _seconds("switch-over", "step-timeout", "30", _SCS, "Longest time of one step of a plan", low=1),
    _seconds("switch-over", "block-period", "0", _SCS, "Pause demanded between two plans"),
    _other(
        "dispositions",
        "*",
        ValueKind.TEXT,
        "",
        _TENANT,
        "Disposition code (key) and what agents read (value)",
    ),
    _other(
        "case-information",
        "*",
        ValueKind.TEXT,
        "",
        _TENANT,
        "Field of the case information (key) and its label (value)",
    ),
    _other(
        "not-ready-reasons",
        "*",
        ValueKind.TEXT,
        "",
        _TENANT,
        "Reason for not ready (key) and its label (value)",
    ),
]

CATALOGUE: tuple[OptionSpec, ...] = (*_WORKSPACE, *_CORE, *CUSTOMER_PORT, *_COMMON, *_MANAGEMENT)
"""Every known option."""


def _by_section() -> dict[str, tuple[OptionSpec, ...]]:
    sections: dict[str, list[OptionSpec]] = {}
    for spec in CATALOGUE:
        sections.setdefault(spec.section, []).append(spec)
    return {section: tuple(specs) for section, specs in sections.items()}


BY_SECTION = _by_section()
"""The catalogue by section name."""
