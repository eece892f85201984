"""Links over a network that really fails: two namespaces, a WAN with delay and loss, packet filters."""

import asyncio
import itertools
import shutil
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from stayline.lab.wan import possible
from tests.integration.network.stage import PORT, Stage, stage

pytestmark = [
    pytest.mark.skipif(bool(possible()), reason=possible() or "-"),
    pytest.mark.timeout(120),
]

INTERVAL = 0.6
"""ADDP seconds of both sides here; a dead link must be found within twice that, and 50 ms for a last look."""

SLACK = 0.6
"""What a busy machine may add."""


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def verdicts(scene: Stage, cut_at: float) -> None:
    """Both sides find the link dead by silence, in time and not before the first poll went unanswered."""
    for end in (scene.client, scene.server):
        lost = await end.first("lost", after=cut_at)
        assert lost["silent"], lost
        assert INTERVAL < lost["at"] - cut_at < 2 * INTERVAL + SLACK, lost


def test_silence_both_ways_is_found_by_both_sides(tmp_path: Path) -> None:
    async def play() -> None:
        async with stage(tmp_path, INTERVAL, INTERVAL) as scene:
            cut_at = time.monotonic()
            scene.wan.cut()
            await verdicts(scene, cut_at)
            healed_at = time.monotonic()
            scene.wan.cut(up=True)
            await scene.client.first("answer", after=healed_at)

    run(play())


@pytest.mark.parametrize("direction", ["a_to_b", "b_to_a"])
def test_a_network_that_carries_one_way_only_is_dead_for_both(tmp_path: Path, direction: str) -> None:
    async def play() -> None:
        async with stage(tmp_path, INTERVAL, INTERVAL) as scene:
            cut_at = time.monotonic()
            getattr(scene.wan, direction).up = False
            # Whoever still hears knows nothing; the other's verdict cuts the link, so both learn of it.
            heard = scene.server if direction == "b_to_a" else scene.client
            deaf = scene.client if direction == "b_to_a" else scene.server
            lost = await deaf.first("lost", after=cut_at)
            assert lost["silent"], lost
            assert lost["at"] - cut_at < 2 * INTERVAL + SLACK
            other = await heard.first("lost", after=cut_at)
            assert other["at"] - cut_at < 4 * INTERVAL + SLACK

    run(play())


def test_a_cut_shorter_than_the_interval_costs_nothing(tmp_path: Path) -> None:
    async def play() -> None:
        async with stage(tmp_path, 2.0, 2.0) as scene:
            cut_at = time.monotonic()
            scene.wan.cut()
            await asyncio.sleep(0.5)  # the fault itself: how long the cable was out
            scene.wan.cut(up=True)
            answers = await scene.client.many("answer", 20, after=cut_at)
            assert all(one["right"] for one in answers)
            assert scene.client.all("lost") == scene.server.all("lost") == []
            assert len(scene.client.all("up")) == 1

    run(play())


def test_delay_and_loss_give_no_false_verdict(tmp_path: Path) -> None:
    async def play() -> None:
        async with stage(tmp_path, 2.0, 2.0) as scene:
            for way in (scene.wan.a_to_b, scene.wan.b_to_a):
                way.delay, way.jitter, way.loss = 0.15, 0.02, 0.01
            answers = await scene.client.many("answer", 15, after=time.monotonic(), seconds=40.0)
            assert all(one["right"] for one in answers)
            gaps = [later["at"] - earlier["at"] for earlier, later in itertools.pairwise(answers)]
            assert min(gaps) >= 0.3, "answers came faster than the network is"
            assert scene.client.all("lost") == []

    run(play())


def test_half_open_after_a_death_nobody_could_report(tmp_path: Path) -> None:
    """The server's host dies while nothing passes: no reset ever reaches the client, and the port is closed later."""

    async def play() -> None:
        async with stage(tmp_path, INTERVAL, 0.0) as scene:
            cut_at = time.monotonic()
            scene.wan.cut()
            await scene.server.stop()
            lost = await scene.client.first("lost", after=cut_at)
            assert lost["silent"]
            assert lost["at"] - cut_at < 2 * INTERVAL + SLACK
            scene.wan.cut(up=True)
            refused = await scene.client.first("failed", after=time.monotonic())
            while refused["code"] != "link.refused":
                refused = await scene.client.first("failed", after=refused["at"])
            await scene.new_server()
            await scene.client.first("answer", after=refused["at"])

    run(play())


@pytest.mark.skipif(
    shutil.which("nft") is None, reason="the program `nft` is not installed (package nftables)"
)
def test_a_reset_is_known_at_once(tmp_path: Path) -> None:
    """A firewall in the server's network answers with resets: no ADDP verdict is waited for."""

    async def play() -> None:
        async with stage(tmp_path, 5.0, 5.0) as scene:
            rules = (
                "table inet fault {\n chain input {\n  type filter hook input priority 0;\n"
                f"  tcp dport {PORT} reject with tcp reset\n }}\n}}\n"
            )
            cut_at = time.monotonic()
            scene.wan.b.run("nft", "-f", "-", stdin=rules)
            lost = await scene.client.first("lost", after=cut_at)
            assert not lost["silent"]
            assert lost["at"] - cut_at < 2.0
            failed = await scene.client.first("failed", after=cut_at)
            assert failed["code"] == "link.refused"
            scene.wan.b.run("nft", "delete", "table", "inet", "fault")
            await scene.client.first("answer", after=time.monotonic())

    run(play())


@pytest.mark.skipif(
    shutil.which("nft") is None, reason="the program `nft` is not installed (package nftables)"
)
def test_a_firewall_that_drops_new_connections_only_leaves_the_link_alone(tmp_path: Path) -> None:
    async def play() -> None:
        async with stage(tmp_path, INTERVAL, INTERVAL) as scene:
            rules = (
                "table inet fault {\n chain input {\n  type filter hook input priority 0;\n"
                f"  tcp dport {PORT} tcp flags & (syn | ack) == syn drop\n }}\n}}\n"
            )
            since = time.monotonic()
            scene.wan.b.run("nft", "-f", "-", stdin=rules)
            await scene.client.many("answer", 30, after=since)
            assert scene.client.all("lost") == []
            await scene.server.stop()
            failed = await scene.client.first("failed", after=since)
            assert failed["code"] == "link.timeout", "a dropped SYN is a timeout, not a refusal"

    run(play())
