"""A customer's browser and an agent's browser, while any process dies and the site is switched under them.

Whole sites, real PostgreSQL, the real pages. Nothing is reloaded (a marker in each page proves it), nothing typed is
lost, each message is shown once and in order on both sides. Screenshots are kept in ``artifacts/``.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from stayline.lab.layout import SHOP_PORT, WORKSPACE_PORT, Layout, read_layout
from stayline.link.messages.control import CentreStatus, Process

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"
STAYLINE = Path(sys.executable).with_name("stayline")
READY_SECONDS = 90.0

pytestmark = [pytest.mark.browser, pytest.mark.drill, pytest.mark.timeout(600)]


class Lab:
    """``stayline lab up`` as a user starts it."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.output = folder / "lab.txt"
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [STAYLINE, "lab", "up", "--state", str(self.state)], stdout=out, stderr=subprocess.STDOUT
            )
        self.until(lambda: "Ready after" in self.said(), READY_SECONDS, "the lab to be ready")
        self.layout: Layout = read_layout(self.state)

    def said(self) -> str:
        """Everything it printed."""
        return self.output.read_text(errors="replace")

    def until(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, (
                f"the lab ended while waiting for {what}: {self.said()[-2000:]}"
            )
            assert time.monotonic() < deadline, f"waited {timeout} s for {what}: {self.said()[-2000:]}"
            time.sleep(0.1)

    def address(self, port_id: str) -> str:
        """Of the Workspace's pages or the customer page."""
        return f"http://127.0.0.1:{self.layout.lab_port(port_id)}"

    def site(self, *arguments: str) -> str:
        """``stayline site ...``; must succeed."""
        done = subprocess.run(
            [STAYLINE, "site", *arguments, "--state", str(self.state)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def servers(self) -> list[Process]:
        """Every server of both sites."""
        status = msgspec.json.decode(self.site("status", "--json"), type=CentreStatus)
        return [one for site in status.sites if site.host is not None for one in site.host.processes]

    def kill(self, application: str) -> None:
        """SIGKILL a server."""
        pid = next(one.pid for one in self.servers() if one.application == application)
        assert pid > 0, f"{application} does not run"
        os.kill(pid, signal.SIGKILL)

    def primary(self, app_type: str) -> Process:
        """The primary of a pair."""
        return next(
            one
            for one in self.servers()
            if one.app_type == app_type and one.report is not None and one.report.role == "primary"
        )

    def stop(self) -> None:
        """Ctrl-C; it must leave no process."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two sites."""
    running = Lab(tmp_path_factory.mktemp("lab"))
    try:
        yield running
    finally:
        running.stop()


class Talk:
    """A customer and an agent in their pages; what each said, in order."""

    def __init__(self, agent: Page, customer: Page) -> None:
        self.agent = agent
        self.customer = customer
        self.said: list[str] = []

    def customer_says(self, text: str) -> None:
        """Type and send in the widget."""
        box = self.customer.get_by_label("Message", exact=True)
        box.fill(text)
        box.press("Enter")
        self.said.append(text)

    def agent_says(self, text: str) -> None:
        """Type and send in the Workspace."""
        box = self.agent.locator("textarea[id^=reply-]")
        box.fill(text)
        box.press("Enter")
        self.said.append(text)

    def both_see_everything(self) -> None:
        """Every message once, in order, on both sides; and neither page was reloaded."""
        agent_log = self.agent.locator(".log .message-text")
        expect(agent_log).to_have_text(self.said, timeout=20_000)
        customer_log = self.customer.get_by_role("log").locator(".text")
        expect(customer_log).to_have_text(self.said, timeout=20_000)
        for page in (self.agent, self.customer):
            assert page.evaluate("window.neverReloaded") is True, "the page was reloaded"

    def exchange(self, what: str) -> None:
        """One message each way."""
        self.customer_says(f"customer {what}")
        expect(self.agent.locator(".log")).to_contain_text(f"customer {what}", timeout=20_000)
        self.agent_says(f"agent {what}")
        self.both_see_everything()


def shot(page: Page, name: str) -> None:
    """Keep a screenshot."""
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png")


@pytest.fixture(scope="module")
def talk(lab: Lab, chromium: Browser) -> Iterator[Talk]:
    """agent01 and a customer in a chat."""
    agent = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
    agent.goto(lab.address(WORKSPACE_PORT))
    agent.fill("#user", "agent01")
    agent.fill("#password", "stayline")
    agent.click("#login-button")
    agent.wait_for_url("**/desk")
    agent.click("#status-button")
    agent.click("#status-ready")
    expect(agent.locator("#status-button")).to_contain_text("Ready")
    customer = chromium.new_context(viewport={"width": 1000, "height": 800}).new_page()
    customer.goto(lab.address(SHOP_PORT))
    customer.get_by_role("button", name=re.compile("Chat with us")).click()
    customer.get_by_label("Your name").fill("Mia Customer")
    customer.get_by_label("E-mail").fill("mia@example.org")
    customer.get_by_label("Subject").fill("A pole does not fit")
    customer.get_by_label("How can we help?").fill("Hello, is anybody there?")
    customer.get_by_role("button", name="Start chat").click()
    agent.locator("[id^=accept-]").click(timeout=20_000)
    for page in (agent, customer):
        page.evaluate("window.neverReloaded = true")
    found = Talk(agent, customer)
    found.said.append("Hello, is anybody there?")
    yield found
    agent.context.close()
    customer.context.close()


def test_a_chat_is_offered_accepted_and_goes_both_ways(talk: Talk) -> None:
    talk.exchange("first")
    shot(talk.agent, "desk-chatting")
    shot(talk.customer, "customer-chatting")


@pytest.mark.parametrize(
    "app_type", ["Interaction Server", "Contact Server"], ids=["interaction-primary", "contact-primary"]
)
def test_a_killed_primary_is_not_noticed_in_the_talk(lab: Lab, talk: Talk, app_type: str) -> None:
    lab.kill(lab.primary(app_type).application)
    talk.exchange(f"after the {app_type} primary was killed")


@pytest.mark.parametrize("kind", ["IxnProxy", "UCS_Proxy", "Chat"])
def test_a_killed_server_of_the_pool_is_replaced_by_another(lab: Lab, talk: Talk, kind: str) -> None:
    status = talk.agent.locator("#frag-status")
    named = re.search(rf"{kind}_[AB]_\d", status.inner_text())
    assert named is not None
    lab.kill(named[0])
    talk.exchange(f"after {named[0]} was killed")
    expect(status).to_contain_text(re.compile(rf"{kind}_[AB]_\d"))


@pytest.mark.parametrize("application", ["Config_A", "SCS_A"])
def test_the_management_tier_may_die_too(lab: Lab, talk: Talk, application: str) -> None:
    lab.kill(application)
    talk.exchange(f"after {application} was killed")


def test_what_is_typed_survives_a_switch_of_the_site_and_back(lab: Lab, talk: Talk) -> None:
    talk.agent.locator("textarea[id^=reply-]").fill("typed before the switch")
    lab.site("switch", "Site_B", "--planned", "--reason", "browser test")
    status = talk.agent.locator("#frag-status")
    expect(status).to_contain_text("IxnProxy_B_", timeout=20_000)
    expect(talk.agent.locator("textarea[id^=reply-]")).to_have_value("typed before the switch")
    talk.exchange("at Site_B")
    shot(talk.agent, "desk-at-site-b")
    lab.site("switch", "Site_A", "--planned", "--reason", "browser test, back")
    expect(status).to_contain_text("IxnProxy_A_", timeout=20_000)
    talk.exchange("back at Site_A")


def test_the_customer_reloads_and_goes_on(talk: Talk) -> None:
    talk.customer.reload()
    talk.customer.evaluate("window.neverReloaded = true")
    talk.both_see_everything()
    talk.exchange("after a reload of the customer's page")


def test_restricted_mode_says_what_is_limited_and_sending_goes_on(lab: Lab, talk: Talk) -> None:
    """Both Interaction Servers are frozen: their link is silent, the Chat Server lives."""
    frozen = [one.pid for one in lab.servers() if one.app_type == "Interaction Server" and one.pid]
    assert len(frozen) == 2
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        banner = talk.agent.locator("#frag-banner")
        expect(banner).to_contain_text(re.compile("since", re.IGNORECASE), timeout=20_000)
        talk.exchange("while the Interaction Server is frozen")
        expect(talk.agent.locator("#act-transfer")).to_have_attribute("aria-disabled", "true")
        shot(talk.agent, "desk-restricted")
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    expect(talk.agent.locator("#act-transfer")).not_to_have_attribute("aria-disabled", "true", timeout=30_000)
    talk.exchange("after it thawed")


def test_the_chat_is_ended_and_marked_done(talk: Talk) -> None:
    talk.agent.locator("#act-end").click()
    done = talk.agent.locator("#act-done")
    expect(done).not_to_have_attribute("aria-disabled", "true", timeout=20_000)
    done.click()
    expect(talk.agent.locator("[id^=row-]")).to_have_count(0, timeout=20_000)
