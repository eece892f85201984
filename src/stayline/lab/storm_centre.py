"""The centre of a storm: the sample centre with the delays of the original, and what its proxies say."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.domain.topology import WORKSPACE_SECTION
from stayline.link.messages.control import HostStatus, Report

WINDOW = "disaster-recovery.eservices-spread-window"

_SESSION_SECONDS = "900"
"""How long a session waits for its agent: longer than the original's constants are played."""

_CHANGED: Mapping[ApplicationType, Mapping[str, Mapping[str, str | None]]] = {
    # The sample's short delays are made for a dozen agents. Without them the defaults of the original hold.
    ApplicationType.WORKSPACE: {
        WORKSPACE_SECTION: {
            "disaster-recovery.eservices-random-delay-range": None,
            "warm-standby.retry-delay": None,
            "warm-standby.reconnection-random-delay-range": None,
        }
    },
    ApplicationType.INTERACTION_SERVER: {"settings": {"agent-session-restore-timeout": _SESSION_SECONDS}},
}


def for_storm(one: ConfigObject) -> ConfigObject:
    """An object of the sample centre as a storm needs it."""
    if one.type is not ObjectType.APPLICATION or one.app_type is None:
        return one
    options = {section: dict(values) for section, values in one.options.items()}
    for section, changes in _CHANGED.get(one.app_type, {}).items():
        values = options.setdefault(section, {})
        for key, value in changes.items():
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value
    return msgspec.structs.replace(one, options=options)


@dataclass(frozen=True, kw_only=True)
class ProxyFigures:
    """What the Interaction and UCS Proxies of one site say of themselves, together. ``cost``: seconds of the slowest
    Interaction Server Proxy for one set-up (0: not measured yet); ``wasted`` since they started; ``proxies``:
    Interaction Server Proxies that listen."""

    proxies: int = 0
    cost: float = 0.0
    wasted: int = 0
    waiting: int = 0


def proxy_figures(status: HostStatus | None) -> ProxyFigures:
    """Read a host agent's status."""
    if status is None:
        return ProxyFigures()
    interaction = _reports(status, ApplicationType.INTERACTION_SERVER_PROXY)
    contact = _reports(status, ApplicationType.CONTACT_SERVER_PROXY)
    return ProxyFigures(
        proxies=sum(1 for one in interaction if one.listening),
        cost=max((one.setup_seconds for one in interaction), default=0.0),
        wasted=sum(one.wasted for one in [*interaction, *contact]),
        waiting=sum(one.waiting for one in [*interaction, *contact]),
    )


def _reports(status: HostStatus, kind: ApplicationType) -> list[Report]:
    return [one.report for one in status.processes if one.app_type == kind.value and one.report is not None]
