"""The page through failures of its own Workspace process: no reload, nothing typed is lost."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import sample_desk
from tests.browser.fake_engine import FakeEngine
from tests.browser.page_server import PageServer

pytestmark = pytest.mark.browser


def test_the_page_survives_a_restart_of_the_workspace_process(chromium: Browser, tmp_path: Path) -> None:
    first = PageServer(tmp_path).start()
    page = chromium.new_page(base_url=first.address)
    page.goto("/")
    page.fill("#user", "agent01")
    page.fill("#password", "stayline")
    page.click("#login-button")
    page.wait_for_url("**/desk")
    engine = first.engines["agent01"]
    two = [sample_desk.owned(), sample_desk.owned("i2", "Amara Okafor")]
    first.do(lambda: engine.show(interactions=two))
    page.click("#row-i2")
    page.locator("#reply-i2").press_sequentially("half a sen")
    page.evaluate("window.notReloaded = true")
    first.stop()
    expect(page.locator("#page-lost")).to_be_visible()
    page.keyboard.type("tence")
    page.locator("#reply-i2").press("Enter")
    expect(page.locator("#reply-i2")).to_have_value("half a sentence")

    second = PageServer(tmp_path, port=first.port, restorable=True)
    second.prepare = lambda one: one.show(interactions=two)
    second.start()
    try:
        expect(page.locator("#page-lost")).to_be_hidden()
        expect(page.locator(".head h1")).to_have_text("Amara Okafor")
        expect(page.locator("#reply-i2")).to_have_value("half a sentence")
        expect(page.locator("#reply-i2")).to_be_focused()
        page.locator("#reply-i2").press("Enter")
        expect(page.locator(".group-mine")).to_contain_text("half a sentence")
        assert page.evaluate("window.notReloaded") is True
        assert [call[2] for call in second.engines["agent01"].calls if call[0] == "send"] == [
            "half a sentence"
        ]
    finally:
        page.close()
        second.stop()


def test_a_session_that_cannot_be_restored_leads_to_the_login(chromium: Browser, tmp_path: Path) -> None:
    first = PageServer(tmp_path).start()
    page = chromium.new_page(base_url=first.address)
    page.goto("/")
    page.fill("#user", "agent01")
    page.fill("#password", "stayline")
    page.click("#login-button")
    page.wait_for_url("**/desk")
    expect(page.locator("body")).to_have_attribute("data-stream", "up")
    first.stop()
    second = PageServer(tmp_path, port=first.port, restorable=False).start()
    try:
        page.wait_for_url("**/login")
    finally:
        page.close()
        second.stop()


def test_a_page_opened_twice_shows_the_same_desk_in_both(
    page: Page, server: PageServer, desk: FakeEngine
) -> None:
    other = page.context.new_page()
    other.goto(server.address + "/desk")
    server.do(lambda: desk.put(sample_desk.owned()))
    expect(other.locator("#row-i1")).to_be_visible()
    page.click("#row-i1")
    expect(page.locator(".head h1")).to_have_text("Maria Keller")
    expect(other.locator(".work h1")).to_have_text("Nothing open")
    other.close()


def test_streams_end_with_their_pages(page: Page, server: PageServer, desk: FakeEngine) -> None:
    assert server.do(lambda: desk.watchers) == 1
    page.goto("about:blank")
    for _ in range(100):
        if server.do(lambda: desk.watchers) == 0:
            break
        page.wait_for_timeout(50)
    assert server.do(lambda: desk.watchers) == 0


def test_logging_out_with_open_chats_asks_and_gives_them_back(
    page: Page, server: PageServer, desk: FakeEngine
) -> None:
    server.do(lambda: desk.put(sample_desk.owned()))
    expect(page.locator("#row-i1")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.locator("#dialog")).to_contain_text("You still have 1 interaction open")
    page.get_by_role("button", name="Give back and log out").click()
    page.wait_for_url("**/login")
    assert ("logout", True) in desk.calls
    page.goto(server.address + "/desk")
    page.wait_for_url("**/login")


def test_login_says_what_is_wrong(page: Page, server: PageServer) -> None:
    page.click("#login-button")
    expect(page.get_by_role("alert")).to_contain_text("Enter your user name.")
    page.fill("#user", "agent01")
    page.fill("#password", "nonsense")
    page.click("#login-button")
    expect(page.get_by_role("alert")).to_contain_text("The user name or the password is wrong.")
    expect(page.locator("#user")).to_have_value("agent01")
    expect(page.locator("#password")).to_be_focused()
