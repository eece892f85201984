"""Two ends of a link in two network namespaces with a WAN between them."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from stayline.lab.wan import End, Wan
from stayline.link.authority import issue
from tests.integration.link.material import Material

PORT = 4_711


class Ended:
    """A process at one end, and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.said.append(json.loads(line))

    def all(self, event: str, after: float = 0.0) -> list[dict[str, Any]]:
        """What it said of a kind, after a time."""
        return [one for one in self.said if one["event"] == event and one["at"] > after]

    async def first(self, event: str, after: float = 0.0, seconds: float = 15.0) -> dict[str, Any]:
        """Wait for the first of a kind after a time."""
        deadline = time.monotonic() + seconds
        while not (found := self.all(event, after)):
            assert time.monotonic() < deadline, f"no {event!r} within {seconds} s: {self.said[-5:]}"
            await asyncio.sleep(0.005)
        return found[0]

    async def many(self, event: str, count: int, after: float, seconds: float = 20.0) -> list[dict[str, Any]]:
        """Wait for ``count`` of a kind after a time."""
        deadline = time.monotonic() + seconds
        while len(found := self.all(event, after)) < count:
            assert time.monotonic() < deadline, f"only {len(found)} {event!r} within {seconds} s"
            await asyncio.sleep(0.01)
        return found

    async def stop(self) -> None:
        """Kill it."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading


async def start(end: End, *arguments: str) -> Ended:
    """A ``far_end`` in the namespace of ``end``."""
    command = end.command(sys.executable, "-m", "tests.integration.network.far_end", *arguments)
    return Ended(await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE))


class Stage:
    """The WAN, the server at its end ``b`` and the client at its end ``a``."""

    def __init__(self, wan: Wan, server: Ended, client: Ended, restart: Callable[[], Any]) -> None:
        self.wan = wan
        self.server = server
        self.client = client
        self._restart = restart

    async def new_server(self) -> None:
        """Start the server again after it was killed."""
        self.server = await self._restart()
        await self.server.first("listening")


@asynccontextmanager
async def stage(folder: Path, local: float, remote: float) -> AsyncIterator[Stage]:
    """A link that stands, with ADDP timeouts of ``local`` (client) and ``remote`` (server) seconds."""
    wan = Wan()
    running: list[Ended] = []
    try:
        material = Material.make(folder)
        issue(folder, "S1", "Server", [wan.b.address])

        async def serve() -> Ended:
            running.append(await start(wan.b, "listen", str(material.folder), wan.b.address, str(PORT)))
            return running[-1]

        server = await serve()
        await server.first("listening")
        times = (str(local), str(remote))
        client = await start(wan.a, "call", str(material.folder), wan.b.address, str(PORT), *times)
        running.append(client)
        await client.first("answer")
        yield Stage(wan, server, client, serve)
    finally:
        for one in running:
            await one.stop()
        wan.close()
