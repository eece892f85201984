"""Reaching an endpoint: address families in the order of ip-version, raced where there are two."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stayline.domain.errors import LinkLostError, RefusedError
from stayline.link.dial import Endpoint, addresses
from stayline.link.listener import Listener
from stayline.link.peer import BaseHandler, Peer
from stayline.link.transport import connect
from tests.integration.link.material import Material, Number, Recorder, server_hello
from tests.integration.link.rig import ACCEPTS, run

SIX, FOUR = "::1", "127.0.0.1"
Work = Coroutine[Any, Any, None]


def _has_six() -> bool:
    try:
        with socket.create_server((SIX, 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_six = pytest.mark.skipif(not _has_six(), reason="this machine has no IPv6 loopback")


def run_plain(work: Work) -> None:
    asyncio.run(work)


@pytest.fixture
def resolving(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Makes the name ``node.test`` resolve to these addresses, in this order."""

    def resolve(found: list[str]) -> None:
        async def getaddrinfo(loop: Any, host: str, port: int, **settings: Any) -> list[Any]:
            if host != "node.test":
                return list(await resolver(loop, host, port, **settings))
            infos: list[Any] = []
            for one in found:
                family = socket.AF_INET6 if ":" in one else socket.AF_INET
                address = (one, port, 0, 0) if ":" in one else (one, port)
                infos.append((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address))
            return infos

        resolver = asyncio.BaseEventLoop.getaddrinfo
        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)

    return resolve


@asynccontextmanager
async def both(material: Material, port: int = 0) -> AsyncIterator[tuple[Listener, Listener]]:
    """Listeners on the same port of both families."""
    own = server_hello("S1")
    made: list[Listener] = []
    for host in (FOUR, SIX):
        listener = Listener(
            lambda: own, lambda _: Recorder(), material.tls("S1"), host=host, port=port, accepts=ACCEPTS
        )
        await listener.open()
        port = listener.port
        made.append(listener)
    try:
        yield made[0], made[1]
    finally:
        for listener in made:
            await listener.close(drop=True)


async def reach(material: Material, port: int, ip_version: str, host: str = "node.test") -> Peer:
    endpoint = Endpoint(host, port, "S1", ip_version=ip_version)
    return await connect(endpoint, server_hello("C1"), BaseHandler(), material.tls("C1"), connect_timeout=3.0)


@needs_six
@pytest.mark.parametrize(
    ("ip_version", "family"), [("4,6", FOUR), ("6,4", SIX), ("4", FOUR), ("6", SIX), ("6, 4", SIX)]
)
def test_the_preferred_family_wins_where_both_answer(
    material: Material, resolving: Callable[[list[str]], None], ip_version: str, family: str
) -> None:
    resolving([SIX, FOUR] if ip_version == "4,6" else [FOUR, SIX])

    async def scenario() -> None:
        async with both(material) as (four, _):
            peer = await reach(material, four.port, ip_version)
            assert peer.remote_address == f"{family}:{four.port}"
            await peer.close()

    run_plain(scenario())


@needs_six
def test_a_closed_family_costs_nothing_and_a_silent_one_a_quarter_of_a_second(
    material: Material, resolving: Callable[[list[str]], None]
) -> None:
    async def scenario() -> None:
        async with both(material) as (four, six):
            await four.close(drop=False)
            resolving([FOUR, SIX])
            started = time.monotonic()
            peer = await reach(material, six.port, "4,6")
            assert time.monotonic() - started < 0.2
            assert peer.remote_address.startswith(SIX)
            await peer.close()
            # A full backlog answers no connection: the kernel drops them.
            with socket.socket() as mute:
                mute.bind((FOUR, six.port))
                mute.listen(0)
                filling = [_begin(FOUR, six.port) for _ in range(3)]
                started = time.monotonic()
                peer = await reach(material, six.port, "4,6")
                assert 0.2 <= time.monotonic() - started < 1.0
                assert peer.remote_address.startswith(SIX)
                await peer.close()
                for one in filling:
                    one.close()

    run_plain(scenario())


def _begin(host: str, port: int) -> socket.socket:
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex((host, port))
    return one


def test_a_family_that_is_not_wanted_is_not_tried(
    material: Material, resolving: Callable[[list[str]], None]
) -> None:
    resolving([SIX])

    async def scenario() -> None:
        with pytest.raises(LinkLostError) as caught:
            await reach(material, 9, "4")
        assert caught.value.refusal.code == "link.unreachable"
        assert "no IPv4 address" in caught.value.refusal.reason

    run_plain(scenario())


def test_all_closed_is_a_refused_link(material: Material, resolving: Callable[[list[str]], None]) -> None:
    with socket.socket() as free:
        free.bind((FOUR, 0))
        port = free.getsockname()[1]
    resolving([SIX, FOUR])

    async def scenario() -> None:
        with pytest.raises(LinkLostError) as caught:
            await reach(material, port, "4,6")
        assert caught.value.refusal.code in {"link.refused", "link.unreachable"}

    run_plain(scenario())


@pytest.mark.parametrize("runner", [run, run_plain], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("host", [FOUR, pytest.param(SIX, marks=needs_six)])
def test_literal_addresses_are_not_resolved(
    material: Material, runner: Callable[[Work], None], host: str
) -> None:
    async def scenario() -> None:
        own = server_hello("S1")
        listener = Listener(
            lambda: own, lambda _: Recorder(), material.tls("S1"), host=host, port=0, accepts=ACCEPTS
        )
        await listener.open()
        peer = await reach(material, listener.port, "4,6", host)
        assert await peer.request("add", Number(1), Number) == Number(2)
        await peer.close()
        await listener.close(drop=True)

    runner(scenario())


def test_a_name_that_means_nothing_and_an_order_that_means_nothing() -> None:
    async def scenario() -> None:
        with pytest.raises(OSError, match=r".+"):
            await addresses(Endpoint("no-such-host.invalid", 1, "S1"))
        with pytest.raises(RefusedError) as caught:
            await addresses(Endpoint(FOUR, 1, "S1", ip_version="5"))
        assert caught.value.refusal.code == "link.ip_version"
        assert caught.value.refusal.fix

    run_plain(scenario())


def test_a_connection_given_up_leaves_nothing_open(material: Material) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server((FOUR, 0)) as mute:
            mute.setblocking(False)
            task = asyncio.ensure_future(reach(material, mute.getsockname()[1], "4", FOUR))
            accepted, _ = await loop.sock_accept(mute)
            accepted.setblocking(False)
            assert await loop.sock_recv(accepted, 4_096)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            while await asyncio.wait_for(loop.sock_recv(accepted, 4_096), 5):
                pass
            accepted.close()

    run_plain(scenario())
