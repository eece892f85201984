"""What is wrong, or will hurt one day, in a whole configuration: each finding names object, key and fix.

Faults are those of ``object_rules`` (a change that brings one is refused; an older copy or a file may hold it). Beyond
them come rules between objects that a single change cannot see: a client that hopes longer than the server keeps, a
site that no connected cluster carries, groups that disagree.
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from stayline.domain.object_rules import check_all
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.domain.option_explanation import words
from stayline.domain.options import default_of, nearest
from stayline.domain.topology import SITE_OPTION, TAG_OPTION, WORKSPACE_SECTION, Configuration

RESTORE = "eservices.session-restore-timeout"
SERVER_RESTORE = "agent-session-restore-timeout"
MOVE_RANGE = "disaster-recovery.eservices-random-delay-range"
ENABLED = "disaster-recovery.enabled"
PREFERRED = "disaster-recovery.preferred-site"
PEER = "disaster-recovery.peer-site"

_HOLDERS = (ObjectType.TENANT, ObjectType.AGENT_GROUP, ObjectType.PERSON)
_POOL_TYPES = (ApplicationType.INTERACTION_SERVER_PROXY, ApplicationType.CONTACT_SERVER_PROXY)


class Severity(enum.StrEnum):
    """How bad it is: an error keeps agents from working or loses their interactions, a warning may surprise."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to mend: ``obj`` in words, ``key`` the field or ``section/option``."""

    severity: Severity
    code: str
    obj: str
    key: str
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.obj}: {self.key}: {self.reason} {self.fix}".rstrip()


def findings(everything: Configuration) -> list[Finding]:
    """All findings, errors first, each kind in the order of the objects."""
    found = [
        *_faults(everything),
        *_sites_without_cluster(everything),
        *_restore_timeouts(everything),
        *_move_ranges(everything),
        *_empty_pools(everything),
        *_preferred_and_peer(everything),
        *_disagreeing_groups(everything),
        *_agents_without_work(everything),
    ]
    unique = list(dict.fromkeys(found))
    return sorted(unique, key=lambda one: one.severity is not Severity.ERROR)


def _finding(
    severity: Severity, code: str, obj: ConfigObject, key: str, reason: str, fix: str = ""
) -> Finding:
    return Finding(severity=severity, code=code, obj=words(obj), key=key, reason=reason, fix=fix)


def _faults(everything: Configuration) -> Iterator[Finding]:
    for problem in check_all(everything):
        refusal = problem.refusal
        if refusal.code == "option.site_unknown":
            continue  # Said by `_sites_without_cluster`, which also knows what a Workspace is connected to.
        key = "/".join(str(part) for part in problem.path if part != "options")
        yield _finding(Severity.ERROR, refusal.code, problem.obj, key, refusal.reason, refusal.fix)


def _workspaces(everything: Configuration) -> list[ConfigObject]:
    return everything.applications(ApplicationType.WORKSPACE)


def _holders(everything: Configuration) -> list[ConfigObject]:
    """Every object that may hold a Workspace option, weakest kind first."""
    return [*_workspaces(everything), *(obj for kind in _HOLDERS for obj in everything.all(kind))]


def _held(obj: ConfigObject, key: str) -> str | None:
    return obj.options.get(WORKSPACE_SECTION, {}).get(key)


def _sites_without_cluster(everything: Configuration) -> Iterator[Finding]:
    """A site that no cluster of a Workspace's list carries: agents are told so and wait (never moved elsewhere)."""
    option = f"{WORKSPACE_SECTION}/{SITE_OPTION}"
    for workspace in _workspaces(everything):
        tags = {cluster.site for cluster in everything.clusters_of(workspace.name) if cluster.site}
        for obj in [workspace, *(o for o in _holders(everything) if o.type in _HOLDERS)]:
            site = (_held(obj, SITE_OPTION) or "").strip()
            if not site or site in tags:
                continue
            near = nearest(site, tags)
            known = ", ".join(sorted(tags)) or "none"
            fix = f"Did you mean '{near}'?" if near else f"Sites of its clusters: {known}."
            reason = f"'{workspace.name}' is connected to no cluster of site '{site}'."
            yield _finding(Severity.ERROR, "option.site_unknown", obj, option, reason, fix)


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None  # not a number at all: a fault of its own


def _kept_by_servers(everything: Configuration) -> float | None:
    """How long the Interaction Servers keep what a lost agent had: the shortest of them; None without any."""
    kept = [
        _seconds(everything.app_option(server.name, "settings", SERVER_RESTORE))
        for server in everything.applications(ApplicationType.INTERACTION_SERVER)
    ]
    return min((one for one in kept if one is not None), default=None)


def _restore_timeouts(everything: Configuration) -> Iterator[Finding]:
    kept = _kept_by_servers(everything)
    if kept is None:
        return
    for obj in _holders(everything):
        value = _held(obj, RESTORE)
        if value is None and obj.app_type is ApplicationType.WORKSPACE:
            value = default_of(WORKSPACE_SECTION, RESTORE, obj.app_type)
        hoped = _seconds(value) if value is not None else None
        if hoped is not None and hoped > kept:
            reason = (
                f"Workspace hopes for {hoped:g} s, but the Interaction Server keeps interactions {kept:g} s."
            )
            fix = (
                f"Set it to {kept:g} or less, or raise settings/{SERVER_RESTORE} of the Interaction Servers."
            )
            yield _finding(
                Severity.ERROR, "option.restore_timeout", obj, f"{WORKSPACE_SECTION}/{RESTORE}", reason, fix
            )


