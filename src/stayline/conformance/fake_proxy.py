"""A fake Interaction Server Proxy: what stands between an agent and the core."""

import time

from stayline.conformance.fake_core import FakeCore
from stayline.conformance.fake_link import FakeLink
from stayline.conformance.fake_server import HeldError, Service
from stayline.link.messages import interaction
from stayline.link.messages.envelope import Frame


class ProxyService(Service):
    """An Interaction Server Proxy in front of ``core``."""

    def __init__(self, core: FakeCore) -> None:
        self._core = core

    def opened(self, link: FakeLink) -> None:
        """A client that comes while the core is away is told."""
        if self._core.away_since:
            self._tell_away(link)

    def _tell_away(self, link: FakeLink) -> None:
        link.event("core.away", interaction.CoreAway(since=self._core.away_since, why="The core is away."))

    def answer(self, link: FakeLink, frame: Frame) -> object:
        """Serve; while the core is away a request is held back."""
        if self._core.away_since:
            self._core.held.append((link, frame))
            raise HeldError
        return self._core.answer(link, frame)

    def gone(self, link: FakeLink) -> None:
        """The session of a link that is over is lost."""
        self._core.lost(link)

    def core_goes(self, links: list[FakeLink]) -> None:
        """The core is unreachable from now on."""
        self._core.away_since = time.time()
        for link in links:
            self._tell_away(link)

    def core_returns(self, links: list[FakeLink], code: str) -> None:
        """The core is back; ``code``: sessions could not be restored. What was held back is served."""
        core = self._core
        core.away_since = 0.0
        core.term += 1
        for link in links:
            link.event("core.back", core.back(link, code, "It could not be restored."))
        held, core.held = core.held, []
        for link, frame in held:
            if not link.lost:
                link.server.serve(link, frame)
