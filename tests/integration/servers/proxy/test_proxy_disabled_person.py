"""An agent who is disabled loses the link at once, whatever the token still says."""

import asyncio
from pathlib import Path

import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.domain.topology import Configuration
from tests.integration.servers.proxy.scripted_core import bench
from tests.integration.servers.proxy.steps import login, primary, run


def test_a_disabled_agent_is_hung_up_on_and_not_let_in_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            leaver, other = await b.client("agent01"), await b.client("agent02")
            await login(leaver)
            person = ConfigObject(type=ObjectType.PERSON, name="agent01", tenant="T", enabled=False)
            configuration = b.process.configuration
            configuration.copy.snapshot = Configuration([*configuration.snapshot.objects, person], 2)
            for told in configuration.changed:
                told([person])
            assert leaver.peer is not None
            assert other.peer is not None
            await asyncio.wait_for(leaver.peer.closed, 10)
            assert leaver.peer.farewell is not None
            assert leaver.peer.farewell.code == "auth.disabled"
            with pytest.raises(RefusedError) as caught:
                await b.client("agent01")
            assert caught.value.refusal.code == "auth.disabled"
            assert not other.peer.is_closed

    run(scenario())
