"""What polls carry over real links: sequences that prove delivery, statements of mastership, and polls on wake-up."""

import asyncio
import time
from dataclasses import dataclass, field

import msgspec
import pytest

from stayline.link.frames import encode_frame
from stayline.link.messages.envelope import Frame, Kind, Pong, Role
from stayline.link.peer import BaseHandler, Peer
from tests.integration.link.material import Material, Number, Recorder, server_hello, until
from tests.integration.link.rig import RawClient, listening, open_person, open_server, run

INTERVAL = 0.1


@dataclass
class Listening(BaseHandler):
    """Notes statements."""

    statements: list[str] = field(default_factory=list)

    def on_statement(self, peer: Peer, statement: str) -> None:
        """Note it."""
        assert peer.statement == statement
        self.statements.append(statement)


def test_polls_say_what_was_heard_and_answers_what_was_sent(material: Material) -> None:
    async def scenario() -> None:
        handler = Recorder()
        async with listening(material, handler) as listener:
            client = await RawClient.open(material, listener.port)
            await client.hello(material, remote=INTERVAL)
            await until(lambda: handler.opened, "opened")
            peer = handler.opened[0]
            for seq in (7, 9, 8):
                peer.event("tick", None, seq=seq)
            for _ in range(3):
                assert (await client.frame()).t is Kind.EVENT
            client.writer.write(encode_frame(Frame(Kind.PING, s=9)))
            while (pong := await client.frame()).t is not Kind.PONG:
                assert pong.t is Kind.PING
            assert (pong.s, peer.sent_seq) == (9, 9)
            client.writer.write(encode_frame(Frame(Kind.EVENT, m="typing", s=4)))
            await until(lambda: peer.heard_seq == 4, "heard")
            while (ping := await client.frame()).s == 0:
                assert ping.t is Kind.PING
                client.writer.write(encode_frame(Frame(Kind.PONG)))
            assert (ping.t, ping.s) == (Kind.PING, 4)
            client.writer.close()

    run(scenario())


def test_an_opener_cuts_a_link_that_answers_polls_and_delivers_nothing(material: Material) -> None:
    async def scenario() -> None:
        handler = Recorder()
        async with listening(material, handler) as listener:
            peer = await open_server(material, listener, local=INTERVAL)
            await until(lambda: handler.opened, "opened")
            # As a server whose events are lost on their way to the socket.
            handler.opened[0]._wire.sent_seq = 12
            why = await asyncio.wait_for(peer.closed, 5)
            assert "delivers nothing" in why
            assert "12" in why
            assert not peer.silent

    run(scenario())


def test_a_listener_cuts_a_link_whose_polls_show_that_nothing_arrives(material: Material) -> None:
    async def scenario() -> None:
        handler = Recorder()
        async with listening(material, handler) as listener:
            client = await RawClient.open(material, listener.port)
            await client.hello(material, local=INTERVAL)
            await until(lambda: handler.opened, "opened")
            peer = handler.opened[0]
            peer.event("tick", None, seq=5)
            polls = 0
            while not peer.is_closed:
                client.writer.write(encode_frame(Frame(Kind.PING, s=3)))
                polls += 1
                await asyncio.wait([peer.closed], timeout=INTERVAL)
                assert polls < 10
            assert polls >= 3
            assert "delivers nothing" in peer.closed.result()
            assert "3 of 5" in peer.closed.result()
            client.writer.close()

    run(scenario())


def test_a_busy_link_with_polls_is_never_called_deaf(material: Material) -> None:
    async def scenario() -> None:
        here, there = Recorder(), Recorder()
        async with listening(material, there) as listener:
            peer = await open_server(material, listener, handler=here, local=0.01, remote=0.01)
            await until(lambda: there.opened, "opened")
            for seq in range(1, 400):
                there.opened[0].event("tick", None, seq=seq)
                if seq % 7 == 0:
                    peer.poll_now(5.0)
                    there.opened[0].poll_now(5.0)
                if seq % 20 == 0:
                    await asyncio.sleep(0.012)
            await until(lambda: len(here.events) == 399, "all events")
            assert not peer.is_closed
            assert peer.heard_seq == there.opened[0].sent_seq == 399

    run(scenario())


def test_statements_come_in_the_welcome_and_newer_ones_in_answers_to_polls(material: Material) -> None:
    said = ["first"]

    async def scenario() -> None:
        handler = Listening()
        hello = server_hello("S1", role=Role.PRIMARY, epoch=3, cluster="Pool", statement="first")
        async with listening(material, Recorder(), hello, statement=lambda: said[-1]) as listener:
            peer = await open_person(material, listener, handler=handler, poll=INTERVAL)
            assert peer.statement == "first"
            assert handler.statements == ["first"]
            heard = peer._wire.heard_at
            await until(lambda: peer._wire.heard_at > heard + 2 * INTERVAL, "some polls were answered")
            assert handler.statements == ["first"]
            said.append("second")
            await until(lambda: handler.statements == ["first", "second"], "the newer one came")
            heard = peer._wire.heard_at
            await until(lambda: peer._wire.heard_at > heard + 2 * INTERVAL, "some polls were answered")
            assert handler.statements == ["first", "second"]
            assert not peer.is_closed

    run(scenario())


def test_an_unreadable_answer_to_a_poll_ends_the_link_with_its_field(material: Material) -> None:
    async def scenario() -> None:
        handler = Recorder()
        async with listening(material, handler) as listener:
            client = await RawClient.open(material, listener.port)
            await client.hello(material)
            client.writer.write(encode_frame(Frame(Kind.PONG, p=msgspec.Raw(b'{"statement":5}'))))
            bye = await client.frame()
            assert bye.e is not None
            assert (bye.t, bye.e.code, bye.e.field) == (Kind.BYE, "frame.malformed", "statement")

    run(scenario())


def test_a_statement_may_come_from_who_is_no_listener(material: Material) -> None:
    """A client's answer with a statement does no harm: it is a text to verify, like any other."""

    async def scenario() -> None:
        handler = Listening()
        async with listening(material, handler) as listener:  # type: ignore[arg-type]
            client = await RawClient.open(material, listener.port)
            await client.hello(material)
            payload = msgspec.Raw(msgspec.json.encode(Pong(statement="forged")))
            client.writer.write(encode_frame(Frame(Kind.PONG, p=payload)))
            await until(lambda: handler.statements == ["forged"], "told")
            client.writer.close()

    run(scenario())


@pytest.mark.parametrize("interval", [0.0, 60.0])
def test_after_a_sleep_a_dead_link_is_found_within_the_deadline(material: Material, interval: float) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            peer = await open_server(material, listener, local=interval)
            for there in list(listener.peers):
                there._wire.transport.pause_reading()  # type: ignore[union-attr]
            started = time.monotonic()
            peer.poll_now(0.2)
            why = await asyncio.wait_for(peer.closed, 5)
            assert peer.silent
            assert "timeout 0.2 s" in why
            assert 0.2 <= time.monotonic() - started < 1.0

    run(scenario())


@pytest.mark.parametrize("interval", [0.0, 0.3])
def test_after_a_sleep_a_living_link_stays(material: Material, interval: float) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            peer = await open_server(material, listener, local=interval)
            receipts = peer._wire.receipts
            peer.poll_now(0.2)
            await until(lambda: peer._wire.receipts > receipts, "the poll was answered")
            # Past the deadline of the poll, and (with an interval) past ordinary polls.
            await asyncio.wait([peer.closed], timeout=0.5)
            assert not peer.is_closed
            assert await peer.request("add", Number(1), Number) == Number(2)
            await peer.close()
            peer.poll_now(0.2)

    run(scenario())
