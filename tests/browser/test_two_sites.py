"""A customer and an agent in two browsers, over two real sites, while one thing after the other is killed.

Nothing is lost, nothing is shown twice, no page is reloaded.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.running_lab import RunningLab

pytestmark = [pytest.mark.browser, pytest.mark.drill, pytest.mark.postgres, pytest.mark.timeout(600)]

PICTURES = Path(__file__).resolve().parents[2] / "artifacts" / "two-sites"
WAIT = 30_000


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """Two sites, ready."""
    running = RunningLab(tmp_path_factory.mktemp("two-sites") / "lab")
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()


class Conversation:
    """The two pages and what was said so far."""

    def __init__(self, agent: Page, customer: Page) -> None:
        self.agent, self.customer = agent, customer
        self.said: list[str] = []
        self.pictures = 0

    def agent_says(self, text: str) -> None:
        """Through the reply box, with the keyboard."""
        box = self.agent.locator("[data-reply]")
        box.press_sequentially(text)
        expect(self.agent.locator("form[data-composer] button[type=submit]")).to_be_visible(timeout=WAIT)
        box.press("Enter")
        self.said.append(text)
        self._agree()

    def customer_says(self, text: str) -> None:
        """Through the widget; both sides show it."""
        self.customer_writes(text)
        self._agree()

    def customer_writes(self, text: str) -> None:
        """Through the widget, without waiting for the agent's side."""
        box = self.customer.get_by_label("Message", exact=True).first
        box.fill(text)
        box.press("Enter")
        self.said.append(text)

    def _agree(self) -> None:
        expect(self.agent.locator(".message-text")).to_have_text(self.said, timeout=WAIT)
        expect(self.agent.locator(".message-state")).to_have_count(0, timeout=WAIT)
        expect(self.customer.locator("#stayline-chat li .text")).to_have_text(self.said, timeout=WAIT)

    def unrestricted(self) -> None:
        """Every control of the agent works again."""
        expect(self.agent.locator("#frag-banner .banner")).to_have_count(0, timeout=WAIT)
        expect(self.agent.locator("#page-lost")).to_be_hidden(timeout=WAIT)
        expect(self.agent.locator("#act-end")).not_to_have_attribute("aria-disabled", "true", timeout=WAIT)

    def picture(self, name: str) -> None:
        """Keep a picture of both pages."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.pictures += 1
        self.agent.screenshot(path=PICTURES / f"{self.pictures:02}-{name}-agent.png")
        self.customer.screenshot(path=PICTURES / f"{self.pictures:02}-{name}-customer.png")

    def connected_to(self, place: int) -> str:
        """The application named at this place of the agent's status bar (1: Interaction Server, 2: UCS, 3: chat)."""
        return self.agent.locator("#frag-status .link").nth(place).locator("span").nth(1).inner_text()


def begin(chromium: Browser, lab: RunningLab) -> Conversation:
    """Log in, be ready, start a chat as a customer, accept it."""
    agent = chromium.new_page(viewport={"width": 1280, "height": 800})
    customer = chromium.new_page(viewport={"width": 1000, "height": 800})
    agent.goto(lab.agents)
    agent.fill("#user", "agent01")
    agent.fill("#password", "stayline")
    agent.click("#login-button")
    agent.wait_for_url("**/desk")
    agent.click("#status-button")
    agent.click("#status-ready")
    expect(agent.locator("#status-button")).to_contain_text("Ready")
    customer.goto(lab.customers)
    customer.get_by_role("button", name="Chat with us").click()
    customer.get_by_label("Your name").fill("Hanna Berg")
    customer.get_by_label("E-mail").fill("hanna@example.org")
    customer.get_by_label("How can we help?").fill("My tent has a hole")
    customer.get_by_role("button", name="Start chat").click()
    agent.get_by_role("button", name="Accept").click(timeout=WAIT)
    for page in (agent, customer):
        page.evaluate("window.neverReloaded = true")
    talk = Conversation(agent, customer)
    talk.said.append("My tent has a hole")
    return talk


@pytest.fixture(scope="module")
def talk(chromium: Browser, lab: RunningLab) -> Iterator[Conversation]:
    """A chat that all tests of this module go on with; at the end neither page has ever been reloaded."""
    conversation = begin(chromium, lab)
    yield conversation
    conversation.agent.close()
    conversation.customer.close()


def goes_on(talk: Conversation, after: str) -> None:
    """A message each way, and every control works."""
    talk.customer_says(f"customer after {after}")
    talk.agent_says(f"agent after {after}")
    talk.unrestricted()
    for page in (talk.agent, talk.customer):
        assert page.evaluate("window.neverReloaded") is True, "a page was reloaded"


