"""A request is committed and its primary gone before it can answer: for every kind of request."""

import asyncio
from collections import Counter
from pathlib import Path

import asyncpg
import pytest

from stayline.domain.errors import refuse
from stayline.link.messages.interaction import (
    Accept,
    AgentLogin,
    AgentLogout,
    ChangeProperties,
    Done,
    InteractionView,
    MarkDone,
    MediaState,
    SessionOpened,
    SetMedia,
    Transfer,
)
from stayline.servers.core import CoreServer
from stayline.store.interaction import Write, Written

from ..conftest import Database
from .centre import PATIENCE, Agent, Media, centre, until
from .failover import check_journal, insist, restore

pytestmark = pytest.mark.postgres

COMMITTED_UNANSWERED = ["submit", "login", "media", "accept", "change", "transfer", "done", "logout"]


@pytest.mark.parametrize("request_name", COMMITTED_UNANSWERED)
def test_committed_but_unanswered_has_effect_once(
    database: Database, tmp_path: Path, request_name: str
) -> None:
    """The primary is gone between the commit and the answer; the repeated request finds its recorded result."""

    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            first = await place.start_primary("Ixn_1")
            await place.start("Ixn_2")
            async with place.media() as media, place.proxy() as proxy:
                await until(lambda: len(media.pair.connected_to) == len(proxy.pair.connected_to) == 2)
                agent = await proxy.agent("agent01")
                asking = await prepare(request_name, first, agent, media)
                # The primary is over; the other one is told of the channel by the restore.
                await asyncio.wait_for(place.running.pop("Ixn_1")[1], PATIENCE)
                await until(lambda: proxy.pair.primary is not None and proxy.pair.primary.hello.term == 2)
                await restore(proxy, [agent])
                answer = await asyncio.wait_for(asking, PATIENCE)
                if isinstance(answer, SessionOpened):
                    assert answer.snapshot.place == "P1"
                else:
                    assert isinstance(answer, Done | InteractionView)
                await check_journal(database.dsn)
                connection = await asyncpg.connect(database.dsn)
                counts = Counter(r["event"] for r in await connection.fetch("select event from journal"))
                sessions = await connection.fetch("select * from agent_session")
                results = await connection.fetch("select * from request_result where key = 'the-key'")
                await connection.close()
                assert len(results) == 1
                if request_name in ("submit", "accept", "change", "transfer", "done"):
                    assert counts[request_name] == 1
                    assert isinstance(answer, Done | InteractionView)
                    assert answer.version == results[0]["version"]
                assert len(sessions) == (0 if request_name == "submit" else 1)
                if request_name == "logout":
                    assert sessions[0]["state"] == "closed"

    asyncio.run(scenario())


async def prepare(name: str, core: CoreServer, agent: Agent, media: Media) -> "asyncio.Task[object]":
    """Bring things to where ``name`` can be asked, let its commit be the primary's last deed, and ask."""
    view: InteractionView | None = None
    if name not in ("submit", "login"):
        await agent.login("P1")
    if name in ("accept", "change", "transfer", "done"):
        await media.submit("i1")
        view = (await agent.offered())[0]
    if view is not None and name != "accept":
        view = await agent.accept(view)
    if name == "done":
        await media.ask("interaction.change", ChangeProperties(interaction="i1", online=False), Done)
    requests: dict[str, tuple[str, object, type[object]]] = {
        "login": ("agent.login", AgentLogin(place="P1", media=[MediaState("chat", True)]), SessionOpened),
        "media": ("agent.media", SetMedia(ready=False, reason="lunch"), Done),
        "accept": (
            "interaction.accept",
            Accept(interaction="i1", version=view.version if view else 0),
            InteractionView,
        ),
        "change": ("interaction.change", ChangeProperties(interaction="i1", set={"a": "b"}), Done),
        "transfer": ("interaction.transfer", Transfer(interaction="i1", queue="support"), Done),
        "done": ("interaction.done", MarkDone(interaction="i1"), Done),
        "logout": ("agent.logout", AgentLogout(requeue=True), Done),
    }
    last_commit(core)
    if name == "submit":
        return asyncio.create_task(media.submit("i1", key="the-key"))
    method, params, result = requests[name]
    return asyncio.create_task(insist(agent, method, params, result, "the-key"))


def last_commit(core: CoreServer) -> None:
    """The next commit is the last thing that this primary does: nobody hears of it."""
    ledger = core._service._tenure.ledger  # type: ignore[attr-defined]
    writer = ledger._writer

    class Last:
        async def submit(self, item: Write) -> Written:
            await writer.submit(item)
            raise refuse("core.not_primary", "the test ends this term", retryable=True)

    ledger._writer = Last()
