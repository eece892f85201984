"""The live configuration, in the form in which a plan asks for it."""

from stayline.control.switch.steps import KEY, SECTION
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.link.configuration import ConfigurationClient
from stayline.link.messages.configuration import Operation

HOLDERS = (ObjectType.TENANT, ObjectType.AGENT_GROUP, ObjectType.PERSON)
"""Where the option may be set besides the Workspace application (the option hierarchy)."""


class LiveCentre:
    """Reads the newest snapshot each time: a plan may outlive several revisions."""

    def __init__(self, client: ConfigurationClient) -> None:
        self._client = client

    def applications(self, site: str, types: frozenset[ApplicationType]) -> list[ConfigObject]:
        """Enabled applications of a site, by name."""
        return [found for found in self._client.snapshot.applications(site=site) if found.app_type in types]

    def address(self, application: str, port_id: str) -> tuple[str, int]:
        """Where an application listens."""
        return self._client.snapshot.endpoint_of(application, port_id)

    def sites(self) -> list[str]:
        """All sites, sorted."""
        return self._client.snapshot.sites()

    def host_of(self, site: str) -> str:
        """Name of the host of a site."""
        return next(host.name for host in self._client.snapshot.all(ObjectType.HOST) if host.site == site)

    def objects_with_site_option(self) -> list[tuple[ConfigObject, str]]:
        """Every object that carries the site option, with its value."""
        snapshot = self._client.snapshot
        candidates = snapshot.applications(ApplicationType.WORKSPACE)
        for kind in HOLDERS:
            candidates += snapshot.all(kind)
        return [
            (found, found.options[SECTION][KEY])
            for found in candidates
            if KEY in found.options.get(SECTION, {})
        ]

    async def change(self, operations: list[Operation], reason: str, key: str) -> int:
        """Change the configuration; repeating it with the same key is harmless."""
        made = await self._client.change(operations, reason, key=key)
        return made.revision
