"""The shell around one TCP/TLS connection: frames in, frames out, ADDP, bounded buffers.

What the frames mean is the business of :mod:`stayline.link.transport` while a link is being opened and of
:class:`stayline.link.peer.Peer` afterwards; both put themselves into ``on_frame`` and ``on_lost``.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from stayline.domain.errors import Refusal, refuse
from stayline.link.frames import FrameDecoder, FrameError, encode_frame
from stayline.link.liveness import Liveness
from stayline.link.messages.envelope import MAX_FRAME_BYTES, Frame, Kind

LINGER_SECONDS = 2.0
"""How long a closing link may take to hand over its last bytes before it is cut."""


class Wire(asyncio.Protocol):
    """One connection. All writes of one turn of the event loop go out together.

    ``write_limit``: bytes that may wait for a slow reader before it is cut off. ``why`` says how it ended;
    ``silent`` whether ADDP ended it for silence; ``farewell`` is the refusal of a ``bye`` sent or received.
    ``heard_at`` is when bytes last arrived (the loop's clock), ``receipts`` how often they did. ``heard_seq`` and
    ``sent_seq`` are the highest sequence numbers of events that came in and went out.
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
        self.heard_at = self._loop.time()
        self.receipts = 0
        self.heard_seq = 0
        self.sent_seq = 0
        self.liveness = Liveness(self)
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
        self.heard_at = self._loop.time()
        self.receipts += 1
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
        self.liveness.stop()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
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
        if frame.s > self.sent_seq and frame.t is Kind.EVENT:
            self.sent_seq = frame.s
        self.write(data)

    def write(self, data: bytes) -> None:
        """Queue an encoded frame for the end of this turn; the caller knows that the link is not closing."""
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
        self.write(encode_frame(Frame(kind, e=refusal)))
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
                self.liveness.polled(frame)
            elif frame.t is Kind.PONG:
                self.liveness.answered(frame)
            else:
                if frame.s > self.heard_seq and frame.t is Kind.EVENT:
                    self.heard_seq = frame.s
                self.on_frame(frame)


def _ignore_frame(frame: Frame) -> None:
    """Before anybody listens."""


def _ignore_loss(why: str) -> None:
    """Before anybody listens."""
