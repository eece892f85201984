"""The moment in which agents are told to move: the site option, as a client of the configuration sees it change."""

import asyncio
import contextlib
import time
import uuid

from stayline.control.host.plan import OPERATOR
from stayline.domain.objects import ApplicationType, ConfigObject
from stayline.domain.topology import SITE_OPTION, WORKSPACE_SECTION
from stayline.lab.layout import Layout
from stayline.lab.storm_centre import WINDOW
from stayline.link.bootstrap import load_bootstrap
from stayline.link.configuration import ConfigurationClient, configuration_endpoints
from stayline.link.messages.envelope import Hello


class OptionWatch:
    """Follows the option. ``told_at``: when it first named the expected site (Unix seconds; 0: not yet)."""

    def __init__(self, layout: Layout) -> None:
        bootstrap = load_bootstrap(layout.sites[layout.first_site].folder)
        hello = Hello(application="operator", type=OPERATOR, instance=uuid.uuid4().hex)
        self._client = ConfigurationClient(configuration_endpoints(bootstrap), lambda: hello, layout.operator)
        self._client.changed.append(self._look)
        self._target = ""
        self.told_at = 0.0
        self.changed = asyncio.Event()

    async def start(self) -> None:
        """Begin to follow. Raises StaylineError when no Configuration Server answers."""
        await self._client.start()

    async def stop(self) -> None:
        """End."""
        await self._client.stop()

    def expect(self, site: str) -> None:
        """Wait for this site from now on."""
        self._target = site
        self.told_at = 0.0
        self.changed.clear()

    @property
    def window(self) -> float:
        """The spread window that was written with the site, in seconds (0: none)."""
        for text in self._values(WINDOW):
            with contextlib.suppress(ValueError):
                return float(text)
        return 0.0

    def _values(self, key: str) -> list[str]:
        found = self._client.snapshot.applications(ApplicationType.WORKSPACE)
        return [one.option(WORKSPACE_SECTION, key) for one in found]

    def _look(self, _changed: list[ConfigObject]) -> None:
        if self._target and not self.told_at and self._target in self._values(SITE_OPTION):
            self.told_at = time.time()
            self.changed.set()
