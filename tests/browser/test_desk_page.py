"""The desk in a real browser: what an agent sees, and what live updates must not disturb."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from stayline.domain.errors import Refusal
from tests.browser import sample_desk
from tests.browser.fake_engine import FakeEngine
from tests.browser.page_server import PageServer

pytestmark = pytest.mark.browser


def at_work(page: Page, server: PageServer, engine: FakeEngine) -> None:
    """Maria's and Amara's chats on the desk, Maria's open."""

    def prepare() -> None:
        engine.put(sample_desk.owned())
        engine.say("i1", "Hello, my lamp is broken.")
        engine.put(sample_desk.owned("i2", "Amara Okafor", subject="Cannot log in"))
        engine.say("i2", "Are you there?")

    server.do(prepare)
    page.click("#row-i1")
    expect(page.locator("#reply-i1")).to_be_focused()


def until(page: Page, holds: Callable[[], bool]) -> None:
    """Wait for a condition that is not about an element."""
    for _ in range(200):
        if holds():
            return
        page.wait_for_timeout(25)
    assert holds()


def calls(server: PageServer, engine: FakeEngine, name: str) -> list[tuple[object, ...]]:
    """What the page asked of the engine under this name."""
    return server.do(lambda: [call for call in engine.calls if call[0] == name])


def test_an_offer_appears_counts_down_and_is_accepted(
    page: Page, server: PageServer, desk: FakeEngine
) -> None:
    server.do(lambda: desk.put(sample_desk.offer(seconds=20)))
    card = page.locator("#offer-o1")
    expect(card).to_contain_text("Jonas Weber")
    expect(page.locator("#announcer")).to_have_text(re.compile("New Chat offer from Jonas Weber"))
    expect(page).to_have_title("Offer: Jonas Weber · Stayline")
    left = card.locator("[data-until]")
    first = left.inner_text()
    expect(left).not_to_have_text(first)
    assert left.inner_text() < first
    assert float(page.locator("#bar-o1").evaluate("bar => bar.value")) < 1
    page.click("#accept-o1")
    expect(page.locator("#reply-o1")).to_be_focused()
    expect(page.locator("#frag-offers")).to_be_hidden()
    assert calls(server, desk, "accept") == [("accept", "o1")]


def test_an_offer_is_accepted_by_keyboard_alone(page: Page, server: PageServer, desk: FakeEngine) -> None:
    server.do(lambda: desk.put(sample_desk.offer()))
    expect(page.locator("#offer-o1")).to_be_visible()
    page.keyboard.press("Alt+a")
    expect(page.locator("#reply-o1")).to_be_focused()


def test_live_updates_keep_focus_caret_and_what_is_being_typed(
    page: Page, server: PageServer, desk: FakeEngine
) -> None:
    at_work(page, server, desk)
    box = page.locator("#reply-i1")
    box.press_sequentially("Please send us a foto")
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    for number in range(8):
        server.do(lambda number=number: desk.say("i1", f"line {number}"))  # type: ignore[misc]
        server.do(lambda number=number: desk.edit("i1", customer_typing=bool(number % 2)))  # type: ignore[misc]
        expect(page.locator(".log")).to_contain_text(f"line {number}")
    server.do(desk.restrict)
    expect(page.locator(".banner-warning")).to_be_visible()
    server.do(desk.recover)
    expect(page.locator(".banner-warning")).to_have_count(0)
    expect(box).to_be_focused()
    page.keyboard.type("ph")
    page.keyboard.press("Delete")
    expect(box).to_have_value("Please send us a photo")


def test_focus_on_a_row_stays_while_the_list_changes(
    page: Page, server: PageServer, desk: FakeEngine
) -> None:
    at_work(page, server, desk)
    page.locator("#row-i2").focus()
    for number in range(5):
        server.do(lambda number=number: desk.say("i2", f"news {number}"))  # type: ignore[misc]
        expect(page.locator("#row-i2")).to_contain_text(f"news {number}")
    server.do(lambda: desk.put(sample_desk.owned("i3", "Yuki Tanaka")))
    expect(page.locator("#row-i3")).to_be_visible()
    expect(page.locator("#row-i2")).to_be_focused()


