"""Who a customer is: attributes of a contact, and which of them identify it.

The order of identification is the original's: e-mail address, then phone number, then first and last name
together. A name alone says little about a person, so names identify only a contact of whom neither address nor
number is known: otherwise two customers who share a name would become one.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

from stayline.domain.errors import refuse

EMAIL = "EmailAddress"
PHONE = "PhoneNumber"
FIRST_NAME = "FirstName"
LAST_NAME = "LastName"
FULL_NAME = "FullName"
"""Identity made of first and last name; not an attribute that anybody sets."""

MAX_ATTRIBUTES = 64
MAX_NAME_CHARACTERS = 64
MAX_VALUE_CHARACTERS = 512

_EMAIL = re.compile(r"[^@\s<>(),;:\"]{1,64}@[^@\s<>(),;:\"]{1,190}")
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9_ .-]*")
_PHONE_CHARACTERS = re.compile(r"[\d\s()+./-]+")


class ContactIdentity(NamedTuple):
    """One normalised identifying value; unique in its tenant."""

    attribute: str
    value: str


def normalise_email(text: str) -> str:
    """The address in the one spelling that is compared; raises ``contact.invalid`` when it is no address."""
    address = unicodedata.normalize("NFKC", text).strip().lower()
    if not _EMAIL.fullmatch(address):
        raise refuse(
            "contact.invalid",
            "This is not an e-mail address.",
            field=EMAIL,
            fix="Give an address like name@example.org.",
        )
    return address


def normalise_phone(text: str) -> str:
    """``+`` and digits; raises ``contact.invalid`` when it is no phone number.

    ``00`` in front means ``+``; the trunk zero that some people write in brackets is left out.
    """
    number = unicodedata.normalize("NFKC", text).strip()
    if not _PHONE_CHARACTERS.fullmatch(number):
        raise _no_phone()
    international = number.startswith(("+", "00"))
    digits = re.sub(r"\D", "", number.replace("(0)", "") if international else number)
    if not number.startswith("+") and digits.startswith("00"):
        digits = digits[2:]
    if not 4 <= len(digits) <= 15:
        raise _no_phone()
    return "+" + digits


def _no_phone() -> Exception:
    return refuse(
        "contact.invalid",
        "This is not a phone number.",
        field=PHONE,
        fix="Give a number of 4 to 15 digits, with the country code.",
    )


def _normalise_name(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def clean_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """The attributes as they are stored: trimmed, empty ones left out; raises ``contact.invalid`` naming the field."""
    if len(attributes) > MAX_ATTRIBUTES:
        raise refuse(
            "contact.invalid", f"A contact has at most {MAX_ATTRIBUTES} attributes.", field="attributes"
        )
    cleaned: dict[str, str] = {}
    for name, value in attributes.items():
        if len(name) > MAX_NAME_CHARACTERS or not _ATTRIBUTE.fullmatch(name) or name == FULL_NAME:
            raise refuse("contact.invalid", "This is not the name of a contact attribute.", field=name[:64])
        text = "".join(c for c in value if c.isprintable() or c in "\n\t").strip()
        if len(text) > MAX_VALUE_CHARACTERS:
            raise refuse(
                "contact.invalid",
                f"A contact attribute has at most {MAX_VALUE_CHARACTERS} characters.",
                field=name,
            )
        if text:
            cleaned[name] = text
    return cleaned


def identities(attributes: Mapping[str, str]) -> list[ContactIdentity]:
    """The identifying values in the order in which they are tried; raises ``contact.invalid`` for a malformed one."""
    found: list[ContactIdentity] = []
    if attributes.get(EMAIL):
        found.append(ContactIdentity(EMAIL, normalise_email(attributes[EMAIL])))
    if attributes.get(PHONE):
        found.append(ContactIdentity(PHONE, normalise_phone(attributes[PHONE])))
    first, last = attributes.get(FIRST_NAME, ""), attributes.get(LAST_NAME, "")
    if not found and first.strip() and last.strip():
        found.append(ContactIdentity(FULL_NAME, f"{_normalise_name(first)} {_normalise_name(last)}"))
    return found


def display_name(attributes: Mapping[str, str]) -> str:
    """How people call this contact: full name, else address, else number, else ``""``."""
    full = " ".join(part for part in (attributes.get(FIRST_NAME, ""), attributes.get(LAST_NAME, "")) if part)
    return full or attributes.get(EMAIL, "") or attributes.get(PHONE, "")
