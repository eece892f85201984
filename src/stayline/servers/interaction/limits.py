"""Bounds of what a request may put into an interaction."""

from collections.abc import Mapping

from stayline.domain.errors import refuse

MAX_PROPERTIES = 200
MAX_PROPERTIES_CHARACTERS = 32_768
"""Keys and values together; a view of the interaction must fit into a person's frame (64 KiB)."""

MAX_FIELD = 1_000
"""Characters of a subject, a name or an id."""


def check_change(present: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Raises RefusedError ``interaction.properties`` when the properties would become too many or too large."""
    after = {**present, **new}
    characters = sum(len(key) + len(value) for key, value in after.items())
    if len(after) > MAX_PROPERTIES or characters > MAX_PROPERTIES_CHARACTERS:
        raise refuse(
            "interaction.properties",
            f"An interaction has at most {MAX_PROPERTIES} properties of {MAX_PROPERTIES_CHARACTERS} characters "
            f"together; this would be {len(after)} of {characters}.",
            field="set",
        )


def check_fields(fields: Mapping[str, str]) -> None:
    """Raises RefusedError ``interaction.field`` naming the field that is too long."""
    for name, value in fields.items():
        if len(value) > MAX_FIELD:
            raise refuse("interaction.field", f"{name} has more than {MAX_FIELD} characters.", field=name)


def check_id(id: str) -> None:
    """Raises RefusedError ``interaction.field`` for an empty or oversized interaction id."""
    if not 0 < len(id) <= 128:
        raise refuse("interaction.field", "The id of an interaction has 1 to 128 characters.", field="id")
