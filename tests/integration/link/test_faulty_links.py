"""Links over a cable with faults: each is noticed as it should be, and what only looks like a fault is none."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from stayline.domain.errors import LinkLostError
from stayline.lab.fault_proxy import BOTH_WAYS, FaultProxy, Towards
from stayline.link.peer import Peer
from stayline.link.transport import Endpoint, connect
from tests.integration.link.material import HOST, Material, Number, Recorder, server_hello, until
from tests.integration.link.rig import listening, run

INTERVAL = 0.3
ALLOWANCE = 0.4
"""Seconds that a busy machine may add to a time of ours."""


@dataclass
class Cabled:
    """A link through a cable: the opener's peer, the listener's peer, and what their handlers recorded."""

    cable: FaultProxy
    opener: Peer
    listener: Peer
    here: Recorder
    there: Recorder


@asynccontextmanager
async def cabled(material: Material, **addp: Any) -> AsyncIterator[Cabled]:
    here, there = Recorder(), Recorder()
    async with listening(material, there) as listening_port:
        cable = FaultProxy(HOST, listening_port.port)
        await cable.open()
        try:
            endpoint = Endpoint(cable.host, cable.port, "S1", **addp)
            opener = await connect(endpoint, server_hello("C1"), here, material.tls("C1"))
            await until(lambda: there.opened, "opened on both sides")
            yield Cabled(cable, opener, there.opened[0], here, there)
            opener.abort("the test is over")
        finally:
            await cable.close()
            await until(lambda: cable.links == 0, "the cable holds nothing")


async def seconds_until_closed(peer: Peer) -> float:
    started = time.monotonic()
    await asyncio.wait_for(asyncio.shield(peer.closed), 10)
    return time.monotonic() - started


async def addp_verdict(peer: Peer, since: float) -> None:
    """The peer is found dead by ADDP, within twice the interval."""
    await asyncio.wait_for(asyncio.shield(peer.closed), 10)
    assert peer.silent
    assert peer.closed.result().startswith("addp: nothing heard for")
    taken = time.monotonic() - since
    assert INTERVAL < taken <= 2 * INTERVAL + ALLOWANCE, f"after {taken:.2f} s"


def test_a_reset_is_noticed_at_once(material: Material) -> None:
    async def scenario() -> None:
        async with cabled(material) as link:
            asked = asyncio.ensure_future(link.opener.request("wait", Number(1), Number))
            await until(lambda: link.there.served, "asked")
            link.cable.reset()
            assert await seconds_until_closed(link.opener) < ALLOWANCE
            assert await seconds_until_closed(link.listener) < ALLOWANCE
            assert not link.opener.silent
            with pytest.raises(LinkLostError):
                await asked

    run(scenario())


def test_a_silent_cable_is_found_dead_by_both_sides_within_twice_the_timeout(material: Material) -> None:
    async def scenario() -> None:
        async with cabled(material, local=INTERVAL, remote=INTERVAL) as link:
            link.cable.silence()
            since = time.monotonic()
            await asyncio.gather(addp_verdict(link.opener, since), addp_verdict(link.listener, since))

    run(scenario())


def test_without_addp_a_silent_cable_is_not_noticed(material: Material) -> None:
    """What ADDP is for: TCP alone says nothing."""

    async def scenario() -> None:
        async with cabled(material, remote=INTERVAL) as link:
            link.cable.silence()
            await addp_verdict(link.listener, time.monotonic())
            assert not link.opener.is_closed

    run(scenario())


@pytest.mark.parametrize("mute", [Towards.SERVER, Towards.CLIENT])
def test_a_cable_that_carries_one_way_only_is_found_dead(material: Material, mute: Towards) -> None:
    """Who hears nothing finds it; who is heard no more is found by the other side's abort, or finds it himself."""

    async def scenario() -> None:
        async with cabled(material, local=INTERVAL, remote=INTERVAL) as link:
            link.cable.silence([mute])
            since = time.monotonic()
            deaf = link.listener if mute is Towards.SERVER else link.opener
            await addp_verdict(deaf, since)
            speaking = link.opener if mute is Towards.SERVER else link.listener
            await asyncio.wait_for(asyncio.shield(speaking.closed), 10)
            assert time.monotonic() - since <= 4 * INTERVAL + ALLOWANCE

    run(scenario())


