"""TLS of links: what is refused, mutual certificates, and sessions that are resumed by who may resume them."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from stayline.domain.errors import LinkLostError, RefusedError
from stayline.link import tls_sessions
from stayline.link.acceptor import Acceptor
from stayline.link.authority import TlsFiles, client_context, create_authority, issue, server_context
from stayline.link.frames import encode_frame
from stayline.link.handshake import Accepts
from stayline.link.listener import Listener
from stayline.link.messages.envelope import Frame, Kind
from stayline.link.peer import BaseHandler, Peer
from stayline.link.transport import Endpoint, connect
from tests.integration.link.material import (
    HOST,
    Material,
    Number,
    Recorder,
    person_hello,
    server_hello,
    until,
)
from tests.integration.link.rig import listening, open_person, open_server, run

Work = Coroutine[Any, Any, None]
BOTH_LOOPS = pytest.mark.parametrize("runner", [run, asyncio.run], ids=["uvloop", "asyncio"])


@pytest.fixture(autouse=True)
def no_sessions() -> None:
    """Each test begins without remembered sessions."""
    client_context.cache_clear()
    server_context.cache_clear()


def acceptor_of(listener: Listener) -> Acceptor:
    assert listener._acceptor is not None
    return listener._acceptor


def is_resumed(peer: Peer) -> bool:
    transport = peer._wire.transport
    assert transport is not None
    tls = transport.get_extra_info("ssl_object")
    assert tls.version() == "TLSv1.3"
    return bool(tls.session_reused)


@BOTH_LOOPS
def test_the_second_link_to_a_server_resumes_the_session_of_the_first(
    material: Material, runner: Callable[[Work], None]
) -> None:
    async def scenario() -> None:
        handler = Recorder()
        async with listening(material, handler) as listener:
            resumed = []
            for _ in range(4):
                peer = await open_server(material, listener)
                resumed.append(is_resumed(peer))
                assert await peer.request("add", Number(1), Number) == Number(2)
                await peer.close()
            assert resumed == [False, True, True, True]
            await until(lambda: len(handler.closed) == 4, "closed")
            # The certificate of who resumes is known on the other side, too.
            assert [there.is_server for there in handler.opened] == [True] * 4
            assert handler.opened[3].certificate == handler.opened[0].certificate

    runner(scenario())


@BOTH_LOOPS
def test_persons_resume_too_and_stay_persons(material: Material, runner: Callable[[Work], None]) -> None:
    async def scenario() -> None:
        handler = Recorder()
        async with listening(material, handler) as listener:
            first = await open_person(material, listener)
            # A session serves several links at a time.
            second, third = await asyncio.gather(*(open_person(material, listener) for _ in range(2)))
            assert [is_resumed(peer) for peer in (first, second, third)] == [False, True, True]
            assert not any(there.is_server for there in listener.peers)

    runner(scenario())


def test_a_restarted_server_makes_a_full_handshake(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as first:
            port = first.port
            assert not is_resumed(await open_server(material, first))
        server_context.cache_clear()  # a new process knows no old tickets
        own = server_hello("S1")
        again = Listener(
            lambda: own, lambda _: Recorder(), material.tls("S1"), host=HOST, port=port, accepts=Accepts()
        )
        await again.open()
        peer = await open_server(material, again)
        assert not is_resumed(peer)
        assert await peer.request("add", Number(1), Number) == Number(2)
        assert is_resumed(await open_server(material, again))
        await again.close(drop=True)

    run(scenario())


def test_a_session_is_only_resumed_with_the_same_certificate_authority_and_server(
    material: Material, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            assert not is_resumed(await open_server(material, listener))
            # Another certificate of our own, another authority's file, no certificate: other contexts.
            other = await open_server(material, listener, hello=server_hello("S2"))
            assert not is_resumed(other)
            copied = tmp_path / "ca.pem"
            copied.write_bytes((material.folder / "ca.pem").read_bytes())
            mine = material.tls("C1")
            elsewhere = TlsFiles(copied, mine.cert, mine.key)
            endpoint = Endpoint(HOST, listener.port, "S1")
            peer = await connect(endpoint, server_hello("C1"), BaseHandler(), elsewhere)
            assert not is_resumed(peer)
            # The same address with another name expected: another key, and refused with both names as ever.
            with pytest.raises(RefusedError) as caught:
                await open_server(material, listener, expect="S2")
            assert caught.value.refusal.code == "hello.application"
            assert is_resumed(await open_server(material, listener))

    run(scenario())


def test_the_certificate_is_checked_on_resumed_sessions(material: Material) -> None:
    """A session whose certificate belongs to S2 does not open a link to S1, though TLS itself resumes it."""

    async def scenario() -> None:
        own = server_hello("S1")
        impostor = Listener(
            lambda: own, lambda _: Recorder(), material.tls("S2"), host=HOST, port=0, accepts=Accepts()
        )
        await impostor.open()
        endpoint = Endpoint(HOST, impostor.port, "S1")
        context = client_context(material.tls("C1"))
        assert isinstance(context, tls_sessions.ReusingContext)
        with socket.create_connection((HOST, impostor.port)) as plain:
            plain.setblocking(False)
            reader, writer = await asyncio.open_connection(
                sock=plain.dup(), ssl=context, server_hostname=HOST
            )
            writer.write(encode_frame(Frame(Kind.REQUEST, 1)))
            assert await reader.read(100)
            session = writer.get_extra_info("ssl_object").session
            assert session.has_ticket
            context.keep(endpoint.session_key, session)
            writer.close()
        with pytest.raises(RefusedError) as caught:
            await connect(endpoint, server_hello("C1"), BaseHandler(), material.tls("C1"))
        assert caught.value.refusal.code == "identity.certificate"
        assert "S2" in caught.value.refusal.reason
        await impostor.close(drop=True)

    run(scenario())


def test_a_refused_opener_remembers_its_session_too(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            with pytest.raises(RefusedError):
                await open_person(material, listener, "a.b.c")
            assert is_resumed(await open_person(material, listener))

    run(scenario())


def test_an_expired_session_is_forgotten_and_a_used_one_renewed(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            await open_server(material, listener)
            assert is_resumed(await open_server(material, listener))
            now = time.time()
            monkeypatch.setattr(time, "time", lambda: now + 1_000_000.0)
            assert not is_resumed(await open_server(material, listener))

    run(scenario())


def test_the_store_of_sessions_is_bounded(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_sessions, "MAX_SESSIONS", 2)

    async def scenario() -> None:
        async with (
            listening(material, Recorder()) as one,
            listening(material, Recorder()) as two,
            listening(material, Recorder()) as three,
        ):
            for listener in (one, two, one, three):  # two is the one not used for longest
                await open_server(material, listener)
            assert is_resumed(await open_server(material, one))
            assert is_resumed(await open_server(material, three))
            assert not is_resumed(await open_server(material, two))

    run(scenario())


# -- what is refused


async def answer_to(port: int, said: bytes) -> bytes:
    """All that a port says to ``said`` until it closes."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(said)
    answer = b""
    try:
        while data := await asyncio.wait_for(reader.read(65_536), 5):
            answer += data
    except ConnectionResetError:
        pass
    writer.close()
    return answer


