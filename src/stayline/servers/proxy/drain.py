"""Emptying a proxy: its port closes, each client gets a time at which it leaves by itself, nobody is cut off early."""

import asyncio
from collections.abc import Callable

import structlog

from stayline.domain.errors import Refusal
from stayline.link.machine.setup_cost import LEAST_DRAIN_SECONDS, spread_seconds
from stayline.link.messages.control import Drain, Drained
from stayline.link.messages.interaction import Leaving
from stayline.servers.proxy.channel import Channels
from stayline.servers.proxy.door import ProxyDoor
from stayline.servers.proxy.port import FollowingPort

log = structlog.get_logger(__name__)

STRAGGLER_SECONDS = 10.0
"""After the window, for clients that do not know how to leave; then they are hung up on."""

_LEAST_SLOT = 0.001
"""A slot of 0 would mean: at once."""


class Drainage:
    """Whether this proxy is being emptied. ``chance()`` draws from [0, 1); ``say(why)`` tells the host agent."""

    def __init__(
        self,
        name: str,
        channels: Channels,
        port: FollowingPort,
        door: ProxyDoor,
        chance: Callable[[], float],
        say: Callable[[str], None],
    ) -> None:
        self.window = 0.0
        self._name = name
        self._channels = channels
        self._port = port
        self._door = door
        self._chance = chance
        self._say = say
        self._stragglers: asyncio.TimerHandle | None = None

    @property
    def active(self) -> bool:
        """Whether no client is taken."""
        return self._port.held

    def order(self, order: Drain) -> Drained:
        """``server.drain``: begin, or end, or say how it goes when it is under way already."""
        if order.undo:
            self._end(order.why)
        elif not self.active:
            self._begin(order)
        return Drained(
            application=self._name,
            clients=len(self._channels),
            window=self.window,
            listening=self._port.listener.is_open,
        )

    def refusal(self) -> Refusal:
        """What those get who are not let in, or have stayed too long."""
        reason = f"{self._name} is being emptied."
        return Refusal(
            code="server.draining", reason=reason, retryable=True, retry_after=self.window + STRAGGLER_SECONDS
        )

    def stop(self) -> None:
        """The process ends."""
        if self._stragglers is not None:
            self._stragglers.cancel()
            self._stragglers = None

    def _begin(self, order: Drain) -> None:
        clients = list(self._channels)
        cost = self._door.admission.cost.seconds
        self.window = order.window or max(LEAST_DRAIN_SECONDS, spread_seconds(len(clients), cost, 1))
        why = f"it is being emptied within {self.window:.1f} s: {order.why or 'on command'}"
        self._port.hold(why)
        self._door.send_away(self.refusal())
        clients.sort(key=lambda _: self._chance())
        for place, channel in enumerate(clients):
            slot = max(_LEAST_SLOT, self.window * (place + self._chance()) / len(clients))
            leaving = Leaving(why=why, retry_after=self.window + STRAGGLER_SECONDS, slot=round(slot, 3))
            channel.peer.event("server.leaving", leaving)
        loop = asyncio.get_running_loop()
        self._stragglers = loop.call_later(self.window + STRAGGLER_SECONDS, self._hang_up)
        log.info("proxy.drain", clients=len(clients), window=round(self.window, 3), why=order.why)
        self._say(why)

    def _hang_up(self) -> None:
        self._stragglers = None
        staying = list(self._channels)
        if staying:
            log.warning(
                "proxy.drain_stragglers", clients=len(staying), why="they did not leave at their time"
            )
        for channel in staying:
            channel.peer.hang_up(self.refusal())

    def _end(self, why: str) -> None:
        if not self.active:
            return
        self.stop()
        self.window = 0.0
        log.info("proxy.undrain", clients=len(self._channels), why=why)
        why = f"clients are taken again: {why or 'on command'}"
        self._port.release(why)
        self._say(why)
