"""What the connection logic tells agents fits its page: waits with their end, a site nobody serves, an old copy of the
configuration, a server that is being emptied."""

import re
import time

import msgspec
import pytest
from playwright.sync_api import Page, expect

from stayline.workspace.banner import banner_of
from stayline.workspace.view import LinksView, LinkView, Phase
from tests.browser import sample_desk
from tests.browser.fake_engine import FakeEngine, links
from tests.browser.page_server import PageServer
from tests.browser.test_page_access import check

pytestmark = pytest.mark.browser

HOUR = 3600.0
MOVES = re.compile(r"moves to another server: .*maintenance.*\(moves at \d\d:\d\d:\d\d\)")


def shown(engine: FakeEngine, phase: Phase, found: LinksView) -> None:
    """The desk with these links, and the banner that the engine would make of them."""
    banner = banner_of(phase, found, engine.view.interactions, since=time.time() - 65, over="", trying="")
    engine.show(phase=phase, links=found, banner=banner)


def with_old_configuration(found: LinksView) -> LinksView:
    """No Configuration Server answers; what is used is two hours old."""
    now = time.time()
    why = "none of Config_A, Config_B answers: Config_A did not take the connection within 5 s"
    config = LinkView(
        name="Configuration Server", up=False, why=why, next_attempt_at=now + 3, since=now - 700, attempts=40
    )
    return msgspec.structs.replace(found, config=msgspec.structs.replace(config, as_of=now - 2 * HOUR))


def all_links(found: LinksView, **changes: object) -> LinksView:
    """All pooled links and the one to a Stat Server like this."""
    statistics = LinkView(name="Stat Server", up=True, application="Stat_Server_A_1", site="Site_A")
    return msgspec.structs.replace(
        found,
        interaction=msgspec.structs.replace(found.interaction, **changes),
        contact=msgspec.structs.replace(found.contact, **changes),
        chats=[msgspec.structs.replace(chat, **changes) for chat in found.chats],
        statistics=statistics,
    )


def in_sight(page: Page) -> None:
    """Banner and status bar are whole at 1280 x 800, and do not lie over each other or over the desk."""
    page.set_viewport_size({"width": 1280, "height": 800})
    bar, banner = page.locator("#frag-status").bounding_box(), page.locator("#frag-banner").bounding_box()
    assert bar is not None
    assert bar["y"] + bar["height"] <= 800
    assert bar["height"] < 80, "the status bar takes the room of the desk"
    assert banner is None or banner["height"] < 140, "the banner takes the room of the desk"
    for part in ("#frag-status", "#frag-banner"):
        fits = f"(e => e.scrollWidth <= e.clientWidth)(document.querySelector('{part}'))"
        assert page.evaluate(fits), f"{part} is cut off"
    # What is said in the status bar is not pushed out of it.
    outside = page.evaluate(
        "[...document.querySelectorAll('#frag-status .link > span:not(.for-readers)')].filter("
        "e => { const r = e.getBoundingClientRect(); return r.width && (r.right > innerWidth || r.left < 0) }"
        ").map(e => e.textContent)"
    )
    assert outside == []


def test_waits_say_until_when(page: Page, server: PageServer, desk: FakeEngine) -> None:
    server.do(lambda: sample_desk.fill(desk))
    held = {
        "up": False,
        "application": "IxnProxy_Site_A_number_3",
        "why": "4711 others are let in first",
        "held_until": time.time() + 75,
        "since": time.time() - 65,
    }
    found = with_old_configuration(all_links(links(), **held))
    server.do(lambda: shown(desk, Phase.RESTRICTED, found))
    expect(page.locator("#frag-banner")).to_contain_text("Its turn comes in 1:1")
    expect(page.locator("#frag-status")).to_contain_text("waits for its turn until")
    expect(page.locator("#frag-status")).to_contain_text("2:00:0")
    in_sight(page)
    check(page, "waiting")


def test_a_site_that_nobody_serves_is_said(page: Page, server: PageServer, desk: FakeEngine) -> None:
    why = (
        "No cluster carries site 'Site_C'; connected clusters: Application_Cluster_of_Site_A (Site_A), "
        "Application_Cluster_of_Site_B (Site_B)."
    )
    blocked = {"up": False, "application": "", "site": "", "why": why, "fix": "Set the option to 'Site_A'."}
    found = with_old_configuration(all_links(links(), **blocked, since=time.time() - 65))
    server.do(lambda: desk.show(site="Site_C"))
    server.do(lambda: shown(desk, Phase.RESTRICTED, found))
    expect(page.locator("#frag-banner")).to_contain_text("as soon as the configuration allows it")
    expect(page.locator("#frag-banner .banner-text")).to_have_attribute("title", f"{why} {blocked['fix']}")
    expect(page.locator("#frag-status .link-site")).to_contain_text("Site_C (not connected)")
    in_sight(page)
    check(page, "no-site")


def test_a_search_says_when_it_goes_on(page: Page, server: PageServer, desk: FakeEngine) -> None:
    blocked = {"up": False, "application": "", "site": "", "why": "None of the clusters answers."}
    searching = all_links(links(), **blocked, searching=True)
    server.do(lambda: shown(desk, Phase.CONNECTING, searching))
    expect(page.locator("#frag-banner")).to_contain_text("being looked for")
    waiting = all_links(links(), **blocked, next_attempt_at=time.time() + 9)
    server.do(lambda: shown(desk, Phase.CONNECTING, waiting))
    expect(page.locator("#frag-banner")).to_contain_text("Next attempt in 0:0")
    in_sight(page)


def test_a_server_that_is_emptied_is_named_in_its_tip(
    page: Page, server: PageServer, desk: FakeEngine
) -> None:
    found = all_links(links(), leaving_at=time.time() + 20, why="IxnProxy_A_2 leaves: maintenance")
    server.do(lambda: shown(desk, Phase.READY, found))
    link = page.locator("#frag-status .link", has_text="IxnProxy_A_2").first
    expect(link).to_have_attribute("title", MOVES)
    expect(page.locator("#frag-banner .banner")).to_have_count(0)
    in_sight(page)
