"""What rows of the option catalogue are written with: objects they may be set on, and short forms of a row."""

from stayline.domain.objects import ApplicationType as App
from stayline.domain.objects import ObjectType as Obj
from stayline.domain.option_spec import Effect, OptionSpec, Target, ValueKind

HIERARCHY: frozenset[Target] = frozenset({App.WORKSPACE, Obj.TENANT, Obj.AGENT_GROUP, Obj.PERSON})
SERVERS: frozenset[Target] = frozenset(set(App) - {App.WORKSPACE, App.CLUSTER})
POOLED = SERVERS | {App.CLUSTER}
IXN: frozenset[Target] = frozenset({App.INTERACTION_SERVER})
UCS: frozenset[Target] = frozenset({App.CONTACT_SERVER})
CHAT: frozenset[Target] = frozenset({App.CHAT_SERVER})
CONFIG: frozenset[Target] = frozenset({App.CONFIGURATION_SERVER})
SCS: frozenset[Target] = frozenset({App.SOLUTION_CONTROL_SERVER})
HOST: frozenset[Target] = frozenset({Obj.HOST})
TENANT: frozenset[Target] = frozenset({Obj.TENANT})

PROXIES: frozenset[Target] = frozenset({App.INTERACTION_SERVER_PROXY, App.CONTACT_SERVER_PROXY})
LISTENERS = PROXIES | CHAT | CONFIG

MEDIA = ("chat", "email", "sms")
"""Media types of this release's options."""

WORKSPACE_SECTION = "interaction-workspace"


def seconds(
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


def count(
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


def other(
    section: str,
    key: str,
    kind: ValueKind,
    default: str,
    on: frozenset[Target],
    meaning: str,
    values: tuple[str, ...] = (),
    effect: Effect = Effect.NOW,
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
