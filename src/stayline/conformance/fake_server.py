"""One server of the fake site: it answers as its script says, from the first byte of a connection on."""

import asyncio
import itertools
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from stayline.conformance.actions import Becomes
from stayline.conformance.fake_link import FakeLink, raw
from stayline.conformance.fake_port import FakePort, hung_up, reset_on_close, speaks
from stayline.conformance.record import Record, Seen
from stayline.domain.errors import Refusal, RefusedError, StaylineError
from stayline.domain.objects import ApplicationType
from stayline.link.authority import TlsFiles, server_context
from stayline.link.frames import UNREADABLE
from stayline.link.handshake import Accepts, Certificate, check_opener
from stayline.link.messages.envelope import Frame, Hello, Kind, Role

HANDSHAKE_SECONDS = 10.0
FROZEN_LOOK_SECONDS = 0.02
"""How often a frozen server's waiting connections are looked at, whether their client has left."""

_numbers = itertools.count(1)


@dataclass(kw_only=True)
class Behaviour:
    """How a server behaves from now on.

    ``door``: what happens to a new connection (``open``, ``resetting``, ``silent``, ``dropping``, ``refusing`` or
    ``waiting``), ``times``: to so many of them (0: all), with ``refusal``, or ``seconds`` and ``ahead``. ``frozen``: as
    a stopped process. ``deaf``: nothing but answers to polls leaves it. ``claims``: fields of its welcome that it gets
    wrong. ``statement``: what it carries instead of the site's own.
    """

    door: Becomes = Becomes.OPEN
    times: int = 0
    refusal: Refusal | None = None
    seconds: float = 0.0
    ahead: int = 0
    frozen: bool = False
    deaf: bool = False
    claims: dict[str, object] = field(default_factory=dict)
    statement: str | None = None

    def receive(self) -> Becomes:
        """How the connection that came just now is received."""
        door = self.door
        if self.times:
            self.times -= 1
            if not self.times:
                self.door = Becomes.OPEN
        return door


@dataclass(kw_only=True)
class Scripted:
    """How a method is answered: refused, ``never``, or carried out and then ``cut``; ``times`` left (0: always)."""

    refusal: Refusal | None = None
    never: bool = False
    cut: bool = False
    times: int = 0


class Script:
    """What the case says of methods; the same for all servers of a site."""

    def __init__(self) -> None:
        self._rules: dict[str, Scripted] = {}

    def put(self, method: str, rule: Scripted | None) -> None:
        """From now on; None: normally."""
        if rule is None:
            self._rules.pop(method, None)
        else:
            self._rules[method] = rule

    def take(self, method: str) -> Scripted | None:
        """The rule for a request that came just now."""
        rule = self._rules.get(method)
        if rule is not None and rule.times:
            rule.times -= 1
            if not rule.times:
                del self._rules[method]
        return rule


class HeldError(Exception):
    """Raised by a service that will serve this request later (:meth:`FakeServer.serve`), or never."""


class Service:
    """What a kind of server does with requests: ``answer`` returns the reply or raises a refusal."""

    anonymous = False
    """Whether who has no token may come in."""

    def opened(self, link: FakeLink) -> None:
        """A link was welcomed."""

    def answer(self, link: FakeLink, frame: Frame) -> object:
        """Serve a request. Raises RefusedError."""
        raise RefusedError(Refusal(code="method.unknown", reason=f"There is no {frame.m}.", field="m"))

    def gone(self, link: FakeLink) -> None:
        """A link is over."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What all servers of a fake site share. ``identify(token)`` says whose token it is, or raises RefusedError."""

    record: Record
    script: Script
    identify: Callable[[str], str]


