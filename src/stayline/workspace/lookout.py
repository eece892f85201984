"""Looking at servers without using them: is a cluster's port open, and what does its proxy say about mastership?"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import aiohappyeyeballs
import structlog

from stayline.domain.errors import Refusal, RefusedError, StaylineError
from stayline.link.authority import TlsFiles
from stayline.link.dial import FAMILY_DELAY, addresses
from stayline.link.door import ONLY_ASKED
from stayline.link.machine.pool import Node
from stayline.link.messages.envelope import Hello
from stayline.link.peer import BaseHandler
from stayline.link.standby_link import endpoint_of
from stayline.link.transport import connect

log = structlog.get_logger(__name__)

MAX_TASKS = 32
"""Looks under way at a time; the clusters of one Workspace are fewer."""


class Lookout:
    """One look at a cluster at a time, each with a number of the machine's; a newer number ends the older looks."""

    def __init__(self, hello: Callable[[], Hello], tls: TlsFiles) -> None:
        self._hello = hello
        self._tls = tls
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended: set[asyncio.Task[None]] = set()

    def probe(
        self, cluster: str, nodes: Sequence[Node], timeout: float, told: Callable[[bool], None]
    ) -> None:
        """Tell whether one of ``nodes`` accepts a connection, trying them one after the other with ``timeout`` seconds
        each."""

        async def look() -> None:
            for node in nodes:
                if await _accepts(node, timeout):
                    told(True)
                    return
            told(False)

        self._begin(f"probe {cluster}", look())

    def ask(
        self,
        cluster: str,
        nodes: Sequence[Node],
        good: Callable[[str], bool],
        told: Callable[[str], None],
    ) -> None:
        """Tell the signed statement of the first of ``nodes`` that carries a ``good`` one (empty: none does)."""

        async def look() -> None:
            for node in nodes:
                statement = await self._statement(node)
                if statement and good(statement):
                    told(statement)
                    return
            told("")

        self._begin(f"ask {cluster}", look())

    def end(self) -> None:
        """Nobody wants to know any more."""
        for name in list(self._tasks):
            self._cancel(name)

    async def finished(self) -> None:
        """Wait for what was ended."""
        self.end()
        if self._ended:
            await asyncio.wait(set(self._ended))

    def _begin(self, name: str, look: Coroutine[Any, Any, None]) -> None:
        self._cancel(name)
        if len(self._tasks) >= MAX_TASKS:
            raise RuntimeError(f"{MAX_TASKS} looks at servers are under way already")
        task = self._tasks[name] = asyncio.get_running_loop().create_task(look, name=name)
        self._ended.add(task)
        task.add_done_callback(lambda done: self._done(name, done))

    def _done(self, name: str, task: asyncio.Task[None]) -> None:
        self._ended.discard(task)
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and task.exception() is not None:
            log.error("workspace.lookout", look=name, exc_info=task.exception(), why="an error of ours")

    def _cancel(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _statement(self, node: Node) -> str:
        """What the proxy says in its welcome. The link is opened for that only, and closed."""
        try:
            peer = await connect(
                endpoint_of(node),
                self._hello(),
                BaseHandler(),
                self._tls,
                connect_timeout=node.open_timeout,
                hello_timeout=node.open_timeout,
            )
        except StaylineError as error:
            log.info("workspace.asked", server=node.application, why=error.refusal.reason)
            return ""
        statement = peer.statement
        log.info(
            "workspace.asked", server=node.application, why="a statement" if statement else "no statement"
        )
        # Said, so that the server does not take it for a set-up that was given up.
        await peer.close(Refusal(code=ONLY_ASKED, reason="This Workspace only asked who is master."))
        return statement


async def _accepts(node: Node, timeout: float) -> bool:
    """Whether the port is open: passive means closed. Nothing is said on the connection."""
    try:
        async with asyncio.timeout(timeout):
            infos = await addresses(endpoint_of(node))
            sock = await aiohappyeyeballs.start_connection(
                infos, happy_eyeballs_delay=FAMILY_DELAY, interleave=1
            )
    except TimeoutError:
        log.info("workspace.probed", server=node.application, why=f"no answer within {timeout:g} s")
        return False
    except (OSError, RefusedError) as error:
        log.info("workspace.probed", server=node.application, why=str(error))
        return False
    sock.close()
    log.info("workspace.probed", server=node.application, why="its port is open")
    return True
