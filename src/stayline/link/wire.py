"""The shell around one TCP/TLS connection: frames in, frames out, ADDP, bounded buffers.

What the frames mean is the business of :mod:`stayline.link.transport` while a link is being opened and of
:class:`stayline.link.peer.Peer` afterwards; both put themselves into ``on_frame`` and ``on_lost``.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import structlog

from stayline.domain.errors import Refusal, refuse
from stayline.link.addp import Addp, AddpAction, AddpEvent
from stayline.link.frames import FrameDecoder, FrameError, encode_frame
from stayline.link.messages.envelope import MAX_FRAME_BYTES, Frame, Kind

log = structlog.get_logger(__name__)

LINGER_SECONDS = 2.0
"""How long a closing link may take to hand over its last bytes before it is cut."""

_CONFIRM_SECONDS = 0.05
"""A dead verdict is looked at once more after this, when bytes that had already arrived have been read."""

_PONG = encode_frame(Frame(Kind.PONG))
_PING = encode_frame(Frame(Kind.PING))


class Wire(asyncio.Protocol):
    """One connection. All writes of one turn of the event loop go out together.

    ``write_limit``: bytes that may wait for a slow reader before it is cut off. ``why`` says how it ended;
    ``silent`` whether ADDP ended it; ``farewell`` is the refusal of a ``bye`` sent or received.
    """

    def __init__(self, on_connected: "Callable[[Wire], None]", *, max_frame: int, write_limit: int) -> None:
        self.on_frame: Callable[[Frame], None] = _ignore_frame
        self.on_lost: Callable[[str], None] = _ignore_loss
        self.why = ""
        self.silent = False
        self.farewell: Refusal | None = None
        self.write_limit = write_limit
        self.send_limit = MAX_FRAME_BYTES
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self._on_connected = on_connected
        self._decoder = FrameDecoder(max_frame)
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._closing = False
        self._heard = self._loop.time()
        self._addp: Addp | None = None
        self._trace = ""
        # uvloop gives a plain handle for a time that has come already.
        self._addp_timer: asyncio.Handle | None = None
        self._linger_timer: asyncio.Handle | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection (and TLS) stands."""
        self.transport = cast(asyncio.Transport, transport)
        self._on_connected(self)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived; whatever they are, the other side lives."""
        if self._closing:
            return
        self._heard = self._loop.time()
        try:
            frames = self._decoder.feed(data)
        except FrameError as error:
            self._take(error.frames)
            self.say_bye(error.refusal, f"frame refused: {error.refusal.reason}")
            return
        self._take(frames)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.lost = True
        self._closing = True
        for timer in (self._addp_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        self._out.clear()
        if not self.why:
            self.why = f"connection lost: {exc}" if exc else "closed by the other side"
        self.on_lost(self.why)

    def limit_frames(self, max_frame: int) -> None:
        """Accept frames of up to ``max_frame`` bytes from now on."""
        self._decoder.max_bytes = max_frame

    # -- sending

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closing

    def send(self, frame: Frame) -> None:
        """Queue a frame for the end of this turn. Dropped when the link is closing.

        Raises RefusedError ``link.too_large`` for a frame that the other side would not accept.
        """
        if self._closing:
            return
        data = encode_frame(frame)
        if len(data) > self.send_limit + 4:
            reason = (
                f"{frame.m or frame.t} has {len(data)} bytes; this link carries {self.send_limit} at most."
            )
            raise refuse("link.too_large", reason, field="p")
        self._write(data)

    def _write(self, data: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)
        self._out_bytes += len(data)
        if self._out_bytes > self.write_limit:
            self._too_slow(self._out_bytes)

    def _flush(self) -> None:
        if not self._out or self.lost or self.transport is None:
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        self._out_bytes = 0
        self.transport.write(data)
        waiting = self.transport.get_write_buffer_size()
        if waiting > self.write_limit:
            self._too_slow(waiting)

    def _too_slow(self, waiting: int) -> None:
        self.abort(f"slow consumer: {waiting} bytes wait, {self.write_limit} are allowed")

    # -- ending

    def say_bye(self, refusal: Refusal | None, why: str, kind: Kind = Kind.BYE) -> None:
        """Send a last frame, then close; cut after :data:`LINGER_SECONDS` if the other side does not take it."""
        if self._closing:
            return
        self._write(encode_frame(Frame(kind, e=refusal)))
        self._flush()
        self.farewell = self.farewell or refusal
        self.end(why)

    def end(self, why: str) -> None:
        """Close after what was written has been taken, at most :data:`LINGER_SECONDS` later."""
        self.why = self.why or why
        self._flush()
        self._closing = True
        if self.transport is not None and not self.lost:
            self.transport.close()
            self._linger_timer = self._loop.call_later(LINGER_SECONDS, self._cut)

    def abort(self, why: str) -> None:
        """Cut at once."""
        self.why = self.why or why
        self._closing = True
        self._out.clear()
        self._cut()

    def _cut(self) -> None:
        if self.transport is not None and not self.lost:
            self.transport.abort()

    # -- receiving

    def _take(self, frames: list[Frame]) -> None:
        for frame in frames:
            if self._closing:
                return
            if frame.t is Kind.PING:
                self._write(_PONG)
            elif frame.t is not Kind.PONG:
                self.on_frame(frame)
            elif self._trace:
                log.info("addp.answer", peer=self._trace, why="the poll was answered")

    # -- ADDP

    def start_addp(self, interval: float, trace: str = "") -> None:
        """Poll the other side after ``interval`` seconds of silence; 0: do not. With ``trace``, the other side's
        name, polls and their answers are logged."""
        self._trace = trace
        if interval > 0 and not self._closing:
            self._addp = Addp(interval, self._loop.time())
            self._arm(self._addp.due)

    def _arm(self, when: float) -> None:
        self._addp_timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        if self._addp is None or self._closing:
            return
        addp = self._addp
        if self._heard > addp.heard_at:
            addp, _ = addp.step(self._heard, AddpEvent.HEARD)
        self._addp, action = addp.step(self._loop.time(), AddpEvent.TICK)
        if action is AddpAction.POLL:
            self._write(_PING)
            if self._trace:
                silence = f"nothing was heard for {self._loop.time() - self._heard:.3f} s"
                log.info("addp.poll", peer=self._trace, why=silence)
        if action is AddpAction.DEAD:
            self._addp_timer = self._loop.call_later(_CONFIRM_SECONDS, self._confirm_dead, self._heard)
        else:
            # uvloop's clock has milliseconds: one more keeps the next tick from coming just too early.
            self._arm(self._addp.due + 0.001)

    def _confirm_dead(self, heard: float) -> None:
        if self._closing or self._addp is None:
            return
        if self._heard > heard:
            self._tick()
            return
        self.silent = True
        silence = self._loop.time() - heard
        self.abort(
            f"addp: nothing heard for {silence:.1f} s (timeout {self._addp.interval:g} s, polled once)"
        )


def _ignore_frame(frame: Frame) -> None:
    """Before anybody listens."""


def _ignore_loss(why: str) -> None:
    """Before anybody listens."""
