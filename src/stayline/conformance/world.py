"""A contact centre in virtual time: servers that behave as a case says, and connections to them. No clock, no socket.

Events happen in the order of their times; between two of them no time passes. What the servers see goes into the same
:class:`~stayline.conformance.record.Record` as on real sockets.
"""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from stayline.conformance.actions import Becomes, IdentityOf, Server, StatementKind
from stayline.conformance.centre import CentreServer
from stayline.conformance.record import Record, Seen
from stayline.domain.errors import Refusal
from stayline.link.handshake import Accepts, Certificate, check_opener
from stayline.link.messages.envelope import Hello, Role

WALL = 1_700_000_000.0
"""Unix time at which a case in virtual time begins."""

HOP = 0.001
"""Seconds from one end of a connection to the other."""

MAX_EVENTS = 200_000


class EndlessError(Exception):
    """More happened in a case than any sensible client would do."""


class Clock:
    """Virtual time. ``now``: Unix seconds."""

    def __init__(self) -> None:
        self.now = WALL
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._left = MAX_EVENTS

    @property
    def elapsed(self) -> float:
        """Seconds since the case began."""
        return self.now - WALL

    def at(self, when: float, callback: Callable[[], None]) -> None:
        """Call at a time, at once when that is past."""
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), callback))

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call after some seconds."""
        self.at(self.now + seconds, callback)

    def turn(self, until: float) -> bool:
        """Let the next event happen, if it is not after ``until``; else let the time pass and say False."""
        if not self._events or self._events[0][0] > until:
            self.now = max(self.now, until)
            return False
        self._left -= 1
        if self._left < 0:
            raise EndlessError(f"More than {MAX_EVENTS} events in one case.")
        self.now, _, callback = heapq.heappop(self._events)
        callback()
        return True

    def run(self, until: float) -> None:
        """Let everything happen up to a time."""
        while self.turn(until):
            pass


class Opener(Protocol):
    """The client's end of one connection: what it is told, in order."""

    def held(self, seconds: float, ahead: int) -> None:
        """A ``wait`` frame."""

    def opened(self, welcome: Hello, certificate: Certificate) -> None:
        """The welcome."""

    def failed(self, refusal: Refusal) -> None:
        """The attempt is over without a welcome."""

    def lost(self, why: str) -> None:
        """The link is gone."""

    def event(self, name: str, payload: object, seq: int) -> None:
        """An event of the server."""

    def heard(self) -> None:
        """Something came, if only an answer to a poll."""

    def statement(self, statement: "SignedStatement") -> None:
        """A statement came, with the welcome or an answer to a poll."""


@dataclass(frozen=True)
class SignedStatement:
    """A statement as servers carry it; ``number`` tells one from the next."""

    site: str
    epoch: int
    kind: StatementKind
    number: int


@dataclass(eq=False)
class Connection:
    """A connection to ``server``. ``sent_seq``/``heard_seq``: highest event sent and arrived."""

    server: "VirtualServer"
    number: int
    opener: Opener
    hello: Hello
    welcomed: bool = False
    gone: bool = False
    said_hello: bool = False
    sent_seq: int = 0
    heard_seq: int = 0
    told: int = 0


@dataclass
class VirtualServer:
    """One server: how it behaves (``script``), what it says of itself, and who is connected."""

    info: CentreServer
    listening: bool
    role: Role = Role.ACTIVE
    script: Server | None = None
    used: int = 0
    identity: IdentityOf | None = None
    statement: SignedStatement | None = None
    links: list[Connection] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    @property
    def becomes(self) -> Becomes:
        """How it behaves."""
        return self.script.becomes if self.script is not None else Becomes.OPEN


