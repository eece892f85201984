"""The live configuration, in the form in which a plan asks for it."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from stayline.control.switch.run import Written
from stayline.control.switch.steps import KEY, SECTION
from stayline.domain.errors import Refusal, StaylineError, refuse
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.link.configuration import ConfigurationClient
from stayline.link.messages.configuration import Operation

HOLDERS = (ObjectType.TENANT, ObjectType.AGENT_GROUP, ObjectType.PERSON)
"""Where the option may be set besides the Workspace application (the option hierarchy)."""

CHANGE_SECONDS = 5.0
"""How long a Configuration Server is asked to make a change, before the change is written without one."""

ASK_AGAIN_SECONDS = 0.2

Directly = Callable[[list[Operation], str, str], Awaitable[int]]
"""Writes operations with a reason under a key into the database itself; the revision."""

log = structlog.get_logger(__name__)


class LiveCentre:
    """Reads the newest snapshot each time: a plan may outlive several revisions. ``directly`` makes a change while no
    Configuration Server answers (None: then it fails)."""

    def __init__(self, client: ConfigurationClient, directly: Directly | None = None) -> None:
        self._client = client
        self._directly = directly

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

    async def change(self, operations: list[Operation], reason: str, key: str) -> Written:
        """Change the configuration; repeating it with the same key is harmless. When no Configuration Server makes it
        within :data:`CHANGE_SECONDS`, it is written directly. Raises StaylineError."""
        why = "none answered"
        try:
            async with asyncio.timeout(CHANGE_SECONDS):
                while True:
                    try:
                        made = await self._client.change(operations, reason, key=key)
                    except StaylineError as error:
                        if _is_judgement(error.refusal):
                            raise
                        why = error.refusal.reason
                    else:
                        return Written(made.revision)
                    await asyncio.sleep(ASK_AGAIN_SECONDS)
        except TimeoutError:
            log.warning("switch.no_configuration_server", seconds=CHANGE_SECONDS, why=why)
        if self._directly is None:
            reason = f"No Configuration Server made the change within {CHANGE_SECONDS:g} s: {why}"
            raise refuse("config.unreachable", reason, retryable=True, retry_after=1.0)
        revision = await self._directly(operations, reason, key)
        how = f"no Configuration Server made it within {CHANGE_SECONDS:g} s, so it was written into the database"
        return Written(revision, how)


def _is_judgement(refusal: Refusal) -> bool:
    """Whether the change itself was refused, which nobody else would see differently."""
    return not refusal.retryable and refusal.code.partition(".")[0] in ("config", "option")
