"""When two sites are ready, and what is still missing: pure, from what the host agents say."""

from collections.abc import Mapping

import msgspec

from stayline.domain.objects import ApplicationType
from stayline.link.messages.control import DatabaseRole, HostStatus, Process, ProcessState, ReplicationMode
from stayline.link.messages.envelope import Role

CORE = frozenset({ApplicationType.INTERACTION_SERVER.value, ApplicationType.CONTACT_SERVER.value})
DOORS = frozenset(
    {
        ApplicationType.INTERACTION_SERVER_PROXY.value,
        ApplicationType.CONTACT_SERVER_PROXY.value,
        ApplicationType.CHAT_SERVER.value,
    }
)
"""Types that agents and customers connect to."""

Statuses = Mapping[str, HostStatus | None]
"""Site -> what its host agent says; None: it does not answer."""


class Missing(msgspec.Struct, frozen=True):
    """What is not ready yet, by milestone; empty: reached. ``all`` in the order in which milestones are
    reached."""

    databases: list[str]
    configuration: list[str]
    core: list[str]
    doors: list[str]
    replica: list[str]
    rest: list[str]

    @property
    def all(self) -> list[str]:
        """Every sentence."""
        return [*self.databases, *self.configuration, *self.core, *self.doors, *self.replica, *self.rest]


def active_site(statuses: Statuses) -> str:
    """The site whose database is primary under the highest epoch; empty: none."""
    found = [
        (status.database.epoch, site)
        for site, status in statuses.items()
        if status is not None and status.database is not None and status.database.role is DatabaseRole.PRIMARY
    ]
    return max(found)[1] if found else ""


def missing(statuses: Statuses) -> Missing:
    """What keeps the centre from being ready."""
    active = active_site(statuses)
    silent = [
        f"the host agent of {site} does not answer yet" for site, one in statuses.items() if one is None
    ]
    if not active:
        why = [
            f"{site}: {one.database.why}"
            for site, one in statuses.items()
            if one is not None and one.database is not None and one.database.why
        ]
        return Missing([*silent, "no site has the primary database yet", *why], [], [], [], [], [])
    present = {site: one for site, one in statuses.items() if one is not None}
    here = present[active]
    return Missing(
        databases=silent,
        configuration=[
            f"{one.application} does not listen yet"
            for status in present.values()
            for one in _of(status, {ApplicationType.CONFIGURATION_SERVER.value})
            if not _listens(one)
        ],
        core=_core(here),
        doors=[f"{one.application} does not listen yet" for one in _of(here, DOORS) if not _listens(one)],
        replica=_replica(present, active),
        rest=[
            f"{one.application} is {one.state}"
            for site, status in present.items()
            for one in status.processes
            if one.state is not ProcessState.RUNNING and (site == active or one.app_type not in CORE)
        ],
    )


def _of(status: HostStatus, kinds: frozenset[str] | set[str]) -> list[Process]:
    return [one for one in status.processes if one.app_type in kinds]


def _listens(process: Process) -> bool:
    return process.report is not None and process.report.listening


def _core(status: HostStatus) -> list[str]:
    found: list[str] = []
    for kind in sorted(CORE):
        servers = _of(status, {kind})
        roles = [one.report.role for one in servers if one.report is not None]
        if servers and Role.PRIMARY.value not in roles:
            found.append(f"no {kind} of {status.site} is primary yet")
    return found


def _replica(present: Mapping[str, HostStatus], active: str) -> list[str]:
    found: list[str] = []
    for site, status in present.items():
        if site == active or status.database is None:
            continue
        if status.database.role is not DatabaseRole.REPLICA or not status.database.streaming:
            found.append(
                f"the database of {site} does not follow yet: {status.database.why or 'being copied'}"
            )
    primary = present[active].database
    waits = primary is not None and primary.mode is not ReplicationMode.ASYNC
    if primary is not None and waits and len(present) > 1 and not primary.synchronous:
        found.append("commits do not wait for the replica yet")
    return found
