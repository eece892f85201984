"""Words and figures of the page."""

from datetime import UTC, timedelta, timezone

import msgspec
import pytest

from stayline.link.messages.contact import EntryKind, Party
from stayline.link.messages.interaction import MediaState, Ownership
from stayline.workspace.view import (
    EntryState,
    EntryView,
    InteractionCard,
    LinksView,
    LinkView,
    Phase,
    WorkspaceView,
)
from stayline.workspace.web import wording

NOON = 1_795_348_800.0  # 2026-11-22 12:00:00 UTC


def entry(party: Party, at: float, text: str = "text", *, mine: bool = False) -> EntryView:
    """A line of a transcript."""
    return EntryView(
        id=f"{party}{at}",
        kind=EntryKind.MESSAGE,
        party=party,
        name=party.value,
        text=text,
        at=at,
        state=EntryState.SENT,
        mine=mine,
    )


CARD = InteractionCard(
    id="i1",
    media="chat",
    state=Ownership.OWNED,
    version=1,
    customer="Maria",
    subject="Lamp",
    queue="chat.support",
    created_at=NOON,
)


def view(
    *cards: InteractionCard, phase: Phase = Phase.READY, media: list[MediaState] | None = None
) -> WorkspaceView:
    """A desk with these cards."""
    up = LinkView(name="Interaction Server", up=True, application="IxnProxy_A_1", site="Site_A")
    return WorkspaceView(
        agent="agent01",
        display_name="Nora",
        tenant="Environment",
        place="Place_01",
        phase=phase,
        media=media if media is not None else [MediaState(media="chat", ready=True)],
        interactions=list(cards),
        links=LinksView(config=up, interaction=up, contact=up),
        banner=None,
        site="Site_A",
        epoch=1,
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0:00"),
        (0, "0:00"),
        (9.9, "0:09"),
        (75, "1:15"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (90061, "25:01:01"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert wording.duration(seconds) == words


def test_times_are_said_in_the_readers_zone() -> None:
    east = timezone(timedelta(hours=2))
    assert wording.clock_time(NOON, UTC) == "12:00"
    assert wording.clock_time(NOON, east, seconds=True) == "14:00:00"
    assert wording.day_and_time(NOON, NOON + 60, UTC) == "12:00"
    assert wording.day_and_time(NOON - 86_400, NOON, UTC) == "21 Nov, 12:00"
    assert wording.day_and_time(NOON - 366 * 86_400, NOON, UTC) == "21 Nov 2025, 12:00"


def test_a_customer_waits_from_the_first_unanswered_message() -> None:
    talk = [
        entry(Party.CUSTOMER, 1),
        entry(Party.AGENT, 2),
        entry(Party.CUSTOMER, 3),
        entry(Party.CUSTOMER, 4),
    ]
    card = msgspec.structs.replace(CARD, transcript=talk)
    assert wording.waiting_since(card) == 3
    assert wording.waiting_since(msgspec.structs.replace(card, online=False)) == 0
    answered = msgspec.structs.replace(card, transcript=[*talk, entry(Party.AGENT, 5)])
    assert wording.waiting_since(answered) == 0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, "Active"),
        ({"online": False}, "Ended"),
        ({"customer_present": False}, "Customer away"),
        ({"online": False, "customer_present": False}, "Ended"),
        ({"state": Ownership.OFFERED}, "Offered"),
        ({"busy": "transferring"}, "Transferring…"),
        ({"confirmed": False}, "Active"),
    ],
)
def test_the_state_of_an_interaction(change: dict[str, object], text: str) -> None:
    assert wording.card_chip(msgspec.structs.replace(CARD, **change)).text == text


def test_the_agents_status() -> None:
    lunch = [MediaState(media="chat", ready=False, reason="Lunch")]
    both = [MediaState(media="chat", ready=True), MediaState(media="email", ready=False)]
    assert wording.readiness(view()) == ("Ready", "good")
    assert wording.readiness(view(media=lunch)).text == "Not ready · Lunch"
    assert wording.readiness(view(media=both)).text == "Ready for Chat"
    assert wording.readiness(view(phase=Phase.CONNECTING)).tone == "warn"
    assert wording.readiness(view(phase=Phase.ENDED)).text == "Logged out"


def test_the_title_says_what_calls_for_attention_first() -> None:
    offer = msgspec.structs.replace(CARD, id="o", state=Ownership.OFFERED, customer="Jonas")
    unread = msgspec.structs.replace(CARD, unread=3)
    assert wording.page_title(view()) == "Nora · Stayline"
    assert wording.page_title(view(unread)) == "(3) Nora · Stayline"
    assert wording.page_title(view(offer, unread)) == "(3) Offer: Jonas · Stayline"
    assert wording.page_title(view(unread, phase=Phase.RESTRICTED)) == "(3) Restricted · Stayline"


def test_the_newest_offer_is_announced() -> None:
    first = msgspec.structs.replace(CARD, id="o1", state=Ownership.OFFERED)
    second = msgspec.structs.replace(first, id="o2", customer="", subject="")
    assert wording.announcement(view(first)) == "New Chat offer from Maria about Lamp, queue chat.support."
    assert wording.announcement(view(first, second)) == "New Chat offer from a customer, queue chat.support."
    assert wording.announcement(view(CARD)) == ""


def test_a_lost_link_is_said_with_its_reason() -> None:
    down = LinkView(name="Interaction Server", up=False, application="IxnProxy_A_3", why="Connection reset.")
    assert wording.link_words(down, "Interaction Server") == (
        "Interaction Server: not connected, trying IxnProxy_A_3. Connection reset."
    )
    nowhere = LinksView(config=down, interaction=down, contact=down)
    assert wording.site_words(nowhere, "Site_A") == "Site_A (not connected)"
    assert wording.site_words(nowhere, "") == "No site"


def test_a_link_that_waits_says_for_what_and_until_when() -> None:
    held = LinkView(name="Interaction Server", up=False, application="IxnProxy_B_2", held_until=50.0)
    assert wording.link_words(held, "Interaction Server") == (
        "Interaction Server: waits for its turn at IxnProxy_B_2."
    )
    assert (wording.until_words(held), held.until) == ("its turn comes at", 50.0)
    waiting = LinkView(name="Interaction Server", up=False, next_attempt_at=60.0)
    assert (wording.until_words(waiting), waiting.until) == ("next attempt at", 60.0)
    leaving = LinkView(
        name="Interaction Server", up=True, application="IxnProxy_A_1", leaving_at=70.0, why="It is drained."
    )
    assert wording.link_words(leaving, "Interaction Server") == (
        "Interaction Server: connected to IxnProxy_A_1, moves to another server: It is drained."
    )
    assert (wording.until_words(leaving), leaving.until) == ("moves at", 70.0)
    assert wording.until_words(LinkView(name="Interaction Server", up=True)) == ""


def test_a_link_that_cannot_be_says_what_mends_it() -> None:
    blocked = LinkView(
        name="Interaction Server",
        up=False,
        why="No cluster carries site 'Site_X'.",
        fix="Set the option to 'Site_A' or tag a cluster.",
    )
    words = wording.link_words(blocked, "Interaction Server")
    assert words.endswith("No cluster carries site 'Site_X'. Set the option to 'Site_A' or tag a cluster.")