@BOTH_LOOPS
def test_plaintext_is_refused_and_hears_no_frame(material: Material, runner: Callable[[Work], None]) -> None:
    async def scenario() -> None:
        handler = Recorder()
        async with listening(material, handler) as listener:
            hello = encode_frame(Frame(Kind.HELLO))
            for said in (hello, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
                answer = await answer_to(listener.port, said)
                assert b'"t"' not in answer
                assert b"HTTP" not in answer
            assert handler.opened == []
            assert listener.peers == set()
            assert (await open_person(material, listener)).hello.application == "S1"

    runner(scenario())


def test_tls_1_2_is_refused(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname = False
            old.maximum_version = ssl.TLSVersion.TLSv1_2
            old.load_verify_locations(material.tls().ca)
            failed = acceptor_of(listener).failed
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection(HOST, listener.port, ssl=old)
            await until(lambda: acceptor_of(listener).failed == failed + 1, "the handshake failed")
            assert listener.openings == set()
            old.maximum_version = ssl.TLSVersion.TLSv1_3
            _, writer = await asyncio.open_connection(HOST, listener.port, ssl=old)
            assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
            writer.close()

    run(scenario())


def test_an_opener_refuses_a_server_of_tls_1_2(material: Material) -> None:
    async def scenario() -> None:
        files = material.tls("S1")
        assert files.cert is not None
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        old.load_cert_chain(files.cert, files.key)
        server = await asyncio.start_server(lambda _r, w: w.close(), HOST, 0, ssl=old)
        endpoint = Endpoint(HOST, server.sockets[0].getsockname()[1], "S1")
        with pytest.raises(LinkLostError) as caught:
            await connect(endpoint, server_hello("C1"), BaseHandler(), material.tls("C1"))
        assert caught.value.refusal.code in {"link.tls", "link.lost"}
        assert "TLS" in caught.value.refusal.reason
        server.close()

    run(scenario())


def test_an_opener_refuses_a_server_of_another_authority(material: Material, tmp_path: Path) -> None:
    create_authority(tmp_path)
    foreign = issue(tmp_path, "S1", "Server", [HOST])

    async def scenario() -> None:
        own = server_hello("S1")
        listener = Listener(lambda: own, lambda _: Recorder(), foreign, host=HOST, port=0, accepts=Accepts())
        await listener.open()
        for hello, files in ((server_hello("C1"), material.tls("C1")), (person_hello("t"), material.tls())):
            with pytest.raises(LinkLostError) as caught:
                await connect(Endpoint(HOST, listener.port, "S1"), hello, BaseHandler(), files)
            assert caught.value.refusal.code == "link.tls"
            assert "certificate" in caught.value.refusal.reason.lower()
        await listener.close(drop=True)

    run(scenario())


def test_a_listener_refuses_a_certificate_of_another_authority(material: Material, tmp_path: Path) -> None:
    """The opener trusts the listener's authority, but shows a certificate of its own."""
    create_authority(tmp_path)
    foreign = issue(tmp_path, "C1", "Server", [HOST])
    mixed = TlsFiles(material.tls().ca, foreign.cert, foreign.key)

    async def scenario() -> None:
        handler = Recorder()
        async with listening(material, handler) as listener:
            with pytest.raises(LinkLostError) as caught:
                await connect(Endpoint(HOST, listener.port, "S1"), server_hello("C1"), BaseHandler(), mixed)
            assert caught.value.refusal.code in {"link.tls", "link.lost"}
            assert handler.opened == []

    run(scenario())


def test_a_server_without_its_certificate_is_not_taken_for_one(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder(), accepts=Accepts()) as listener:
            with pytest.raises(RefusedError) as caught:
                await connect(
                    Endpoint(HOST, listener.port, "S1"), server_hello("C1"), BaseHandler(), material.tls()
                )
            assert caught.value.refusal.code == "identity.missing"

    run(scenario())
