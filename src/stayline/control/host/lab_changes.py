"""What a lab must change in a configuration that exists already: ports that were taken meanwhile, more
synthetic agents. Everything else in the database is the operator's and stays as it is."""

import re
import uuid
from collections.abc import Mapping

import msgspec
import structlog

from stayline.control.host.plan import Provision
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.link.messages.configuration import Operation, OperationKind
from stayline.store.configuration import NewChange, Stored, load, write_change
from stayline.store.database import Connection

_KEPT_STEPS = 16
_ORIGINS = ("settings", "allowed-origins")
_STARTS = ("settings", "max-starts-per-minute")
_LAB_ORIGINS = re.compile(r"(http://(127\.0\.0\.1|localhost):\d+(\s*,\s*)?)+")

Key = tuple[str, str]
log = structlog.get_logger("stayline.host")


def differences(stored: Mapping[Key, ConfigObject], laid: Provision) -> dict[Key, ConfigObject]:
    """The objects to write; pure. ``laid`` is what the lab would provision today."""
    changed: dict[Key, ConfigObject] = {}
    for one in laid.objects:
        key = (str(one.type), one.name)
        before = stored.get(key)
        if before is None:
            if one.name in laid.synthetic:
                changed[key] = one
            continue
        after = _grown(_moved(before, one), one, laid)
        if after != before:
            changed[key] = after
    return changed


def _moved(before: ConfigObject, laid: ConfigObject) -> ConfigObject:
    """The stored object with the ports, the sample page's address and the allowance of synthetic customers."""
    if before.type not in (ObjectType.APPLICATION, ObjectType.HOST):
        return before
    after = msgspec.structs.replace(before, ports=laid.ports)
    section, key = _ORIGINS
    value, wanted = before.option(section, key), laid.option(section, key)
    if wanted and value != wanted and _LAB_ORIGINS.fullmatch(value):
        options = {**before.options, section: before.options[section] | {key: wanted}}
        after = msgspec.structs.replace(after, options=options)
    section, key = _STARTS
    allowed = laid.option(section, key)
    if allowed and not after.option(section, key):  # a lab laid out before there was this option
        options = {**after.options, section: after.options.get(section, {}) | {key: allowed}}
        after = msgspec.structs.replace(after, options=options)
    return after


def _grown(before: ConfigObject, laid: ConfigObject, provision: Provision) -> ConfigObject:
    """A group with the synthetic agents it has not yet."""
    if before.type is not ObjectType.AGENT_GROUP:
        return before
    new = [name for name in laid.members if name in provision.synthetic and name not in before.members]
    return msgspec.structs.replace(before, members=[*before.members, *new]) if new else before


async def apply_differences(conn: Connection, site: str, host: str, laid: Provision) -> int:
    """Write the differences as one change, if there are any; how many objects. Raises what ``write_change``
    does."""
    stored = await load(conn, _KEPT_STEPS)
    found = differences(stored.objects, laid)
    if not found:
        return 0
    ready: dict[Key, ConfigObject | None] = {key: laid.with_hash(one) for key, one in found.items()}

    def judge(newest: Stored) -> dict[Key, ConfigObject | None]:
        # Under the lock: only if nobody changed anything since it was looked at.
        return ready if newest.revision == stored.revision else {}

    operations = [Operation(op=OperationKind.PUT, type=type_, name=name) for type_, name in ready]
    change = NewChange(f"host agent {host}", "ports and agents of this lab", uuid.uuid4().hex, operations)
    revision, _ = await write_change(conn, change, site, stored, _KEPT_STEPS, judge)
    log.info(
        "lab configuration adapted", revision=revision, objects=len(ready), why="ports or agents changed"
    )
    return len(ready)
