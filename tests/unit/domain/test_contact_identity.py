"""Who a customer is."""

import pytest

from stayline.domain.contact import (
    EMAIL,
    FULL_NAME,
    PHONE,
    clean_attributes,
    display_name,
    identities,
    normalise_email,
    normalise_phone,
)
from stayline.domain.errors import RefusedError


def test_an_address_has_one_spelling() -> None:
    assert normalise_email("  Ada.Byron@Example.ORG ") == "ada.byron@example.org"


@pytest.mark.parametrize("text", ["", "ada", "ada@", "@b", "a b@c", "a@b@c", "<a@b>"])
def test_what_is_no_address_is_refused_by_field(text: str) -> None:
    with pytest.raises(RefusedError) as caught:
        normalise_email(text)
    assert caught.value.refusal.field == EMAIL


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+44 20 7946-0000", "+442079460000"),
        ("0044 (0)20 7946 0000", "+442079460000"),
        ("+49 (0) 30 123".replace("(0) ", "(0)"), "+4930123"),
        ("030/123 456", "+030123456"),
    ],
)
def test_a_number_is_digits_with_a_plus(text: str, number: str) -> None:
    assert normalise_phone(text) == number


@pytest.mark.parametrize("text", ["", "12", "phone", "+1234567890123456", "+49 30 x"])
def test_what_is_no_number_is_refused_by_field(text: str) -> None:
    with pytest.raises(RefusedError) as caught:
        normalise_phone(text)
    assert caught.value.refusal.field == PHONE


def test_names_identify_only_when_nothing_better_is_known() -> None:
    names = {"FirstName": "Ada", "LastName": "Byron"}
    assert identities(names) == [(FULL_NAME, "ada byron")]
    both = identities({**names, EMAIL: "a@b.c", PHONE: "+123456"})
    assert [identity.attribute for identity in both] == [EMAIL, PHONE]
    assert identities({"FirstName": "Ada"}) == []


def test_attributes_are_trimmed_and_bounded() -> None:
    assert clean_attributes({"FirstName": " Ada\x00 ", "LastName": "  "}) == {"FirstName": "Ada"}
    for bad in (
        {"": "x"},
        {"<b>": "x"},
        {"A": "x" * 513},
        {FULL_NAME: "x"},
        {f"A{n}": "x" for n in range(65)},
    ):
        with pytest.raises(RefusedError):
            clean_attributes(bad)


def test_people_are_called_by_what_is_known() -> None:
    assert display_name({"FirstName": "Ada", "LastName": "Byron", EMAIL: "a@b.c"}) == "Ada Byron"
    assert display_name({EMAIL: "a@b.c"}) == "a@b.c"
    assert display_name({}) == ""
