"""A request repeated with its key while the first one is still being carried out: once done, twice answered."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from stayline.domain.errors import RefusedError
from stayline.link.messages.interaction import (
    Accept,
    ChangeProperties,
    Done,
    InteractionView,
    SessionEnded,
    SetMedia,
    Transfer,
)
from stayline.link.peer import Request
from stayline.servers.core import CoreServer
from stayline.servers.interaction.channels import Channel
from stayline.store.interaction import Write, Written

from ..conftest import Database
from .centre import Agent, centre, until
from .failover import check_journal

pytestmark = pytest.mark.postgres
REQUESTS = ["accept", "change", "transfer", "media"]


class HeldWriter:
    """Between the ledger and its writer: commits of a request with ``key`` wait until ``go`` is set. ``asked`` counts
    how often it came to the server, ``attempts`` how often it was carried out."""

    def __init__(self, core: CoreServer, key: str) -> None:
        tenure = core._service._tenure  # type: ignore[attr-defined]
        ledger, serve = tenure.ledger, tenure.agents.serve
        self.asked = 0

        async def counting(channel: Channel, request: Request) -> object:
            self.asked += request.key == key
            return await serve(channel, request)

        tenure.agents.serve = counting
        self.waiting = asyncio.Event()
        self.go = asyncio.Event()
        self.attempts = 0
        self._key = key
        self._submit: Callable[[Write], Awaitable[Written]] = ledger._writer.submit
        ledger._writer = self

    async def submit(self, item: Write) -> Written:
        if item.result is not None and item.result.key == self._key:
            self.attempts += 1
            self.waiting.set()
            await self.go.wait()
        return await self._submit(item)


@pytest.mark.parametrize("name", REQUESTS)
def test_the_same_key_in_flight_on_two_links_of_a_session(
    database: Database, tmp_path: Path, name: str
) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            core = await place.start_primary()
            async with place.proxy() as proxy, place.proxy("Proxy_2") as other, place.media() as media:
                dying = await proxy.agent("agent01")
                opened = await dying.login("P1", workspace="w")
                await media.submit("i1")
                offer = (await dying.offered())[0]
                if name != "accept":
                    await dying.accept(offer)
                held = HeldWriter(core, "the-key")
                first = asyncio.create_task(ask(dying, name, offer))
                await held.waiting.wait()
                # The link seems dead to the Workspace; it comes back over another one and asks again.
                new = await other.agent("agent01")
                resuming = asyncio.create_task(new.resume(opened.ticket))
                if name != "media":  # a change of the session itself is before the resume in the agent's line
                    await resuming
                second = asyncio.create_task(ask(new, name, offer))
                await until(lambda: held.asked == 2)
                assert not first.done()
                assert not second.done()
                held.go.set()
                answers = await asyncio.gather(first, second)
                await resuming
                assert held.attempts == 1
                assert answers[0] == answers[1] or name == "accept"
                if name == "accept":
                    assert {a.id for a in answers if isinstance(a, InteractionView)} == {"i1"}
                assert await committed(database.dsn) == (1, 1 if name != "media" else 0)
                await check_journal(database.dsn)
                if name != "media":
                    await until(lambda: dying.heard("session.ended", SessionEnded))

    async def committed(dsn: str) -> tuple[int, int]:
        connection = await asyncpg.connect(dsn)
        results = await connection.fetchval("select count(*) from request_result where key = 'the-key'")
        events = Counter(r["event"] for r in await connection.fetch("select event from journal"))
        await connection.close()
        return results, events[name]

    asyncio.run(scenario())


async def ask(agent: Agent, name: str, offer: InteractionView) -> object:
    match name:
        case "accept":
            params = Accept(interaction="i1", version=offer.version)
            return await agent.ask("interaction.accept", params, InteractionView, key="the-key")
        case "change":
            change = ChangeProperties(interaction="i1", set={"a": "b"})
            return await agent.ask("interaction.change", change, Done, key="the-key")
        case "transfer":
            transfer = Transfer(interaction="i1", queue="support")
            return await agent.ask("interaction.transfer", transfer, Done, key="the-key")
    return await agent.ask("agent.media", SetMedia(ready=False, reason="lunch"), Done, key="the-key")


def test_the_same_key_for_something_else_is_refused(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            await place.start_primary()
            async with place.proxy() as proxy:
                agent = await proxy.agent("agent01")
                await agent.login("P1")
                await agent.ask("agent.media", SetMedia(ready=False), Done, key="k")
                assert await agent.ask("agent.media", SetMedia(ready=True), Done, key="k") == Done()
                change = ChangeProperties(interaction="i1", set={"a": "b"})
                with pytest.raises(RefusedError) as caught:
                    await agent.ask("interaction.change", change, Done, key="k")
                assert caught.value.refusal.code == "request.key_reused"

    asyncio.run(scenario())
