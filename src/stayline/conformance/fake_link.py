"""One accepted connection of a fake server: frames in, frames out, and every kind of misbehaviour on the way."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import msgspec

from stayline.conformance.actions import Becomes
from stayline.conformance.fake_port import reset_on_close
from stayline.conformance.record import Seen
from stayline.domain.errors import Refusal, RefusedError
from stayline.link.frames import FrameDecoder, FrameError, encode_frame
from stayline.link.messages.envelope import EMPTY, MAX_CLIENT_FRAME_BYTES, Frame, Hello, Kind, Pong, Waiting
from stayline.link.opening import certificate_of, read_hello

if TYPE_CHECKING:
    from stayline.conformance.fake_server import FakeServer

LINGER_SECONDS = 1.0
"""How long the client has to take a last word before it is cut off."""

MAX_UNREAD = 10_000
"""Frames that a frozen server lets wait."""


def raw(value: object) -> msgspec.Raw:
    """A payload."""
    return EMPTY if value is None else msgspec.Raw(msgspec.json.encode(value))


class FakeLink(asyncio.Protocol):
    """A client's connection to ``server``. ``number`` is its number in the record, ``door`` how the server received it.

    ``sent_seq``: the highest event sequence sent, also when it was swallowed on purpose.
    """

    def __init__(self, server: "FakeServer", number: int, door: Becomes) -> None:
        self.server = server
        self.number = number
        self.door = door
        self.hello: Hello | None = None
        self.welcomed = False
        self.user = ""
        self.sent_seq = 0
        self.told_statement = ""
        self.lost = False
        self.ended_by_us = ""
        self.farewell: Refusal | None = None
        self.said_bye = False
        self._decoder = FrameDecoder(MAX_CLIENT_FRAME_BYTES)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._timers: set[asyncio.Handle] = set()
        self._heard = self._loop.time()
        self._polled = False
        self._unread: list[Frame] = []
        self._unsaid: list[bytes] = []

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS stands."""
        self._transport = cast(asyncio.Transport, transport)
        self.server.links.append(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        self._heard, self._polled = self._loop.time(), False
        try:
            frames = self._decoder.feed(data)
        except FrameError as error:
            self.refuse(error.refusal, Kind.BYE)
            return
        for frame in frames:
            self.take(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self.lost = True
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self in self.server.links:
            self.server.links.remove(self)
        why = self.ended_by_us or (f"reset: {exc}" if exc else "")
        self.note(
            Seen.CLOSED,
            by="server" if self.ended_by_us else "client",
            polite=self.said_bye,
            why=why or (self.farewell.reason if self.farewell is not None else ""),
            code=self.farewell.code if self.farewell is not None else "",
        )
        self.server.gone(self)

    # -- frames of the client

    def take(self, frame: Frame) -> None:
        """A frame of the client; a frozen server leaves it lying, but we see a good-bye all the same."""
        if self.lost:
            return
        if frame.t is Kind.BYE:
            self.said_bye, self.farewell = True, frame.e
        if self.server.behaviour.frozen:
            if len(self._unread) < MAX_UNREAD:
                self._unread.append(frame)
        elif frame.t is Kind.HELLO:
            self._opening(frame)
        elif frame.t is Kind.PING:
            self.note(Seen.POLL, seq=frame.s)
            if self.door is not Becomes.SILENT:
                self._pong()
        elif frame.t is Kind.PONG:
            self.note(Seen.POLL_ANSWERED, seq=frame.s)
        elif frame.t is Kind.BYE:
            self.end("")
        elif frame.t is Kind.REQUEST:
            self.server.asked(self, frame)
        elif frame.t is Kind.EVENT:
            self.note(Seen.EVENT, name=frame.m, payload=_told(frame.p))

    def _opening(self, frame: Frame) -> None:
        assert self._transport is not None
        try:
            self.hello = hello = read_hello(frame, Kind.HELLO)
        except RefusedError as error:
            self.refuse(error.refusal)
            return
        told = {name: getattr(hello, name) for name in _TOLD}
        self.note(Seen.HELLO, **told, token=bool(hello.token), ticket=bool(hello.ticket))
        self.server.greeted(self, hello, certificate_of(self._transport))

    # -- what the server says

    def send(self, frame: Frame) -> None:
        """Say something; nothing when the link is over. A frozen server says it once it goes on."""
        if self.lost or self._transport is None:
            return
        if self.server.behaviour.frozen:
            self._unsaid.append(encode_frame(frame))
        else:
            self._transport.write(encode_frame(frame))

    def welcome(self, hello: Hello) -> None:
        """Let the client in."""
        self.welcomed = True
        self.told_statement = hello.statement
        self.send(Frame(Kind.WELCOME, p=raw(hello)))
        self.note(Seen.WELCOMED, epoch=hello.epoch, site=hello.site, application=hello.application)
        if self.hello is not None and self.hello.remote > 0:
            self.later(self.hello.remote, self._poll)

    def refuse(self, refusal: Refusal, kind: Kind = Kind.REFUSED) -> None:
        """Say no (or good-bye) and hang up."""
        self.note(Seen.REFUSED, code=refusal.code, retry_after=refusal.retry_after, why=refusal.reason)
        self.send(Frame(kind, e=refusal))
        self.end(refusal.reason or refusal.code)

    def wait(self, seconds: float, ahead: int) -> None:
        """Tell the client to wait for its turn."""
        self.note(Seen.TOLD_TO_WAIT, seconds=seconds, ahead=ahead)
        told = Waiting(seconds=seconds, ahead=ahead, why="Others are before you.")
        self.send(Frame(Kind.WAIT, p=raw(told)))

    def event(self, name: str, payload: object, seq: int = 0, **details: object) -> None:
        """Send an event; a deaf server swallows it."""
        self.sent_seq = max(self.sent_seq, seq)
        swallowed = self.server.behaviour.deaf
        self.note(Seen.SAID, name=name, seq=seq, swallowed=swallowed, **details)
        if not swallowed:
            self.send(Frame(Kind.EVENT, m=name, s=seq, p=raw(payload)))

    def _pong(self) -> None:
        """Answer a poll: with our sequence, and our statement when the client has not heard this one."""
        statement = self.server.statement()
        if not statement or statement == self.told_statement:
            self.send(Frame(Kind.PONG, s=self.sent_seq))
            return
        self.told_statement = statement
        self.send(Frame(Kind.PONG, s=self.sent_seq, p=raw(Pong(statement=statement))))

    def _poll(self) -> None:
        """This side's ADDP, when the client asked for it: a client that does not answer is dead."""
        assert self.hello is not None
        interval = self.hello.remote
        silence = self._loop.time() - self._heard
        if self.server.behaviour.frozen:
            self.later(interval, self._poll)
        elif silence < interval:
            self.later(interval - silence, self._poll)
        elif self._polled and silence >= 2 * interval:
            self.cut("the client did not answer a poll")
        else:
            self._polled = True
            self.send(Frame(Kind.PING))
            self.later(interval, self._poll)

    # -- ending and stopping

    def end(self, why: str) -> None:
        """Close after what was said has been taken; without ``why``: the client wanted it."""
        if self._transport is not None and not self.lost:
            self.ended_by_us = self.ended_by_us or why
            self._transport.close()
            self.later(LINGER_SECONDS, self._abort)

    def cut(self, why: str) -> None:
        """Reset the connection."""
        self.ended_by_us = self.ended_by_us or why
        if self._transport is not None and not self.lost:
            connection = self._transport.get_extra_info("socket")
            if connection is not None:
                reset_on_close(connection)
        self._abort()

    def _abort(self) -> None:
        if self._transport is not None and not self.lost:
            self._transport.abort()

    def thaw(self) -> None:
        """A frozen server goes on: what lay there is said and read."""
        unsaid, self._unsaid = self._unsaid, []
        if self._transport is not None and not self.lost:
            self._transport.writelines(unsaid)
        unread, self._unread = self._unread, []
        for frame in unread:
            self.take(frame)

    def later(self, delay: float, callback: Callable[[], object]) -> None:
        """Call when the link still lives by then."""

        def run() -> None:
            self._timers.discard(handle)
            if not self.lost:
                callback()

        handle: asyncio.Handle = self._loop.call_later(max(0.0, delay), run)
        self._timers.add(handle)

    def note(self, what: Seen, **details: object) -> None:
        """Put down what happened on this link."""
        self.server.record.add(what, self.server.name, self.number, at=None, **details)


_TOLD = (
    "application",
    "site",
    "epoch",
    "expect",
    "expect_cluster",
    "expect_site",
    "local",
    "remote",
    "trace",
    "version",
)
"""Fields of a hello that go into the record as they are; tokens and tickets do not."""


def _told(payload: msgspec.Raw) -> object:
    try:
        return msgspec.json.decode(payload)
    except msgspec.MsgspecError:
        return bytes(payload).decode(errors="replace")
