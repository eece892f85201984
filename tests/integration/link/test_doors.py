"""Between hello and welcome: a door that lets openers in, makes them wait or refuses them. Over real TLS sockets."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from stayline.domain.errors import LinkLostError, Refusal, RefusedError, refuse
from stayline.link.frames import encode_frame
from stayline.link.messages.envelope import Frame, Hello, Identity, Kind, Role, Waiting
from stayline.link.peer import Peer
from tests.integration.link.material import Material, Number, Recorder, person_hello, server_hello, until
from tests.integration.link.rig import RawClient, listening, open_person, run


@dataclass
class Waiter:
    """One opener at the door."""

    peer: Peer
    hello: Hello
    enter: Callable[[], None]
    wait: Callable[[Waiting], None]
    refuse: Callable[[Refusal], None]


@dataclass
class SlowDoor:
    """Does what the test does."""

    waiting: list[Waiter] = field(default_factory=list)
    gone: list[Peer] = field(default_factory=list)

    def arrive(
        self,
        peer: Peer,
        hello: Hello,
        enter: Callable[[], None],
        wait: Callable[[Waiting], None],
        refuse: Callable[[Refusal], None],
    ) -> None:
        """Note it."""
        self.waiting.append(Waiter(peer, hello, enter, wait, refuse))

    def left(self, peer: Peer) -> None:
        """Note it."""
        self.gone.append(peer)


NOT_NOW = Refusal(code="link.not_now", reason="Too many.", retryable=True, retry_after=3.0)


def opening(material: Material, listener: Any, **settings: Any) -> "asyncio.Task[Peer]":
    return asyncio.ensure_future(open_person(material, listener, **settings))


def test_who_waits_is_told_for_how_long_and_enters_at_last(material: Material) -> None:
    async def scenario() -> None:
        door, handler, told = SlowDoor(), Recorder(), list[Waiting]()
        async with listening(material, handler, door=door) as listener:
            task = opening(material, listener, on_wait=told.append, ticket="t", hello_timeout=0.2)
            await until(lambda: door.waiting, "arrived")
            waiter = door.waiting[0]
            assert waiter.hello.ticket == "t"
            assert waiter.peer.identity is not None
            assert waiter.peer.identity.user == "agent01"
            waiter.wait(Waiting(seconds=5.0, ahead=12, why="logins"))
            waiter.wait(Waiting(seconds=4.0, ahead=3))
            await until(lambda: len(told) == 2, "told twice")
            assert (told[0].seconds, told[0].ahead, told[1].ahead) == (5.0, 12, 3)
            # Longer than the hello timeout: the waits extended it.
            await asyncio.wait([task], timeout=0.5)
            assert not task.done()
            assert listener.peers == set()
            assert len(listener.waiting) == 1
            waiter.enter()
            peer = await task
            assert await peer.request("add", Number(1), Number) == Number(2)
            assert listener.waiting == set()
            assert door.gone == []
            waiter.enter()
            waiter.refuse(NOT_NOW)
            waiter.wait(Waiting(seconds=1.0))
            assert await peer.request("add", Number(2), Number) == Number(3)
            await peer.close()
            await until(lambda: door.gone == [waiter.peer], "the door is told")
            assert len(handler.opened) == 1

    run(scenario())


def test_who_is_refused_hears_when_to_come_again(material: Material) -> None:
    async def scenario() -> None:
        door, handler = SlowDoor(), Recorder()
        async with listening(material, handler, door=door) as listener:
            task = opening(material, listener)
            await until(lambda: door.waiting, "arrived")
            door.waiting[0].refuse(NOT_NOW)
            with pytest.raises(RefusedError) as caught:
                await task
            assert caught.value.refusal == NOT_NOW
            await until(lambda: door.waiting[0].peer.closed.done(), "closed")
            await asyncio.sleep(0)
            assert door.gone == []
            assert handler.opened == []
            assert listener.waiting == set()

    run(scenario())


def test_a_door_may_refuse_by_raising(material: Material) -> None:
    class Closed(SlowDoor):
        def arrive(self, *_: Any) -> None:
            raise refuse("link.not_now", "Nobody comes in.", retryable=True)

    async def scenario() -> None:
        async with listening(material, Recorder(), door=Closed()) as listener:
            with pytest.raises(RefusedError) as caught:
                await open_person(material, listener)
            assert caught.value.refusal.code == "link.not_now"

    run(scenario())


def test_the_door_is_not_asked_about_who_may_not_come_in_anyway(material: Material) -> None:
    async def scenario() -> None:
        door = SlowDoor()
        async with listening(material, Recorder(), door=door) as listener:
            with pytest.raises(RefusedError) as caught:
                await open_person(material, listener, "a.b.c")
            assert caught.value.refusal.code == "token.invalid"
            assert door.waiting == []
            assert door.gone == []

    run(scenario())


def test_who_leaves_while_waiting_is_noticed_and_costs_nothing(material: Material) -> None:
    async def scenario() -> None:
        door, handler = SlowDoor(), Recorder()
        async with listening(material, handler, door=door) as listener:
            client = await RawClient.open(material, listener.port)
            hello = msgspec.Raw(msgspec.json.encode(person_hello(material.token(), remote=0.05)))
            client.writer.write(encode_frame(Frame(Kind.HELLO, p=hello)))
            await until(lambda: door.waiting, "arrived")
            door.waiting[0].wait(Waiting(seconds=60.0))
            assert (await client.frame()).t is Kind.WAIT
            client.writer.transport.abort()
            await until(lambda: door.gone == [door.waiting[0].peer], "the door is told")
            door.waiting[0].enter()
            assert listener.peers == set()
            assert listener.waiting == set()
            assert handler.opened == []

    run(scenario())


def test_no_polls_before_the_welcome(material: Material) -> None:
    async def scenario() -> None:
        door = SlowDoor()
        async with listening(material, Recorder(), door=door) as listener:
            client = await RawClient.open(material, listener.port)
            hello = msgspec.Raw(msgspec.json.encode(person_hello(material.token(), remote=0.05)))
            client.writer.write(encode_frame(Frame(Kind.HELLO, p=hello)))
            await until(lambda: door.waiting, "arrived")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.frame(), 0.3)
            assert not door.waiting[0].peer.is_closed
            door.waiting[0].enter()
            assert (await client.frame()).t is Kind.WELCOME
            assert (await client.frame()).t is Kind.PING
            client.writer.close()

    run(scenario())


def test_who_waits_notices_that_the_listener_has_gone(material: Material) -> None:
    async def scenario() -> None:
        door = SlowDoor()
        async with listening(material, Recorder(), door=door) as listener:
            cut, politely = opening(material, listener), opening(material, listener)
            await until(lambda: len(door.waiting) == 2, "arrived")
            for waiter in door.waiting:
                waiter.wait(Waiting(seconds=60.0))
            door.waiting[0].peer.abort("killed")
            done, _ = await asyncio.wait([cut, politely], return_when=asyncio.FIRST_COMPLETED, timeout=5)
            (first,) = done
            with pytest.raises(LinkLostError) as caught:
                await first
            assert caught.value.refusal.code == "link.lost"
            await listener.close(Refusal(code="test.over", reason="Over."), drop=True)
            with pytest.raises(RefusedError) as refused:
                await (politely if first is cut else cut)
            assert refused.value.refusal.code == "test.over"
            assert listener.waiting == set()

    run(scenario())


def test_who_waits_longer_than_was_said_gives_up_with_the_time(material: Material) -> None:
    async def scenario() -> None:
        door = SlowDoor()
        async with listening(material, Recorder(), door=door) as listener:
            task = opening(material, listener, hello_timeout=0.2)
            await until(lambda: door.waiting, "arrived")
            door.waiting[0].wait(Waiting(seconds=0.3))
            with pytest.raises(LinkLostError) as caught:
                await task
            assert caught.value.refusal.code == "link.timeout"
            assert "0.3 s" in caught.value.refusal.reason
            await until(lambda: door.gone, "the door is told")

    run(scenario())


def test_an_unreadable_wait_is_refused_with_its_field(material: Material) -> None:
    async def scenario() -> None:
        door = SlowDoor()
        async with listening(material, Recorder(), door=door) as listener:
            task = opening(material, listener)
            await until(lambda: door.waiting, "arrived")
            door.waiting[0].peer.send_frame(Frame(Kind.WAIT, p=msgspec.Raw(b'{"seconds":"soon"}')))
            with pytest.raises(RefusedError) as caught:
                await task
            assert caught.value.refusal.field == "seconds"

    run(scenario())


def test_what_was_good_at_the_hello_is_asked_again_after_a_wait(material: Material) -> None:
    async def scenario() -> None:
        door, epoch, disabled = SlowDoor(), [3], set[str]()

        def admits(identity: Identity) -> Refusal | None:
            return Refusal(code="auth.disabled", reason="No more.") if identity.user in disabled else None

        hello = server_hello("S1", role=Role.ACTIVE, epoch=3)
        async with listening(material, Recorder(), hello, door=door, admits=admits) as listener:
            listener.hello = lambda: msgspec.structs.replace(hello, epoch=epoch[0])
            expelled = opening(material, listener)
            late = opening(material, listener, epoch=3)
            await until(lambda: len(door.waiting) == 2, "arrived")
            for waiter in door.waiting:
                waiter.wait(Waiting(seconds=5.0))
            epoch[0] = 2
            outdated = next(waiter for waiter in door.waiting if waiter.hello.epoch == 3)
            outdated.enter()
            with pytest.raises(RefusedError) as caught:
                await late
            assert caught.value.refusal.code == "epoch.stale"
            disabled.add("agent01")
            next(waiter for waiter in door.waiting if waiter is not outdated).enter()
            with pytest.raises(RefusedError) as caught:
                await expelled
            assert caught.value.refusal.code == "auth.disabled"

    run(scenario())


def test_a_port_that_closes_lets_nobody_in_who_waited(material: Material) -> None:
    async def scenario() -> None:
        door = SlowDoor()
        async with listening(material, Recorder(), door=door) as listener:
            task = opening(material, listener)
            await until(lambda: door.waiting, "arrived")
            door.waiting[0].wait(Waiting(seconds=5.0))
            await listener.close(drop=False)
            door.waiting[0].enter()
            with pytest.raises(RefusedError) as caught:
                await task
            assert caught.value.refusal.code == "link.closed"

    run(scenario())


def test_who_waits_counts_as_a_connection(material: Material) -> None:
    async def scenario() -> None:
        door = SlowDoor()
        async with listening(material, Recorder(), door=door, max_connections=1) as listener:
            task = opening(material, listener)
            await until(lambda: door.waiting, "arrived")
            with pytest.raises(RefusedError) as caught:
                await open_person(material, listener)
            assert caught.value.refusal.code == "link.full"
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await until(lambda: door.gone, "the door is told")

    run(scenario())
