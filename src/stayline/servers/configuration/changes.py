"""Operations of a change, judged and turned into the objects to write. Pure."""

from collections.abc import Sequence

import msgspec

from stayline.domain.errors import Refusal, RefusedError, refuse
from stayline.domain.object_rules import Problem, check_all, check_object
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.domain.options import nearest
from stayline.domain.topology import Configuration
from stayline.link.messages.configuration import Operation, OperationKind
from stayline.store.configuration import Key, Stored
from stayline.store.passwords import PREFIX

MAX_OPERATIONS = 500
"""Operations in one change."""

MAX_REASON = 1000
"""Characters of a reason."""

EDITORS = frozenset({"administrator", "operator"})
"""Roles that may change the configuration and read its history."""


def check_persons(operations: Sequence[Operation], by: str, *, administrator: bool) -> None:
    """Raises RefusedError ``config.forbidden`` when somebody who is no administrator makes, changes or deletes a
    person: whoever may do that can give out roles and passwords, the own role's betters included."""
    if administrator:
        return
    for operation in operations:
        if operation.type == ObjectType.PERSON and operation.op in (OperationKind.PUT, OperationKind.DELETE):
            reason = f"'{by}' may not change person '{operation.name}': that needs role administrator."
            raise refuse("config.forbidden", reason, field="operations")


def check_request(operations: Sequence[Operation], reason: str) -> None:
    """Raises RefusedError for a change that says no reason or does nothing, or too much."""
    if not reason.strip() or len(reason) > MAX_REASON:
        fix = f"Give a reason of 1 to {MAX_REASON} characters."
        raise refuse(
            "config.reason", "A change needs a reason; it stays in the history.", field="reason", fix=fix
        )
    if not 0 < len(operations) <= MAX_OPERATIONS:
        fix = f"Give 1 to {MAX_OPERATIONS} operations."
        raise refuse("config.operations", f"{len(operations)} operations.", field="operations", fix=fix)


def written_by(operations: Sequence[Operation], stored: Stored) -> dict[Key, ConfigObject | None]:
    """The objects that differ after all operations (None: deleted). Raises RefusedError; then nothing is
    written.

    A fault that was there before is no reason to refuse; every new one is.
    """
    objects: dict[Key, ConfigObject] = dict(stored.objects)
    for operation in operations:
        key = (_kind(operation), operation.name)
        match operation.op:
            case OperationKind.SET_OPTION:
                objects[key] = _set_option(_existing(objects, key), operation)
            case OperationKind.DELETE_OPTION:
                objects[key] = _delete_option(_existing(objects, key), operation)
            case OperationKind.PUT:
                objects[key] = _put(objects.get(key), operation)
            case OperationKind.DELETE:
                _existing(objects, key)
                del objects[key]
    differing = {
        key: objects.get(key)
        for key in {(_kind(o), o.name) for o in operations}
        if objects.get(key) != stored.objects.get(key)
    }
    if differing:
        _judge(differing, objects, stored)
    return differing


def for_history(operations: Sequence[Operation]) -> list[Operation]:
    """The operations without secrets, as everybody who may read the history may see them."""
    return [
        msgspec.structs.replace(
            op,
            object=msgspec.structs.replace(
                op.object, password_hash="(set)" if op.object.password_hash else ""
            ),
        )
        if op.object is not None
        else op
        for op in operations
    ]


