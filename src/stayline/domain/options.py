"""Options of configuration objects: which exist, on which objects, with which values.

The table itself is in ``option_catalogue.py``, what a row is in ``option_spec.py``. Sections named ``x-...``
belong to integrators and are not checked.
"""

import difflib
from collections.abc import Iterable

from stayline.domain.errors import Refusal
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.domain.option_catalogue import BY_SECTION
from stayline.domain.option_spec import OptionSpec, Target, ValueKind

__all__ = [
    "FREE_PREFIX",
    "OptionSpec",
    "Target",
    "ValueKind",
    "check_option",
    "default_of",
    "find_option",
    "nearest",
    "targets_of",
]

FREE_PREFIX = "x-"
"""Sections with this prefix are free for integrators: any key, any value."""

MAX_VALUE = 4096
"""Characters of one option value."""


def targets_of(obj: ConfigObject) -> frozenset[Target]:
    """The names by which the catalogue may mean this object."""
    if obj.type is ObjectType.APPLICATION and obj.app_type is not None:
        return frozenset({obj.type, obj.app_type})
    return frozenset({obj.type})


def find_option(obj: ConfigObject, section: str, key: str) -> OptionSpec | None:
    """The catalogue's entry for an option on this object; None when there is none."""
    wanted = targets_of(obj)
    for spec in BY_SECTION.get(section, ()):
        if spec.key in (key, "*") and spec.on & wanted:
            return spec
    return None


def default_of(section: str, key: str, target: Target | None = None) -> str:
    """The default of an option (on ``target``, where several kinds of object have one of that name)."""
    for spec in BY_SECTION.get(section, ()):
        if spec.key == key and (target is None or target in spec.on):
            return spec.default
    return ""


def check_option(obj: ConfigObject, section: str, key: str, value: str) -> Refusal | None:
    """None when the option may have this value on this object, else the refusal, with the nearest known
    name."""
    field = f"{section}/{key}"
    where = f"{obj.type} '{obj.name}'"
    if len(value) > MAX_VALUE or "\x00" in value:
        return _refusal("option.value", f"{field} on {where} is longer than {MAX_VALUE} characters.", field)
    if not section or not key:
        return _refusal("option.unknown", f"An option on {where} needs a section and a key.", field)
    if section.startswith(FREE_PREFIX):
        return None
    here = targets_of(obj)
    sections = {name for name, specs in BY_SECTION.items() if any(spec.on & here for spec in specs)}
    if section not in BY_SECTION:
        fix = _suggest("section", section, sections) + f" Sections of your own begin with '{FREE_PREFIX}'."
        return _refusal("option.unknown_section", f"{where} has no option section '{section}'.", field, fix)
    spec = find_option(obj, section, key)
    if spec is None:
        return _unknown_key(where, section, key, here)
    if not spec.accepts(value):
        reason = f"'{value[:60]}' is no valid value of {field} on {where}."
        return _refusal("option.value", reason, field, _valid(spec, value))
    return None


def _valid(spec: OptionSpec, value: str) -> str:
    """What to write instead. Sites are often named with a hyphen, which the original does not allow."""
    spelt = value.replace("-", "_")
    if spec.kind is ValueKind.SITE and spelt != value and spec.accepts(spelt):
        return f"A site name has no hyphen: use '{spelt}' (here and wherever the site is named)."
    return f"Use {spec.expected()}."


def _unknown_key(where: str, section: str, key: str, here: frozenset[Target]) -> Refusal:
    field = f"{section}/{key}"
    specs = BY_SECTION[section]
    elsewhere = sorted({str(target) for spec in specs if spec.key == key for target in spec.on})
    if elsewhere:
        fix = "It may be set on: " + ", ".join(elsewhere) + "."
        return _refusal("option.wrong_object", f"Option {field} may not be set on {where}.", field, fix)
    known = {spec.key for spec in specs if spec.on & here and spec.key != "*"}
    return _refusal(
        "option.unknown", f"Option {field} is not known on {where}.", field, _suggest("option", key, known)
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that looks most like ``name``; empty when none is near."""
    by_fold = {candidate.casefold(): candidate for candidate in sorted(known)}
    found = difflib.get_close_matches(name.casefold(), list(by_fold), n=1, cutoff=0.6)
    return by_fold[found[0]] if found else ""


def _suggest(what: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = nearest(name, names)
    if near:
        return f"Did you mean the {what} '{near}'?"
    if not names:
        return f"This kind of object has no known {what}."
    return f"Known: {', '.join(names)}."


def _refusal(code: str, reason: str, field: str, fix: str = "") -> Refusal:
    return Refusal(code=code, reason=reason, field=field, fix=fix)