def test_a_chat_is_accepted_and_goes_both_ways(talk: Conversation) -> None:
    talk.agent_says("Hello Hanna, which tent is it?")
    talk.customer_says("The Lark 2.")
    talk.picture("chatting")


@pytest.mark.parametrize("place", [1, 2, 3], ids=["interaction-proxy", "ucs-proxy", "chat-server"])
def test_the_server_that_the_status_bar_names_is_killed(
    lab: RunningLab, talk: Conversation, place: int
) -> None:
    victim = talk.connected_to(place)
    lab.kill(victim)
    goes_on(talk, victim)


@pytest.mark.parametrize("pair", ["Ixn_A", "UCS_A"])
def test_a_primary_of_the_core_is_killed(lab: RunningLab, talk: Conversation, pair: str) -> None:
    victim = lab.primary(pair)
    lab.kill(victim)
    goes_on(talk, victim)


@pytest.mark.parametrize("victim", ["Config_A", "SCS_A"])
def test_a_server_of_the_management_is_killed(lab: RunningLab, talk: Conversation, victim: str) -> None:
    lab.kill(victim)
    goes_on(talk, victim)


@pytest.mark.parametrize("site", ["Site_B", "Site_A"], ids=["replica", "primary"])
def test_a_database_is_killed(lab: RunningLab, talk: Conversation, site: str) -> None:
    lab.kill_database(site)
    goes_on(talk, f"the database of {site}")


def test_a_host_agent_is_killed_and_its_servers_live_on(lab: RunningLab, talk: Conversation) -> None:
    before = lab.pid("Ixn_A_1")
    lab.kill_host("host_a")
    goes_on(talk, "host_a")
    assert lab.pid("Ixn_A_1") == before


@pytest.mark.parametrize("site", ["Site_B", "Site_A"])
def test_the_site_is_switched_and_what_is_typed_stays(lab: RunningLab, talk: Conversation, site: str) -> None:
    lab.wait_streaming()
    talk.agent.locator("[data-reply]").press_sequentially(f"typed before {site} ")
    lab.operator("site", "switch", site, "--planned", "--reason", "a test")
    expect(talk.agent.locator("#frag-status .link-site")).to_contain_text(site, timeout=WAIT)
    talk.unrestricted()
    expect(talk.agent.locator("[data-reply]")).to_have_value(f"typed before {site} ")
    talk.agent.locator("[data-reply]").fill("")
    goes_on(talk, f"the switch to {site}")
    talk.picture(f"at-{site}")


def test_the_customer_reloads_the_page(talk: Conversation) -> None:
    talk.customer.reload()
    talk.customer.evaluate("window.neverReloaded = true")
    goes_on(talk, "a reload of the customer's page")


def test_restricted_mode_says_what_is_limited_and_sending_goes_on(
    lab: RunningLab, talk: Conversation
) -> None:
    """Both Interaction Servers are frozen: their link is silent, the Chat Server lives."""
    frozen = [lab.pid(name) for name in ("Ixn_A_1", "Ixn_A_2")]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        expect(talk.agent.locator("#frag-banner")).to_contain_text("since", timeout=WAIT)
        expect(talk.agent.locator("#act-transfer")).to_have_attribute("aria-disabled", "true", timeout=WAIT)
        talk.customer_says("customer while the Interaction Server is frozen")
        talk.agent_says("agent while the Interaction Server is frozen")
        talk.picture("restricted")
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    goes_on(talk, "the thaw")


def test_the_workspace_process_is_killed_and_the_page_comes_back(lab: RunningLab, talk: Conversation) -> None:
    talk.agent.locator("[data-reply]").press_sequentially("typed before ")
    lab.kill_workspace()
    talk.agent.locator("[data-reply]").press_sequentially("and after the kill")
    expect(talk.agent.locator("#page-lost")).to_be_visible(timeout=WAIT)
    talk.picture("workspace-killed")
    talk.customer_writes("customer while the Workspace is away")
    talk.unrestricted()
    expect(talk.agent.locator("[data-reply]")).to_have_value("typed before and after the kill")
    talk.agent.locator("[data-reply]").fill("")
    goes_on(talk, "the Workspace process")


def test_the_chat_is_ended_and_marked_done(talk: Conversation) -> None:
    talk.agent.click("#act-end")
    talk.agent.click("#act-done:not([aria-disabled])", timeout=WAIT)
    expect(talk.agent.locator(".work h1")).to_have_text("Nothing open", timeout=WAIT)
