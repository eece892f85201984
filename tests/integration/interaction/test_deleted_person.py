"""An agent who was deleted is hung up on at the proxy, whatever the token still says; a new one is let in."""

import asyncio
import time
from pathlib import Path

import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.domain.topology import Configuration
from stayline.link.messages.envelope import Identity
from stayline.link.messages.interaction import AgentLogin, MediaState, SessionOpened
from stayline.link.tokens import TokenSigner
from stayline.servers.process import ServerProcess

from ..conftest import Database
from .centre import Centre, centre, until
from .test_with_proxy import Workspace, run_proxy, until_connected

pytestmark = pytest.mark.postgres


def workspace(base: Path, user: str, revision: int) -> Workspace:
    """A person's end of a link, with a token signed at ``revision``."""
    made = Workspace(base, user)
    identity = Identity(
        user=user, tenant="T", roles=["agent"], expires=time.time() + 600, revision=revision, mark="0-a"
    )
    made._token = TokenSigner.load(base / "keys").sign_identity(identity)
    return made


def tell(process: ServerProcess, objects: list[ConfigObject], revision: int) -> None:
    """The process learns another configuration."""
    process.configuration.copy.snapshot = Configuration(objects, revision)
    process.configuration.copy.mark = "0-b"
    for told in process.configuration.changed:
        told([])


def test_a_deleted_agent_is_sent_away(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            core = await place.start_primary()
            process, running = await run_proxy(place, "Proxy_1")
            try:
                await leave(place, process, tmp_path)
                await until(lambda: core.report().lost_sessions == 1)
            finally:
                process.stopping.set()
                await running

    asyncio.run(scenario())


async def leave(place: Centre, process: ServerProcess, base: Path) -> None:
    leaver, stays = workspace(base, "agent01", 1), workspace(base, "agent02", 1)
    for agent, seat in ((leaver, "P1"), (stays, "P2")):
        await until_connected(agent, place, "Proxy_1")
        login = AgentLogin(place=seat, media=[MediaState("chat", True)])
        await agent.ask("agent.login", login, SessionOpened)
    rest = [o for o in place.objects() if (o.type, o.name) != (ObjectType.PERSON, "agent01")]
    tell(process, rest, 2)
    assert leaver.peer is not None
    assert stays.peer is not None
    await asyncio.wait_for(leaver.peer.closed, 10)
    assert leaver.peer.farewell is not None
    assert leaver.peer.farewell.code == "auth.disabled"
    assert not stays.peer.is_closed
    with pytest.raises(RefusedError) as caught:
        await leaver.connect(place, "Proxy_1")
    assert caught.value.refusal.code == "auth.disabled"
    # Somebody of a later revision than the proxy knows is new, not deleted.
    new = workspace(base, "newcomer", 3)
    await new.connect(place, "Proxy_1")
    assert new.peer is not None
    assert not new.peer.is_closed
