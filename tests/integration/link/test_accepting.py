"""How a port takes connections: no faster than TLS allows, never those who have left, and never dying of one."""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import structlog

from stayline.link import acceptor as acceptor_module
from stayline.link.acceptor import Acceptor, has_left
from stayline.link.listener import Listener
from stayline.link.peer import Peer
from tests.integration.link.material import HOST, Material, Number, Recorder, until
from tests.integration.link.rig import RawClient, listening, open_person, run

Work = Coroutine[Any, Any, None]


def run_plain(work: Work) -> None:
    asyncio.run(work)


def acceptor_of(listener: Listener) -> Acceptor:
    assert listener._acceptor is not None
    return listener._acceptor


def silent(port: int) -> socket.socket:
    """A client that connects and says nothing."""
    return socket.create_connection((HOST, port))


FIRST_BYTES = b"\x16\x03\x01\x02\x00"
"""The beginning of a client's first TLS record."""


def stalled(port: int) -> socket.socket:
    """A client that begins its handshake and says no more: it takes a handshake's place."""
    client = silent(port)
    client.sendall(FIRST_BYTES)
    return client


@pytest.mark.parametrize("runner", [run, run_plain], ids=["uvloop", "asyncio"])
def test_only_so_many_handshakes_at_a_time_and_everybody_gets_in(
    material: Material, runner: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder(), handshakes=3) as listener:
            acceptor = acceptor_of(listener)
            most = [0]
            begin = acceptor._begin

            def counted(connection: socket.socket) -> None:
                begin(connection)
                most[0] = max(most[0], acceptor.at_work)

            monkeypatch.setattr(acceptor, "_begin", counted)
            peers: list[Peer] = await asyncio.gather(*(open_person(material, listener) for _ in range(25)))
            assert most[0] == 3
            assert acceptor.at_work == 0
            for peer in peers:
                assert await peer.request("add", Number(1), Number) == Number(2)
            await asyncio.gather(*(peer.close() for peer in peers))

    runner(scenario())


@pytest.mark.parametrize("runner", [run, run_plain], ids=["uvloop", "asyncio"])
def test_who_left_while_nobody_accepted_is_dropped_before_tls(
    material: Material, runner: Callable[[Work], None]
) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder(), handshakes=1) as listener:
            acceptor = acceptor_of(listener)
            blocking = stalled(listener.port)
            await until(lambda: acceptor.at_work == 1, "the only place is taken")
            for spoke in (b"", FIRST_BYTES):
                gone = silent(listener.port)
                gone.sendall(spoke)
                gone.close()
            reset = silent(listener.port)
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            reset.close()
            task = asyncio.ensure_future(open_person(material, listener))
            blocking.close()
            peer = await task
            assert await peer.request("add", Number(1), Number) == Number(2)
            assert listener.abandoned == 3
            await peer.close()
            await listener.close(drop=True)
            assert listener.abandoned == 3

    runner(scenario())


def test_clients_that_say_no_more_do_not_keep_others_out_for_long(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder(), handshakes=2, hello_timeout=30.0) as listener:
            idle = [stalled(listener.port) for _ in range(4)]
            peer = await asyncio.wait_for(open_person(material, listener), 4.0)
            assert not peer.is_closed
            for one in idle:
                one.close()
            await until(lambda: not acceptor_of(listener)._unfinished, "nothing is left of them")
            assert acceptor_of(listener).failed == 4

    run(scenario())


def test_a_handshake_has_an_end(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder(), hello_timeout=0.3) as listener:
            with silent(listener.port) as idle:
                idle.setblocking(False)
                said = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(idle, 100), 5)
                assert said == b""
            assert acceptor_of(listener).failed == 1

    run(scenario())


def test_the_bound_may_be_changed_while_listening(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder(), handshakes=1, hello_timeout=30.0) as listener:
            acceptor = acceptor_of(listener)
            idle = [stalled(listener.port) for _ in range(3)]
            await until(lambda: acceptor.at_work == 1, "one at a time")
            listener.bound_handshakes(3)
            await until(lambda: acceptor.at_work == 3, "three at a time", 0.4)
            for one in idle:
                one.close()

    run(scenario())


@pytest.mark.parametrize("runner", [run, run_plain], ids=["uvloop", "asyncio"])
def test_without_descriptors_the_port_rests_and_goes_on(
    material: Material, runner: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor_module, "_PAUSE_SECONDS", 0.05)

    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            before = await open_person(material, listener)
            client = silent(listener.port)
            client.close()
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            taken: list[int] = []
            waiting = socket.socket()
            waiting.setblocking(False)
            with structlog.testing.capture_logs() as lines:
                try:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
                    with contextlib.suppress(OSError):
                        while True:
                            taken.append(os.dup(0))
                    waiting.connect_ex((HOST, listener.port))
                    await until(lambda: any(line["event"] == "port.accept_failed" for line in lines), "rests")
                    assert await before.request("add", Number(1), Number) == Number(2)
                finally:
                    for one in taken:
                        os.close(one)
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            waiting.close()
            after = await open_person(material, listener)
            assert await after.request("add", Number(1), Number) == Number(2)
            await after.close()
            await before.close()

    runner(scenario())


def test_a_closed_port_is_free_at_once_and_may_be_opened_again(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            for _ in range(20):
                await listener.close(drop=False)
                with pytest.raises(ConnectionRefusedError):
                    silent(listener.port)
                await listener.open()
            peer = await open_person(material, listener)
            assert await peer.request("add", Number(1), Number) == Number(2)
            taken = Listener(
                listener.hello,
                lambda _: Recorder(),
                listener.tls,
                host=HOST,
                port=listener.port,
                accepts=listener.accepts,
            )
            with pytest.raises(OSError, match="in use"):
                await taken.open()
            assert not taken.is_open

    run(scenario())


def test_a_name_is_listened_to_on_all_its_addresses(material: Material) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
        addresses = {str(info[4][0]) for info in infos}
        own = Recorder()
        async with listening(material, own) as first:
            listener = Listener(
                first.hello, lambda _: own, first.tls, host="localhost", port=0, accepts=first.accepts
            )
            await listener.open()
            for address in addresses:
                socket.create_connection((address, listener.port)).close()
            await listener.close(drop=True)

    run(scenario())


def test_has_left_tells_the_living_from_the_gone() -> None:
    with socket.create_server((HOST, 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        assert not has_left(accepted)
        client.sendall(b"something")
        assert not has_left(accepted)
        client.close()
        assert has_left(accepted)
        accepted.close()
        assert has_left(accepted)


def test_a_killed_listener_says_nothing(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            peer = await open_person(material, listener)
            shy = await RawClient.open(material, listener.port)
            await until(lambda: listener.openings, "somebody is opening")
            listener.abort("killed")
            await asyncio.wait_for(peer.closed, 5)
            assert peer.farewell is None
            with pytest.raises((AssertionError, ConnectionError)):
                await shy.frame()
            assert not listener.is_open

    run(scenario())
