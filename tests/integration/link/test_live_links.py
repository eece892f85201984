"""Requests, replies, events, ADDP and the end of links over real TLS sockets."""

import asyncio
import time

import pytest
import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError
from stayline.domain.objects import TraceMode
from stayline.link.messages.envelope import Role, RoleChanged
from stayline.link.peer import Peer
from tests.integration.link.material import (
    Material,
    Number,
    Recorder,
    until,
)
from tests.integration.link.rig import RawClient, listening, open_person, open_server, run


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


def _stand_still() -> None:
    """The whole process stops, far longer than the timeouts of its links: the fault itself, not a wait for anything."""
    time.sleep(0.25)


async def _heard_for(peer: Peer, seconds: float) -> None:
    """Wait until something of the other side (polls, answers) was heard later than ``seconds`` from now."""
    start = peer._wire.heard_at
    await until(lambda: peer._wire.heard_at > start + seconds, "the other side is heard")


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
            await _heard_for(peer, 0.2)
            await peer.close()

    with structlog.testing.capture_logs() as lines:
        run(scenario())
    seen = {(line["event"], line["peer"]) for line in lines if line["event"].startswith("addp.")}
    assert seen == ({("addp.poll", logged), ("addp.answer", logged)} if logged else set())


def test_who_was_stopped_himself_does_not_take_the_others_for_dead(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            peer = await open_server(material, listener, local=0.05, remote=0.07)
            for _ in range(5):
                _stand_still()
                await _heard_for(peer, 0.0)
                assert await peer.request("add", Number(1), Number) == Number(2)
            await _heard_for(peer, 0.2)
            assert not peer.is_closed

    run(scenario())


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
