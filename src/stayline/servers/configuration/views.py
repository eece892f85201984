"""What a link is told: the part of the configuration it may see, as a difference or in full, in pages."""

import msgspec

from stayline.domain.errors import Refusal, RefusedError
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.link.messages.configuration import Changes
from stayline.store.configuration import Key, Stored

PAGE_BYTES = 400_000
"""Objects in one answer or event, at most: well below the largest frame."""

EVERYBODY = ""
"""The view of a server: every person (without hashes). Another view is the name of a person."""

_encode = msgspec.json.Encoder().encode


def position(mark: str, revision: int) -> tuple[int, int]:
    """Where a state stands in all histories: the epoch in which it was made, then its number."""
    epoch, _, _ = mark.partition("-")
    return (int(epoch) if epoch.isdigit() else 0, revision)


def shown(obj: ConfigObject, view: str) -> ConfigObject | None:
    """The object as this view may see it; None when it may not."""
    if obj.type is ObjectType.PERSON and view not in (EVERYBODY, obj.name):
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
    full = touched is None
    keys = stored.objects.keys() if touched is None else touched
    objects: list[ConfigObject] = []
    deleted: list[tuple[str, str]] = []
    for key in sorted(keys):
        obj = stored.objects.get(key)
        seen = shown(obj, view) if obj is not None else None
        if seen is not None:
            objects.append(seen)
        elif obj is None and (key[0] != ObjectType.PERSON or view in (EVERYBODY, key[1])):
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


def concerns_persons(stored: Stored, since: int, mark: str) -> bool:
    """Whether what happened since then differs from person to person."""
    touched = _touched_since(stored, since, mark)
    return touched is None or any(type_ == ObjectType.PERSON for type_, _ in touched)


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
