"""A fake Interaction Server Proxy: what stands between an agent and the core."""

import time

from stayline.conformance.fake_core import FakeCore
from stayline.conformance.fake_link import FakeLink
from stayline.conformance.fake_server import Service
from stayline.domain.errors import refuse
from stayline.link.messages import interaction
from stayline.link.messages.envelope import Frame


class ProxyService(Service):
    """An Interaction Server Proxy in front of the core; ``away_since``: without it since then (Unix seconds)."""

    def __init__(self, core: FakeCore) -> None:
        self._core = core
        self.away_since = 0.0

    def opened(self, link: FakeLink) -> None:
        """A client that comes while the core is away is told."""
        if self.away_since:
            self._tell_away(link)

    def _tell_away(self, link: FakeLink) -> None:
        link.event("core.away", interaction.CoreAway(since=self.away_since, why="The core is away."))

    def answer(self, link: FakeLink, frame: Frame) -> object:
        """Serve; refused while the core is away."""
        if self.away_since:
            reason = f"{link.server.name} cannot reach its core."
            raise refuse("core.away", reason, retryable=True)
        return self._core.answer(link, frame)

    def gone(self, link: FakeLink) -> None:
        """The session of a link that is over is lost."""
        self._core.lost(link)

    def core_goes(self, links: list[FakeLink]) -> None:
        """The core is unreachable from now on."""
        self.away_since = time.time()
        for link in links:
            self._tell_away(link)

    def core_returns(self, links: list[FakeLink], code: str) -> None:
        """The core is back; ``code``: sessions could not be restored."""
        self.away_since = 0.0
        self._core.term += 1
        for link in links:
            link.event("core.back", self._core.back(link, code, "It could not be restored."))
