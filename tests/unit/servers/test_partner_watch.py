"""A backup watches its partner for as long as it is backup: a broken configuration entry does not end that."""

import asyncio
from types import SimpleNamespace

import pytest
import structlog

from stayline.domain.errors import refuse
from stayline.link.messages.envelope import Role
from stayline.link.transport import Endpoint
from stayline.servers import core as core_module
from stayline.servers.core import CoreServer

PARTNER = Endpoint("127.0.0.1", 1, "Ixn_A_2")


class Watcher(CoreServer):
    """A backup whose configuration is broken at first; ``fenced`` names whom it fenced."""

    def __init__(self) -> None:
        self.role = Role.BACKUP
        self.log = structlog.get_logger()
        self.process = SimpleNamespace()  # type: ignore[assignment]
        self.looks = 0
        self.fenced: asyncio.Queue[str] = asyncio.Queue()

    def _partner_endpoint(self) -> Endpoint | None:
        self.looks += 1
        if self.looks == 1:
            raise refuse("configuration.unknown", "There is no port 'default'.")
        return PARTNER

    async def _silence_of(self, endpoint: Endpoint) -> str:
        return "addp: nothing heard"

    async def _fence(self, partner: str, why: str) -> None:
        self.fenced.put_nowait(partner)


def test_a_frozen_partner_is_fenced_after_the_configuration_was_put_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(core_module, "NO_PARTNER_PAUSE", 0.0, raising=False)

    async def scenario() -> None:
        watcher = Watcher()
        watch = asyncio.create_task(watcher._watch_partner())
        assert await asyncio.wait_for(watcher.fenced.get(), 5) == "Ixn_A_2"
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)

    asyncio.run(scenario())
