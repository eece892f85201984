"""The catalogue of options: one row each, read by the checks, the documentation and by whoever needs a
default."""

from stayline.domain.customer_options import CUSTOMER_PORT
from stayline.domain.link_options import ADMISSION_OPTIONS, COMMON_OPTIONS
from stayline.domain.objects import ApplicationType as App
from stayline.domain.option_rows import (
    CHAT,
    CONFIG,
    HOST,
    IXN,
    MEDIA,
    SCS,
    TENANT,
    UCS,
    count,
    other,
    seconds,
)
from stayline.domain.option_spec import Effect, OptionSpec, ValueKind
from stayline.domain.workspace_options import WORKSPACE_OPTIONS

__all__ = ["BY_SECTION", "CATALOGUE", "MEDIA"]

_CORE = [
    seconds(
        "settings",
        "agent-session-restore-timeout",
        "120",
        IXN,
        "How long interactions of an agent whose link is lost are kept for this agent",
        high=7 * 86_400,
    ),
    seconds("settings", "delivering-timeout", "30", IXN, "Time to answer an offer", low=1),
    seconds(
        "settings",
        "ticket-validity",
        "86400",
        IXN,
        "Life of the ticket that resumes an agent's session; a live session's is renewed before it is over",
        low=60,
        high=7 * 86_400,
    ),
    OptionSpec(
        section="settings",
        key="routing-timeout",
        kind=ValueKind.INTEGER,
        default="720",
        on=IXN,
        low=20,
        high=525_600,
        unit="minutes",
        meaning="Longest time in which no agent could take a waiting interaction before its routing counts as failed: "
        "that is logged and noted in its journal, and those who had refused it are asked again",
        effect=Effect.NEXT_INTERACTION,
    ),
    OptionSpec(
        section="settings",
        key="handling-timeout",
        kind=ValueKind.INTEGER,
        default="180",
        on=IXN,
        low=1,
        high=1440,
        unit="minutes",
        meaning="Longest time in which an owner does nothing with an interaction before it goes back to its queue; "
        "a chat is not judged while its customer is there",
        effect=Effect.NEXT_INTERACTION,
    ),
    count(
        "settings", "max-interactions-per-snapshot", "500", IXN, "Interactions in one snapshot", 100, 10_000
    ),
    other(
        "settings",
        "allow-multiple-agent-connections",
        ValueKind.CHOICE,
        "force-logout",
        IXN,
        "What a second login of an agent does: a second session, a refusal, or it takes the session over",
        values=("true", "false", "force-logout"),
    ),
    seconds(
        "settings",
        "reoffer-delay",
        "30",
        IXN,
        "How long an interaction is not offered again to an agent who refused it",
    ),
    seconds(
        "settings",
        "flex-disconnect-timeout",
        "45",
        UCS | CHAT,
        "A chat session ends when its customer was at no Chat Server for this long",
        low=1,
        high=1_728_000,
    ),
    seconds(
        "interaction-server-proxy",
        "core-grace",
        "10",
        frozenset({App.INTERACTION_SERVER_PROXY}),
        "How long a proxy keeps listening through a failover of its core",
    ),
    seconds(
        "contact-server-proxy",
        "core-grace",
        "10",
        frozenset({App.CONTACT_SERVER_PROXY}),
        "How long a proxy keeps listening through a failover of its core",
    ),
    seconds(
        "settings",
        "core-grace",
        "10",
        CHAT,
        "How long a Chat Server keeps listening through a failover of its core",
    ),
]

_MANAGEMENT = [
    count("configuration-server", "login-concurrency", "2", CONFIG, "Passwords checked at a time", 1, 64),
    count("configuration-server", "login-queue", "500", CONFIG, "Logins that may wait for a check"),
    count(
        "configuration-server",
        "login-failures",
        "5",
        CONFIG,
        "Wrong passwords of one user before a pause",
        1,
        100,
    ),
    seconds(
        "configuration-server",
        "login-failure-window",
        "60",
        CONFIG,
        "Time in which wrong passwords are counted, and the pause after too many",
        low=1,
    ),
    seconds("configuration-server", "token-validity", "43200", CONFIG, "Life of an identity token", low=60),
    count(
        "configuration-server",
        "history-kept",
        "1000",
        CONFIG,
        "Revisions told one by one to a client that comes back; an older client gets everything",
    ),
    seconds(
        "database",
        "replication-away-timeout",
        "2",
        HOST | SCS,
        "Mode follow: how long the primary waits for an absent replica before it goes on alone",
        low=0.1,
    ),
    other(
        "database",
        "replication",
        ValueKind.CHOICE,
        "follow",
        HOST | SCS,
        "What an acknowledged write means",
        values=("follow", "strict", "async"),
    ),
    seconds("switch-over", "step-timeout", "30", SCS, "Longest time of one step of a plan", low=1),
    seconds("switch-over", "block-period", "0", SCS, "Pause demanded between two plans"),
    other(
        "dispositions",
        "*",
        ValueKind.TEXT,
        "",
        TENANT,
        "Disposition code (key) and what agents read (value)",
    ),
    other(
        "case-information",
        "*",
        ValueKind.TEXT,
        "",
        TENANT,
        "Field of the case information (key) and its label (value)",
    ),
    other(
        "not-ready-reasons",
        "*",
        ValueKind.TEXT,
        "",
        TENANT,
        "Reason for not ready (key) and its label (value)",
    ),
]

CATALOGUE: tuple[OptionSpec, ...] = (
    *WORKSPACE_OPTIONS,
    *_CORE,
    *CUSTOMER_PORT,
    *ADMISSION_OPTIONS,
    *COMMON_OPTIONS,
    *_MANAGEMENT,
)
"""Every known option."""


def _by_section() -> dict[str, tuple[OptionSpec, ...]]:
    sections: dict[str, list[OptionSpec]] = {}
    for spec in CATALOGUE:
        sections.setdefault(spec.section, []).append(spec)
    return {section: tuple(specs) for section, specs in sections.items()}


BY_SECTION = _by_section()
"""The catalogue by section name."""
