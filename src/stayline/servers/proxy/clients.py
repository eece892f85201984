"""One client of a proxy: its frames come in unread and go to the core on the client's channel."""

import functools
from typing import Protocol

from stayline.domain.errors import Refusal, RefusedError, refuse
from stayline.link.messages.envelope import Frame, Kind
from stayline.link.peer import BaseHandler, Peer
from stayline.servers.proxy.channel import Channel, Channels, PendingLimits
from stayline.servers.proxy.core_link import CoreLink
from stayline.servers.proxy.door import ProxyDoor


class Host(Protocol):
    """The proxy, as its clients' handlers need it."""

    channels: Channels
    core: CoreLink
    door: ProxyDoor
    pending_limits: PendingLimits

    def closed(self) -> Refusal | None:
        """Why no client is taken at the moment; None: they are."""

    def counted(self) -> None:
        """A client has come or gone."""


class ClientHandler(BaseHandler):
    """Handler of one client's link."""

    def __init__(self, proxy: Host) -> None:
        self._proxy = proxy
        self._channel: Channel | None = None

    async def on_open(self, peer: Peer) -> None:
        """A client has come (its token is already verified)."""
        proxy = self._proxy
        closed = proxy.closed()
        if closed is not None:
            raise RefusedError(closed)
        if peer.identity is None:
            raise refuse("identity.missing", "Only persons with a token are let in here.", field="token")
        channel = self._channel = proxy.channels.add(peer, peer.identity)
        peer.set_raw(functools.partial(self._frame, channel), everything=True)
        if not proxy.core.ready:
            peer.event("core.away", proxy.core.away())
        proxy.counted()

    def _frame(self, channel: Channel, frame: Frame) -> None:
        if frame.t is Kind.EVENT:
            return  # No event of a person means anything to the core.
        if frame.t is not Kind.REQUEST:
            reason = f"A {frame.t} frame, but nothing was asked of the client."
            raise RefusedError(Refusal(code="frame.unexpected", reason=reason, field="t"))
        if frame.i in channel.pending:
            reason = f"Request number {frame.i} is used while it is not answered yet."
            raise RefusedError(Refusal(code="frame.duplicate", reason=reason, field="i"))
        request = Frame(Kind.REQUEST, frame.i, channel.number, frame.m, frame.k, 0, frame.p)
        refusal = self._proxy.channels.hold(channel, request, self._proxy.pending_limits)
        if refusal is not None:
            channel.peer.send_frame(Frame(Kind.ERROR, frame.i, e=refusal))
            return
        self._proxy.door.asked(channel.peer, frame.m)
        self._proxy.core.forward(channel, request)

    def on_closed(self, peer: Peer, why: str) -> None:
        """The client has gone."""
        channel, self._channel = self._channel, None
        if channel is None:
            return
        self._proxy.channels.remove(channel)
        self._proxy.core.client_gone(channel, why)
        self._proxy.counted()
