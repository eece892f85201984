"""The steps that the tests of proxies have in common."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import uvloop

from stayline.link.messages.envelope import Role
from stayline.link.messages.interaction import (
    AgentLogin,
    MarkDone,
    MediaState,
    SessionOpened,
)
from tests.integration.link.material import until
from tests.integration.servers.proxy.scripted_core import (
    HOST,
    Bench,
    Client,
)

LOGIN = AgentLogin(place="P", media=[MediaState("chat", True)])


DONE = MarkDone(interaction="i1", disposition="resolved")


def run(work: Coroutine[Any, Any, None]) -> None:
    uvloop.run(work)


async def primary(b: Bench, number: int = 0, term: int = 1) -> None:
    """Make a core primary and wait until the proxy serves it."""
    b.cores[number].become(Role.PRIMARY, term)
    await until(lambda: b.proxy.core.ready and b.proxy.port.listener.is_open, "the proxy listens")


async def login(client: Client) -> SessionOpened:
    return await client.link.request("agent.login", LOGIN, SessionOpened, key="login")


async def refused_port(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False
