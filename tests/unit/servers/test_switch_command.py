"""What the Solution Control Server makes of a command while a switch is running."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.switchover import Request
from stayline.link.messages.control import Switch, SwitchMode, SwitchSummary
from stayline.servers.solution.server import SolutionControlServer

SUMMARY = cast(SwitchSummary, object())


class Operator:
    """A link of an operator's command line."""

    hello = SimpleNamespace(application="cli")
    remote_address = "here"


class Engine:
    """Runs until told that it is done; ``asked`` are the requests that reached it."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.done = asyncio.Event()

    async def switch(self, request: Request, progress: object) -> SwitchSummary:
        """A plan under way."""
        self.asked.append(request)
        await self.done.wait()
        return SUMMARY


class Server(SolutionControlServer):
    """The command's way only."""

    def __init__(self) -> None:
        self.engine = Engine()
        self._engine = self.engine  # type: ignore[assignment]
        self._process = cast(Any, SimpleNamespace(bootstrap=SimpleNamespace(site="Site_B")))
        self._hosts = {}
        self._switch = None
        self._watchers = set()


def asked(mode: SwitchMode) -> Switch:
    return Switch(target="Site_B", mode=mode, reason="r", by="o")


def test_a_forced_switch_is_not_taken_for_the_planned_one_that_runs() -> None:
    async def scenario() -> None:
        server = Server()
        peer = cast(Any, Operator())
        first = asyncio.create_task(server._do_switch(peer, asked(SwitchMode.PLANNED)))
        await asyncio.sleep(0)
        second = asyncio.create_task(server._do_switch(peer, asked(SwitchMode.PLANNED)))
        await asyncio.sleep(0)
        with pytest.raises(RefusedError) as caught:
            async with asyncio.timeout(1):
                await server._do_switch(peer, asked(SwitchMode.FORCED))
        assert (caught.value.refusal.code, caught.value.refusal.retryable) == ("switch.running", True)
        server.engine.done.set()
        assert await first is await second is SUMMARY
        assert len(server.engine.asked) == 1

    asyncio.run(scenario())