class FakeServer:
    """A server of the fake site. ``epoch`` is what it reports; ``site_statement()`` what proxies carry."""

    def __init__(
        self,
        name: str,
        app_type: ApplicationType,
        *,
        site: str,
        cluster: str,
        epoch: int,
        role: Role,
        tls: TlsFiles,
        port: FakePort,
        service: Service,
        around: Surroundings,
        site_statement: Callable[[], str],
    ) -> None:
        self.name, self.app_type, self.site, self.cluster = name, app_type, site, cluster
        self.epoch, self.role = epoch, role
        self.record = around.record
        self.service = service
        self.behaviour = Behaviour()
        self.links: list[FakeLink] = []
        self.port = port
        port.serve = self._begin
        self._around = around
        self._tls = tls
        self._statement = site_statement
        self._instance = 1

    # -- its life

    def open(self) -> None:
        """Listen and behave well; what it claims to be and carries stays."""
        self.behave(Becomes.OPEN)
        self.port.open()

    def behave(
        self,
        door: Becomes,
        *,
        times: int = 0,
        refusal: Refusal | None = None,
        seconds: float = 0.0,
        ahead: int = 0,
        frozen: bool = False,
        deaf: bool = False,
    ) -> None:
        """From now on like this and not as before; see :class:`Behaviour`."""
        thaws = self.behaviour.frozen and not frozen
        self.behaviour = Behaviour(
            door=door,
            times=times,
            refusal=refusal,
            seconds=seconds,
            ahead=ahead,
            frozen=frozen,
            deaf=deaf,
            claims=self.behaviour.claims,
            statement=self.behaviour.statement,
        )
        if thaws:
            for link in list(self.links):
                link.thaw()
        if deaf:
            # An event on each standing link is the first that does not arrive.
            for link in self.open_links:
                link.event("case.swallowed", None, link.sent_seq + 1)

    def die(self, why: str) -> None:
        """As a killed process: the port closes, every link is reset."""
        self.port.close()
        self.port.drop()
        self._instance += 1
        for link in list(self.links):
            link.cut(why)

    async def end(self) -> None:
        """The case is over."""
        self.die("the case is over")
        await self.port.end()

    async def _begin(self, connection: socket.socket) -> None:
        """Tell a probe (TCP only) from an attempt, then do TLS, unless this server does not come to that."""
        at, number, handed = self.record.now, next(_numbers), False
        try:
            if not await speaks(connection):
                self.record.add(Seen.PROBE, self.name, number, at=at)
                return
            self.record.add(Seen.ATTEMPT, self.name, number, at=at)
            while self.behaviour.frozen:
                await asyncio.sleep(FROZEN_LOOK_SECONDS)
                if hung_up(connection):
                    self._left(number, "before TLS")
                    return
            door = self.behaviour.receive()
            if door is Becomes.RESETTING:
                reset_on_close(connection)
                self.record.add(Seen.CLOSED, self.name, number, by="server", why="reset by the case")
                return
            handed = True
            await self._handshake(connection, number, door)
        finally:
            if not handed:
                connection.close()

    async def _handshake(self, connection: socket.socket, number: int, door: Becomes) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: FakeLink(self, number, door),
                connection,
                ssl=server_context(self._tls),
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=1.0,
            )
        except OSError as error:
            self._left(number, f"during TLS: {error}")

    def _left(self, number: int, why: str) -> None:
        self.record.add(Seen.CLOSED, self.name, number, by="client", polite=False, why=why)

    # -- links

    @property
    def open_links(self) -> list[FakeLink]:
        """Links that were welcomed and live."""
        return [link for link in self.links if link.welcomed and not link.lost]

    def hello(self) -> Hello:
        """What this server says of itself, with what the case makes it claim."""
        own = Hello(
            application=self.name,
            type=self.app_type.value,
            instance=f"{self.name}-{self._instance}",
            site=self.site,
            cluster=self.cluster,
            epoch=self.epoch,
            role=self.role,
            statement=self.statement(),
        )
        return msgspec.structs.replace(own, **self.behaviour.claims)

    def statement(self) -> str:
        """The signed statement it carries (empty: none)."""
        said = self.behaviour.statement
        return self._statement() if said is None else said

    def greeted(self, link: FakeLink, hello: Hello, certificate: Certificate | None) -> None:
        """A hello came: let in, keep waiting, refuse, or say nothing."""
        behaviour = self.behaviour
        if link.door is Becomes.SILENT:
            return
        if link.door is Becomes.REFUSING and behaviour.refusal is not None:
            link.refuse(behaviour.refusal)
            return
        refusal = self._objection(link, hello, certificate)
        if refusal is not None:
            link.refuse(refusal)
        elif link.door is Becomes.WAITING:
            link.wait(behaviour.seconds, behaviour.ahead)
            link.later(behaviour.seconds, lambda: self._let_in(link))
        else:
            self._let_in(link)

    def _objection(self, link: FakeLink, hello: Hello, certificate: Certificate | None) -> Refusal | None:
        """What a real server would say to this hello; one that claims to be another leaves refusing to the client."""
        own = self.hello()
        if self.behaviour.claims:
            honest = {"application": self.name, "cluster": self.cluster, "site": self.site}
            own = msgspec.structs.replace(own, version=hello.version, epoch=hello.epoch, **honest)
        accepts = Accepts(persons=True, anonymous=self.service.anonymous)
        refusal = check_opener(hello, own, certificate, accepts)
        if refusal is not None or not hello.token:
            return refusal
        try:
            link.user = self._around.identify(hello.token)
        except RefusedError as error:
            return error.refusal
        return None

    def _let_in(self, link: FakeLink) -> None:
        link.welcome(self.hello())
        if link.door is Becomes.DROPPING:
            link.end("dropped by the case")
        else:
            self.service.opened(link)

    def gone(self, link: FakeLink) -> None:
        """A link is over."""
        self.service.gone(link)

    # -- requests

    def asked(self, link: FakeLink, frame: Frame) -> None:
        """A request came: it is carried out and answered, unless the case says otherwise."""
        link.note(Seen.REQUEST, method=frame.m, key=frame.k, payload=_legible(frame.p))
        if link.door is not Becomes.SILENT and not self.behaviour.deaf:
            self.serve(link, frame)

    def serve(self, link: FakeLink, frame: Frame) -> None:
        """Carry a request out and answer it, unless its service holds it back."""
        rule = self._around.script.take(frame.m) or Scripted()
        if rule.never:
            return
        try:
            answer = Frame(Kind.ERROR, frame.i, e=rule.refusal) if rule.refusal else self._answer(link, frame)
        except HeldError:
            return
        if rule.cut:
            link.cut(f"cut by the case after {frame.m}")
            return
        link.send(answer)
        link.note(Seen.ANSWER, method=frame.m, code=answer.e.code if answer.e is not None else "")

    def _answer(self, link: FakeLink, frame: Frame) -> Frame:
        try:
            return Frame(Kind.REPLY, frame.i, p=raw(self.service.answer(link, frame)))
        except StaylineError as error:
            return Frame(Kind.ERROR, frame.i, e=error.refusal)


def _legible(payload: msgspec.Raw) -> Mapping[str, object]:
    """A request's payload for the record, without a password."""
    try:
        told = msgspec.json.decode(payload)
    except UNREADABLE:
        return {}
    if not isinstance(told, dict):
        return {}
    return {key: "***" if key == "password" else value for key, value in told.items()}
