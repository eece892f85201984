"""Opening links over real TLS sockets: who is let in, who is refused, and with which words."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stayline.domain.errors import LinkLostError, Refusal, RefusedError
from stayline.link.authority import create_authority, issue
from stayline.link.frames import encode_frame
from stayline.link.handshake import Accepts
from stayline.link.messages.envelope import Frame, Identity, Kind, Role
from stayline.link.peer import BaseHandler, Peer
from stayline.link.transport import Endpoint, Listener, connect
from tests.integration.link.material import (
    HOST,
    Material,
    Number,
    Recorder,
    server_hello,
    until,
)
from tests.integration.link.rig import RawClient, listening, open_person, open_server, run


@pytest.mark.parametrize(
    ("fields", "code", "names"),
    [
        ({"expect": "S2"}, "hello.application", ("S2", "S1")),
        ({"cluster": "Other"}, "hello.cluster", ("Other", "Pool")),
        ({"hello": server_hello("C1", epoch=4)}, "epoch.stale", ("3", "4")),
        ({"hello": server_hello("C1", epoch=2, role=Role.ACTIVE)}, "epoch.stale", ("2", "3")),
        ({"hello": server_hello("C1", version=2)}, "hello.version", ("2", "1")),
    ],
)
def test_a_wrong_hello_is_refused_with_both_names(
    material: Material, fields: dict[str, Any], code: str, names: tuple[str, str]
) -> None:
    async def scenario() -> None:
        higher: list[int] = []

        def note(epoch: int, _peer: Peer) -> None:
            higher.append(epoch)

        async with listening(material, Recorder(), on_higher_epoch=note) as listener:
            with pytest.raises(RefusedError) as caught:
                await open_server(material, listener, **fields)
            assert caught.value.refusal.code == code
            assert all(name in caught.value.refusal.reason for name in names)
            assert listener.peers == set()
            assert higher == ([4] if "4" in names else [])

    run(scenario())


def test_a_certificate_that_is_not_the_applications_is_refused(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            endpoint = Endpoint(HOST, listener.port, "S1")
            with pytest.raises(RefusedError) as caught:
                await connect(endpoint, server_hello("C1"), BaseHandler(), material.tls("S2"))
            assert caught.value.refusal.code == "identity.certificate"
            assert "C1" in caught.value.refusal.reason
            assert "S2" in caught.value.refusal.reason

    run(scenario())


def test_a_listener_with_another_certificate_is_refused_by_the_opener(material: Material) -> None:
    async def scenario() -> None:
        own = server_hello("S1")
        listener = Listener(
            lambda: own, lambda _: Recorder(), material.tls("S2"), host=HOST, port=0, accepts=Accepts()
        )
        await listener.open()
        with pytest.raises(RefusedError) as caught:
            await open_server(material, listener)
        assert caught.value.refusal.code == "identity.certificate"
        await listener.close(drop=True)

    run(scenario())


def test_another_authority_is_refused_by_tls(material: Material, tmp_path: Path) -> None:
    create_authority(tmp_path)
    stranger = issue(tmp_path, "C1", "Server", [HOST])

    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            endpoint = Endpoint(HOST, listener.port, "S1")
            with pytest.raises(LinkLostError) as caught:
                await connect(endpoint, server_hello("C1"), BaseHandler(), stranger)
            assert caught.value.refusal.code == "link.tls"

    run(scenario())


def test_persons_prove_themselves_by_token_and_call_what_is_for_persons(material: Material) -> None:
    async def scenario() -> None:
        handler = Recorder()
        async with listening(material, handler) as listener:
            peer = await open_person(material, listener, cluster="Pool")
            await until(lambda: handler.opened, "opened")
            identity = handler.opened[0].identity
            assert identity is not None
            assert identity.user == "agent01"
            assert await peer.request("add", Number(1), Number) == Number(2)
            with pytest.raises(RefusedError) as caught:
                await peer.request("no", Number(1), Number)
            assert caught.value.refusal.code == "method.forbidden"
            assert "agent01" in caught.value.refusal.reason
            assert handler.served == ["add"]
            for token, code in ((material.token(seconds=-1), "token.expired"), ("a.b.c", "token.invalid")):
                with pytest.raises(RefusedError) as caught:
                    await open_person(material, listener, token)
                assert caught.value.refusal.code == code
            with pytest.raises(RefusedError) as caught:
                await open_person(material, listener, "")
            assert caught.value.refusal.code == "identity.missing"

    run(scenario())


def test_servers_only_and_persons_only(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder(), accepts=Accepts()) as listener:
            with pytest.raises(RefusedError) as caught:
                await open_person(material, listener)
            assert caught.value.refusal.code == "identity.server_only"
        only = Accepts(servers=frozenset(), persons=True)
        async with listening(material, Recorder(), accepts=only) as listener:
            with pytest.raises(RefusedError) as caught:
                await open_server(material, listener)
            assert caught.value.refusal.code == "hello.type"

    run(scenario())


def test_a_closed_port_and_a_mute_one_are_told_apart(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder()) as listener:
            port = listener.port
        endpoint = Endpoint(HOST, port, "S1")
        with pytest.raises(LinkLostError) as caught:
            await connect(endpoint, server_hello("C1"), BaseHandler(), material.tls("C1"))
        assert caught.value.refusal.code == "link.refused"
        mute = await asyncio.start_server(lambda _r, _w: None, HOST, 0)
        endpoint = Endpoint(HOST, mute.sockets[0].getsockname()[1], "S1")
        with pytest.raises(LinkLostError) as caught:
            await connect(
                endpoint, server_hello("C1"), BaseHandler(), material.tls("C1"), connect_timeout=0.2
            )
        assert caught.value.refusal.code == "link.timeout"
        mute.close()

    run(scenario())


def test_before_the_hello_only_a_hello_is_understood(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder(), hello_timeout=0.3) as listener:
            early = await RawClient.open(material, listener.port)
            early.writer.write(encode_frame(Frame(Kind.REQUEST, 1, m="add")))
            answer = await early.frame()
            assert answer.t is Kind.REFUSED
            assert answer.e is not None
            assert answer.e.code == "frame.unexpected"
            shy = await RawClient.open(material, listener.port)
            answer = await shy.frame()
            assert answer.e is not None
            assert answer.e.code == "hello.timeout"
            wrong = await RawClient.open(material, listener.port)
            wrong.writer.write(encode_frame(Frame(Kind.HELLO, p=msgspec.Raw(b'{"application":1}'))))
            answer = await wrong.frame()
            assert answer.e is not None
            assert (answer.e.code, answer.e.field) == ("hello.malformed", "application")
            assert listener.openings == set()

    run(scenario())


def test_too_many_connections(material: Material) -> None:
    async def scenario() -> None:
        async with listening(material, Recorder(), max_connections=2) as listener:
            first = await open_person(material, listener)
            await open_person(material, listener)
            with pytest.raises(RefusedError) as caught:
                await open_person(material, listener)
            assert caught.value.refusal.code == "link.full"
            assert caught.value.refusal.retry_after is not None
            await first.close()
            await until(lambda: len(listener.peers) == 1, "a place is free")
            third = await open_person(material, listener)
            assert not third.is_closed

    run(scenario())


def test_a_good_token_is_not_enough_for_who_is_not_admitted_any_more(material: Material) -> None:
    async def scenario() -> None:
        disabled: set[str] = set()

        def admits(identity: Identity) -> Refusal | None:
            return Refusal(code="auth.disabled", reason="No more.") if identity.user in disabled else None

        async with listening(material, Recorder(), admits=admits) as listener:
            person, server = await open_person(material, listener), await open_server(material, listener)
            listener.recheck()
            disabled.update(peer.identity.user for peer in listener.peers if peer.identity is not None)
            assert disabled
            listener.recheck()
            await asyncio.wait_for(person.closed, 10)
            assert person.farewell is not None
            assert person.farewell.code == "auth.disabled"
            with pytest.raises(RefusedError) as caught:
                await open_person(material, listener)
            assert caught.value.refusal.code == "auth.disabled"
            assert not server.is_closed

    run(scenario())
