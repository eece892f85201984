"""What a configuration object must satisfy, alone and together with the others.

The same rules judge the provisioning file and every later change.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from stayline.domain.errors import Refusal
from stayline.domain.objects import ApplicationType, ConfigObject, Connection, ObjectType
from stayline.domain.option_catalogue import MEDIA
from stayline.domain.options import check_option, nearest
from stayline.domain.topology import SITE_OPTION, TAG_OPTION, WORKSPACE_SECTION, Configuration

ROLES = ("agent", "supervisor", "administrator", "operator")
"""What a person may be."""

PROTOCOLS = ("addp", "none")

COMMON_FIELDS = frozenset({"type", "name", "options", "revision", "enabled", "description"})

FIELDS: dict[ObjectType, frozenset[str]] = {
    ObjectType.TENANT: frozenset(),
    ObjectType.HOST: frozenset({"address", "site", "ports"}),
    ObjectType.PLACE: frozenset({"tenant"}),
    ObjectType.APPLICATION: frozenset(
        {"tenant", "app_type", "host", "ports", "backup", "reconnect_timeout", "connections"}
    ),
    ObjectType.PERSON: frozenset(
        {"tenant", "roles", "display_name", "default_place", "capacity_rule", "password_hash"}
    ),
    ObjectType.AGENT_GROUP: frozenset({"tenant", "members"}),
    ObjectType.QUEUE: frozenset({"tenant", "media", "groups"}),
    ObjectType.CAPACITY_RULE: frozenset({"tenant", "capacity"}),
}
"""Which fields mean something on which kind of object, beside :data:`COMMON_FIELDS`."""

PORTS: dict[ApplicationType, tuple[str, ...]] = {
    ApplicationType.WORKSPACE: (),
    ApplicationType.CLUSTER: (),
    ApplicationType.CHAT_SERVER: ("default", "http"),
}
"""Ports an Application of a kind needs; kinds not named need ``default``."""


class Problem(NamedTuple):
    """One fault of an object; ``path`` leads to the field inside it."""

    obj: ConfigObject
    path: tuple[str | int, ...]
    refusal: Refusal


def ports_of(app_type: ApplicationType) -> tuple[str, ...]:
    """Port ids that an Application of this kind must have."""
    return PORTS.get(app_type, ("default",))


def check_object(obj: ConfigObject, everything: Configuration) -> list[Problem]:
    """All faults of one object, seen in the configuration it belongs to."""
    return [*_alone(obj), *_references(obj, everything), *_options(obj, everything)]


def check_all(everything: Configuration) -> list[Problem]:
    """All faults of a whole configuration, also those between objects (a port used twice on one host)."""
    problems = [problem for obj in everything.objects for problem in check_object(obj, everything)]
    return [*problems, *_ports_used_twice(everything)]


def _fault(obj: ConfigObject, path: tuple[str | int, ...], code: str, reason: str, fix: str = "") -> Problem:
    field = ".".join(str(part) for part in path)
    return Problem(obj, path, Refusal(code=code, reason=reason, fix=fix, field=field))


def _alone(obj: ConfigObject) -> Iterator[Problem]:
    what = f"{obj.type} '{obj.name}'"
    if not obj.name or len(obj.name) > 128 or not obj.name.isprintable() or obj.name != obj.name.strip():
        yield _fault(obj, ("name",), "config.name", f"'{obj.name[:40]}' is no name.", "Use 1 to 128 letters.")
    known = COMMON_FIELDS | FIELDS[obj.type]
    for name in obj.__struct_fields__:
        if name not in known and getattr(obj, name) not in ("", None, 0, 0.0, [], {}):
            fix = (
                "Fields of this kind: "
                + ", ".join(sorted(FIELDS[obj.type] | {"options", "description"}))
                + "."
            )
            yield _fault(obj, (name,), "config.field", f"{what} has no field '{name}'.", fix)
    if obj.type is ObjectType.APPLICATION:
        yield from _application(obj)
    if obj.type is ObjectType.HOST and re.fullmatch(r"[\w@ ]{0,255}", obj.site) is None:
        spelt = obj.site.replace("-", "_")
        fix = f"A site name has letters, digits, underscore, @ and space only: use '{spelt}'."
        yield _fault(
            obj, ("site",), "config.site", f"{what} is at site '{obj.site}', which is no site name.", fix
        )
    for index, role in enumerate(obj.roles):
        if role not in ROLES:
            yield _fault(obj, ("roles", index), "config.role", f"'{role}' is no role.", _choices(role, ROLES))
    for index, media in enumerate(obj.media):
        if media not in MEDIA:
            yield _fault(
                obj, ("media", index), "config.media", f"'{media}' is no medium.", _choices(media, MEDIA)
            )
    for media, number in obj.capacity.items():
        if media not in MEDIA:
            yield _fault(
                obj, ("capacity", media), "config.media", f"'{media}' is no medium.", _choices(media, MEDIA)
            )
        if not 0 <= number <= 1000:
            yield _fault(
                obj, ("capacity", media), "config.capacity", f"{number} is no capacity.", "Use 0 to 1000."
            )


def _application(obj: ConfigObject) -> Iterator[Problem]:
    what = f"Application '{obj.name}'"
    if obj.app_type is None:
        yield _fault(obj, ("app_type",), "config.app_type", f"{what} has no type.", "Say what it is.")
        return
    if not obj.host and ports_of(obj.app_type):
        yield _fault(obj, ("host",), "config.host", f"{what} has no host.", "Name the Host it runs on.")
    for port_id, port in obj.ports.items():
        if not 0 <= port <= 65535:
            yield _fault(
                obj, ("ports", port_id), "config.port", f"{port} is no TCP port.", "Use 1 to 65535, or auto."
            )
    if not 0 <= obj.reconnect_timeout <= 86_400:
        yield _fault(
            obj, ("reconnect_timeout",), "config.value", f"{what}: reconnect_timeout is out of range."
        )
    seen: set[str] = set()
    for index, connection in enumerate(obj.connections):
        yield from _connection(obj, index, connection)
        if connection.server in seen:
            yield _fault(
                obj,
                ("connections", index),
                "config.connection",
                f"{what} is connected to '{connection.server}' twice.",
            )
        seen.add(connection.server)


def _connection(obj: ConfigObject, index: int, connection: Connection) -> Iterator[Problem]:
    path = ("connections", index)
    for name in ("local_timeout", "remote_timeout"):
        value = getattr(connection, name)
        if not 0 <= value <= 86_400:
            yield _fault(
                obj, (*path, name), "config.value", f"{value} is no timeout.", "Use seconds; 0: no polling."
            )
    if connection.protocol not in PROTOCOLS:
        fix = _choices(connection.protocol, PROTOCOLS)
        yield _fault(
            obj, (*path, "protocol"), "config.value", f"'{connection.protocol}' is no protocol.", fix
        )


def _references(obj: ConfigObject, everything: Configuration) -> Iterator[Problem]:
    single = (
        ("tenant", ObjectType.TENANT, obj.tenant),
        ("host", ObjectType.HOST, obj.host),
        ("default_place", ObjectType.PLACE, obj.default_place),
        ("capacity_rule", ObjectType.CAPACITY_RULE, obj.capacity_rule),
        ("backup", ObjectType.APPLICATION, obj.backup),
    )
    for field, kind, name in single:
        if name:
            yield from _exists(obj, (field,), kind, name, everything)
    for index, name in enumerate(obj.members):
        yield from _exists(obj, ("members", index), ObjectType.PERSON, name, everything)
    for index, name in enumerate(obj.groups):
        yield from _exists(obj, ("groups", index), ObjectType.AGENT_GROUP, name, everything)
    for index, connection in enumerate(obj.connections):
        yield from _target(obj, index, connection, everything)
    if obj.backup:
        yield from _backup(obj, everything)


def _exists(
    obj: ConfigObject, path: tuple[str | int, ...], kind: ObjectType, name: str, everything: Configuration
) -> Iterator[Problem]:
    if everything.get(kind, name) is None:
        near = nearest(name, (other.name for other in everything.all(kind)))
        fix = f"Did you mean '{near}'?" if near else f"Define the {kind} '{name}' or leave it out."
        yield _fault(obj, path, "config.unknown_object", f"There is no {kind} '{name}'.", fix)


def _target(
    obj: ConfigObject, index: int, connection: Connection, everything: Configuration
) -> Iterator[Problem]:
    path = ("connections", index, "server")
    target = everything.get(ObjectType.APPLICATION, connection.server)
    if target is None:
        yield from _exists(obj, path, ObjectType.APPLICATION, connection.server, everything)
    elif target.name == obj.name:
        yield _fault(obj, path, "config.connection", f"'{obj.name}' is connected to itself.")
    elif target.app_type is not ApplicationType.CLUSTER and connection.port_id not in target.ports:
        fix = "Its ports: " + (", ".join(sorted(target.ports)) or "none") + "."
        reason = f"Application '{target.name}' has no port '{connection.port_id}'."
        yield _fault(obj, ("connections", index, "port_id"), "config.no_port", reason, fix)


def _backup(obj: ConfigObject, everything: Configuration) -> Iterator[Problem]:
    backup = everything.get(ObjectType.APPLICATION, obj.backup)
    if backup is None:
        return
    reason = ""
    if backup.name == obj.name:
        reason = f"'{obj.name}' is named as its own backup."
    elif backup.app_type is not obj.app_type:
        reason = f"Backup '{backup.name}' is a {backup.app_type}, '{obj.name}' a {obj.app_type}."
    elif backup.backup:
        reason = f"Backup '{backup.name}' has a backup itself."
    elif any(o.backup == backup.name and o.name != obj.name for o in everything.all(ObjectType.APPLICATION)):
        reason = f"'{backup.name}' is the backup of another Application already."
    elif everything.site_of(backup.name) != everything.site_of(obj.name):
        reason = f"'{obj.name}' and its backup '{backup.name}' are at different sites."
    if reason:
        fix = "A pair is two servers of one type at one site."
        yield _fault(obj, ("backup",), "config.backup", reason, fix)


def _options(obj: ConfigObject, everything: Configuration) -> Iterator[Problem]:
    for section, values in obj.options.items():
        for key, value in values.items():
            refusal = check_option(obj, section, key, value)
            if refusal is not None:
                yield Problem(obj, ("options", section, key), refusal)
    site = obj.option(WORKSPACE_SECTION, SITE_OPTION)
    if site and not everything.clusters_at(site):
        tags = sorted({c.option(WORKSPACE_SECTION, TAG_OPTION) for c in everything.clusters()} - {""})
        near = nearest(site, tags)
        known = ", ".join(tags) or "none"
        yield Problem(
            obj,
            ("options", WORKSPACE_SECTION, SITE_OPTION),
            Refusal(
                code="option.site_unknown",
                reason=f"No Application Cluster carries the site '{site}'; agents would find no server.",
                field=f"{WORKSPACE_SECTION}/{SITE_OPTION}",
                fix=f"Did you mean '{near}'?" if near else f"Sites of clusters: {known}.",
            ),
        )


def _ports_used_twice(everything: Configuration) -> Iterator[Problem]:
    used: dict[tuple[str, int], str] = {}
    for app in everything.all(ObjectType.APPLICATION):
        host = everything.get(ObjectType.HOST, app.host)
        # Hosts of a lab share one address; ports must differ there too.
        address = host.address if host is not None else app.host
        for port_id, port in app.ports.items():
            other = used.setdefault((address, port), f"{app.name} {port_id}") if port else ""
            if port and other != f"{app.name} {port_id}":
                reason = f"Port {port} of {address} is used by '{other}' already."
                yield _fault(app, ("ports", port_id), "config.port_used", reason, "Choose another port.")


def _choices(value: str, known: Iterable[str]) -> str:
    near = nearest(value, known)
    return f"Did you mean '{near}'?" if near else "Use one of: " + ", ".join(known) + "."
