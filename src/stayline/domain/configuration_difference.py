"""What has to change in a running configuration so that it says what a file says. Pure."""

from collections.abc import Mapping

import msgspec

from stayline.domain.errors import refuse
from stayline.domain.objects import ConfigObject, ObjectType, Options
from stayline.domain.topology import SITE_OPTION, WORKSPACE_SECTION, Configuration

Put = ConfigObject
Deletion = tuple[str, str]

ORDER = (
    ObjectType.TENANT,
    ObjectType.HOST,
    ObjectType.PLACE,
    ObjectType.CAPACITY_RULE,
    ObjectType.APPLICATION,
    ObjectType.PERSON,
    ObjectType.AGENT_GROUP,
    ObjectType.QUEUE,
)
"""Kinds, each after those that it refers to."""


def difference(
    running: Configuration, wanted: list[ConfigObject], hashes: Mapping[str, str], *, prune: bool
) -> tuple[list[Put], list[Deletion]]:
    """Objects to put and to delete, referenced ones before those that refer to them.

    What the file does not mention stays: objects and options go only with ``prune``. The site that agents must use
    is never changed for an object that has it: that is the business of a site switch. Ports that the file leaves
    automatic stay as they are; an Application that is new must say its ports (refused ``config.port`` otherwise).
    ``hashes`` are the password hashes of persons whose password is to be set.
    """
    puts = []
    for obj in sorted(wanted, key=lambda one: ORDER.index(one.type)):
        before = running.get(obj.type, obj.name)
        complete = _with_ports(obj, before)
        if before is not None:
            complete = msgspec.structs.replace(complete, options=_options(before.options, obj.options, prune))
        password = hashes.get(obj.name, "") if obj.type is ObjectType.PERSON else ""
        same = before is not None and msgspec.structs.replace(before, revision=0) == complete
        if password or not same:
            puts.append(msgspec.structs.replace(complete, password_hash=password or obj.password_hash))
    named = {(obj.type, obj.name) for obj in wanted}
    gone = sorted(
        (obj for obj in running.objects if (obj.type, obj.name) not in named),
        key=lambda one: ORDER.index(one.type),
        reverse=True,
    )
    return puts, [(str(obj.type), obj.name) for obj in gone] if prune else []


def _options(before: Options, wanted: Options, prune: bool) -> Options:
    options = {} if prune else {section: dict(keys) for section, keys in before.items()}
    for section, keys in wanted.items():
        options.setdefault(section, {}).update(keys)
    site = before.get(WORKSPACE_SECTION, {}).get(SITE_OPTION)
    if site is not None:
        options.setdefault(WORKSPACE_SECTION, {})[SITE_OPTION] = site
    return options


def _with_ports(obj: ConfigObject, before: ConfigObject | None) -> ConfigObject:
    known = before.ports if before is not None else {}
    ports = {port_id: port or known.get(port_id, 0) for port_id, port in obj.ports.items()}
    if obj.type is ObjectType.HOST:
        ports = known | ports
    missing = sorted(port_id for port_id, port in ports.items() if not port)
    if missing:
        raise refuse(
            "config.port",
            f"Application '{obj.name}' is new in a running centre and does not say its port '{missing[0]}'.",
            field=f"ports.{missing[0]}",
            fix=f"Write ports = {{ {missing[0]} = NUMBER }} in the file.",
        )
    return msgspec.structs.replace(obj, ports=ports)
