"""What one side does wrong or too much costs itself, and nobody else anything. Over real TLS sockets."""

import asyncio
import struct

import pytest

from stayline.domain.errors import RefusedError
from stayline.link.messages.envelope import MAX_CLIENT_FRAME_BYTES, Kind
from stayline.link.peer import Limits
from tests.integration.link.material import (
    Material,
    Number,
    Recorder,
    until,
)
from tests.integration.link.rig import RawClient, body, listening, open_person, run


@pytest.mark.parametrize(
    ("said", "code", "field"),
    [
        (struct.pack(">I", MAX_CLIENT_FRAME_BYTES + 1), "frame.too_large", "length"),
        (body(b"{"), "frame.malformed", ""),
        (body(b'{"t":"req","i":"x"}'), "frame.malformed", "i"),
        (body(b'{"t":"dance"}'), "frame.unknown_type", "t"),
        (body(b'{"i":1}'), "frame.malformed", "t"),
        (body(b'{"t":"hello"}'), "frame.unexpected", "t"),
        (body(b"\xff\xfe"), "frame.malformed", ""),
        (body(b'{"t":"req","m":"\xff"}'), "frame.malformed", ""),
        (body(b'{"t":"req","p":' + b"[" * 30_000 + b"]" * 30_000 + b"}"), "frame.malformed", ""),
    ],
)
def test_a_bad_frame_costs_its_sender_the_link_and_nobody_else_anything(
    material: Material, said: bytes, code: str, field: str
) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            good = await open_person(material, listener)
            bad = await RawClient.open(material, listener.port)
            await bad.hello(material)
            bad.writer.write(said)
            bye = await bad.frame()
            assert bye.t is Kind.BYE
            assert bye.e is not None
            assert (bye.e.code, bye.e.field) == (code, field)
            assert await bad.is_closed()
            assert await good.request("add", Number(1), Number) == Number(2)
            await until(lambda: len(listener.peers) == 1, "only the good one is left")

    run(scenario())


def test_too_many_requests_a_second(material: Material) -> None:
    async def scenario() -> None:
        limits = Limits(rate=5.0, burst=10)
        async with listening(material, Recorder(), person_limits=limits) as listener:
            peer = await open_person(material, listener)
            results = await asyncio.gather(
                *(peer.request("add", Number(1), Number) for _ in range(15)), return_exceptions=True
            )
            refused = [result for result in results if isinstance(result, RefusedError)]
            assert 1 <= len(refused) <= 5
            refusal = refused[-1].refusal
            assert refusal.code == "link.rate"
            assert refusal.retryable
            assert refusal.retry_after is not None
            await asyncio.sleep(refusal.retry_after)
            assert await peer.request("add", Number(1), Number) == Number(2)

    run(scenario())


def test_too_many_requests_at_once(material: Material) -> None:
    async def scenario() -> None:
        handler = Recorder()
        limits = Limits(in_flight=4)
        async with listening(material, handler, person_limits=limits) as listener:
            peer = await open_person(material, listener)
            waiting = [asyncio.ensure_future(peer.request("wait", Number(1), Number)) for _ in range(4)]
            await until(lambda: len(handler.served) == 4, "four at work")
            with pytest.raises(RefusedError) as caught:
                await peer.request("add", Number(1), Number)
            assert caught.value.refusal.code == "link.busy"
            assert caught.value.refusal.retry_after is not None
            handler.release.set()
            await asyncio.gather(*waiting)
            assert await peer.request("add", Number(1), Number) == Number(2)

    run(scenario())


def test_a_slow_consumer_is_cut_off_and_others_are_served(material: Material) -> None:
    async def scenario() -> None:
        handler = Recorder()
        limits = Limits(write_buffer=200_000)
        async with listening(material, handler, person_limits=limits) as listener:
            good = await open_person(material, listener)
            lazy = await RawClient.open(material, listener.port)
            await lazy.hello(material)
            await until(lambda: len(handler.opened) == 2, "both open")
            lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
            target = handler.opened[1]
            piece = {"text": "x" * 20_000}
            for _ in range(2_000):
                if target.is_closed:
                    break
                target.event("noise", piece)
                await asyncio.sleep(0)
            assert "slow consumer" in await asyncio.wait_for(target.closed, 10)
            assert await good.request("add", Number(1), Number) == Number(2)
            lazy.writer.transport.abort()

    run(scenario())


def test_what_is_too_large_to_send_is_refused_at_home(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            peer = await open_person(material, listener)
            with pytest.raises(RefusedError) as caught:
                await peer.request("add", {"n": 1, "text": "x" * MAX_CLIENT_FRAME_BYTES}, Number)
            assert caught.value.refusal.code == "link.too_large"
            assert await peer.request("add", Number(1), Number) == Number(2)

    run(scenario())
