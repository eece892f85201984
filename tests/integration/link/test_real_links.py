"""Links over real TLS sockets: opening, refusals, requests, limits, and that one bad client costs nobody else."""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
import uvloop

from stayline.domain.errors import LinkLostError, Refusal, RefusedError
from stayline.domain.objects import TraceMode
from stayline.link.authority import client_context, create_authority, issue
from stayline.link.frames import FrameDecoder, encode_frame
from stayline.link.handshake import Accepts
from stayline.link.messages.envelope import MAX_CLIENT_FRAME_BYTES, Frame, Hello, Kind, Role, RoleChanged
from stayline.link.peer import BaseHandler, Limits, Peer
from stayline.link.transport import Endpoint, Listener, connect
from tests.integration.link.material import (
    HOST,
    Material,
    Number,
    Recorder,
    person_hello,
    server_hello,
    until,
)

ACCEPTS = Accepts(persons=True, person_methods=frozenset({"add", "wait"}))


def run(work: Coroutine[Any, Any, None]) -> None:
    uvloop.run(work)


@asynccontextmanager
async def listening(
    material: Material, handler: Recorder, hello: Hello | None = None, **settings: Any
) -> AsyncIterator[Listener]:
    own = hello or server_hello("S1", role=Role.PRIMARY, epoch=3, cluster="Pool")
    settings.setdefault("accepts", ACCEPTS)
    listener = Listener(
        lambda: own,
        lambda _: handler,
        material.tls(own.application),
        host=HOST,
        port=0,
        verify=material.verifier(),
        **settings,
    )
    await listener.open()
    try:
        yield listener
    finally:
        await listener.close(drop=True)


async def open_server(material: Material, listener: Listener, **settings: Any) -> Peer:
    settings.setdefault("handler", BaseHandler())
    hello = settings.pop("hello", server_hello("C1"))
    handler = settings.pop("handler")
    endpoint = Endpoint(HOST, listener.port, settings.pop("expect", "S1"), **settings)
    return await connect(endpoint, hello, handler, material.tls(hello.application))


async def open_person(
    material: Material, listener: Listener, token: str | None = None, **fields: Any
) -> Peer:
    endpoint = Endpoint(HOST, listener.port, "S1", cluster=fields.pop("cluster", ""))
    handler = fields.pop("handler", BaseHandler())
    hello = person_hello(material.token() if token is None else token, **fields)
    return await connect(endpoint, hello, handler, material.tls())