def test_what_is_typed_stays_with_its_chat(page: Page, server: PageServer, desk: FakeEngine) -> None:
    at_work(page, server, desk)
    page.locator("#reply-i1").press_sequentially("for Maria")
    page.click("#row-i2")
    expect(page.locator("#reply-i2")).to_be_focused()
    expect(page.locator("#reply-i2")).to_have_value("")
    page.keyboard.type("for Amara")
    page.click("#row-i1")
    expect(page.locator("#reply-i1")).to_have_value("for Maria")
    page.keyboard.press("End")
    page.keyboard.type("!")
    page.reload()
    expect(page.locator("#reply-i1")).to_have_value("for Maria!")
    until(page, lambda: page.evaluate("sessionStorage.length") == 0)
    assert calls(server, desk, "save_draft")[-1] == ("save_draft", "i1", "for Maria!")


def test_a_message_is_sent_by_enter_and_the_box_is_empty(
    page: Page, server: PageServer, desk: FakeEngine
) -> None:
    at_work(page, server, desk)
    box = page.locator("#reply-i1")
    box.fill("One")
    box.press("Enter")
    box.press_sequentially("Two")
    box.press("Control+Enter")
    box.press_sequentially("Three")
    box.press("Shift+Enter")
    box.press_sequentially("lines")
    box.press("Enter")
    expect(page.locator(".group-mine .message-text")).to_have_text(["One", "Two", "Three\nlines"])
    expect(box).to_have_value("")
    box.press("Enter")
    assert [call[2] for call in calls(server, desk, "send")] == ["One", "Two", "Three\nlines"]


def test_a_refused_message_comes_back_into_the_box(page: Page, server: PageServer, desk: FakeEngine) -> None:
    at_work(page, server, desk)
    desk.refusals["send"] = Refusal(code="chat.ended", reason="The chat has ended meanwhile.")
    box = page.locator("#reply-i1")
    box.fill("Not to be lost")
    box.press("Enter")
    expect(page.locator("#said")).to_contain_text("The chat has ended meanwhile.")
    expect(box).to_have_value("Not to be lost")


def test_what_a_customer_types_is_text(page: Page, server: PageServer, desk: FakeEngine) -> None:
    evil = '<img src=x onerror="window.hit=1"><script>window.hit=1</script><hx-partial hx-target="body">x</hx-partial>'
    lines = "first\revent: over\rdata: session\n\nid: 7"
    server.do(lambda: desk.put(sample_desk.owned("x", evil, subject=evil)))
    server.do(lambda: desk.say("x", evil))
    server.do(lambda: desk.say("x", lines))
    server.do(lambda: desk.edit("x", properties={"OrderNumber": "\"'><b>1</b>"}, draft="</textarea><b>2</b>"))
    page.click("#row-x")
    expect(page.locator(".message-text").first).to_have_text(evil)
    expect(page.locator(".message-text").nth(1)).to_contain_text("event: over")
    expect(page.locator(".head h1")).to_have_text(evil)
    expect(page.locator("#case-x-OrderNumber")).to_have_value("\"'><b>1</b>")
    expect(page.locator("#reply-x")).to_have_value("</textarea><b>2</b>")
    assert page.evaluate("window.hit") is None
    assert page.locator(".log img, .log script, .row b").count() == 0


def test_restricted_mode_says_why_and_leaves_send_alone(
    page: Page, server: PageServer, desk: FakeEngine
) -> None:
    at_work(page, server, desk)
    server.do(lambda: desk.put(sample_desk.offer(seconds=60)))
    server.do(desk.restrict)
    banner = page.locator("#frag-banner")
    expect(banner).to_contain_text("Your Interaction Server link is away")
    expect(banner).to_contain_text("since ")
    expect(banner).to_contain_text("Trying the next proxy")
    for control in ("#act-transfer", "#act-end", "#accept-o1"):
        button = page.locator(control)
        expect(button).to_have_attribute("aria-disabled", "true")
        expect(button).to_have_attribute("title", re.compile("when the Interaction Server link is back"))
        described = button.get_attribute("aria-describedby")
        expect(page.locator(f"#{described}")).to_have_text(re.compile("Interaction Server link is back"))
        button.click(force=True)
    expect(page.locator("#case-i1-OrderNumber")).not_to_be_editable()
    expect(page.locator("#disposition-i1")).to_be_disabled()
    expect(page.locator("#frag-status")).to_contain_text("IxnProxy_A_3away since")
    page.locator("#reply-i1").fill("Still here")
    page.locator("#reply-i1").press("Enter")
    expect(page.locator(".group-mine")).to_contain_text("Still here")
    assert not [
        call for call in server.do(lambda: list(desk.calls)) if call[0] in ("transfer", "end_chat", "accept")
    ]
    server.do(desk.recover)
    expect(page.locator("#act-transfer")).not_to_have_attribute("aria-disabled", "true")
    page.click("#act-end")
    expect(page.locator("#act-done")).not_to_have_attribute("aria-disabled", "true")