def _judge(
    differing: dict[Key, ConfigObject | None], objects: dict[Key, ConfigObject], stored: Stored
) -> None:
    after = Configuration(objects.values())
    gone = [key for key, obj in differing.items() if obj is None]
    # Other objects can only become wrong by what Applications, Hosts or deletions do to them.
    wide = bool(gone) or any(type_ in (ObjectType.APPLICATION, ObjectType.HOST) for type_, _ in differing)
    if wide:
        found = check_all(after)
        before = {_identity(problem) for problem in check_all(Configuration(stored.objects.values()))}
        found = [problem for problem in found if _identity(problem) not in before]
    else:
        found = [p for obj in differing.values() if obj is not None for p in check_object(obj, after)]
    if not found:
        return
    used = [
        p
        for p in found
        if p.refusal.code == "config.unknown_object" and (str(p.obj.type), p.obj.name) not in differing
    ]
    if gone and used:
        users = ", ".join(sorted({f"{p.obj.type} '{p.obj.name}'" for p in used})[:5])
        names = ", ".join(f"{type_} '{name}'" for type_, name in gone)
        raise refuse(
            "config.in_use",
            f"{names} is used by {users}.",
            fix="Change those first.",
            field=used[0].refusal.field,
        )
    first = found[0]
    more = f" ({len(found) - 1} more faults.)" if len(found) > 1 else ""
    reason = first.refusal.reason + more
    if first.obj.name not in reason:
        reason = f"{first.obj.type} '{first.obj.name}': {reason}"
    raise RefusedError(msgspec.structs.replace(first.refusal, reason=reason))


def _identity(problem: Problem) -> tuple[str, str, tuple[str | int, ...], Refusal]:
    return (problem.obj.type, problem.obj.name, problem.path, problem.refusal)


def _kind(operation: Operation) -> str:
    try:
        return str(ObjectType(operation.type))
    except ValueError:
        near = nearest(operation.type, ObjectType)
        fix = f"Did you mean '{near}'?" if near else "Kinds: " + ", ".join(ObjectType) + "."
        raise refuse(
            "config.unknown_type", f"There is no kind of object '{operation.type}'.", field="type", fix=fix
        ) from None


def _existing(objects: dict[Key, ConfigObject], key: Key) -> ConfigObject:
    if key not in objects:
        near = nearest(key[1], (name for type_, name in objects if type_ == key[0]))
        fix = f"Did you mean '{near}'?" if near else ""
        raise refuse("config.unknown_object", f"There is no {key[0]} '{key[1]}'.", field="name", fix=fix)
    return objects[key]


def _set_option(obj: ConfigObject, operation: Operation) -> ConfigObject:
    section = {**obj.options.get(operation.section, {}), operation.key: operation.value}
    return msgspec.structs.replace(obj, options={**obj.options, operation.section: section})


def _delete_option(obj: ConfigObject, operation: Operation) -> ConfigObject:
    section = dict(obj.options.get(operation.section, {}))
    if operation.key not in section:
        field = f"{operation.section}/{operation.key}"
        fix = "Set on it: " + (", ".join(sorted(section)) or "nothing in this section") + "."
        raise refuse(
            "option.not_set", f"{field} is not set on {obj.type} '{obj.name}'.", field=field, fix=fix
        )
    del section[operation.key]
    options = {name: values for name, values in obj.options.items() if name != operation.section}
    if section:
        options[operation.section] = section
    return msgspec.structs.replace(obj, options=options)


def _put(before: ConfigObject | None, operation: Operation) -> ConfigObject:
    obj = operation.object
    if obj is None or (str(obj.type), obj.name) != (operation.type, operation.name):
        reason = f"'put' of {operation.type} '{operation.name}' carries no such object."
        raise refuse("config.operations", reason, field="object")
    if obj.password_hash and not obj.password_hash.startswith(PREFIX):
        reason = f"The password hash of '{obj.name}' is no argon2id hash."
        raise refuse(
            "config.password_hash", reason, field="password_hash", fix="Never send a clear password."
        )
    if before is None:
        return msgspec.structs.replace(obj, revision=0)
    if before.app_type is not obj.app_type:
        reason = f"'{obj.name}' is a {before.app_type}; the type of an Application never changes."
        raise refuse("config.app_type", reason, field="app_type", fix="Delete it and make a new one.")
    # Who changes a person has never seen the hash: an empty one means: as it was.
    return msgspec.structs.replace(
        obj, revision=before.revision, password_hash=obj.password_hash or before.password_hash
    )
