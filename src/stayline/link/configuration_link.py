"""The link of a configuration client: which Configuration Server, how it stands, and looking for a better one."""

import asyncio
import random as random_module
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from stayline.domain.errors import StaylineError
from stayline.domain.topology import Configuration
from stayline.link.authority import TlsFiles
from stayline.link.machine.plan import PairPlan
from stayline.link.machine.pool import Node
from stayline.link.messages.configuration import Changes
from stayline.link.messages.envelope import Hello
from stayline.link.peer import BaseHandler, Peer
from stayline.link.standby_link import endpoint_of
from stayline.link.transport import Endpoint, connect

log = structlog.get_logger(__name__)

ROUND_DELAYS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.0)
"""Seconds after the 1st, 2nd ... time that no Configuration Server answered, where the configuration says nothing: a
server that waits for its configuration must not wait longer than it has to."""

RECONNECT_RANGE = 0.1
"""Upper bound of the random seconds before the server that was lost is tried again."""

LOOK_AROUND = (1.5, 3.0)
"""Seconds (drawn between) after which a client of a server that is not current looks for one that is."""

PairOf = Callable[[Configuration, tuple[Node, ...]], PairPlan]
"""How the Configuration Servers of the list are used, as the configuration known so far says."""


def plain_pair(configuration: Configuration, nodes: tuple[Node, ...]) -> PairPlan:
    """One pair in the order of its list. The Reconnect Timeout of its first server, where set, is the wait between two
    rounds."""
    return PairPlan(
        nodes=nodes, retry_delays=round_delays(configuration, nodes), reconnect_range=RECONNECT_RANGE
    )


def round_delays(configuration: Configuration, nodes: tuple[Node, ...]) -> tuple[float, ...]:
    """Waits between two rounds, in seconds."""
    for node in nodes[:1]:
        primary = configuration.get("Application", node.application)
        if primary is not None and primary.reconnect_timeout > 0:
            return (primary.reconnect_timeout,)
    return ROUND_DELAYS


def nodes_of(endpoints: Sequence[Endpoint]) -> tuple[Node, ...]:
    """The servers of a list of Configuration Servers; where they are, the configuration says later."""
    return tuple(
        Node(
            application=endpoint.application,
            cluster="",
            site=endpoint.site,
            host=endpoint.host,
            port=endpoint.port,
            local=endpoint.local,
            remote=endpoint.remote,
            trace=endpoint.trace,
            ip_version=endpoint.ip_version,
        )
        for endpoint in endpoints
    )


@dataclass(frozen=True, kw_only=True)
class ConfigurationLink:
    """How the link stands: ``since`` (Unix seconds) of the present state, ``why`` in a sentence, and when the next
    attempt is (0: connected, or under way). ``held_until``: a server lets it in, but only then. ``as_of``: when the
    configuration in use was last known to be right; 0 while a server that is current is linked, or when there is
    none."""

    up: bool = False
    application: str = ""
    site: str = ""
    writable: bool = False
    current: bool = True
    since: float = 0.0
    why: str = "not started"
    next_attempt_at: float = 0.0
    held_until: float = 0.0
    as_of: float = 0.0


class Scout:
    """While a link's server is not current: looks, again and again, whether another one is. ``ask`` reads what a server
    has changed, ``found`` is called when a current one was found, once."""

    def __init__(
        self,
        hello: Callable[[], Hello],
        tls: TlsFiles,
        ask: Callable[[Peer], Awaitable[Changes]],
        random: random_module.Random,
    ) -> None:
        self._hello = hello
        self._tls = tls
        self._ask = ask
        self._random = random
        self._task: asyncio.Task[None] | None = None

    def look(self, others: Sequence[Node], found: Callable[[Node], None]) -> None:
        """Begin, unless it is looking already."""
        if others and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(others, found), name="configuration-scout")

    def end(self) -> None:
        """The server is current again, or gone."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def finished(self) -> None:
        """End, and wait for it."""
        self.end()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self, others: Sequence[Node], found: Callable[[Node], None]) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(*LOOK_AROUND))
            for node in others:
                if await self._is_current(node):
                    found(node)
                    return

    async def _is_current(self, node: Node) -> bool:
        try:
            peer = await connect(endpoint_of(node, in_cluster=False), self._hello(), BaseHandler(), self._tls)
        except StaylineError as error:
            log.debug("configuration.not_better", server=node.application, why=str(error))
            return False
        try:
            return (await self._ask(peer)).current
        except StaylineError as error:
            log.debug("configuration.not_better", server=node.application, why=str(error))
            return False
        finally:
            await peer.close()
