"""The decoder gives the same frames however the stream is cut, and refuses what is no frame, naming the field."""

import json
import struct

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from stayline.domain.errors import Refusal
from stayline.link.frames import UNREADABLE, FrameDecoder, FrameError, encode_frame
from stayline.link.messages.envelope import Frame, Kind

TEXT = st.text(max_size=12)
PAYLOADS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
).map(lambda value: msgspec.Raw(msgspec.json.encode({"v": value})))
REFUSALS = st.builds(Refusal, code=TEXT, reason=TEXT, retryable=st.booleans(), field=TEXT)
NUMBERS = st.integers(0, 2**40)
FRAMES = st.builds(
    Frame,
    t=st.sampled_from(Kind),
    i=NUMBERS,
    c=NUMBERS,
    m=TEXT,
    k=TEXT,
    s=NUMBERS,
    p=PAYLOADS,
    e=st.none() | REFUSALS,
)


def plain(frame: Frame) -> tuple[object, ...]:
    """A frame as a value that can be compared (a Raw cannot)."""
    return (frame.t, frame.i, frame.c, frame.m, frame.k, frame.s, bytes(frame.p), frame.e)


def body(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


@given(st.lists(FRAMES, max_size=6), st.data())
def test_any_cut_gives_the_same_frames(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = FrameDecoder()
    got: list[Frame] = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += decoder.feed(stream[start:stop])
    assert [plain(frame) for frame in got] == [plain(frame) for frame in frames]
    assert decoder.buffered == 0


@given(st.lists(FRAMES, max_size=3), st.binary(min_size=1, max_size=40), st.integers(1, 200))
def test_garbage_is_refused_and_the_good_frames_before_it_are_kept(
    frames: list[Frame], junk: bytes, piece: int
) -> None:
    try:
        msgspec.json.decode(junk, type=Frame)
    except UNREADABLE:
        pass
    else:
        return  # the one case in a million: it is a frame
    stream = b"".join(encode_frame(frame) for frame in frames) + body(junk)
    decoder, got = FrameDecoder(), list[Frame]()
    error: FrameError | None = None
    for at in range(0, len(stream), piece):
        try:
            got += decoder.feed(stream[at : at + piece])
        except FrameError as raised:
            error = raised
            got += raised.frames
            break
    assert error is not None
    assert [plain(frame) for frame in got] == [plain(frame) for frame in frames]
    assert error.refusal.code in {"frame.malformed", "frame.unknown_type"}


@given(st.integers(1, 2**32 - 1), st.integers(0, 5_000))
def test_a_frame_that_is_too_large_is_refused_by_its_length_alone(size: int, limit: int) -> None:
    decoder = FrameDecoder(limit)
    header = struct.pack(">I", size)
    if size <= limit:
        assert decoder.feed(header) == []
        return
    with pytest.raises(FrameError) as caught:
        decoder.feed(header)
    assert caught.value.refusal.code == "frame.too_large"
    assert str(size) in caught.value.refusal.reason
    assert str(limit) in caught.value.refusal.reason


WRONG = {"t": 5, "i": "one", "c": 1.5, "m": 7, "k": [], "s": "x", "e": 3}


@given(st.sampled_from(sorted(WRONG)))
def test_a_field_of_the_wrong_type_is_named(field: str) -> None:
    value = {"t": "req", field: WRONG[field]}
    with pytest.raises(FrameError) as caught:
        FrameDecoder().feed(body(json.dumps(value).encode()))
    assert caught.value.refusal.code in {"frame.malformed", "frame.unknown_type"}
    assert caught.value.refusal.field == field


@given(st.text(min_size=1).filter(lambda text: text not in set(Kind)))
def test_an_unknown_type_of_frame_is_told_apart(kind: str) -> None:
    with pytest.raises(FrameError) as caught:
        FrameDecoder().feed(body(msgspec.json.encode({"t": kind})))
    assert caught.value.refusal.code == "frame.unknown_type"
    assert caught.value.refusal.field == "t"
