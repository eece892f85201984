"""Openers that mean no good, or are gone at the worst moment: they cost little, and keep nobody out."""

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from stayline.domain.errors import LinkLostError, RefusedError
from stayline.link import lobby
from stayline.link.frames import encode_frame
from stayline.link.messages.envelope import Frame, Kind
from stayline.link.peer import PERSON_LIMITS, Peer
from stayline.link.transport import Endpoint, connect
from tests.integration.link.material import HOST, Material, Number, Recorder, person_hello, until
from tests.integration.link.rig import RawClient, listening, open_person, run
from tests.integration.link.test_doors import SlowDoor, opening


@pytest.mark.parametrize("runner", [run, asyncio.run], ids=["uvloop", "asyncio"])
def test_a_crowd_that_says_nothing_keeps_nobody_out(
    material: Material, runner: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder(), handshakes=2, hello_timeout=30.0) as listener:
            idle = [socket.create_connection((HOST, listener.port)) for _ in range(40)]
            began = time.monotonic()
            peer = await asyncio.wait_for(open_person(material, listener), 15.0)
            assert time.monotonic() - began < 2.0
            await peer.close()
            for one in idle:
                one.close()
            await until(lambda: listener.abandoned == 40, "they have left")

    runner(scenario())


def test_when_a_crowd_says_nothing_the_oldest_give_way(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lobby, "MAX_SILENT", 5)
    monkeypatch.setattr(lobby, "PATIENCE_SECONDS", 0.2)

    async def scenario() -> None:
        async with listening(material, Recorder(), hello_timeout=30.0) as listener:
            idle = [socket.create_connection((HOST, listener.port)) for _ in range(8)]
            peers = await asyncio.gather(*(open_person(material, listener) for _ in range(10)))
            assert [await peer.request("add", Number(1), Number) for peer in peers] == [Number(2)] * 10
            assert listener._acceptor is not None
            assert listener._acceptor.failed >= 3
            first = idle[0]
            first.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(first, 10) == b""
            await asyncio.gather(*(peer.close() for peer in peers))
            for one in idle:
                one.close()

    run(scenario())


def test_those_who_speak_while_all_places_are_taken_get_theirs(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder(), handshakes=1, hello_timeout=30.0) as listener:
            acceptor = listener._acceptor
            assert acceptor is not None
            early = [socket.create_connection((HOST, listener.port)) for _ in range(3)]
            await until(lambda: len(acceptor._lobby) == 3, "they are taken off the port")
            for one in early:
                one.sendall(b"\x16\x03\x01\x02\x00")
            await until(lambda: acceptor.at_work == 1 and len(acceptor._spoken) == 2, "one after the other")
            peer = await asyncio.wait_for(open_person(material, listener), 5.0)
            assert await peer.request("add", Number(1), Number) == Number(2)
            await peer.close()
            for one in early:
                one.close()

    run(scenario())


def test_closing_the_port_closes_who_has_said_nothing(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder(), hello_timeout=30.0) as listener:
            acceptor = listener._acceptor
            assert acceptor is not None
            idle = socket.create_connection((HOST, listener.port))
            await until(lambda: len(acceptor._lobby) == 1, "taken off the port")
            await listener.close(drop=False)
            idle.setblocking(False)
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(idle, 10), 5) == b""
            idle.close()
            assert len(acceptor._lobby) == 0

    run(scenario())


def test_who_waits_at_the_door_cannot_fill_the_memory(material: Material) -> None:
    async def scenario() -> None:
        door = SlowDoor()
        async with listening(material, Recorder(), door=door) as listener:
            client = await RawClient.open(material, listener.port)
            hello = msgspec.Raw(msgspec.json.encode(person_hello(material.token())))
            client.writer.write(encode_frame(Frame(Kind.HELLO, p=hello)))
            await until(lambda: door.waiting, "arrived")
            payload = msgspec.Raw(b'"' + b"x" * 15_000 + b'"')
            for number in range(1, 60):
                client.writer.write(encode_frame(Frame(Kind.REQUEST, number, m="add", p=payload)))
            answers = [await client.frame() for _ in range(50)]
            assert {answer.t for answer in answers} == {Kind.ERROR}
            assert answers[0].e is not None
            assert answers[0].e.code == "link.busy"
            peer = door.waiting[0].peer
            assert sum(len(memoryview(frame.p)) for frame in peer._early) <= PERSON_LIMITS.early_bytes
            client.writer.close()

    run(scenario())


