"""What the tests of failovers share: bringing channels back, asking until answered, checking the journal."""

import asyncio
from typing import TypeVar

import asyncpg

from stayline.domain.errors import RefusedError
from stayline.link.messages.interaction import (
    RestoreChannel,
    RestoreChannels,
    RestoredChannels,
)

from .centre import Agent, Proxy

T = TypeVar("T")


async def restore(proxy: Proxy, agents: list[Agent]) -> RestoredChannels:
    """Bring a proxy's clients back at the new primary, as the proxy does."""
    primary = proxy.pair.primary
    assert primary is not None
    channels = [
        RestoreChannel(
            channel=agent.channel,
            identity=agent.identity,
            application="Workspace",
            instance="w",
            ticket=agent.opened.ticket if agent.opened else "",
            last_seq=max((seq for _, c, seq, _ in proxy.events if c == agent.channel), default=0),
        )
        for agent in agents
    ]
    return await primary.request("channels.restore", RestoreChannels(channels), RestoredChannels, key="r")


async def check_journal(dsn: str) -> None:
    """No gap, no fork, and the rows agree with the journal (invariants I1 to I3) for every interaction."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("select * from journal order by interaction, version")
        states = {r["id"]: r for r in await connection.fetch("select * from interaction")}
    finally:
        await connection.close()
    last: dict[str, asyncpg.Record] = {}
    for row in rows:
        before = last.get(row["interaction"])
        assert row["version"] == (before["version"] + 1 if before else 1)
        assert row["from_state"] == (before["to_state"] if before else "")
        assert row["previous_session"] == (before["session"] if before else "")
        if before:
            assert (row["epoch"], row["term"]) >= (before["epoch"], before["term"])
            assert row["seq"] > before["seq"]
        last[row["interaction"]] = row
    assert set(last) == set(states)
    for id, row in last.items():
        assert (states[id]["version"], states[id]["state"]) == (row["version"], row["to_state"])
        assert (states[id]["owner"], states[id]["session"]) == (row["agent"], row["session"])


async def insist(agent: Agent, method: str, params: object, result: type[T], key: str) -> T:
    """Ask with the same key until this agent's channel is back at a primary and answers."""
    while True:
        try:
            return await agent.ask(method, params, result, key=key)
        except RefusedError as error:
            if error.refusal.code not in ("channel.unknown", "session.none"):
                raise
            await asyncio.sleep(0.02)
