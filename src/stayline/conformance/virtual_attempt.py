"""One attempt of the client in virtual time, and the link that comes of it: hello, time limits, polls."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stayline.conformance.world import Connection, SignedStatement
from stayline.domain.errors import Refusal
from stayline.link.handshake import Certificate, check_listener
from stayline.link.machine.addp import Addp, AddpAction, AddpEvent
from stayline.link.machine.logic_view import OnLink
from stayline.link.machine.plan import Link
from stayline.link.machine.pool import Node
from stayline.link.machine.standby import State
from stayline.link.machine.standby_events import Failed, Held, Lost, Opened
from stayline.link.messages.envelope import Hello

if TYPE_CHECKING:
    from stayline.conformance.virtual_client import VirtualClient


class Attempt:
    """``only_ask`` is given the statement of a server (None: it showed none), and the link is left again."""

    def __init__(
        self,
        client: "VirtualClient",
        link: Link,
        generation: int,
        node: Node,
        *,
        only_ask: Callable[[SignedStatement | None], None] | None = None,
    ) -> None:
        self.client = client
        self.link = link
        self.generation = generation
        self.node = node
        self.connection: Connection | None = None
        self.up = False
        self.epoch = 0
        self._only_ask = only_ask
        self._hello: Hello | None = None
        self._deadline = 0.0
        self._over = False
        self._addp = Addp(0.0, 0.0)

    def open(self) -> None:
        """Connect and say hello."""
        client = self.client
        link = None if self._only_ask is not None else self.link
        self._hello = client.hello(self.node, link)
        self._deadline = client.now + self.node.open_timeout
        self.connection = client.world.connect(self.node.application, self._hello, self)
        client.later(self._deadline, self._late)

    def hang_up(self) -> None:
        """Leave; nothing more is heard of it."""
        self._over = True
        if self.connection is not None:
            self.client.world.hang_up(self.connection, polite=self.connection.welcomed)

    def _late(self) -> None:
        if self._over or self.up:
            return
        if self.client.now < self._deadline:
            self.client.later(self._deadline, self._late)
            return
        self.hang_up()
        reason = f"{self.node.application} did not answer within {self.node.open_timeout:g} s."
        self._fail(Refusal(code="link.timeout", reason=reason, retryable=True))

    def _fail(self, refusal: Refusal) -> None:
        self._over = True
        if self._only_ask is not None:
            self._only_ask(None)
            return
        failed = Failed(self.generation, refusal.reason, refusal.retry_after, refusal.code)
        self.client.link_over(self, failed, refusal)

    # -- what the server's side tells (world.Opener)

    def held(self, seconds: float, ahead: int) -> None:
        """A ``wait`` frame."""
        if self._over or not self.client.running:
            return
        until = self.client.now + seconds
        self._deadline = until + self.node.open_timeout
        why = f"{self.node.application} lets {ahead} others in first."
        if self._only_ask is None:
            self.client.tell(OnLink(self.link, Held(self.generation, until, why)))

    def opened(self, welcome: Hello, certificate: Certificate) -> None:
        """The welcome: is it the server that was meant?"""
        client = self.client
        if self._over or not client.running or self._hello is None:
            return
        refusal = check_listener(welcome, self._hello, certificate)
        if refusal is not None:
            self.hang_up()
            self._fail(refusal)
            return
        if self._only_ask is not None:
            # A statement comes with the welcome, if there is one.
            client.later(client.now, self._nothing_said)
            return
        self.up = True
        self.epoch = welcome.epoch
        client.tell(OnLink(self.link, Opened(self.generation, welcome.epoch)))
        view = client.logic.links[self.link]
        if view.state is not State.UP or view.generation != self.generation:
            return
        self._addp = Addp(self.node.local, client.now)
        self._arm()
        client.link_up(self)

    def failed(self, refusal: Refusal) -> None:
        """The attempt is over."""
        if not self._over and self.client.running:
            self._fail(refusal)

    def lost(self, why: str) -> None:
        """The link is gone."""
        if self._over or not self.client.running:
            return
        if self._only_ask is not None:
            self._over = True
            self._only_ask(None)
            return
        if not self.up:
            # The welcome was under way.
            self._fail(Refusal(code="link.lost", reason=why, retryable=True))
            return
        self._over = True
        self.client.link_over(self, Lost(self.generation, why))

    def event(self, name: str, payload: Any, seq: int) -> None:
        """An event of the server."""
        if not self._over and self.client.running:
            self.client.link_event(self, name, payload)

    def statement(self, statement: SignedStatement) -> None:
        """A statement was carried."""
        if self._over or not self.client.running:
            return
        if self._only_ask is None:
            self.client.heard_statement(statement)
            return
        self.hang_up()
        self._only_ask(statement)

    def _nothing_said(self) -> None:
        if not self._over and self._only_ask is not None:
            self.hang_up()
            self._only_ask(None)

    # -- ADDP

    def heard(self) -> None:
        """Something came."""
        self._addp, _ = self._addp.step(self.client.now, AddpEvent.HEARD)
        self._arm()

    def poll_now(self, patience: float) -> None:
        """Is the other side still there?"""
        if self.up and not self._over:
            self._addp, _ = self._addp.step(self.client.now, AddpEvent.WOKE, patience)
            self._poll()
            self._arm()

    def _poll(self) -> None:
        if self.connection is not None:
            self.client.world.poll(self.connection)

    def _arm(self) -> None:
        due = self._addp.due
        if due < float("inf") and self.up and not self._over:
            self.client.later(due, self._tick)

    def _tick(self) -> None:
        if self._over or self.client.now < self._addp.due:
            return
        self._addp, action = self._addp.step(self.client.now, AddpEvent.TICK)
        if action is AddpAction.POLL:
            self._poll()
            self._arm()
        elif action is AddpAction.DEAD:
            self._over = True
            if self.connection is not None:
                self.client.world.hang_up(self.connection, polite=False)
            why = f"addp: nothing heard of {self.node.application} within {self._addp.allowed:g} s"
            self.client.link_over(self, Lost(self.generation, why))
