"""Requests to a primary/backup pair survive the failover between the two, with the same key."""

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
import uvloop

from stayline.domain.errors import LinkLostError, RefusedError
from stayline.link.handshake import Accepts
from stayline.link.messages.envelope import Hello, Role, RoleChanged
from stayline.link.pair import PairLink
from stayline.link.peer import BaseHandler, Peer
from stayline.link.transport import Endpoint, Listener
from tests.integration.link.material import HOST, Material, Number, Recorder, server_hello, until


def run(work: Coroutine[Any, Any, None]) -> None:
    uvloop.run(work)


@dataclass
class Member:
    """One server of the pair, in this process but behind real sockets."""

    name: str
    handler: Recorder
    hello: Hello
    listener: Listener

    def become(self, role: Role, term: int, *, tell: bool = True) -> None:
        """Change the role, and announce it."""
        self.handler.role = role
        self.hello = msgspec.structs.replace(self.hello, role=role, epoch=1, term=term)
        if tell:
            for peer in list(self.listener.peers):
                peer.event("server.role", RoleChanged(role, 1, term, "test"))

    def die(self) -> None:
        """As a killed process: port closed, links reset."""
        self.listener.abort("killed")


async def member(material: Material, name: str) -> Member:
    handler = Recorder(role=Role.BACKUP)
    made: list[Member] = []
    listener = Listener(
        lambda: made[0].hello,
        lambda _: handler,
        material.tls(name),
        host=HOST,
        port=0,
        accepts=Accepts(),
    )
    made.append(Member(name, handler, server_hello(name, role=Role.BACKUP), listener))
    await listener.open()
    return made[0]


@dataclass
class Pair:
    """Both members, the link to them, and what it told."""

    first: Member
    second: Member
    link: PairLink
    told: list[str]


@asynccontextmanager
async def pair(material: Material) -> AsyncIterator[Pair]:
    first, second = await member(material, "S1"), await member(material, "S2")
    endpoints = [Endpoint(HOST, one.listener.port, one.name) for one in (first, second)]
    hello = server_hello("C1")
    link = PairLink(
        lambda: endpoints, lambda: hello, BaseHandler(), material.tls("C1"), random=random.Random(1)
    )
    told: list[str] = []

    def on_primary(peer: Peer) -> None:
        told.append(f"+{peer.hello.application}")

    link.on_primary.append(on_primary)
    link.on_lost.append(lambda why: told.append("-"))
    await link.start()
    try:
        await until(lambda: len(link.connected_to) == 2, "both linked")
        yield Pair(first, second, link, told)
    finally:
        await link.stop()
        await first.listener.close(drop=True)
        await second.listener.close(drop=True)


def test_the_primary_is_followed(material: Material) -> None:
    async def scenario() -> None:
        async with pair(material) as p:
            assert p.link.primary is None
            p.first.become(Role.PRIMARY, 1)
            await until(lambda: p.link.primary, "primary")
            assert await p.link.request("add", Number(1), Number) == Number(2)
            p.first.become(Role.BACKUP, 1)
            await until(lambda: p.link.primary is None, "nobody")
            p.second.become(Role.PRIMARY, 2)
            assert await p.link.request("add", Number(2), Number) == Number(3)
            assert p.told == ["+S1", "-", "+S2"]
            assert (p.link.epoch, p.link.term) == (1, 2)
            assert p.second.handler.served == ["add"]

    run(scenario())


def test_a_request_in_flight_is_repeated_with_its_key_at_the_new_primary(material: Material) -> None:
    async def scenario() -> None:
        async with pair(material) as p:
            p.first.become(Role.PRIMARY, 1)
            asked = asyncio.ensure_future(p.link.request("wait", Number(1), Number, key="key-7"))
            await until(lambda: p.first.handler.served == ["wait"], "asked")
            p.first.die()
            await until(lambda: p.link.primary is None, "lost")
            assert not asked.done()
            p.second.handler.release.set()
            p.second.become(Role.PRIMARY, 2)
            assert await asyncio.wait_for(asked, 5) == Number(0)
            assert p.first.handler.keys == ["key-7"]
            assert p.second.handler.keys == ["key-7"]

    run(scenario())


def test_a_frozen_primary_is_left_as_soon_as_another_has_a_higher_term(material: Material) -> None:
    async def scenario() -> None:
        async with pair(material) as p:
            p.first.become(Role.PRIMARY, 1)
            asked = asyncio.ensure_future(p.link.request("wait", Number(1), Number, key="k"))
            await until(lambda: p.first.handler.served == ["wait"], "asked")
            p.second.handler.release.set()
            p.second.become(Role.PRIMARY, 2)
            assert await asyncio.wait_for(asked, 5) == Number(0)
            # The first thaws and still believes in itself.
            await until(lambda: len(p.link.connected_to) == 2, "linked again")
            p.first.become(Role.PRIMARY, 1)
            assert await p.link.request("add", Number(1), Number) == Number(2)
            assert p.second.handler.served[-1] == "add"
            assert "add" not in p.first.handler.served

    run(scenario())


def test_not_primary_is_asked_again_until_somebody_is(material: Material) -> None:
    async def scenario() -> None:
        async with pair(material) as p:
            p.first.become(Role.PRIMARY, 1)
            await until(lambda: p.link.primary, "primary")
            p.first.become(Role.BACKUP, 1, tell=False)
            asked = asyncio.ensure_future(p.link.request("add", Number(1), Number, key="k"))
            await until(lambda: p.first.handler.served, "refused once")
            p.second.become(Role.PRIMARY, 2)
            assert await asyncio.wait_for(asked, 5) == Number(2)

    run(scenario())


def test_other_refusals_are_final(material: Material) -> None:
    async def scenario() -> None:
        async with pair(material) as p:
            p.first.become(Role.PRIMARY, 1)
            with pytest.raises(RefusedError) as caught:
                await p.link.request("no", Number(1), Number)
            assert caught.value.refusal.code == "test.no"
            assert p.first.handler.served == ["no"]

    run(scenario())


def test_without_a_primary_the_wait_ends_with_a_reason(material: Material) -> None:
    async def scenario() -> None:
        async with pair(material) as p:
            with pytest.raises(LinkLostError) as caught:
                await p.link.request("add", Number(1), Number, timeout=0.05)
            assert caught.value.refusal.code == "pair.no_primary"
            assert caught.value.refusal.retryable

    run(scenario())


def test_a_dead_member_is_linked_again_when_it_is_back(material: Material) -> None:
    async def scenario() -> None:
        async with pair(material) as p:
            p.first.die()
            await until(lambda: p.link.connected_to == ["S2"], "one left")
            await p.first.listener.open()
            await until(lambda: p.link.connected_to == ["S1", "S2"], "back")

    run(scenario())
