"""What a host agent answers on its links: reports from servers, commands from whoever may command."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
import structlog

from stayline.control.host.plan import HOST_AGENT, OPERATOR
from stayline.domain.errors import refuse
from stayline.domain.objects import ApplicationType
from stayline.link.messages.control import (
    Demote,
    Drain,
    Drained,
    Fence,
    Follow,
    HostStatus,
    Promote,
    Report,
    StartStop,
)
from stayline.link.peer import BaseHandler, Peer, Request, read, unknown_method

log = structlog.get_logger("stayline.host.service")

COMMANDERS = frozenset({OPERATOR, ApplicationType.SOLUTION_CONTROL_SERVER.value})
"""Types (proven by certificate) that may change something."""

READERS = COMMANDERS | {HOST_AGENT}
"""Types that may read the status; all others may only report themselves."""


class HostOperations(Protocol):
    """What the agent can do; every method raises ``StaylineError`` with the reason."""

    async def status(self) -> HostStatus: ...
    async def start(self, order: StartStop) -> HostStatus: ...
    async def stop(self, order: StartStop) -> HostStatus: ...
    async def fence(self, order: Fence) -> HostStatus: ...
    async def demote(self, order: Demote) -> object: ...
    async def reinstate(self, order: Demote) -> object: ...
    async def promote(self, order: Promote) -> object: ...
    async def follow(self, order: Follow) -> object: ...
    def report(self, report: Report) -> None: ...


DRAIN_SECONDS = 5.0
"""A server that has not answered a command within this time does not follow it."""


class HostService(BaseHandler):
    """Handler of all links to a host agent."""

    def __init__(self, operations: HostOperations) -> None:
        self._operations = operations
        self._servers: dict[str, Peer] = {}
        o = operations
        self._methods: dict[str, tuple[type[msgspec.Struct] | None, Callable[..., Awaitable[object]]]] = {
            "host.status": (None, o.status),
            "host.start": (StartStop, o.start),
            "host.stop": (StartStop, o.stop),
            "host.fence": (Fence, o.fence),
            "host.drain": (Drain, self._drain),
            "database.demote": (Demote, o.demote),
            "database.reinstate": (Demote, o.reinstate),
            "database.promote": (Promote, o.promote),
            "database.follow": (Follow, o.follow),
        }

    async def on_request(self, peer: Peer, request: Request) -> object:
        """Check who asks, decode, do, answer."""
        if request.method not in self._methods:
            raise unknown_method(request.method)
        kind, operation = self._methods[request.method]
        who = peer.hello.application
        allowed = READERS if kind is None else COMMANDERS
        if peer.hello.type not in allowed:
            raise refuse(
                "host.not_allowed",
                f"{who} is a {peer.hello.type}; {request.method} takes one of: {', '.join(sorted(allowed))}.",
            )
        if kind is None:
            return await operation()
        order = request.read(kind)
        log.info(
            "command", method=request.method, who=who, why=getattr(order, "why", "") or "no reason given"
        )
        return await operation(order)

    async def _drain(self, order: Drain) -> Drained:
        """Pass it on to the server, over the link on which it reports itself."""
        peer = self._servers.get(order.application)
        if peer is None or peer.is_closed:
            raise refuse(
                "process.not_linked",
                f"{order.application} does not run on this host, or has not reported itself yet.",
                retryable=True,
                retry_after=1.0,
                field="application",
            )
        return await peer.request("server.drain", order, Drained, timeout=DRAIN_SECONDS)

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        """``server.report``; a server can only report itself."""
        if name != "server.report":
            return
        report = read(payload, Report, name)
        if report.application == peer.hello.application:
            self._servers[report.application] = peer
            self._operations.report(report)

    def on_closed(self, peer: Peer, why: str) -> None:
        """A server's link is gone."""
        if self._servers.get(peer.hello.application) is peer:
            del self._servers[peer.hello.application]