class World:
    """The servers of a case. ``epoch_of`` says which epoch a server reports."""

    def __init__(self, clock: Clock, record: Record, epoch_of: Callable[[VirtualServer], int]) -> None:
        self.clock = clock
        self.record = record
        self.servers: dict[str, VirtualServer] = {}
        self._epoch_of = epoch_of
        self._numbers = itertools.count(1)
        self._statements = itertools.count(1)

    # -- what a case does

    def add(self, info: CentreServer, listening: bool) -> None:
        """A server there is from now on."""
        self.servers.setdefault(info.name, VirtualServer(info, listening))

    def behave(self, name: str, script: Server) -> None:
        """A server behaves like this from now on."""
        server = self.servers[name]
        server.script, server.used = script, 0
        server.listening = script.becomes not in (Becomes.CLOSED, Becomes.NOT_LISTENING)
        if script.becomes is Becomes.CLOSED:
            self.reset_all(server, "its server was closed")
        elif script.becomes is Becomes.DEAF:
            for link in server.links:
                link.sent_seq = link.heard_seq + 1

    def listen(self, name: str, listening: bool) -> None:
        """The server's port opens (it behaves well then), or closes with all its links."""
        server = self.servers[name]
        if listening and server.becomes in (Becomes.CLOSED, Becomes.NOT_LISTENING):
            server.script = None
        server.listening = listening
        if not listening:
            self.reset_all(server, "its server was closed")

    def state(self, name: str, site: str, epoch: int, kind: StatementKind) -> None:
        """A server carries this statement from now on."""
        statement = SignedStatement(site, epoch, kind, next(self._statements))
        self.servers[name].statement = None if kind is StatementKind.NONE else statement

    def reset_all(self, server: VirtualServer, why: str) -> None:
        """Reset every connection to a server."""
        for link in list(server.links):
            self.reset(link, why)

    def reset(self, link: Connection, why: str) -> None:
        """The connection is reset by the server's side or by the network."""
        if link.gone:
            return
        self._close(link, by="server", polite=False, why=why)
        told = link.opener.lost if link.welcomed else self._failing(link)
        self.clock.after(HOP, lambda: told(why))

    def _failing(self, link: Connection) -> Callable[[str], None]:
        return lambda why: link.opener.failed(Refusal(code="link.lost", reason=why, retryable=True))

    # -- what a client does

    def probe(self, name: str, answer: Callable[[bool], None]) -> None:
        """A TCP connection, closed without a word."""
        server = self.servers[name]
        if server.listening:
            self.record.add(Seen.PROBE, name)
        accepted = server.listening
        self.clock.after(HOP, lambda: answer(accepted))

    def connect(self, name: str, hello: Hello, opener: Opener) -> Connection:
        """An attempt. Nothing is told before time has passed."""
        server = self.servers[name]
        link = Connection(server, next(self._numbers), opener, hello)
        if not server.listening:
            refusal = Refusal(code="link.refused", reason=f"{name} does not listen.", retryable=True)
            link.gone = True
            self.clock.after(HOP, lambda: opener.failed(refusal))
            return link
        self.record.add(Seen.ATTEMPT, name)
        server.links.append(link)
        self.clock.after(HOP, lambda: self._arrived(link))
        return link

    def hang_up(self, link: Connection, *, polite: bool) -> None:
        """The client ends a connection; it is told nothing more."""
        if not link.gone:
            self._close(link, by="client", polite=polite, why="")

    def poll(self, link: Connection) -> None:
        """The client polls."""
        becomes = link.server.becomes
        if link.gone or becomes is Becomes.FROZEN:
            return
        self.record.add(Seen.POLL, link.server.name, link.number, heard=link.heard_seq)
        self.clock.after(HOP, lambda: self._answered(link))

    def say(self, link: Connection, name: str, payload: object, *, seq: int = 0, ticket: str = "") -> None:
        """A server sends an event. ``ticket``: the one it carries, for the record."""
        if link.gone or link.server.becomes is Becomes.FROZEN:
            return
        link.sent_seq = max(link.sent_seq, seq)
        self.record.add(Seen.SAID, link.server.name, link.number, at=None, name=name, seq=seq, ticket=ticket)
        if link.server.becomes is not Becomes.DEAF:
            self.clock.after(HOP, lambda: self._deliver(link, name, payload, seq))

    # -- inside

    def _close(self, link: Connection, *, by: str, polite: bool, why: str) -> None:
        link.gone = True
        link.server.links.remove(link)
        # A frozen server notices nothing; what it would have seen is noted all the same, as its machine does.
        number = link.number if link.said_hello else 0
        self.record.add(Seen.CLOSED, link.server.name, number, by=by, polite=polite, why=why)

    def _arrived(self, link: Connection) -> None:
        if link.gone:
            return
        server, script = link.server, link.server.script
        becomes = server.becomes
        if script is not None and script.times:
            server.used += 1
            if server.used >= script.times:
                server.script = None
        if becomes is Becomes.RESETTING:
            self.reset(link, "reset by the other side")
            return
        if becomes is Becomes.FROZEN:
            return
        link.said_hello = True
        self._note_hello(link)
        if becomes is Becomes.SILENT:
            return
        refusal = self._objection(link)
        if becomes is Becomes.REFUSING and script is not None:
            refusal = Refusal(
                code=script.code or "link.refused",
                reason=script.reason or f"{server.name} refuses.",
                retry_after=script.retry_after,
                retryable=True,
            )
        if refusal is not None:
            self._refuse(link, refusal)
        elif becomes is Becomes.WAITING and script is not None:
            self.record.add(
                Seen.TOLD_TO_WAIT, server.name, link.number, seconds=script.seconds, ahead=script.ahead
            )
            self.clock.after(HOP, lambda: self._hold(link, script))
            self.clock.after(script.seconds, lambda: self._welcome(link))
        else:
            self._welcome(link)

    def _hold(self, link: Connection, script: Server) -> None:
        if not link.gone:
            link.opener.held(script.seconds, script.ahead)

    def _note_hello(self, link: Connection) -> None:
        hello = link.hello
        self.record.add(
            Seen.HELLO,
            link.server.name,
            link.number,
            expect=hello.expect,
            expect_cluster=hello.expect_cluster,
            expect_site=hello.expect_site,
            local=hello.local,
            remote=hello.remote,
            ticket=bool(hello.ticket),
            epoch=hello.epoch,
        )

    def own_hello(self, server: VirtualServer) -> Hello:
        """What a server really is."""
        return Hello(
            application=server.name,
            type=server.info.app_type.value,
            instance=server.name,
            site=server.info.site,
            cluster=server.info.cluster,
            epoch=self._epoch_of(server),
            role=server.role,
        )

    def _objection(self, link: Connection) -> Refusal | None:
        """What the server objects to, being what it really is; its lies are the client's to find out."""
        own = self.own_hello(link.server)
        if link.server.identity is not None:
            own = msgspec.structs.replace(own, epoch=max(own.epoch, link.hello.epoch))
        return check_opener(link.hello, own, None, Accepts(persons=True, anonymous=True))

    def _refuse(self, link: Connection, refusal: Refusal) -> None:
        self.record.add(
            Seen.REFUSED,
            link.server.name,
            link.number,
            code=refusal.code,
            retry_after=refusal.retry_after,
        )
        self._close(link, by="server", polite=True, why=refusal.reason)
        self.clock.after(HOP, lambda: link.opener.failed(refusal))

    def _welcome(self, link: Connection) -> None:
        if link.gone or link.server.becomes is Becomes.FROZEN:
            return
        own = self.own_hello(link.server)
        lie = link.server.identity
        if lie is not None:
            claims = {
                key: value
                for key in ("application", "cluster", "site", "epoch", "version")
                if (value := getattr(lie, key)) is not None
            }
            own = msgspec.structs.replace(own, **claims)
        link.welcomed = True
        self.record.add(Seen.WELCOMED, link.server.name, link.number, epoch=own.epoch, site=own.site)
        certificate = Certificate(link.server.name, link.server.info.app_type.value)
        statement = link.server.statement

        def tell() -> None:
            if not link.gone:
                link.opener.opened(own, certificate)
            if not link.gone and statement is not None:
                link.told = statement.number
                link.opener.statement(statement)

        self.clock.after(HOP, tell)
        if link.server.becomes is Becomes.DROPPING:
            self.clock.after(2 * HOP, lambda: self.reset(link, "the other side hung up"))

    def _answered(self, link: Connection) -> None:
        """The answer to a poll arrives."""
        if link.gone or link.server.becomes is Becomes.FROZEN:
            return
        link.opener.heard()
        if link.sent_seq > link.heard_seq:
            self.hang_up(link, polite=False)
            link.opener.lost("the link is open but delivers nothing")
            return
        statement = link.server.statement
        if statement is not None and statement.number != link.told:
            link.told = statement.number
            link.opener.statement(statement)

    def _deliver(self, link: Connection, name: str, payload: object, seq: int) -> None:
        if link.gone:
            return
        link.heard_seq = max(link.heard_seq, seq)
        link.opener.heard()
        link.opener.event(name, payload, seq)