def test_transfer_by_dialog_and_its_refusal(page: Page, server: PageServer, desk: FakeEngine) -> None:
    at_work(page, server, desk)
    desk.refusals["transfer"] = Refusal(code="queue.closed", reason="The queue chat.sales is closed.")
    page.click("#act-transfer")
    dialog = page.locator("#dialog")
    expect(dialog).to_be_visible()
    expect(page.locator("#transfer-queue")).to_have_value("chat.sales")
    dialog.get_by_role("button", name="Transfer").click()
    expect(dialog).to_contain_text("The queue chat.sales is closed.")
    server.do(desk.refusals.clear)
    dialog.get_by_role("button", name="Transfer").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#row-i1")).to_have_count(0)
    # Its own person moved it away: on to the next one.
    expect(page.locator(".head h1")).to_have_text("Amara Okafor")


def test_an_interaction_that_leaves_by_itself_leaves_the_page_empty(
    page: Page, server: PageServer, desk: FakeEngine
) -> None:
    at_work(page, server, desk)
    page.locator("#reply-i1").press_sequentially("in the middle of")
    server.do(lambda: desk.take_away("i1"))
    expect(page.locator(".work")).to_contain_text("This interaction is no longer on your desk.")
    page.keyboard.type(" a word")
    page.keyboard.press("Enter")
    page.click("#row-i2")
    expect(page.locator("#reply-i2")).to_have_value("")
    assert calls(server, desk, "send") == []


def test_case_contact_disposition_and_done(page: Page, server: PageServer, desk: FakeEngine) -> None:
    at_work(page, server, desk)
    expect(page.locator("#frag-history")).to_contain_text("Invoice for order 20418")
    page.fill("#case-i1-OrderNumber", "4711")
    page.keyboard.press("Tab")
    page.select_option("#disposition-i1", "solved")
    expect(page.locator("#case-i1-OrderNumber")).to_have_attribute("data-saved", "4711")
    page.fill("#contact-i1-PhoneNumber", "+41 1")
    page.keyboard.press("Enter")
    expect(page.locator("#contact-i1-PhoneNumber")).to_have_attribute("data-saved", "+41 1")
    desk.refusals["change"] = Refusal(code="case.no", reason="Not now.")
    page.fill("#case-i1-Product", "Other")
    page.keyboard.press("Tab")
    expect(page.locator("#said")).to_contain_text("Not now.")
    expect(page.locator("#case-i1-Product")).to_have_value("Desk lamp Linnea")
    server.do(desk.refusals.clear)
    expect(page.locator("#act-done")).to_have_attribute("title", "End the chat first, then mark it done.")
    page.click("#act-end")
    page.click("#act-done:not([aria-disabled])")
    expect(page.locator("#row-i1")).to_have_count(0)
    names = [call[0] for call in server.do(lambda: list(desk.calls))]
    assert names.count("done") == 1
    assert ("change", "i1", {"OrderNumber": "4711"}, (), None) in server.do(lambda: list(desk.calls))
    assert ("change", "i1", {}, (), "solved") in server.do(lambda: list(desk.calls))


def test_status_is_changed_with_a_reason(page: Page, server: PageServer, desk: FakeEngine) -> None:
    page.click("#status-button")
    page.click("text=Not ready · Lunch")
    expect(page.locator("#status-button")).to_contain_text("Not ready · Lunch")
    expect(page.locator("#status-menu")).to_be_hidden()
    assert calls(server, desk, "set_ready") == [("set_ready", False, "Lunch")]


def test_unread_messages_are_counted_until_they_are_looked_at(
    page: Page, server: PageServer, desk: FakeEngine
) -> None:
    at_work(page, server, desk)
    expect(page).to_have_title(re.compile(r"^\(1\) "))
    server.do(lambda: desk.say("i2", "Hello?"))
    expect(page).to_have_title(re.compile(r"^\(2\) "))
    page.click("#row-i2")
    expect(page).to_have_title(re.compile("^Nora"))


def test_an_action_without_answer_is_not_asked_for_again(
    page: Page, server: PageServer, desk: FakeEngine
) -> None:
    at_work(page, server, desk)
    desk.lost.add("end_chat")
    page.click("#act-end")
    expect(page.locator("#said")).to_contain_text("This is kept and repeated until it is answered.")
