"""TLS on the customers' port, and the limit of starts from one address."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import cast

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from stayline.lab.customer import Customer
from stayline.link.authority import create_authority, issue
from stayline.servers.chat import protocol
from stayline.servers.chat.beginning import Beginning
from stayline.servers.chat.customer_port import CustomerPort
from stayline.servers.chat.customers import Services
from stayline.servers.chat.protection import LOOK_SECONDS, Protection
from stayline.servers.chat.sessions import Sessions
from stayline.servers.chat.starts import StartLimit
from stayline.servers.chat.web import CustomerWeb, WebSettings
from tests.integration.conftest import Database
from tests.integration.servers.chat.rig import Rig, eventually, running
from tests.ports import free_port

PING = '{"type":"ping"}'


class Port:
    """The customers' port alone: no chat is started, so nothing behind it is needed."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.folder = folder
        self.wanted = Protection()
        services = Services(
            sessions=cast(Sessions, None),
            beginning=cast(Beginning, None),
            max_text=lambda: 4_000,
            rate=lambda: 10.0,
            delayed=lambda: False,
            opened=lambda _held: None,
            starts=StartLimit(),
            starts_per_minute=lambda: 30,
        )
        self.number = free_port()
        settings = WebSettings(
            servers=lambda: [f"https://127.0.0.1:{self.number}"],
            origins=list,
            max_connections=lambda: 10,
            protection=lambda: self.wanted,
        )
        web = CustomerWeb(services, settings)
        self.port = CustomerPort(web, host, self.number, lambda: self.wanted, folder)

    def is_open(self) -> bool:
        """Asked anew each time."""
        return self.port.is_open

    def certify(self) -> ssl.SSLContext:
        """A new certificate; a context that trusts its authority and no other."""
        create_authority(self.folder / "authority")
        issue(self.folder / "authority", "public", "web", ["127.0.0.1"], into=self.folder)
        self.wanted = Protection("public.pem", "public.key")
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

    def serial(self) -> bytes:
        """The certificate that a new connection is shown."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.number), 5) as plain,
            context.wrap_socket(plain) as secured,
        ):
            shown = secured.getpeercert(binary_form=True)
            assert shown is not None
            return shown


async def pong(url: str, tls: ssl.SSLContext | None, origin: str = "") -> None:
    async with connect(url, ssl=tls, origin=Origin(origin) if origin else None) as page:
        await page.send(PING)
        assert protocol.decode_answer(await page.recv()) == protocol.Pong()


def test_https_and_wss_with_the_configured_certificate(tmp_path: Path) -> None:
    async def story() -> None:
        one = Port(tmp_path)
        tls = one.certify()
        await one.port.open()
        own = f"127.0.0.1:{one.number}"
        try:
            async with httpx.AsyncClient(verify=tls) as client:
                page = await client.get(f"https://{own}/")
                assert f"wss://{own}" in page.headers["content-security-policy"]
                assert f'data-servers="https://{own}"' in page.text
            await pong(f"wss://{own}/chat", tls, f"https://{own}")
            with pytest.raises(InvalidStatus):  # a page that was changed on its way here
                await pong(f"wss://{own}/chat", tls, f"http://{own}")
            async with httpx.AsyncClient() as client:
                with pytest.raises(httpx.HTTPError):
                    await client.get(f"http://{own}/")
                with pytest.raises(httpx.ConnectError):  # the authority is the test's own
                    await client.get(f"https://{own}/")
        finally:
            await one.port.close("the test is over")
        assert not one.is_open()

    asyncio.run(story())


def test_a_renewed_certificate_is_used_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    async def story() -> None:
        one = Port(tmp_path)
        one.certify()
        await one.port.open()
        certificate = one.port._certificate
        assert certificate is not None
        try:
            first = await asyncio.to_thread(one.serial)
            (tmp_path / "public.pem").write_text("no certificate")
            certificate.renew(1_000.0)
            assert await asyncio.to_thread(one.serial) == first
            one.certify()
            certificate.renew(1_000.0 + LOOK_SECONDS / 2)  # not looked at yet
            assert await asyncio.to_thread(one.serial) == first
            certificate.renew(1_000.0 + LOOK_SECONDS)
            assert await asyncio.to_thread(one.serial) != first
        finally:
            await one.port.close("the test is over")

    asyncio.run(story())


def test_a_network_needs_protection_and_changed_options_open_the_port_anew(tmp_path: Path) -> None:
    async def story() -> None:
        one = Port(tmp_path, host="0.0.0.0")
        await one.port.open()
        assert not one.is_open()
        assert one.port.refused.startswith("Without TLS the customers' port must not listen on 0.0.0.0.")
        assert "behind-tls-proxy" in one.port.refused
        one.wanted = Protection("missing.pem", "missing.key")
        await one.port.open()
        assert not one.is_open()
        assert "missing.pem" in one.port.refused
        try:
            one.wanted = Protection(proxied=True)
            await one.port.open()
            assert one.port.refused == ""
            await pong(f"ws://127.0.0.1:{one.number}/chat", None, f"https://127.0.0.1:{one.number}")
            await one.port.follow()
            assert one.is_open()
            tls = one.certify()
            await one.port.follow()
            assert not one.is_open()
            await one.port.open()
            await pong(f"wss://127.0.0.1:{one.number}/chat", tls)
        finally:
            await one.port.close("the test is over")

    asyncio.run(story())


def test_an_encrypted_key_is_refused_not_asked_for(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    async def story() -> None:
        one = Port(tmp_path)
        one.certify()
        path = tmp_path / "public.key"
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
        path.write_bytes(key.private_bytes(*form, serialization.BestAvailableEncryption(b"secret")))
        await one.port.open()
        assert not one.is_open()
        assert "without a password" in one.port.refused

    asyncio.run(story())


def start(number: int) -> str:
    session = f"{number:024d}"
    message = protocol.Start(
        session=session, secret="s" * 24, queue="chat.support", email=f"c{number}@example.org"
    )
    return protocol.encode(message)


@pytest.mark.postgres
def test_starts_from_one_address_are_limited_over_tls(tmp_path: Path, database: Database) -> None:
    options = {
        "public-certificate": str(tmp_path / "public" / "shop.pem"),
        "public-key": str(tmp_path / "public" / "shop.key"),
        "max-starts-per-minute": "20",
    }
    rig = Rig(tmp_path, database.dsn, chat_options=options)
    issue(tmp_path / "authority", "shop", "web", ["127.0.0.1"], into=tmp_path / "public")
    tls = ssl.create_default_context(cafile=str(tmp_path / "public" / "ca.pem"))

    async def begin(number: int, forwarded: str = "") -> protocol.ToCustomer:
        url = f"wss://127.0.0.1:{rig.http['Chat_A_1']}/chat"
        async with connect(url, ssl=tls, additional_headers={"X-Forwarded-For": forwarded}) as page:
            await page.send(start(number))
            return protocol.decode_answer(await page.recv())

    async def story() -> None:
        async with running(rig, "UCS_A_1", "Ixn_A_1", "Chat_A_1"):
            await rig.ready("Chat_A_1")
            answers = await asyncio.gather(*(begin(number, f"192.0.2.{number}") for number in range(24)))
            refused = [answer for answer in answers if isinstance(answer, protocol.Error)]
            # A token comes back every 3 s; nobody is believed who only says where he comes from.
            assert 1 <= len(refused) <= 4
            assert {error.code for error in refused} == {"chat.too_many_starts"}
            assert all(error.retryable and 1 <= error.retry_after <= 3 for error in refused)
            done = next(n for n, answer in enumerate(answers) if isinstance(answer, protocol.Started))
            assert isinstance(await begin(done), protocol.Started)  # finding one's chat again is no start
            late = 100
            while isinstance(again := await begin(late), protocol.Started):  # a slow machine got some back
                late += 1
                assert late < 150
            assert isinstance(again, protocol.Error)
            await asyncio.sleep(again.retry_after)  # what a client that obeys does
            assert isinstance(await begin(late), protocol.Started)
            rows = await rig.rows("select count(*) as many from chat_session")
            assert rows[0]["many"] == 24 - len(refused) + late - 99

    asyncio.run(story())


@pytest.mark.postgres
def test_a_proxy_before_the_port_says_where_customers_come_from(tmp_path: Path, database: Database) -> None:
    options = {"behind-tls-proxy": "true", "max-starts-per-minute": "1"}
    rig = Rig(tmp_path, database.dsn, chat_options=options)

    async def begin(number: int, forwarded: str) -> protocol.ToCustomer:
        url = f"ws://127.0.0.1:{rig.http['Chat_A_1']}/chat"
        async with connect(url, additional_headers={"X-Forwarded-For": forwarded}) as page:
            await page.send(start(number))
            return protocol.decode_answer(await page.recv())

    async def story() -> None:
        async with running(rig, "UCS_A_1", "Ixn_A_1", "Chat_A_1"):
            await rig.ready("Chat_A_1")
            assert isinstance(await begin(1, "192.0.2.1"), protocol.Started)
            assert isinstance(await begin(2, "192.0.2.2"), protocol.Started)
            assert isinstance(await begin(3, "192.0.2.3, 192.0.2.2"), protocol.Error)
            server = f"http://127.0.0.1:{rig.http['Chat_A_1']}"
            ada = Customer([server], queue="chat.support", name="Ada", email="ada@example.org", text="Hello")
            await ada.open()  # without the header: the proxy's own address
            await ada.until(lambda c: c.started)
            await ada.close()

    asyncio.run(story())


@pytest.mark.postgres
def test_an_exposed_chat_server_serves_agents_only_and_says_why(tmp_path: Path, database: Database) -> None:
    rig = Rig(tmp_path, database.dsn, address="0.0.0.0")
    lines = tmp_path / "log" / "Chat_A_1.log"

    async def story() -> None:
        async with running(rig, "UCS_A_1", "Ixn_A_1", "Chat_A_1"):
            await rig.listening(rig.ports["Chat_A_1"])
            await eventually(lambda: lines.exists() and "chat.customers_refused" in lines.read_text())
            agent = await rig.agent("Chat_A_1", "agent01")
            await agent.close()
            with pytest.raises(OSError, match=r"refused|failed"):
                await asyncio.open_connection("127.0.0.1", rig.http["Chat_A_1"])
            said = [line for line in lines.read_text().splitlines() if "customers_refused" in line]
            assert len(said) == 1
            assert "Without TLS the customers' port must not listen on 0.0.0.0." in said[0]
            assert "behind-tls-proxy" in said[0]

    asyncio.run(story())
