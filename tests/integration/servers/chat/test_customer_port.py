"""The customers' port: who gets in, and what misbehaviour costs."""

import asyncio
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from stayline.lab.customer import Customer
from stayline.servers.chat import protocol
from tests.integration.conftest import Database
from tests.integration.servers.chat.rig import Rig, running

pytestmark = pytest.mark.postgres

SESSION = "a" * 24
SECRET = "b" * 24


async def ask(url: str, *messages: str | bytes) -> protocol.ToCustomer:
    """Send on a connection of its own; the first answer."""
    async with connect(url) as socket:
        for message in messages:
            await socket.send(message)
        return protocol.decode_answer(await socket.recv())


async def error(url: str, *messages: str | bytes) -> protocol.Error:
    answer = await ask(url, *messages)
    assert isinstance(answer, protocol.Error)
    return answer


def start(**changes: str) -> str:
    values = {"session": SESSION, "secret": SECRET, "queue": "chat.support", "email": "ada@example.org"}
    return protocol.encode(protocol.Start(**(values | changes)))  # type: ignore[arg-type]


async def who_gets_in(rig: Rig, url: str) -> None:
    for origin in (rig.web[0], rig.web[1], "http://shop.example", f"http://127.0.0.1:{rig.http['Chat_A_1']}"):
        async with connect(url, origin=Origin(origin)) as socket:
            await socket.send('{"type":"ping"}')
            assert protocol.decode_answer(await socket.recv()) == protocol.Pong()
    for origin in ("http://evil.example", "https://shop.example", "http://shop.example.evil", "null"):
        with pytest.raises(InvalidStatus) as caught:
            async with connect(url, origin=Origin(origin)):
                pass
        assert caught.value.response.status_code == 403


async def talk_nonsense(socket: ClientConnection) -> None:
    for _ in range(20):
        await socket.send("{")
        await socket.recv()


async def what_misbehaviour_costs(url: str) -> None:
    async with connect(url) as bystander:
        async with connect(url) as socket:
            await socket.send("x" * (protocol.MAX_FRAME_BYTES + 1))
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
        async with connect(url) as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await talk_nonsense(socket)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
        await bystander.send('{"type":"ping"}')
        assert protocol.decode_answer(await bystander.recv()) == protocol.Pong()
    assert (await error(url, b"\x00")).code == "message.malformed"
    assert (await error(url, '{"type":"send","id":"a","text":"x"}')).code == "chat.not_started"
    assert (await error(url, start(queue="chat.nothing"))).code == "queue.unknown"
    assert (await error(url, start(queue="mail.support"))).code == "queue.unknown"
    wrong = await error(url, start(email="not an address"))
    assert (wrong.code, wrong.field) == ("contact.invalid", "EmailAddress")
    long = await error(url, start(id="m", text="x" * 4_001))
    assert (long.code, long.retryable) == ("chat.too_long", False)


async def secrets_and_limits(rig: Rig, url: str) -> None:
    assert isinstance(await ask(url, start()), protocol.Started)
    assert isinstance(await ask(url, start()), protocol.Started)
    assert len(await rig.rows("select 1 from interaction where id = $1", SESSION)) == 1
    stolen = protocol.Resume(session=SESSION, secret="c" * 24)
    assert (await error(url, protocol.encode(stolen))).code == "chat.secret"
    unknown = protocol.Resume(session="d" * 24, secret=SECRET)
    assert (await error(url, protocol.encode(unknown))).code == "chat.unknown"
    ada = Customer(rig.web[:1], queue="chat.support", name="Ada", email="ada@example.org")
    await ada.open()
    await ada.until(lambda c: c.is_ready)
    await ada.acked(await ada.send("y" * 4_000))
    await ada.acked(await ada.send("y" * 4_001))
    assert [refusal.code for refusal in ada.refusals] == ["chat.too_long"]
    assert ada.texts == ["y" * 4_000]
    await ada.close()


async def the_page(rig: Rig) -> None:
    async with httpx.AsyncClient() as client:
        page = await client.get(f"{rig.web[0]}/?queue=%22%3E%3Cscript%3E")
        assert page.status_code == 200
        assert ",".join(rig.web) in page.text
        assert '"><script>' not in page.text
        policy = page.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert rig.web[1].replace("http", "ws") in policy
        script = await client.get(f"{rig.web[0]}/widget.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert "innerHTML" not in script.text
        assert (await client.get(f"{rig.web[0]}/nothing")).status_code == 404


def test_the_customers_port(tmp_path: Path, database: Database) -> None:
    rig = Rig(tmp_path, database.dsn)

    async def story() -> None:
        async with running(rig, "UCS_A_1", "Ixn_A_1", "Chat_A_1"):
            await rig.ready("Chat_A_1")
            url = rig.web[0].replace("http", "ws") + "/chat"
            await who_gets_in(rig, url)
            await what_misbehaviour_costs(url)
            await secrets_and_limits(rig, url)
            await the_page(rig)

    asyncio.run(story())


def test_passive_means_closed(tmp_path: Path, database: Database) -> None:
    rig = Rig(tmp_path, database.dsn)

    async def story() -> None:
        async with running(rig, "Chat_A_1", "UCS_A_1"):
            await rig.ready("Chat_A_1")
            ada = Customer(rig.web[:1], queue="chat.support", name="Ada", email="ada@example.org")
            await ada.open()
            await ada.until(lambda c: c.server != "")
            rig.processes["UCS_A_1"].terminate()  # on command: server.leaving, so no grace
            await ada.until(lambda c: c.server == "", 5)
            for port in (rig.http["Chat_A_1"], rig.ports["Chat_A_1"]):
                async with asyncio.timeout(5):
                    while True:
                        try:
                            _, writer = await asyncio.open_connection("127.0.0.1", port)
                        except OSError:
                            break
                        writer.close()
                        await asyncio.sleep(0.05)
            rig.start("UCS_A_1")
            await rig.ready("Chat_A_1")
            await ada.close()

    asyncio.run(story())
