"""Frames on the wire, without any input or output: bytes in, frames out, and the other way round.

A frame is a big-endian unsigned 32-bit length followed by that many bytes of JSON (:class:`Frame`).
"""

import re
import struct

import msgspec

from stayline.domain.errors import Refusal, StaylineError
from stayline.link.messages.envelope import MAX_FRAME_BYTES, Frame

HEADER_BYTES = 4
_length = struct.Struct(">I")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Frame).decode
_PATH = re.compile(r"`\$\.?([^`]*)`\s*$")
_NAMED = re.compile(r"field `([^`]+)`")


UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding text of a stranger may raise: wrong shape, not UTF-8, nested thousands of levels deep."""


class FrameError(StaylineError):
    """The bytes are not a frame we accept; carries the refusal to send back before the link is closed.

    ``frames`` are the good frames that came before the bad one in the same bytes.
    """

    def __init__(self, refusal: Refusal, frames: list[Frame] | None = None) -> None:
        super().__init__(refusal)
        self.frames = frames or []


def encode_frame(frame: Frame) -> bytes:
    """The bytes of ``frame`` as they go on the wire, length first."""
    body = _encode(frame)
    return _length.pack(len(body)) + body


def field_of(error: Exception) -> str:
    """The field a msgspec error is about (``"t"``, ``"e.code"``), empty when it is about the whole text."""
    text = str(error)
    path = _PATH.search(text)
    named = _NAMED.search(text)
    parts = [path.group(1) if path else "", named.group(1) if named else ""]
    return ".".join(part for part in parts if part)


def malformed(error: Exception, code: str, what: str) -> Refusal:
    """The refusal for text that does not have the shape of ``what``, naming the field."""
    field = field_of(error)
    where = f" (field {field!r})" if field else ""
    return Refusal(code=code, reason=f"The {what} is malformed{where}: {error}.", field=field)


def decode_frame(body: bytes) -> Frame:
    """One frame from its JSON. Raises :class:`FrameError` ``frame.malformed`` or ``frame.unknown_type``."""
    try:
        return _decode(body)
    except UNREADABLE as error:
        refusal = malformed(error, "frame.malformed", "frame")
        if refusal.field == "t" and "enum" in str(error):
            refusal = Refusal(code="frame.unknown_type", reason=f"Unknown type of frame: {error}.", field="t")
        raise FrameError(refusal) from error


class FrameDecoder:
    """Cuts a stream of bytes into frames, whatever the pieces it arrives in.

    ``max_bytes`` bounds the body of one frame; a longer one is refused as soon as its length is read, so that
    a sender never makes us hold more than one frame of allowed size.
    """

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self.max_bytes = max_bytes
        self._pending = bytearray()

    @property
    def buffered(self) -> int:
        """Bytes received that do not make a whole frame yet."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames completed by ``data``, in order. Raises :class:`FrameError`; it is useless after that."""
        pending = self._pending
        source: bytes | bytearray = data
        if pending:
            pending += data
            source = pending
        frames: list[Frame] = []
        at, end = 0, len(source)
        while end - at >= HEADER_BYTES:
            (size,) = _length.unpack_from(source, at)
            if size > self.max_bytes:
                raise FrameError(self._too_large(size), frames)
            stop = at + HEADER_BYTES + size
            if stop > end:
                break
            try:
                frames.append(decode_frame(bytes(source[at + HEADER_BYTES : stop])))
            except FrameError as error:
                raise FrameError(error.refusal, frames) from error
            at = stop
        if source is pending:
            del pending[:at]
        elif at < end:
            pending += data[at:]
        return frames

    def _too_large(self, size: int) -> Refusal:
        reason = f"The frame announces {size} bytes; at most {self.max_bytes} are allowed on this link."
        return Refusal(code="frame.too_large", reason=reason, field="length")