def test_what_was_asked_with_the_hello_is_answered_after_the_welcome(material: Material) -> None:
    async def scenario() -> None:
        door = SlowDoor()
        async with listening(material, Recorder(), door=door) as listener:
            client = await RawClient.open(material, listener.port)
            hello = msgspec.Raw(msgspec.json.encode(person_hello(material.token())))
            asked = Frame(Kind.REQUEST, 1, m="add", p=msgspec.Raw(b'{"n":1}'))
            client.writer.write(encode_frame(Frame(Kind.HELLO, p=hello)) + encode_frame(asked))
            await until(lambda: door.waiting, "arrived")
            door.waiting[0].enter()
            assert (await client.frame()).t is Kind.WELCOME
            assert msgspec.json.decode((await client.frame()).p, type=Number) == Number(2)
            client.writer.close()

    run(scenario())


def test_a_link_that_ends_in_the_turn_of_its_welcome_is_never_given_to_its_handler(
    material: Material,
) -> None:
    async def scenario() -> None:
        door, handler = SlowDoor(), Recorder()
        async with listening(material, handler, door=door) as listener:
            task = opening(material, listener)
            await until(lambda: door.waiting, "arrived")
            peer: Peer = door.waiting[0].peer
            # The connection is gone, which the event loop tells in its next turn; before that, its turn comes.
            wire = peer._wire
            asyncio.get_running_loop().call_soon(wire.connection_lost, ConnectionResetError("reset"))
            door.waiting[0].enter()
            assert peer in listener.peers
            await until(lambda: peer.is_closed, "lost")
            assert wire.transport is not None
            wire.transport.abort()
            with pytest.raises(LinkLostError):
                await task
            await until(lambda: peer not in listener.peers, "forgotten")
            await until(lambda: not listener._starting, "started or not")
            assert peer.is_closed
            assert handler.opened == []

    run(scenario())


def test_a_closing_port_tells_the_door_that_those_who_wait_are_gone(material: Material) -> None:
    async def scenario() -> None:
        door = SlowDoor()
        async with listening(material, Recorder(), door=door) as listener:
            task = opening(material, listener)
            await until(lambda: door.waiting, "arrived")
            await listener.close(drop=True)
            with pytest.raises(RefusedError) as caught:
                await task
            assert caught.value.refusal.code == "link.closed"
            await until(lambda: door.gone == [door.waiting[0].peer], "the door is told", 1.0)

    run(scenario())


@pytest.mark.parametrize(("host", "port"), [("a..b", 4000), ("x" * 64, 4000), (HOST, 70_000), ("", 4000)])
def test_an_address_that_cannot_be_one_is_an_unreachable_server(
    material: Material, host: str, port: int
) -> None:
    async def scenario() -> None:
        endpoint = Endpoint(host, port, "S1")
        with pytest.raises(LinkLostError) as caught:
            await connect(endpoint, person_hello(material.token()), Recorder(), material.tls())
        assert caught.value.refusal.code in ("link.unreachable", "link.refused")
        assert "S1" in caught.value.refusal.reason

    run(scenario())


def test_nobody_makes_a_server_poll_without_pause(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            client = await RawClient.open(material, listener.port)
            await client.hello(material, remote=0.000_001)
            polls, until_then = 0, time.monotonic() + 0.5
            while time.monotonic() < until_then:
                assert (await client.frame()).t is Kind.PING
                client.writer.write(encode_frame(Frame(Kind.PONG)))
                polls += 1
            assert 5 <= polls <= 30
            client.writer.close()

    run(scenario())
