"""A Workspace's link through the real proxy to the real core, over a failover of the core."""

import asyncio
import time
import uuid
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from stayline.domain.errors import LinkLostError, RefusedError
from stayline.domain.objects import ApplicationType
from stayline.link.authority import tls_files
from stayline.link.messages.envelope import Hello, Identity
from stayline.link.messages.interaction import (
    Accept,
    AgentLogin,
    AgentResume,
    ChangeProperties,
    CoreBack,
    Done,
    InteractionView,
    MarkDone,
    MediaState,
    Offered,
    Ownership,
    SessionOpened,
    Submit,
)
from stayline.link.peer import BaseHandler, Peer
from stayline.link.tokens import TokenSigner
from stayline.link.transport import Endpoint, connect
from stayline.servers.process import ServerProcess
from stayline.servers.proxy import main as proxy_main

from ..conftest import Database
from .centre import Centre, Media, centre, until

pytestmark = pytest.mark.postgres
T = TypeVar("T")


class Workspace(BaseHandler):
    """A person's end of a link."""

    def __init__(self, base: Path, user: str) -> None:
        self.events: list[tuple[str, int, bytes]] = []
        self._base = base
        identity = Identity(user=user, tenant="T", roles=["agent"], expires=time.time() + 600)
        self._token = TokenSigner.load(base / "keys").sign_identity(identity)
        self.peer: Peer | None = None

    async def connect(self, place: Centre, proxy: str) -> None:
        endpoint = Endpoint("127.0.0.1", place.ports[proxy], proxy, local=1.0, remote=1.0)
        hello = Hello(
            application="Workspace",
            type=ApplicationType.WORKSPACE.value,
            instance=f"w-{uuid.uuid4().hex[:6]}",
            token=self._token,
        )
        self.peer = await connect(endpoint, hello, self, tls_files(self._base / "certificates"))

    async def ask(self, method: str, params: object, result: type[T]) -> T:
        assert self.peer is not None
        return await self.peer.request(method, params, result, key=uuid.uuid4().hex, timeout=15.0)

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        self.events.append((name, seq, bytes(payload)))

    def heard(self, name: str, kind: type[T]) -> list[T]:
        return [msgspec.json.decode(payload, type=kind) for event, _, payload in self.events if event == name]


async def run_proxy(place: Centre, name: str) -> "tuple[ServerProcess, asyncio.Task[None]]":
    process = ServerProcess(name, place.base)
    process.configuration.copy.snapshot = place.configuration
    return process, asyncio.create_task(proxy_main(process), name=name)


def test_session_survives_core_and_proxy(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place, place.media() as media:
            await place.start_primary("Ixn_1")
            await place.start("Ixn_2")
            proxies = {name: await run_proxy(place, name) for name in ("Proxy_1", "Proxy_2")}
            try:
                await work_through_failures(place, media, tmp_path)
            finally:
                for process, _ in proxies.values():
                    process.stopping.set()
                await asyncio.gather(*(task for _, task in proxies.values()))

    asyncio.run(scenario())


async def work_through_failures(place: Centre, media: Media, base: Path) -> None:
    agent = Workspace(base, "agent01")
    await until_connected(agent, place, "Proxy_1")
    login = AgentLogin(place="P1", media=[MediaState("chat", True)])
    opened = await agent.ask("agent.login", login, SessionOpened)
    await media.submit("i1")
    await until(lambda: agent.heard("interaction.offered", Offered))
    offer = agent.heard("interaction.offered", Offered)[0].interaction
    accept = Accept(interaction="i1", version=offer.version)
    view = await agent.ask("interaction.accept", accept, InteractionView)
    assert (view.state, bool(view.grant)) == (Ownership.OWNED, True)

    # The core loses its term, unannounced: the proxy keeps its clients and brings their sessions back.
    core = place.running.pop("Ixn_1")
    core[0].step_down("the test ends this term")
    change = ChangeProperties(interaction="i1", set={"typed": "while the core was away"}, online=False)
    changed = asyncio.create_task(agent.ask("interaction.change", change, Done))
    await core[1]
    await until(lambda: agent.heard("core.back", CoreBack))
    back = agent.heard("core.back", CoreBack)[0]
    assert back.opened is not None, back.reason
    assert (back.term, back.opened.session) == (2, opened.session)
    assert [(v.id, v.state) for v in back.opened.snapshot.interactions] == [("i1", Ownership.OWNED)]
    assert (await changed).version == 4

    # The proxy is left (as if it had died); the ticket of the restore works at another one.
    assert agent.peer is not None
    agent.peer.abort("test")
    await agent.connect(place, "Proxy_2")
    resume = AgentResume(ticket=back.opened.ticket, last_seq=back.opened.snapshot.as_of)
    again = await agent.ask("agent.resume", resume, SessionOpened)
    assert again.session == opened.session
    assert again.snapshot.interactions[0].properties == {"typed": "while the core was away"}
    assert (await agent.ask("interaction.done", MarkDone(interaction="i1"), Done)).version == 5
    with pytest.raises(RefusedError) as caught:
        await agent.ask("interaction.submit", Submit(id="x", tenant="T", media="chat", queue="all"), Done)
    assert caught.value.refusal.code == "method.forbidden"


async def until_connected(agent: Workspace, place: Centre, proxy: str) -> None:
    """A proxy listens only once its core has a primary."""
    end = time.monotonic() + 15
    while True:
        try:
            await agent.connect(place, proxy)
            return
        except LinkLostError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.02)
