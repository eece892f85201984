"""Accepting links on one port. TLS 1.3 always."""

import asyncio
import time
from collections.abc import Callable

import msgspec
import structlog

from stayline.domain.errors import Refusal, RefusedError, StaylineError
from stayline.link.acceptor import Acceptor
from stayline.link.authority import TlsFiles, server_context
from stayline.link.door import Arrival, Door
from stayline.link.handshake import Accepts, check_opener
from stayline.link.messages.envelope import (
    MAX_CLIENT_FRAME_BYTES,
    MAX_FRAME_BYTES,
    Frame,
    Hello,
    Identity,
    Kind,
)
from stayline.link.opening import address_of, certificate_of, read_hello
from stayline.link.peer import PERSON_LIMITS, SERVER_LIMITS, Handler, Limits, Peer
from stayline.link.tokens import TokenVerifier
from stayline.link.wire import LINGER_SECONDS, Wire

__all__ = ["Door", "Listener"]

log = structlog.get_logger(__name__)
_HELLO_FRAME_BYTES = 16_384
_FULL_RETRY_SECONDS = 1.0

LEAST_POLL_SECONDS = 0.02
"""ADDP's interval here at least, however short a one an opener asks for: it would keep us polling."""


class Listener:
    """Accepts links on one port.

    ``hello()`` gives our own hello at any moment. ``handler_factory(peer)`` makes the handler of a new link; it may
    raise RefusedError, which the opener gets instead of a welcome. ``on_higher_epoch(epoch, peer)`` is told when
    a *server* knows a higher epoch than ours (a person's claim proves nothing). ``admits(identity)`` says why a person
    with a good token is not let in all the same (None: is let in); :meth:`recheck` asks it again.

    ``handshakes``: TLS handshakes at a time, more wait in the kernel (may be changed while it listens). ``door``
    decides when an opener whose hello is good gets its welcome (None: at once). ``statement()`` is the newest signed
    statement of mastership: answers to polls carry it when it is not the one that the welcome carried.
    """

    def __init__(
        self,
        hello: Callable[[], Hello],
        handler_factory: Callable[[Peer], Handler],
        tls: TlsFiles,
        *,
        host: str,
        port: int,
        accepts: Accepts,
        verify: TokenVerifier | None = None,
        max_connections: int = 12_000,
        max_frame: int = MAX_FRAME_BYTES,
        max_client_frame: int = MAX_CLIENT_FRAME_BYTES,
        person_limits: Limits = PERSON_LIMITS,
        server_limits: Limits = SERVER_LIMITS,
        hello_timeout: float = 10.0,
        on_higher_epoch: Callable[[int, Peer], None] | None = None,
        admits: Callable[[Identity], Refusal | None] | None = None,
        handshakes: int = 32,
        door: Door | None = None,
        statement: Callable[[], str] | None = None,
    ) -> None:
        self.hello = hello
        self.handler_factory = handler_factory
        self.tls = tls
        self.host = host
        self.port = port
        self.accepts = accepts
        self.verify = verify
        self.max_connections = max_connections
        self.max_frame = max_frame
        self.max_client_frame = max_client_frame
        self.person_limits = person_limits
        self.server_limits = server_limits
        self.hello_timeout = hello_timeout
        self.on_higher_epoch = on_higher_epoch
        self.admits = admits
        self.handshakes = handshakes
        self.door = door
        self.statement = statement
        self.peers: set[Peer] = set()
        self.openings: set[Wire] = set()
        self.waiting: set[Arrival] = set()
        self._abandoned = 0
        self._acceptor: Acceptor | None = None
        self._starting: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether the port accepts connections."""
        return self._acceptor is not None and self._acceptor.is_open

    @property
    def abandoned(self) -> int:
        """Connections whose client had left before TLS, since the start: they cost nothing."""
        return self._abandoned + (self._acceptor.abandoned if self._acceptor is not None else 0)

    def bound_handshakes(self, handshakes: int) -> None:
        """Allow that many TLS handshakes at a time from now on."""
        self.handshakes = handshakes
        if self._acceptor is not None:
            self._acceptor.allow(handshakes)

    async def open(self) -> None:
        """Listen. Port 0 takes a free one, which ``port`` then says. Raises OSError when the port is taken."""
        if self._acceptor is not None:
            return
        context = server_context(self.tls)
        acceptor = Acceptor(self._wire, context, handshakes=self.handshakes, timeout=self.hello_timeout)
        self._acceptor = acceptor
        try:
            port = await acceptor.open(self.host, self.port)
        except BaseException:
            if self._acceptor is acceptor:
                self._acceptor = None
            raise
        if self._acceptor is acceptor:
            self.port = port
        else:  # closed while the port was being opened
            acceptor.close()

    async def close(self, refusal: Refusal | None = None, *, drop: bool) -> None:
        """Close the port. ``drop``: also say bye (with ``refusal``) on all live links and wait for their end."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.close()
            self._abandoned += acceptor.abandoned
        if not drop:
            return
        for wire in list(self.openings):
            wire.say_bye(refusal, "the listener closed", Kind.REFUSED)
        for arrival in list(self.waiting):
            arrival.refuse(refusal or self._closed())
            if self.door is not None:
                self.door.left(arrival.peer)  # It was not the door that refused.
        leaving = list(self.peers)
        for peer in leaving:
            peer.hang_up(refusal)
        waiting = [peer.closed for peer in leaving if not peer.closed.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=LINGER_SECONDS + 1.0)

    def abort(self, why: str) -> None:
        """Close the port and cut all live links at once, without a word: as a process that is killed."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.close()
            self._abandoned += acceptor.abandoned
        for wire in list(self.openings):
            wire.abort(why)
        for peer in [*self.peers, *(arrival.peer for arrival in self.waiting)]:
            peer.abort(why)

    def recheck(self) -> None:
        """What decides on persons has changed: hang up on those who are not let in any more."""
        if self.admits is None:
            return
        for peer in list(self.peers):
            refusal = self.admits(peer.identity) if peer.identity is not None else None
            if refusal is not None:
                log.warning(
                    "link.expelled", who=peer.hello.application, code=refusal.code, why=refusal.reason
                )
                peer.hang_up(refusal)

    # -- one incoming connection

    def _wire(self) -> Wire:
        # Until the welcome frames are read with this limit; what follows has the limit of what the hello proved.
        return Wire(
            self._connected, max_frame=_HELLO_FRAME_BYTES, write_limit=self.person_limits.write_buffer
        )

    def _connected(self, wire: Wire) -> None:
        if len(self.peers) + len(self.openings) + len(self.waiting) >= self.max_connections:
            reason = f"{self.hello().application} has its {self.max_connections} connections already."
            self._refuse(
                wire,
                Refusal(code="link.full", reason=reason, retryable=True, retry_after=_FULL_RETRY_SECONDS),
            )
            return
        self.openings.add(wire)
        timer = asyncio.get_running_loop().call_later(self.hello_timeout, self._no_hello, wire)

        def on_frame(frame: Frame) -> None:
            timer.cancel()
            self.openings.discard(wire)
            self._opening(wire, frame)

        def on_lost(why: str) -> None:
            timer.cancel()
            self.openings.discard(wire)

        wire.on_frame, wire.on_lost = on_frame, on_lost

    def _no_hello(self, wire: Wire) -> None:
        reason = f"No hello within {self.hello_timeout:g} s."
        self._refuse(wire, Refusal(code="hello.timeout", reason=reason, retryable=True))

    def _refuse(self, wire: Wire, refusal: Refusal, application: str = "") -> None:
        log.warning("link.refused", who=application, code=refusal.code, why=refusal.reason)
        wire.say_bye(refusal, refusal.reason, Kind.REFUSED)

    def _opening(self, wire: Wire, frame: Frame) -> None:
        application = ""
        try:
            opener = read_hello(frame, Kind.HELLO)
            application = opener.application
            peer = self._admit(wire, opener)
        except StaylineError as error:
            self._refuse(wire, error.refusal, application)
            return
        arrival = Arrival(
            peer, wire, let_in=self._let_in, turn_away=self._turn_away, over=self.waiting.discard
        )
        if self.door is None:
            arrival.enter()
            return
        self.waiting.add(arrival)
        arrival.at(self.door)

    def _turn_away(self, arrival: Arrival, refusal: Refusal) -> None:
        self._refuse(arrival.wire, refusal, arrival.peer.hello.application)

    def _let_in(self, arrival: Arrival) -> None:
        peer, wire = arrival.peer, arrival.wire
        opener, own = peer.hello, self.hello()
        try:
            if arrival.waited:
                self._recheck_waited(peer, own)
            handler = self.handler_factory(peer)
        except StaylineError as error:
            self._turn_away(arrival, error.refusal)
            return
        wire.limit_frames(self.max_frame if peer.is_server else self.max_client_frame)
        wire.send(Frame(Kind.WELCOME, p=msgspec.Raw(msgspec.json.encode(own))))
        wire.liveness.start(
            max(opener.remote, LEAST_POLL_SECONDS) if opener.remote > 0 else 0.0,
            others=opener.local,
            trace=opener.application if opener.trace else "",
            statement=self.statement,
            told=own.statement,
        )
        self.peers.add(peer)
        peer.closed.add_done_callback(lambda _: self.peers.discard(peer))
        task = asyncio.get_running_loop().create_task(self._start(peer, handler))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    def _recheck_waited(self, peer: Peer, own: Hello) -> None:
        """What was good at its hello may be so no longer. Raises RefusedError."""
        if not self.is_open:
            raise RefusedError(self._closed())
        refusal = check_opener(peer.hello, own, peer.certificate, self.accepts)
        if refusal is None and peer.identity is not None and self.admits is not None:
            refusal = self.admits(peer.identity)
        if refusal is not None:
            raise RefusedError(refusal)

    def _closed(self) -> Refusal:
        reason = f"{self.hello().application} does not take new links at the moment."
        return Refusal(code="link.closed", reason=reason, retryable=True)

    def _admit(self, wire: Wire, opener: Hello) -> Peer:
        """Check the opener. Raises RefusedError."""
        assert wire.transport is not None
        own = self.hello()
        certificate = certificate_of(wire.transport)
        if not self.is_open:
            raise RefusedError(self._closed())
        server = certificate is not None
        peer = Peer(
            wire,
            opener,
            certificate=certificate,
            limits=self.server_limits if server else self.person_limits,
            accepts=self.accepts,
            remote_address=address_of(wire.transport),
        )
        if server and opener.epoch > own.epoch and self.on_higher_epoch is not None:
            self.on_higher_epoch(opener.epoch, peer)
        refusal = check_opener(opener, own, certificate, self.accepts)
        if refusal is not None:
            raise RefusedError(refusal)
        peer.identity = self._identify(opener)
        return peer

    def _identify(self, opener: Hello) -> Identity | None:
        if not opener.token:
            return None
        if self.verify is None:
            reason = f"{self.hello().application} cannot check tokens."
            raise RefusedError(Refusal(code="token.invalid", reason=reason, field="token"))
        identity = self.verify.identity(opener.token, time.time())
        refusal = self.admits(identity) if self.admits is not None else None
        if refusal is not None:
            raise RefusedError(refusal)
        return identity

    async def _start(self, peer: Peer, handler: Handler) -> None:
        try:
            await peer.start(handler)
        except StaylineError as error:
            log.warning("link.refused", who=peer.hello.application, code=error.refusal.code, why=str(error))