@pytest.mark.parametrize("gone", [Towards.SERVER, Towards.CLIENT])
def test_a_half_open_link_is_found_dead_by_the_side_that_was_not_told(
    material: Material, gone: Towards
) -> None:
    async def scenario() -> None:
        async with cabled(material, local=INTERVAL, remote=INTERVAL) as link:
            link.cable.half_open(gone)
            since = time.monotonic()
            told, untold = (
                (link.listener, link.opener) if gone is Towards.SERVER else (link.opener, link.listener)
            )
            assert await seconds_until_closed(told) < ALLOWANCE
            assert not told.silent
            await addp_verdict(untold, since)

    run(scenario())


def test_a_slow_cable_is_no_dead_one(material: Material) -> None:
    """A round trip of two thirds of the timeout, over several polls of both sides."""

    async def scenario() -> None:
        async with cabled(material, local=INTERVAL, remote=INTERVAL) as link:
            link.cable.slow(INTERVAL / 3)
            for seq in range(1, 4):
                link.listener.event("tick", None, seq=seq)
                await until(lambda seq=seq: link.opener.heard_seq == seq, "the event came")  # type: ignore[misc]
                carried = link.cable.ways[Towards.CLIENT].carried
                await until(
                    lambda carried=carried: link.cable.ways[Towards.CLIENT].carried > carried,  # type: ignore[misc]
                    "polls go on",
                )
            assert await link.opener.request("add", Number(1), Number) == Number(2)
            assert not link.opener.is_closed
            assert not link.listener.is_closed

    run(scenario())


def test_a_frozen_cable_that_thaws_in_time_lost_nothing(material: Material) -> None:
    async def scenario() -> None:
        async with cabled(material, local=2.0, remote=2.0) as link:
            link.cable.freeze()
            asked = asyncio.ensure_future(link.opener.request("add", Number(1), Number))
            await asyncio.wait([asked], timeout=0.2)
            assert not asked.done()
            link.cable.heal()
            assert await asked == Number(2)

    run(scenario())


def test_a_frozen_cable_is_found_dead(material: Material) -> None:
    async def scenario() -> None:
        async with cabled(material, local=INTERVAL) as link:
            link.cable.freeze()
            await addp_verdict(link.opener, time.monotonic())

    run(scenario())


def test_after_a_cut_nothing_passes_until_the_cable_is_mended(material: Material) -> None:
    async def scenario() -> None:
        async with cabled(material) as link:
            link.cable.cut()
            assert await seconds_until_closed(link.opener) < ALLOWANCE
            endpoint = Endpoint(link.cable.host, link.cable.port, "S1")
            with pytest.raises(LinkLostError) as caught:
                await connect(endpoint, server_hello("C1"), Recorder(), material.tls("C1"))
            assert caught.value.refusal.code == "link.refused"
            await link.cable.open()
            again = await connect(endpoint, server_hello("C1"), Recorder(), material.tls("C1"))
            assert await again.request("add", Number(1), Number) == Number(2)
            await again.close()

    run(scenario())


def test_a_cable_healed_after_it_lost_something_resets_what_cannot_be_continued(material: Material) -> None:
    async def scenario() -> None:
        async with cabled(material) as link:
            link.cable.silence(BOTH_WAYS)
            asked = asyncio.ensure_future(link.opener.request("add", Number(1), Number))
            await until(lambda: link.cable.ways[Towards.SERVER].lost, "something was lost")
            link.cable.heal()
            with pytest.raises(LinkLostError):
                await asked
            assert not link.opener.silent

    run(scenario())
