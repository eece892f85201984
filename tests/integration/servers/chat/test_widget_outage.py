"""What a customer reads, and does not have to type again, when the chat cannot be reached or is gone."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.browser.chromium import SWITCHES, executable
from tests.integration.conftest import Database
from tests.integration.servers.chat.rig import Rig, running
from tests.integration.servers.chat.test_widget import begin, say

pytestmark = [pytest.mark.postgres, pytest.mark.browser]

FORGOTTEN = """sessionStorage.setItem("stayline:chat.support", JSON.stringify({open: true, chat: {
    session: "x".repeat(24), secret: "y".repeat(24), start: null, started: true,
    outbox: [{id: "m1", text: "where is my tent"}, {id: "m2", text: "and my lamp"}]}}))"""


async def a_chat_that_nobody_knows(page: Page) -> None:
    await page.evaluate(FORGOTTEN)
    await page.reload()
    await expect(page.get_by_role("alert")).to_contain_text("Your earlier chat is over", timeout=15_000)
    await expect(page.get_by_label("How can we help?")).to_have_value("where is my tent\n\nand my lamp")
    await page.keyboard.press("Escape")


async def a_long_outage(rig: Rig, page: Page) -> None:
    await begin(page, "hello")
    status = page.get_by_role("status")
    await expect(status).to_contain_text("in the queue", timeout=15_000)
    rig.kill("Chat_A_1")
    await say(page, "are you there")
    await expect(status).to_contain_text("your message is kept")
    await page.clock.fast_forward(40_000)
    await expect(status).to_contain_text("cannot be reached at the moment. Your message is kept")
    rig.start("Chat_A_1")
    await expect(status).to_contain_text("in the queue", timeout=30_000)
    await expect(page.locator("[data-state=sending]")).to_have_count(0, timeout=15_000)


def test_a_customer_in_an_outage(tmp_path: Path, database: Database) -> None:
    path = executable()
    rig = Rig(tmp_path, database.dsn)

    async def story() -> None:
        async with (
            running(rig, "UCS_A_1", "Ixn_A_1", "Chat_A_1"),
            async_playwright() as playwright,
        ):
            await rig.ready("Chat_A_1")
            browser = await playwright.chromium.launch(executable_path=path, args=SWITCHES)
            try:
                page = await browser.new_page()
                await page.clock.install()
                await page.goto(rig.web[0])
                await a_chat_that_nobody_knows(page)
                await page.evaluate("sessionStorage.clear()")
                await page.reload()
                await a_long_outage(rig, page)
            finally:
                await browser.close()

    asyncio.run(story())
