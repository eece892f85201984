"""The widget in the system's Chromium, on real Chat Servers."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from stayline.link.messages import chat
from tests.browser.chromium import SWITCHES, executable
from tests.integration.conftest import Database
from tests.integration.servers.chat.rig import Rig, running

pytestmark = [pytest.mark.postgres, pytest.mark.browser]

EVIL = '<img src=x onerror="document.title=1"><b>bold</b>'


async def begin(page: Page, text: str) -> None:
    await page.get_by_role("button", name="Chat with us").click()
    await page.get_by_label("Your name").fill("Ada Byron")
    await page.get_by_label("E-mail").fill("ada@example.org")
    await page.get_by_label("How can we help?").fill(text)
    await page.get_by_role("button", name="Start chat").click()


async def say(page: Page, text: str) -> None:
    await page.get_by_role("textbox", name="Message").fill(text)
    await page.get_by_role("button", name="Send", exact=True).click()


async def shown(page: Page) -> list[str]:
    return await page.locator("#stayline-chat .log .text").all_text_contents()


def serving(rig: Rig, sockets: list[str]) -> str:
    port = int(sockets[-1].split(":")[2].split("/")[0])
    return next(name for name, number in rig.http.items() if number == port)


async def tell(rig: Rig, page: Page, sockets: list[str]) -> None:
    """The whole story of one customer."""
    log = page.get_by_role("log")
    await expect(log.get_by_text(EVIL)).to_be_visible(timeout=20_000)
    await expect(page.get_by_role("status")).to_contain_text("in the queue")
    [row] = await rig.rows("select session from chat_session")
    session = row["session"]
    # An agent at the server that the customer is not at.
    other = next(name for name in rig.http if name != serving(rig, sockets))
    agent = await rig.agent(other, "agent01")
    join = chat.Join(session=session, grant=rig.grant(session, "agent01"))
    await agent.request("chat.join", join, chat.Joined)
    await expect(page.get_by_role("heading", name="Chat with Agent01")).to_be_visible()
    await agent.request("chat.send", chat.Send(session=session, id="a1", text=EVIL + "!"), chat.Sent)
    await expect(log.get_by_text(EVIL + "!")).to_be_visible()
    agent.event("chat.typing", chat.Typing(session=session))
    await expect(page.get_by_text("Agent01 is typing")).to_be_visible()
    await say(page, "before the kill")
    await expect(log.get_by_text("Sent")).to_have_count(2)
    # Its server dies; what is typed meanwhile is kept.
    killed = serving(rig, sockets)
    rig.kill(killed)
    await say(page, "during the kill")
    await expect(page.locator("[data-state=sending]")).to_have_count(0, timeout=15_000)
    assert await shown(page) == [EVIL, EVIL + "!", "before the kill", "during the kill"]
    rig.start(killed)  # the page itself may have come from there
    await rig.ready(killed)
    # Nothing is lost or doubled by a reload, and the panel is open as before.
    await page.reload()
    await expect(log.get_by_text("during the kill")).to_be_visible(timeout=15_000)
    assert await shown(page) == [EVIL, EVIL + "!", "before the kill", "during the kill"]
    await page.screenshot(path=str(rig.base / "widget-chat.png"))
    assert await page.title() == "Lantern & Lark, outdoor things"
    assert await page.locator("#stayline-chat .log img, #stayline-chat .log b").count() == 0
    await agent.request("chat.end", chat.End(session=session), chat.Sent)
    await expect(log.get_by_text("Agent01 ended the chat")).to_be_visible()
    await expect(page.get_by_role("button", name="Start a new chat")).to_be_visible()
    await agent.close()


def test_a_customer_in_a_browser(tmp_path: Path, database: Database) -> None:
    path = executable()
    rig = Rig(tmp_path, database.dsn)

    async def story() -> None:
        async with (
            running(rig, "UCS_A_1", "Ixn_A_1", "Chat_A_1", "Chat_A_2"),
            async_playwright() as playwright,
        ):
            await rig.ready("Chat_A_1", "Chat_A_2")
            browser = await playwright.chromium.launch(executable_path=path, args=SWITCHES)
            page = await browser.new_page()
            errors: list[str] = []
            sockets: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("websocket", lambda socket: sockets.append(socket.url))
            try:
                await page.goto(rig.web[1])
                # A form that is not filled in is said in words, at the field.
                await page.get_by_role("button", name="Chat with us").click()
                await page.get_by_role("button", name="Start chat").click()
                await expect(page.get_by_role("alert")).to_have_text("Please give your name.")
                await page.screenshot(path=str(rig.base / "widget-form.png"))
                await page.keyboard.press("Escape")
                await begin(page, EVIL)
                await tell(rig, page, sockets)
            finally:
                await page.emulate_media(color_scheme="dark")
                await page.screenshot(path=str(rig.base / "widget-over.png"))
                await browser.close()
            assert errors == []

    asyncio.run(story())
