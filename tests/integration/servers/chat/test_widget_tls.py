"""The widget on a page that came over TLS, from an address that has started too many chats."""

import asyncio
import ssl
from pathlib import Path

import pytest
from playwright.async_api import async_playwright, expect
from websockets.asyncio.client import connect

from stayline.link.authority import issue
from stayline.servers.chat import protocol
from tests.browser.chromium import SWITCHES, executable
from tests.integration.conftest import Database
from tests.integration.servers.chat.rig import Rig, running
from tests.integration.servers.chat.test_widget import begin

pytestmark = [pytest.mark.postgres, pytest.mark.browser]

PER_MINUTE = 6


async def use_up(url: str, tls: ssl.SSLContext) -> None:
    """Start chats until no more are allowed."""
    for number in range(10 * PER_MINUTE):
        start = protocol.Start(session=f"{number:024d}", secret="s" * 24, queue="chat.support")
        async with connect(url, ssl=tls) as page:
            await page.send(protocol.encode(start))
            if isinstance(protocol.decode_answer(await page.recv()), protocol.Error):
                return
    raise AssertionError("nothing was refused")


def test_too_many_starts_are_said_in_words_and_waited_for(tmp_path: Path, database: Database) -> None:
    path = executable()
    options = {
        "public-certificate": "certificates/shop.pem",  # relative: in the site's folder
        "public-key": "certificates/shop.key",
        "max-starts-per-minute": str(PER_MINUTE),
    }
    rig = Rig(tmp_path, database.dsn, chat_options=options)
    issue(tmp_path / "authority", "shop", "web", ["127.0.0.1"], into=tmp_path / "certificates")
    tls = ssl.create_default_context(cafile=str(tmp_path / "certificates" / "ca.pem"))
    own = f"127.0.0.1:{rig.http['Chat_A_1']}"

    async def story() -> None:
        async with (
            running(rig, "UCS_A_1", "Ixn_A_1", "Chat_A_1"),
            async_playwright() as playwright,
        ):
            await rig.ready("Chat_A_1")
            browser = await playwright.chromium.launch(executable_path=path, args=SWITCHES)
            page = await browser.new_page(ignore_https_errors=True)
            sockets: list[str] = []
            page.on("websocket", lambda socket: sockets.append(socket.url))
            try:
                await page.goto(f"https://{own}/")
                await use_up(f"wss://{own}/chat", tls)
                await begin(page, "My tent leaks")
                status = page.get_by_role("status")
                await expect(status).to_contain_text("Many chats were started from your network just now")
                await expect(status).to_contain_text("Your message is kept; trying again in ")
                await expect(status).to_contain_text("in the queue", timeout=30_000)
                await expect(page.locator("[data-state=sending]")).to_have_count(0)
            finally:
                await browser.close()
            assert f"wss://{own}/chat" in sockets
            assert len(await rig.rows("select 1 from chat_session where subject = 'My tent leaks'")) == 1

    asyncio.run(story())
