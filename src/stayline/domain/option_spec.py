"""What a row of the option catalogue says, and when a text is a valid value."""

import enum
import re
from dataclasses import dataclass

from stayline.domain.objects import ApplicationType, ObjectType

_ADDRESS = re.compile(r"https?://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?")

Target = ObjectType | ApplicationType
"""What an option may be set on: a kind of object, or a kind of Application."""


class Effect(enum.StrEnum):
    """When a change of an option is noticed."""

    NOW = "immediately"
    NEXT_INTERACTION = "at the next interaction"
    NEXT_CONNECTION = "at the next connection"
    LOGIN = "at login"
    RESTART = "at restart"


class ValueKind(enum.StrEnum):
    """How the text of an option is understood."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    NUMBERS = "numbers"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    CHOICES = "choices"
    LIST = "list"
    SITE = "site"
    ADDRESS = "address"


@dataclass(frozen=True, kw_only=True)
class OptionSpec:
    """One known option. ``key`` ``*`` means any key of the section (a list of business values, for instance).

    ``low``/``high`` bound numbers; ``values`` are the choices; ``unit`` is said in messages and
    documentation; ``effect`` says when a change is noticed, ``effect_note`` what else happens then.
    """

    section: str
    key: str
    kind: ValueKind
    default: str
    meaning: str
    on: frozenset[Target]
    low: float = 0
    high: float = float("inf")
    values: tuple[str, ...] = ()
    unit: str = ""
    effect: Effect = Effect.NOW
    effect_note: str = ""

    @property
    def takes_effect(self) -> str:
        """When a change is noticed, in words."""
        return f"{self.effect}: {self.effect_note}" if self.effect_note else str(self.effect)

    def expected(self) -> str:
        """What a valid value is, in words."""
        of_unit = f" ({self.unit})" if self.unit else ""
        top = "any size" if self.high == float("inf") else f"{self.high:g}"
        bounds = f"{self.low:g} or more" if top == "any size" else f"{self.low:g} to {top}"
        words = {
            ValueKind.TEXT: "any text",
            ValueKind.INTEGER: f"a whole number, {bounds}{of_unit}",
            ValueKind.NUMBER: f"a number, {bounds}{of_unit}",
            ValueKind.NUMBERS: f"a number or a comma-separated list of numbers, {bounds}{of_unit}",
            ValueKind.BOOLEAN: "true or false",
            ValueKind.CHOICE: "one of " + ", ".join(self.values),
            ValueKind.CHOICES: "a comma-separated list of " + ", ".join(self.values),
            ValueKind.LIST: "a comma-separated list",
            ValueKind.SITE: "a site name (letters, digits, underscore, @, space) or empty",
            ValueKind.ADDRESS: "a web address (https://name or https://name:port) or empty",
        }
        return words[self.kind]

    def accepts(self, value: str) -> bool:
        """Whether the text is a valid value of this option."""
        match self.kind:
            case ValueKind.INTEGER:
                return re.fullmatch(r"-?\d{1,15}", value) is not None and self._within(value)
            case ValueKind.NUMBER:
                return self._within(value)
            case ValueKind.NUMBERS:
                return all(self._within(part.strip()) for part in value.split(","))
            case ValueKind.BOOLEAN:
                return value in ("true", "false")
            case ValueKind.CHOICE:
                return value in self.values
            case ValueKind.CHOICES:
                return all(part.strip() in self.values for part in value.split(","))
            case ValueKind.SITE:
                return re.fullmatch(r"[\w@ ]{0,255}", value) is not None
            case ValueKind.ADDRESS:
                return value == "" or _ADDRESS.fullmatch(value) is not None
            case _:
                return True

    def _within(self, value: str) -> bool:
        if re.fullmatch(r"-?\d{1,15}(\.\d{1,9})?", value) is None:
            return False
        return self.low <= float(value) <= self.high
