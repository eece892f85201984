"""A primary is never left without its keeper: whatever the look at it raised, there is a next one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stayline.control.postgres import keeper as keeper_module
from stayline.control.postgres.keeper import ReplicationKeeper
from stayline.link.messages.control import ReplicationMode


class FaultyNode:
    """Its connection fails in a way that nobody expected, twice; then it does not answer."""

    def __init__(self, root: Path) -> None:
        self.files = SimpleNamespace(root=root)
        self.config = SimpleNamespace(site="Site_A", peer_site="Site_B")
        self.mode = ReplicationMode.FOLLOW
        self.keeper_view: object = None
        self.looks = 0
        self.third = asyncio.Event()

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[object]:
        """The node's own connection."""
        self.looks += 1
        if self.looks < 3:
            raise KeyError("a fault of ours")
        self.third.set()
        if self.looks:
            raise ConnectionResetError("gone")
        yield None


def test_the_keeper_begins_again_after_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "TICK", 0.0)

    async def scenario() -> None:
        node = FaultyNode(tmp_path)
        keeper = ReplicationKeeper(cast(Any, node), ReplicationMode.FOLLOW)
        keeper.start()
        await asyncio.wait_for(node.third.wait(), 5)
        await keeper.stop()
        looks = node.looks
        for _ in range(20):
            await asyncio.sleep(0)
        assert node.looks == looks, "it looks on after it was stopped"

    asyncio.run(scenario())
