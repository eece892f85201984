"""A browser for the session; a Workspace page on a fake engine for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import launched
from tests.browser.fake_engine import FakeEngine
from tests.browser.page_server import PageServer


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The system's Chromium. Not for the whole session: its driver keeps an event loop running, and tests of other
    rooms run their own."""
    with launched() as browser:
        yield browser


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    """A Workspace process on fake engines."""
    running = PageServer(tmp_path).start()
    yield running
    running.stop()


@pytest.fixture
def page(chromium: Browser, server: PageServer) -> Iterator[Page]:
    """A page at the login form. A script error or an outside request fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    wrong: list[str] = []
    opened = context.new_page()
    opened.on("pageerror", lambda error: wrong.append(f"script error: {error}"))
    opened.on(
        "console", lambda line: wrong.append(line.text) if "Content Security Policy" in line.text else None
    )
    opened.on(
        "request",
        lambda asked: (
            None if asked.url.startswith("http://127.0.0.1:") else wrong.append(f"outside: {asked.url}")
        ),
    )
    opened.set_default_timeout(10_000)
    opened.goto(server.address)
    yield opened
    context.close()
    assert wrong == []


@pytest.fixture
def desk(page: Page, server: PageServer) -> FakeEngine:
    """The page, logged in as agent01, and the engine behind it."""
    page.fill("#user", "agent01")
    page.fill("#password", "stayline")
    page.click("#login-button")
    page.wait_for_url("**/desk")
    engine = server.engines["agent01"]
    expect(page.locator("body")).to_have_attribute("data-stream", "up")
    return engine
