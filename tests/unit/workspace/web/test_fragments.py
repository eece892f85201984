"""Fragments: what is rendered, and that text stays text on its way to the page."""

import msgspec

from stayline.domain.controls import Link, Media, controls, stage_of
from stayline.link.messages.contact import EntryKind, Party
from stayline.workspace.view import CaseField, EntryState, EntryView, InteractionCard
from stayline.workspace.web import card_models
from stayline.workspace.web.fragments import (
    FRAGMENTS,
    Reader,
    as_message,
    as_partial,
    desk_models,
    make_environment,
    render,
)
from tests.unit.workspace.web.test_wording import CARD, NOON, entry, view

READER = Reader(NOON, None)


def with_controls(card: InteractionCard, up: frozenset[Link]) -> InteractionCard:
    """The card with the controls of the one table."""
    stage = stage_of(Media.CHAT, owned=True, online=card.online)
    return msgspec.structs.replace(card, controls=controls(Media.CHAT, stage, up))


def html_of(name: str, card: InteractionCard) -> str:
    """One fragment of a desk with this card chosen."""
    desk = msgspec.structs.replace(view(card), case_fields=[CaseField(key="Order", label="Order")])
    models = desk_models(desk, card.id)
    return render(make_environment(), name, models[name], card, READER)


def test_every_fragment_renders_for_an_empty_and_a_full_desk() -> None:
    environment = make_environment()
    card = with_controls(
        msgspec.structs.replace(CARD, transcript=[entry(Party.CUSTOMER, NOON)]), frozenset(Link)
    )
    for desk, chosen, open_card in ((view(), "", None), (view(card), "i1", card), (view(card), "gone", None)):
        for name, model in desk_models(desk, chosen).items():
            assert f'id="frag-{name}"' in render(environment, name, model, open_card, READER)
    assert set(desk_models(view(), "")) == set(FRAGMENTS)


def test_equal_desks_have_equal_models() -> None:
    first, second = desk_models(view(CARD), "i1"), desk_models(view(msgspec.structs.replace(CARD)), "i1")
    assert first == second
    typed = desk_models(view(msgspec.structs.replace(CARD, draft="being typed")), "i1")
    assert typed == first, "a draft must not be pushed back into the page that types it"
    read = desk_models(view(msgspec.structs.replace(CARD, unread=1)), "i1")
    assert {name for name in first if first[name] != read[name]} == {"title", "list", "head"}


def test_a_control_that_is_off_has_no_address_but_a_reason() -> None:
    restricted = html_of("head", with_controls(CARD, frozenset({Link.MEDIA, Link.CONTACT})))
    assert "hx-post" not in restricted
    assert 'title="The chat can be ended when the Interaction Server link is back."' in restricted
    assert 'aria-disabled="true"' in restricted
    working = html_of("head", with_controls(CARD, frozenset(Link)))
    assert 'hx-post="/desk/end"' in working
    assert 'hx-post="/desk/done"' not in working, "a chat must end before it is done"


def test_text_of_customers_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    card = msgspec.structs.replace(
        CARD,
        customer=evil,
        subject=evil,
        properties={"Order": '"><b>'},
        transcript=[entry(Party.CUSTOMER, NOON, evil)],
        draft="</textarea>" + evil,
    )
    card = with_controls(card, frozenset(Link))
    for name in ("head", "list", "log", "composer", "case", "typing", "title"):
        html = html_of(name, card)
        assert "<script>" not in html
        assert "<b>" not in html


def test_no_line_end_in_a_text_begins_a_field_of_the_stream() -> None:
    message = as_message("one\revent: over\r\ndata: x\n\nid: 9", "i\n1").decode()
    assert message == "id: i1\ndata: one\ndata: event: over\ndata: data: x\ndata: \ndata: id: 9\n\n"


def test_a_partial_names_its_target() -> None:
    assert as_partial("list", "<p></p>").startswith(
        '<hx-partial hx-target="#frag-list" hx-swap="outerMorph">'
    )


def test_messages_are_gathered_by_person_and_time() -> None:
    system = EntryView(
        id="s", kind=EntryKind.JOINED, party=Party.SYSTEM, name="Nora", text="", at=140, state=EntryState.SENT
    )
    talk = [
        entry(Party.CUSTOMER, 0),
        entry(Party.CUSTOMER, 100),
        system,
        entry(Party.CUSTOMER, 150),
        entry(Party.AGENT, 160, mine=True),
        entry(Party.AGENT, 161),
        entry(Party.CUSTOMER, 170),
        entry(Party.CUSTOMER, 170 + card_models.GROUP_SECONDS + 1),
    ]
    groups = card_models.group(talk)
    assert [(one.kind, len(one.entries)) for one in groups] == [
        ("customer", 2),
        ("event", 1),
        ("customer", 1),
        ("mine", 1),
        ("agent", 1),
        ("customer", 1),
        ("customer", 1),
    ]
