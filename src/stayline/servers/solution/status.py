"""From two host statuses to one picture of the centre, with its warnings. Pure."""

from collections.abc import Mapping

from stayline.link.messages.control import (
    CentreStatus,
    DatabaseRole,
    DatabaseStatus,
    HostStatus,
    ProcessState,
    ReplicationMode,
    SiteStatus,
)

STALE_SECONDS = 5.0
"""A host status older than this is shown, but its host counts as not answering."""


class Seen:
    """The last status of a site's host, when it was taken (Unix s), and why there is no newer one."""

    def __init__(self, status: HostStatus | None = None, at: float = 0.0, why: str = "not asked yet") -> None:
        self.status = status
        self.at = at
        self.why = why

    def reachable(self, now: float) -> bool:
        """Whether the host answered lately."""
        return self.status is not None and not self.why and now - self.at < STALE_SECONDS


def centre_status(
    seen: Mapping[str, Seen], option: str, unfinished: str, unread_loss: str, now: float
) -> CentreStatus:
    """Put the sites together. ``unfinished`` and ``unread_loss`` are sentences of the plan engine (or empty)."""
    primaries = {
        site: found.status.database.epoch
        for site, found in seen.items()
        if found.reachable(now)
        and found.status is not None
        and found.status.database is not None
        and found.status.database.role is DatabaseRole.PRIMARY
    }
    active = max(primaries, key=lambda site: primaries[site], default="")
    epochs = [
        found.status.database.epoch
        for found in seen.values()
        if found.status is not None and found.status.database is not None
    ]
    sites = [
        SiteStatus(
            site=site,
            reachable=found.reachable(now),
            active=site == active,
            host=found.status,
            why=found.why,
        )
        for site, found in sorted(seen.items())
    ]
    return CentreStatus(
        active_site=active,
        epoch=max(epochs, default=0),
        option=option,
        sites=sites,
        agents={site: _agents(found.status) for site, found in sorted(seen.items())},
        warnings=_warnings(sites, active, primaries, option, unfinished, unread_loss, now),
        at=now,
    )


def _agents(status: HostStatus | None) -> int:
    if status is None:
        return 0
    return sum(
        process.report.sessions - process.report.lost_sessions
        for process in status.processes
        if process.report is not None
        and process.report.role == "primary"
        and process.state is ProcessState.RUNNING
    )


def _warnings(
    sites: list[SiteStatus],
    active: str,
    primaries: Mapping[str, int],
    option: str,
    unfinished: str,
    unread_loss: str,
    now: float,
) -> list[str]:
    """Sentences, loudest first."""
    said: list[str] = []
    if len(primaries) > 1:
        named = " and ".join(f"{site} (epoch {epoch})" for site, epoch in sorted(primaries.items()))
        said.append(f"Two primaries: {named}. Stop the one with the lower epoch at once.")
    if not active:
        said.append("No site is active: no reachable host has a primary database.")
    if unfinished:
        said.append(unfinished)
    if unread_loss:
        said.append(unread_loss)
    for site in sites:
        if not site.reachable:
            said.append(f"The host of {site.site} does not answer: {site.why or 'its last status is old'}.")
        elif site.host is not None:
            said += _site_warnings(site, site.host, now)
    if option and active and option != active:
        said.append(f"disaster-recovery.eservices-site names {option}, but {active} is active.")
    return said


def _site_warnings(site: SiteStatus, host: HostStatus, now: float) -> list[str]:
    said = _database_warnings(site, host.database, now) if host.database is not None else []
    for process in host.processes:
        if process.state is ProcessState.CRASHED:
            said.append(f"{process.application} crashed ({process.exit}) and is being started again.")
    return said


def _database_warnings(site: SiteStatus, database: DatabaseStatus, now: float) -> list[str]:
    said = []
    if database.role is DatabaseRole.PRIMARY:
        if database.mode is ReplicationMode.ASYNC:
            said.append(
                f"Replication of {site.site} is asynchronous: "
                f"{database.exposed_bytes} bytes of acknowledged work are at this site only."
            )
        elif database.exposed_since:
            seconds = max(0.0, now - database.exposed_since)
            said.append(
                f"Since {seconds:.0f} s acknowledged work is at {site.site} only "
                f"({database.exposed_bytes} bytes): {database.why}"
            )
    if database.role is DatabaseRole.REPLICA and not database.streaming:
        said.append(f"The replica of {site.site} does not follow: {database.why or 'no stream'}.")
    if database.role is DatabaseRole.DOWN:
        said.append(f"The database of {site.site} is down: {database.why or 'stopped'}.")
    return said