def test_requests_are_answered_refused_and_survive_faults(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            peer = await open_server(material, listener)
            assert peer.hello.application == "S1"
            assert await peer.request("add", Number(1), Number) == Number(2)
            for method, params, code, named in (
                ("no", Number(1), "test.no", "n"),
                ("fault", Number(1), "server.fault", ""),
                ("none", Number(1), "method.unknown", "m"),
                ("add", {"n": "x"}, "message.malformed", "n"),
                ("add", {}, "message.malformed", "n"),
            ):
                with pytest.raises(RefusedError) as caught:
                    await peer.request(method, params, Number)
                assert (caught.value.refusal.code, caught.value.refusal.field) == (code, named)
            assert await peer.request("add", Number(5), Number) == Number(6)
            await peer.close()

    run(scenario())


def test_both_ways_with_events_in_order(material: Material) -> None:
    async def scenario() -> None:
        here, there = Recorder(), Recorder()
        async with listening(material, there) as listener:
            peer = await open_server(material, listener, handler=here)
            back = there.opened[0] if there.opened else None
            await until(lambda: there.opened, "opened")
            back = there.opened[0]
            assert await back.request("add", Number(8), Number) == Number(9)
            for seq in range(1, 200):
                back.event("tick", None, seq=seq)
            await until(lambda: len(here.events) == 199, "all events")
            assert here.events == [("tick", seq) for seq in range(1, 200)]
            back.event("server.role", RoleChanged(Role.BACKUP, 4, 7, "test"))
            await until(lambda: peer.hello.role is Role.BACKUP, "role follows")
            assert (peer.hello.epoch, peer.hello.term) == (4, 7)
            await peer.close()
            await until(lambda: there.closed, "closed")
            assert "bye" in there.closed[0][1]

    run(scenario())


@pytest.mark.parametrize(
    ("fields", "code", "names"),
    [
        ({"expect": "S2"}, "hello.application", ("S2", "S1")),
        ({"cluster": "Other"}, "hello.cluster", ("Other", "Pool")),
        ({"hello": server_hello("C1", epoch=4)}, "epoch.stale", ("3", "4")),
        ({"hello": server_hello("C1", epoch=2, role=Role.ACTIVE)}, "epoch.stale", ("2", "3")),
        ({"hello": server_hello("C1", version=2)}, "hello.version", ("2", "1")),
    ],
)
def test_a_wrong_hello_is_refused_with_both_names(
    material: Material, fields: dict[str, Any], code: str, names: tuple[str, str]
) -> None:
    async def scenario() -> None:
        higher: list[int] = []

        def note(epoch: int, _peer: Peer) -> None:
            higher.append(epoch)

        async with listening(material, Recorder(), on_higher_epoch=note) as listener:
            with pytest.raises(RefusedError) as caught:
                await open_server(material, listener, **fields)
            assert caught.value.refusal.code == code
            assert all(name in caught.value.refusal.reason for name in names)
            assert listener.peers == set()
            assert higher == ([4] if "4" in names else [])

    run(scenario())


def test_a_certificate_that_is_not_the_applications_is_refused(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            endpoint = Endpoint(HOST, listener.port, "S1")
            with pytest.raises(RefusedError) as caught:
                await connect(endpoint, server_hello("C1"), BaseHandler(), material.tls("S2"))
            assert caught.value.refusal.code == "identity.certificate"
            assert "C1" in caught.value.refusal.reason
            assert "S2" in caught.value.refusal.reason

    run(scenario())


def test_a_listener_with_another_certificate_is_refused_by_the_opener(material: Material) -> None:
    async def scenario() -> None:
        own = server_hello("S1")
        listener = Listener(
            lambda: own, lambda _: Recorder(), material.tls("S2"), host=HOST, port=0, accepts=Accepts()
        )
        await listener.open()
        with pytest.raises(RefusedError) as caught:
            await open_server(material, listener)
        assert caught.value.refusal.code == "identity.certificate"
        await listener.close(drop=True)

    run(scenario())


def test_another_authority_is_refused_by_tls(material: Material, tmp_path: Path) -> None:
    create_authority(tmp_path)
    stranger = issue(tmp_path, "C1", "Server", [HOST])

    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            endpoint = Endpoint(HOST, listener.port, "S1")
            with pytest.raises(LinkLostError) as caught:
                await connect(endpoint, server_hello("C1"), BaseHandler(), stranger)
            assert caught.value.refusal.code == "link.tls"

    run(scenario())


def test_persons_prove_themselves_by_token_and_call_what_is_for_persons(material: Material) -> None:
    async def scenario() -> None:
        handler = Recorder()
        async with listening(material, handler) as listener:
            peer = await open_person(material, listener, cluster="Pool")
            await until(lambda: handler.opened, "opened")
            identity = handler.opened[0].identity
            assert identity is not None
            assert identity.user == "agent01"
            assert await peer.request("add", Number(1), Number) == Number(2)
            with pytest.raises(RefusedError) as caught:
                await peer.request("no", Number(1), Number)
            assert caught.value.refusal.code == "method.forbidden"
            assert "agent01" in caught.value.refusal.reason
            assert handler.served == ["add"]
            for token, code in ((material.token(seconds=-1), "token.expired"), ("a.b.c", "token.invalid")):
                with pytest.raises(RefusedError) as caught:
                    await open_person(material, listener, token)
                assert caught.value.refusal.code == code
            with pytest.raises(RefusedError) as caught:
                await open_person(material, listener, "")
            assert caught.value.refusal.code == "identity.missing"

    run(scenario())


def test_servers_only_and_persons_only(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder(), accepts=Accepts()) as listener:
            with pytest.raises(RefusedError) as caught:
                await open_person(material, listener)
            assert caught.value.refusal.code == "identity.server_only"
        only = Accepts(servers=frozenset(), persons=True)
        async with listening(material, Recorder(), accepts=only) as listener:
            with pytest.raises(RefusedError) as caught:
                await open_server(material, listener)
            assert caught.value.refusal.code == "hello.type"

    run(scenario())


def test_a_closed_port_and_a_mute_one_are_told_apart(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            port = listener.port
        endpoint = Endpoint(HOST, port, "S1")
        with pytest.raises(LinkLostError) as caught:
            await connect(endpoint, server_hello("C1"), BaseHandler(), material.tls("C1"))
        assert caught.value.refusal.code == "link.refused"
        mute = await asyncio.start_server(lambda _r, _w: None, HOST, 0)
        endpoint = Endpoint(HOST, mute.sockets[0].getsockname()[1], "S1")
        with pytest.raises(LinkLostError) as caught:
            await connect(
                endpoint, server_hello("C1"), BaseHandler(), material.tls("C1"), connect_timeout=0.2
            )
        assert caught.value.refusal.code == "link.timeout"
        mute.close()

    run(scenario())


class RawClient:
    """A client that may say anything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.decoder = FrameDecoder()
        self.frames: list[Frame] = []

    @classmethod
    async def open(cls, material: Material, port: int) -> "RawClient":
        context: ssl.SSLContext = client_context(material.tls())
        return cls(*await asyncio.open_connection(HOST, port, ssl=context))

    async def hello(self, material: Material, **fields: Any) -> None:
        hello = person_hello(material.token(), **fields)
        self.writer.write(encode_frame(Frame(Kind.HELLO, p=msgspec.Raw(msgspec.json.encode(hello)))))
        assert (await self.frame()).t is Kind.WELCOME

    async def frame(self) -> Frame:
        while not self.frames:
            data = await asyncio.wait_for(self.reader.read(65_536), 10)
            assert data, "closed instead of a frame"
            self.frames = self.decoder.feed(data)
        return self.frames.pop(0)

    async def is_closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(65_536), 10) == b""


def _body(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


@pytest.mark.parametrize(
    ("said", "code", "field"),
    [
        (struct.pack(">I", MAX_CLIENT_FRAME_BYTES + 1), "frame.too_large", "length"),
        (_body(b"{"), "frame.malformed", ""),
        (_body(b'{"t":"req","i":"x"}'), "frame.malformed", "i"),
        (_body(b'{"t":"dance"}'), "frame.unknown_type", "t"),
        (_body(b'{"i":1}'), "frame.malformed", "t"),
        (_body(b'{"t":"hello"}'), "frame.unexpected", "t"),
        (_body(b"\xff\xfe"), "frame.malformed", ""),
        (_body(b'{"t":"req","m":"\xff"}'), "frame.malformed", ""),
        (_body(b'{"t":"req","p":' + b"[" * 30_000 + b"]" * 30_000 + b"}"), "frame.malformed", ""),
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


def test_before_the_hello_only_a_hello_is_understood(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder(), hello_timeout=0.3) as listener:
            early = await RawClient.open(material, listener.port)
            early.writer.write(encode_frame(Frame(Kind.REQUEST, 1, m="add")))
            answer = await early.frame()
            assert answer.t is Kind.REFUSED
            assert answer.e is not None
            assert answer.e.code == "frame.unexpected"
            shy = await RawClient.open(material, listener.port)
            answer = await shy.frame()
            assert answer.e is not None
            assert answer.e.code == "hello.timeout"
            wrong = await RawClient.open(material, listener.port)
            wrong.writer.write(encode_frame(Frame(Kind.HELLO, p=msgspec.Raw(b'{"application":1}'))))
            answer = await wrong.frame()
            assert answer.e is not None
            assert (answer.e.code, answer.e.field) == ("hello.malformed", "application")
            assert listener.openings == set()

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


def test_too_many_connections(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder(), max_connections=2) as listener:
            first = await open_person(material, listener)
            await open_person(material, listener)
            with pytest.raises(RefusedError) as caught:
                await open_person(material, listener)
            assert caught.value.refusal.code == "link.full"
            assert caught.value.refusal.retry_after is not None
            await first.close()
            await until(lambda: len(listener.peers) == 1, "a place is free")
            third = await open_person(material, listener)
            assert not third.is_closed

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


def test_no_answer_in_time_is_not_the_end_of_the_link(material: Material) -> None:
    async def scenario() -> None:
        handler = Recorder()
        async with listening(material, handler) as listener:
            peer = await open_server(material, listener)
            with pytest.raises(LinkLostError) as caught:
                await peer.request("wait", Number(1), Number, timeout=0.05)
            assert caught.value.refusal.code == "link.timeout"
            handler.release.set()
            assert await peer.request("add", Number(1), Number) == Number(2)
            handler.release.clear()
            waiting = asyncio.ensure_future(peer.request("wait", Number(1), Number))
            await until(lambda: handler.served.count("wait") == 2, "asked")
            handler.opened[0].abort("test")
            with pytest.raises(LinkLostError) as caught:
                await waiting
            assert caught.value.refusal.code == "link.lost"
            with pytest.raises(LinkLostError):
                await peer.request("add", Number(1), Number)

    run(scenario())


def test_closing_says_why_and_leaves_nothing(material: Material) -> None:
    async def scenario() -> None:
        handler = Recorder()
        async with listening(material, handler) as listener:
            peers = [await open_person(material, listener) for _ in range(5)]
            await listener.close(Refusal(code="test.over", reason="It is over."), drop=True)
            for peer in peers:
                assert "It is over." in await asyncio.wait_for(peer.closed, 5)
                assert peer.farewell is not None
                assert peer.farewell.code == "test.over"
            await until(lambda: len(handler.closed) == 5, "all closed")
            assert listener.peers == set()
            assert not listener.is_open
            await listener.open()
            assert (await open_person(material, listener)).hello.application == "S1"

    run(scenario())


def test_closing_without_dropping_keeps_the_links(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            peer = await open_person(material, listener)
            await listener.close(drop=False)
            with pytest.raises(LinkLostError):
                await open_person(material, listener)
            assert await peer.request("add", Number(1), Number) == Number(2)

    run(scenario())


def test_addp_keeps_a_quiet_link_and_ends_a_silent_one(material: Material) -> None:
    async def scenario() -> None:
        handler = Recorder()
        async with listening(material, handler) as listener:
            quiet = await open_server(material, listener, local=0.1, remote=0.1)
            mute = await RawClient.open(material, listener.port)
            await mute.hello(material, remote=0.1)
            await until(lambda: handler.closed, "the mute one is found dead", 5)
            peer, why = handler.closed[0]
            assert peer.silent
            assert why.startswith("addp: nothing heard for")
            assert not peer.is_server
            assert not quiet.is_closed
            assert await quiet.request("add", Number(1), Number) == Number(2)

    run(scenario())


@pytest.mark.parametrize(
    ("trace", "local", "remote", "logged"),
    [
        (TraceMode.LOCAL, 0.05, 0.0, "S1"),
        (TraceMode.BOTH, 0.05, 0.0, "S1"),
        (TraceMode.REMOTE, 0.0, 0.05, "C1"),
        (TraceMode.BOTH, 0.0, 0.05, "C1"),
        (TraceMode.OFF, 0.05, 0.0, ""),
        (TraceMode.REMOTE, 0.05, 0.0, ""),
        (TraceMode.LOCAL, 0.0, 0.05, ""),
    ],
)
def test_polls_are_logged_on_the_sides_that_the_trace_mode_says(
    material: Material, trace: TraceMode, local: float, remote: float, logged: str
) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            peer = await open_server(material, listener, local=local, remote=remote, trace=trace)
            start = peer._wire._heard
            await until(lambda: peer._wire._heard > start + 0.2, "polls or their answers have been heard")
            await peer.close()

    with structlog.testing.capture_logs() as lines:
        run(scenario())
    seen = {(line["event"], line["peer"]) for line in lines if line["event"].startswith("addp.")}
    assert seen == ({("addp.poll", logged), ("addp.answer", logged)} if logged else set())


def test_the_opener_finds_a_silent_listener_dead(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            peer = await open_server(material, listener, local=0.1)
            for there in list(listener.peers):
                # As a frozen process: its kernel takes everything, it says nothing.
                there._wire.data_received = lambda data: None  # type: ignore[method-assign]
                there._wire.transport.pause_reading()  # type: ignore[union-attr]
            why = await asyncio.wait_for(peer.closed, 5)
            assert peer.silent
            assert "addp" in why

    run(scenario())
