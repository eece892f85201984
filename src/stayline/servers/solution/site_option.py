"""Whether the site option names sites that Workspaces can use at all. Pure."""

from stayline.domain.errors import Refusal
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.domain.topology import SITE_OPTION, WORKSPACE_SECTION, Configuration

MAX_ERRORS = 20
"""Sentences; more would hide the rest of a status."""

_ELSEWHERE = (ObjectType.TENANT, ObjectType.AGENT_GROUP, ObjectType.PERSON)


def site_option_errors(configuration: Configuration) -> list[str]:
    """One sentence for each object whose site option names a site that no connected cluster carries: its agents have no
    server. A value above the application counts as good when any Workspace application has such a cluster."""
    workspaces = configuration.applications(ApplicationType.WORKSPACE)
    said: list[str] = []
    for workspace in workspaces:
        said += _errors(configuration, workspace, [workspace])
    for kind in _ELSEWHERE:
        for holder in configuration.all(kind):
            said += _errors(configuration, holder, workspaces)
    if len(said) > MAX_ERRORS:
        said[MAX_ERRORS:] = [f"{len(said) - MAX_ERRORS} more objects name such a site."]
    return said


def _errors(configuration: Configuration, holder: ConfigObject, workspaces: list[ConfigObject]) -> list[str]:
    value = holder.options.get(WORKSPACE_SECTION, {}).get(SITE_OPTION, "")
    if not value or not workspaces:
        return []
    refused: list[Refusal] = []
    for workspace in workspaces:
        found = configuration.select_cluster(workspace.name, value)
        if not isinstance(found, Refusal):
            return []
        refused.append(found)
    return [f"{holder.type} '{holder.name}': {refused[0].reason} {refused[0].fix}".rstrip()]