def _move_ranges(everything: Configuration) -> Iterator[Finding]:
    """Agents who wait longer than the server keeps what they had come back to nothing."""
    kept = _kept_by_servers(everything)
    if kept is None:
        return
    for obj in _holders(everything):
        value = _held(obj, MOVE_RANGE)
        spread = _seconds(value) if value is not None else None
        if spread is not None and spread >= kept:
            reason = (
                f"A site move may be spread over {spread:g} s, but interactions are kept {kept:g} s only."
            )
            fix = f"Set it below {kept:g}, or raise settings/{SERVER_RESTORE} of the Interaction Servers."
            yield _finding(
                Severity.ERROR, "option.move_range", obj, f"{WORKSPACE_SECTION}/{MOVE_RANGE}", reason, fix
            )


def _empty_pools(everything: Configuration) -> Iterator[Finding]:
    for workspace in _workspaces(everything):
        clusters = everything.clusters_of(workspace.name)
        if not clusters:
            reason = "It is connected to no Application Cluster; its agents find no server."
            fix = "Add a connection to a cluster."
            yield _finding(Severity.ERROR, "cluster.none", workspace, "connections", reason, fix)
        for cluster in clusters:
            for kind in _POOL_TYPES:
                names = {connection.server for connection in cluster.application.connections}
                if not any(server.name in names for server in everything.applications(kind)):
                    reason = f"No enabled {kind} is in it."
                    fix = "Add a connection to one."
                    yield _finding(
                        Severity.ERROR, "cluster.empty", cluster.application, "connections", reason, fix
                    )
        untagged = [cluster for cluster in clusters if not cluster.site]
        if untagged and len(untagged) < len(clusters):
            for cluster in untagged:
                reason = (
                    "Other clusters of the list carry a site, this one does not; no site value leads to it."
                )
                fix = "Tag it with its site."
                key = f"{WORKSPACE_SECTION}/{TAG_OPTION}"
                yield _finding(Severity.WARNING, "cluster.untagged", cluster.application, key, reason, fix)


def _preferred_and_peer(everything: Configuration) -> Iterator[Finding]:
    """``disaster-recovery.enabled`` without servers to follow, or with one site named twice."""
    servers = (ApplicationType.CONFIGURATION_SERVER, ApplicationType.STAT_SERVER)
    tags = {
        app.option(WORKSPACE_SECTION, TAG_OPTION) or everything.site_of(app.name)
        for kind in servers
        for app in everything.applications(kind)
    }
    for obj in _holders(everything):
        if _held(obj, ENABLED) != "true":
            continue
        preferred, peer = _held(obj, PREFERRED) or "", _held(obj, PEER) or ""
        if preferred and preferred == peer:
            reason = f"'{preferred}' is named as preferred and as peer site."
            fix = "Name the other site as peer."
            yield _finding(
                Severity.ERROR, "option.peer_site", obj, f"{WORKSPACE_SECTION}/{PEER}", reason, fix
            )
        for key, site in ((PREFERRED, preferred), (PEER, peer)):
            if site and site not in tags:
                reason = f"No Configuration Server or Stat Server is at site '{site}'."
                known = ", ".join(sorted(tags - {""})) or "none"
                fix = f"Sites of these servers: {known}."
                yield _finding(
                    Severity.ERROR, "option.site_unknown", obj, f"{WORKSPACE_SECTION}/{key}", reason, fix
                )


def _disagreeing_groups(everything: Configuration) -> Iterator[Finding]:
    """A key that two groups of one person set differently: the last group by name wins."""
    told: set[tuple[str, str, str]] = set()
    for person in everything.all(ObjectType.PERSON):
        groups = everything.groups_of(person.name)
        keys = {key for group in groups for key in group.options.get(WORKSPACE_SECTION, {})}
        for key in sorted(keys):
            holders = [group for group in groups if _held(group, key) is not None]
            if len({_held(group, key) for group in holders}) < 2 or _held(person, key) is not None:
                continue
            loser, winner = holders[0], holders[-1]
            if (loser.name, winner.name, key) in told:
                continue
            told.add((loser.name, winner.name, key))
            reason = f"'{winner.name}' says '{_held(winner, key)}', this group '{_held(loser, key)}'"
            reason += f" (first person of both: {person.name}); the last group by name wins."
            fix = "Give both groups one value, or set it for the person."
            yield _finding(
                Severity.WARNING, "option.groups", loser, f"{WORKSPACE_SECTION}/{key}", reason, fix
            )


def _agents_without_work(everything: Configuration) -> Iterator[Finding]:
    """An agent without a capacity rule is never offered anything: the channel looks dead, every link is up."""
    for person in everything.all(ObjectType.PERSON):
        if person.enabled and "agent" in person.roles and not person.capacity_rule:
            reason = "This agent has no capacity rule and is never offered an interaction."
            fix = "Name a Capacity Rule."
            yield _finding(Severity.WARNING, "person.capacity", person, "capacity_rule", reason, fix)
