"""Accessibility of every state of the desk, checked by axe-core in both themes and at both sizes."""

import json
import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import sample_desk
from tests.browser.fake_engine import FakeEngine
from tests.browser.page_server import PageServer

pytestmark = pytest.mark.browser

AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"
PICTURES = Path(__file__).resolve().parents[2] / "artifacts" / "workspace"


def check(page: Page, state: str) -> None:
    """Keep a picture of this state in each theme and size; no violation of WCAG A or AA in any."""
    if not AXE.exists():
        reason = "axe-core is missing: run scripts/vendor_web.py"
        pytest.fail(reason) if os.environ.get("STAYLINE_REQUIRE_PEERS") else pytest.skip(reason)
    PICTURES.mkdir(parents=True, exist_ok=True)
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        for width, height in ((1280, 800), (1920, 1080)):
            page.set_viewport_size({"width": width, "height": height})
            page.screenshot(path=PICTURES / f"{state}-{width}-{theme}.png")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                "the page scrolls sideways"
            )
        # evaluate() runs outside the page's content security policy, a script tag would not.
        page.evaluate(AXE.read_text())
        only = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
        answer = page.evaluate("only => axe.run(document, only)", only)
        assert len(answer["passes"]) > 15, "the check itself did not run"
        found = answer["violations"]
        told = [(one["id"], [node["html"][:160] for node in one["nodes"]]) for one in found]
        assert told == [], f"{state} in {theme}: {json.dumps(told, indent=1)}"
    page.set_viewport_size({"width": 1280, "height": 800})


def test_login_page(page: Page) -> None:
    check(page, "login")
    page.click("#login-button")
    check(page, "login-error")


def test_empty_desk_and_offers(page: Page, server: PageServer, desk: FakeEngine) -> None:
    check(page, "empty")
    server.do(lambda: desk.put(sample_desk.offer(seconds=60)))
    server.do(lambda: desk.put(sample_desk.offer("o2", "Priscilla Vandenberghe", seconds=40, media="email")))
    expect(page.locator("#offer-o2")).to_be_visible()
    check(page, "offers")


def test_desk_at_work_restricted_and_with_dialog(page: Page, server: PageServer, desk: FakeEngine) -> None:
    server.do(lambda: desk.put(sample_desk.offer(seconds=60)))
    server.do(lambda: sample_desk.fill(desk))
    page.click("#row-i1")
    page.locator("#reply-i1").fill("Please put it in a box with the word “glass” on it.")
    check(page, "chatting")
    server.do(desk.restrict)
    expect(page.locator(".banner-warning")).to_be_visible()
    check(page, "restricted")
    server.do(desk.recover)
    server.do(lambda: desk.show(notices=[sample_desk.notice()]))
    page.click("#act-transfer:not([aria-disabled])")
    expect(page.locator("#dialog")).to_be_visible()
    check(page, "transfer")
