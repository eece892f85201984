"""What a link is told: the part of the configuration it may see, as a difference or in full, in pages."""

from collections.abc import Iterable

import msgspec

from stayline.domain.errors import Refusal, RefusedError
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.domain.revision import position
from stayline.link.messages.configuration import Changes
from stayline.store.configuration import Key, Stored

PAGE_BYTES = 400_000
"""Objects in one answer or event, at most: well below the largest frame."""

EVERYBODY = ""
"""The view of a server: every person (without hashes). Another view is the name of a person."""

ANYBODY = "\0"
"""The view of a person whom a difference does not concern: what many are told alike is made once."""

_encode = msgspec.json.Encoder().encode


def shown(stored: Stored, key: Key, view: str) -> ConfigObject | None:
    """An object as this view may see it; None when it may not, or there is none.

    A person's Workspace needs of other persons, their groups and places nothing: with thousands of agents that would
    be most of the configuration, and none of its business.
    """
    obj = stored.objects.get(key)
    if obj is None:
        return None
    if view != EVERYBODY:
        match obj.type:
            case ObjectType.PERSON if obj.name != view:
                return None
            case ObjectType.AGENT_GROUP if key not in stored.memberships.get(view, ()):
                return None
            case ObjectType.AGENT_GROUP:
                return msgspec.structs.replace(obj, members=[view])
            case ObjectType.PLACE if key != _own_place(stored, view):
                return None
    return msgspec.structs.replace(obj, password_hash="") if obj.password_hash else obj


def changes_since(
    stored: Stored, since: int, mark: str, view: str, *, authority: bool, writable: bool, current: bool
) -> Changes:
    """Everything after ``since`` (0: everything) for a view, in one piece.

    ``authority``: this server's state is the truth (its database is the primary). Raises RefusedError
    ``config.behind`` (retryable) when the asker knows more than this server, which is not the authority: it
    must not be set back to an older state.
    """
    touched = _touched_since(stored, since, mark)
    if touched is None and since and not authority:
        ours, theirs = position(stored.mark, stored.revision), position(mark, since)
        older = bool(stored.steps) and since < stored.steps[0].revision and ours[0] >= theirs[0]
        if not older and ours[0] <= theirs[0]:
            raise RefusedError(_behind(stored, since))
    # A person whose own object changed may have another place now, and nobody remembers the former one.
    full = touched is None or (ObjectType.PERSON, view) in touched
    keys = _all_of(stored, view) if touched is None or full else touched
    objects: list[ConfigObject] = []
    deleted: list[tuple[str, str]] = []
    for key in sorted(keys):
        seen = shown(stored, key, view)
        if seen is not None:
            objects.append(seen)
        elif not full and _may_have_been_told(stored, key, view):
            deleted.append(key)
    return Changes(
        revision=stored.revision,
        full=full,
        objects=objects,
        deleted=deleted,
        writable=writable,
        mark=stored.mark,
        current=current,
    )


def page(changes: Changes, offset: int) -> Changes:
    """The part of an answer that begins at ``offset``; ``more`` is where the next one does."""
    size = 0
    for index in range(offset, len(changes.objects)):
        size += len(_encode(changes.objects[index]))
        if size > PAGE_BYTES and index > offset:
            return msgspec.structs.replace(changes, objects=changes.objects[offset:index], more=index)
    return msgspec.structs.replace(changes, objects=changes.objects[offset:])


def event_payload(changes: Changes) -> msgspec.Raw:
    """The payload of a ``config.changed`` event; what is too long is only announced, to be read."""
    payload = _encode(changes)
    if len(payload) > PAGE_BYTES:
        payload = _encode(msgspec.structs.replace(changes, full=False, objects=[], deleted=[], more=1))
    return msgspec.Raw(payload)


def concerned(stored: Stored, since: int, mark: str, view: str) -> str:
    """The view to tell what happened since then in place of ``view``: itself, or :data:`ANYBODY` where it makes no
    difference whose it is."""
    touched = _touched_since(stored, since, mark)
    if view == EVERYBODY or touched is None or (ObjectType.PERSON, view) in touched:
        return view
    own = stored.memberships.get(view, frozenset())
    return view if _own_place(stored, view) in touched or own & touched else ANYBODY


def _all_of(stored: Stored, view: str) -> Iterable[Key]:
    """Everything that a view may see, without looking at what it may not."""
    if view == EVERYBODY:
        return stored.objects.keys()
    own = {(str(ObjectType.PERSON), view), _own_place(stored, view), *stored.memberships.get(view, ())}
    return [*stored.impersonal, *own]


def _own_place(stored: Stored, view: str) -> Key:
    person = stored.objects.get((ObjectType.PERSON, view))
    return (ObjectType.PLACE, person.default_place if person is not None else "")


def _may_have_been_told(stored: Stored, key: Key, view: str) -> bool:
    """Of an object that a view does not see (any more): whether it may have seen it."""
    if view == EVERYBODY:
        return True
    match key[0]:
        case ObjectType.PERSON:
            return False
        case ObjectType.PLACE:
            return key == _own_place(stored, view)
        case _:
            return True


def _touched_since(stored: Stored, since: int, mark: str) -> set[Key] | None:
    """Objects touched after a revision; None when its mark is not in the kept history."""
    if (since, mark) == (stored.revision, stored.mark):
        return set()
    for index, step in enumerate(stored.steps):
        if step.revision == since:
            if step.mark != mark:
                return None
            return set().union(*(later.touched for later in stored.steps[index + 1 :]))
    return None


def _behind(stored: Stored, since: int) -> Refusal:
    return Refusal(
        code="config.behind",
        reason=f"This Configuration Server knows revision {stored.revision} and cannot follow {since} yet.",
        retryable=True,
        retry_after=0.25,
        fix="Ask the Configuration Server of the active site.",
    )
