"""The banner's words are true: since when, what is limited, what comes next."""

from typing import Any

import pytest

from stayline.link.messages.interaction import Ownership
from stayline.workspace.banner import banner_of
from stayline.workspace.view import Banner, BannerKind, InteractionCard, LinksView, LinkView, Phase


def links(**down: Any) -> LinksView:
    def link(name: str, key: str) -> LinkView:
        return down.get(key) or LinkView(name=name, up=True, application=f"{key}_1", site="Site_A")

    return LinksView(
        config=link("Configuration Server", "config"),
        interaction=link("Interaction Server", "interaction"),
        contact=link("Contact Server", "contact"),
        chats=[link("Chat Server", "chat")],
    )


def card(*, chat_up: bool = True, online: bool = True) -> InteractionCard:
    return InteractionCard(
        id="i",
        media="chat",
        state=Ownership.OWNED,
        version=1,
        customer="Ada",
        subject="",
        queue="q",
        created_at=0.0,
        chat_up=chat_up,
        online=online,
    )


AWAY = LinkView(
    name="Interaction Server", up=False, why="the port is closed", next_attempt_at=50.0, since=40.0
)


def banner(phase: Phase, found: LinksView, cards: list[InteractionCard], trying: str = "") -> Banner | None:
    return banner_of(phase, found, cards, since=40.0, over="Taken elsewhere.", trying=trying)


def test_nothing_to_say() -> None:
    assert banner(Phase.READY, links(), [card()]) is None
    assert banner(Phase.OFFLINE, links(), []) is None


@pytest.mark.parametrize(
    ("cards", "says"),
    [
        ([card()], "You can go on chatting."),
        ([card(chat_up=False)], "Messages cannot be sent either"),
        ([card(), card(chat_up=False)], "where Send is active"),
        ([card(online=False)], "limited controls"),
        ([], "No new interactions reach you."),
    ],
)
def test_restricted_mode_says_what_is_limited(cards: list[InteractionCard], says: str) -> None:
    found = banner(Phase.RESTRICTED, links(interaction=AWAY), cards)
    assert found is not None
    assert found.kind is BannerKind.WARNING
    assert found.detail == "The port is closed."
    assert says in found.text
    assert found.since == 40.0
    assert found.next_at == 50.0


@pytest.mark.parametrize(
    ("link", "first"),
    [
        (AWAY, "The connection to the Interaction Server is lost."),
        (
            LinkView(
                name="Interaction Server",
                up=False,
                connected=True,
                application="IxnProxy_A_3",
                why="connected, but its core is away: Ixn_A_2: addp: nothing heard for 4.1 s (timeout 2 s)",
            ),
            "The Interaction Server does not answer at the moment.",
        ),
        (
            LinkView(name="Interaction Server", up=True, connected=True, application="IxnProxy_A_3"),
            "The connection to the Interaction Server is back and your interactions are being confirmed.",
        ),
        (
            LinkView(name="Interaction Server", up=False, why="no cluster carries site 'X'"),
            "There is no Interaction Server to connect to.",
        ),
    ],
)
def test_the_first_sentence_is_for_agents_and_the_reason_for_who_helps_them(
    link: LinkView, first: str
) -> None:
    found = banner(Phase.RESTRICTED, links(interaction=link), [card()])
    assert found is not None
    assert found.text.startswith(first)
    for word in ("IxnProxy", "addp", "core", "timeout", "Ixn_A", "cluster", "port"):
        assert word not in found.text + found.next, word
    assert link.why.rpartition(": ")[2].lower() in found.detail.lower()


def test_an_ended_chat_does_not_promise_chatting() -> None:
    found = banner(Phase.RESTRICTED, links(interaction=AWAY), [card(online=False)])
    assert found is not None
    assert "chatting" not in found.text


def test_a_link_that_stands_but_is_not_confirmed_says_what_is_done() -> None:
    found = banner(Phase.RESTRICTED, links(), [card()], trying="The core is confirming.")
    assert found is not None
    assert found.next == "The core is confirming."
    assert found.next_at == 0.0


def test_an_attempt_under_way_names_its_server() -> None:
    trying = LinkView(name="Interaction Server", up=False, application="IxnProxy_A_2", why="reset")
    found = banner(Phase.CONNECTING, links(interaction=trying), [])
    assert found is not None
    assert "next server is being tried" in found.next
    assert found.detail == "Trying IxnProxy_A_2. Reset."


def test_blocked_waits_for_the_configuration() -> None:
    blocked = LinkView(name="Interaction Server", up=False, why="No cluster carries site 'X'.")
    found = banner(Phase.RESTRICTED, links(interaction=blocked), [])
    assert found is not None
    assert "configuration" in found.next


def test_a_search_for_servers_does_not_wait_for_the_configuration() -> None:
    searching = LinkView(name="Interaction Server", up=False, why="It is looked for.", searching=True)
    found = banner(Phase.RESTRICTED, links(interaction=searching), [])
    assert found is not None
    assert found.text.startswith("The connection to the Interaction Server is lost.")
    assert "looked for" in found.next
    assert found.next_at == 0.0


def test_an_ended_session_says_why_and_to_log_in_again() -> None:
    found = banner(Phase.ENDED, links(), [])
    assert found is not None
    assert found.kind is BannerKind.ERROR
    assert "Taken elsewhere." in found.text
    assert found.next == "Log in again."


def test_minor_links_are_told_while_the_core_works() -> None:
    contact = LinkView(name="Contact Server", up=False, why="reset")
    found = banner(Phase.READY, links(contact=contact), [])
    assert found is not None
    assert "Contacts and history" in found.text
    chat = LinkView(name="Chat Server", up=False, why="reset")
    assert banner(Phase.READY, links(chat=chat), []) is None
    found = banner(Phase.READY, links(chat=chat), [card(chat_up=False)])
    assert found is not None
    assert "cannot be sent" in found.text


def test_who_waits_for_a_turn_is_told_when_it_comes() -> None:
    held = LinkView(
        name="Interaction Server", up=False, application="IxnProxy_B_2", why="5 others first", held_until=77.0
    )
    found = banner(Phase.RESTRICTED, links(interaction=held), [card()])
    assert found is not None
    assert (found.turn, found.next_at) == (True, 77.0)
    assert "turn" in found.next
    assert found.detail == "Trying IxnProxy_B_2. 5 others first."
