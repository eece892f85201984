"""The centre as a readable TOML text: from its tables to configuration objects.

Tables: ``tenants``, ``hosts``, ``places``, ``applications``, ``persons``, ``agent_groups``, ``queues``,
``capacity_rules``; each holds one table per object, named by the object. Every fault of the text is collected
and says file, line, key, reason and fix.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stayline.domain.errors import Refusal, StaylineError
from stayline.domain.object_rules import check_all, ports_of
from stayline.domain.objects import ApplicationType, ConfigObject, Connection, ObjectType
from stayline.domain.options import nearest
from stayline.domain.provisioning_positions import Path, Positions
from stayline.domain.topology import Configuration

TABLES: dict[str, ObjectType] = {
    "tenants": ObjectType.TENANT,
    "hosts": ObjectType.HOST,
    "places": ObjectType.PLACE,
    "applications": ObjectType.APPLICATION,
    "persons": ObjectType.PERSON,
    "agent_groups": ObjectType.AGENT_GROUP,
    "queues": ObjectType.QUEUE,
    "capacity_rules": ObjectType.CAPACITY_RULE,
}
"""Tables of the text and the objects they hold, in the order in which objects are made."""

MAX_BYTES = 8_000_000
"""Longest text read."""

AUTO = "auto"
"""A port of which the number is chosen later (0 in the object)."""

_TEXT: dict[str, Any] = {"description": str, "enabled": bool}
_TENANT: dict[str, Any] = {"tenant": str}
_KEYS: dict[ObjectType, dict[str, Any]] = {
    ObjectType.TENANT: {},
    ObjectType.HOST: {"site": str, "address": str, "ports": dict},
    ObjectType.PLACE: _TENANT,
    ObjectType.APPLICATION: _TENANT
    | {"type": ApplicationType, "host": str, "ports": dict, "backup": str, "reconnect_timeout": float}
    | {"connections": list},
    ObjectType.PERSON: _TENANT
    | {"roles": list[str], "display_name": str, "default_place": str, "capacity_rule": str}
    | {"password": str, "password_hash": str},
    ObjectType.AGENT_GROUP: _TENANT | {"members": list[str]},
    ObjectType.QUEUE: _TENANT | {"media": list[str], "groups": list[str]},
    ObjectType.CAPACITY_RULE: _TENANT | {"capacity": dict[str, int]},
}
_CONNECTION: dict[str, Any] = {f.name: f.type for f in msgspec.structs.fields(Connection)}


@dataclass(frozen=True)
class Fault:
    """One fault of the text: where (line and column from 1), which key, why, and what mends it."""

    file: str
    line: int
    column: int
    key: str
    refusal: Refusal

    def __str__(self) -> str:
        fix = f" {self.refusal.fix}" if self.refusal.fix else ""
        key = f"{self.key}: " if self.key else ""
        return f"{self.file}:{self.line}:{self.column}: {key}{self.refusal.reason}{fix}"


class ProvisioningError(StaylineError):
    """The text has faults; none of it was used."""

    def __init__(self, faults: list[Fault]) -> None:
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(
            Refusal(
                code="provisioning.invalid",
                reason=f"{first}{more}",
                fix=first.refusal.fix,
                field=first.key,
            )
        )
        self.faults = faults


@dataclass(frozen=True)
class Provisioned:
    """What a text says: the objects, and the passwords given in clear (person -> password)."""

    objects: list[ConfigObject]
    passwords: dict[str, str] = field(default_factory=dict, repr=False)


def parse_provisioning(text: str, file: str = "configuration") -> Provisioned:
    """Objects of a TOML text; ``file`` is its name in messages. Raises ProvisioningError with every fault."""
    if len(text) > MAX_BYTES:
        raise ProvisioningError([_plain(file, f"The file is longer than {MAX_BYTES} characters.")])
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProvisioningError([_syntax(file, str(error))]) from error
    reader = _Reader(file, Positions(text))
    provisioned = reader.read(tables)
    if reader.faults:
        raise ProvisioningError(sorted(reader.faults, key=lambda fault: (fault.line, fault.column)))
    return provisioned


def assign_ports(objects: list[ConfigObject], choose: Callable[[str, str], int]) -> list[ConfigObject]:
    """The objects with every automatic port (0) replaced by ``choose(application, port id)``."""
    return [
        msgspec.structs.replace(
            obj, ports={port_id: port or choose(obj.name, port_id) for port_id, port in obj.ports.items()}
        )
        if obj.ports
        else obj
        for obj in objects
    ]


def _plain(file: str, reason: str) -> Fault:
    return Fault(file, 1, 1, "", Refusal(code="provisioning.invalid", reason=reason))


def _syntax(file: str, message: str) -> Fault:
    at = re.search(r"\(at line (\d+), column (\d+)\)", message)
    line, column = (int(at[1]), int(at[2])) if at else (1, 1)
    reason = re.sub(r" \(at .*\)$", "", message) + "."
    fix = "Give each key and table once." if "overwrite" in reason or "twice" in reason else ""
    return Fault(file, line, column, "", Refusal(code="provisioning.syntax", reason=reason, fix=fix))


class _Reader:
    """Turns tables into objects and gathers faults on the way."""

    def __init__(self, file: str, positions: Positions) -> None:
        self.faults: list[Fault] = []
        self._file = file
        self._positions = positions
        self._written: dict[Path, Path] = {}
        self._passwords: dict[str, str] = {}

    def read(self, tables: Mapping[str, Any]) -> Provisioned:
        for name in tables:
            if name not in TABLES:
                self._unknown((name,), "table", name, TABLES)
        objects = []
        tenants = list(self._table(tables, "tenants"))
        tenant = tenants[0] if len(tenants) == 1 else ""
        for table, kind in TABLES.items():
            for name, values in self._table(tables, table).items():
                if isinstance(values, dict):
                    objects.append(self._object(kind, (table, name), values, tenant))
                else:
                    self._fault((table, name), "config.type", f"'{name}' must be a table.")
        if not self.faults:
            self._judge(objects)
        return Provisioned(objects, self._passwords)

    def _table(self, tables: Mapping[str, Any], name: str) -> dict[str, Any]:
        value = tables.get(name, {})
        if isinstance(value, dict):
            return value
        self._fault((name,), "config.type", f"'{name}' must be a table of objects.", f"Write [{name}.NAME].")
        return {}

    def _judge(self, objects: list[ConfigObject]) -> None:
        table_of = {kind: table for table, kind in TABLES.items()}
        for problem in check_all(Configuration(objects)):
            inner = tuple("type" if part == "app_type" else part for part in problem.path)
            path = (table_of[problem.obj.type], problem.obj.name, *inner)
            self._note(self._written.get(path, path), path, problem.refusal)

    def _object(self, kind: ObjectType, path: Path, values: dict[str, Any], tenant: str) -> ConfigObject:
        known = _TEXT | _KEYS[kind]
        fields: dict[str, Any] = {"type": kind, "name": str(path[-1])}
        if tenant and "tenant" in known:
            fields["tenant"] = tenant
        for key, value in values.items():
            here = (*path, key)
            if key == "options":
                fields["options"] = self._options(here, value)
            elif key not in known:
                self._unknown(here, "key", key, {*known, "options"})
            elif key == "connections":
                fields[key] = self._connections(here, value)
            elif key == "ports":
                fields[key] = self._ports(here, value)
            elif key == "password":
                self._password(here, value)
            else:
                converted = self._convert(here, value, known[key])
                if converted is not None:
                    fields["app_type" if key == "type" else key] = converted
        if kind is ObjectType.APPLICATION:
            self._complete_ports(path, fields)
        return ConfigObject(**fields)

    def _complete_ports(self, path: Path, fields: dict[str, Any]) -> None:
        """An Application must say what it is; ports that its kind needs and the text omits are automatic."""
        app_type = fields.get("app_type")
        if app_type is None:
            if not any(fault.key.startswith(_dotted((*path, "type"))) for fault in self.faults):
                fix = "Use one of: " + ", ".join(ApplicationType) + "."
                self._fault(path, "config.app_type", "The Application says no type.", fix)
            return
        fields["ports"] = dict.fromkeys(ports_of(app_type), 0) | fields.get("ports", {})

    def _password(self, path: Path, value: Any) -> None:
        if isinstance(value, str) and value:
            self._passwords[str(path[1])] = value
        else:
            self._fault(path, "config.type", "A password must be text that is not empty.")

    def _ports(self, path: Path, value: Any) -> dict[str, int]:
        if not isinstance(value, dict):
            self._fault(path, "config.type", "Ports must be a table.", "Write ports = { default = 5000 }.")
            return {}
        ports: dict[str, int] = {}
        for port_id, port in value.items():
            if port == AUTO:
                ports[port_id] = 0
            elif isinstance(port, int) and not isinstance(port, bool):
                ports[port_id] = port
            else:
                self._fault(
                    (*path, port_id), "config.port", f"{port!r} is no port.", 'Use a number or "auto".'
                )
        return ports

    def _connections(self, path: Path, value: Any) -> list[Connection]:
        if not isinstance(value, list):
            self._fault(
                path, "config.type", "Connections must be a list.", 'Write ["Name"] or [{ server = "Name" }].'
            )
            return []
        connections = []
        for index, entry in enumerate(value):
            here = (*path, index)
            if isinstance(entry, str):
                connections.append(Connection(server=entry))
            elif isinstance(entry, dict) and "server" in entry:
                connections.append(self._connection(here, entry))
            else:
                self._fault(here, "config.connection", "A connection must name its server.")
        return connections

    def _connection(self, path: Path, entry: dict[str, Any]) -> Connection:
        fields: dict[str, Any] = {}
        for key, value in entry.items():
            if key not in _CONNECTION:
                self._unknown((*path, key), "key", key, _CONNECTION)
                continue
            converted = self._convert((*path, key), value, _CONNECTION[key])
            if converted is not None:
                fields[key] = converted
        return Connection(**{"server": ""} | fields)

    def _options(self, path: Path, value: Any) -> dict[str, dict[str, str]]:
        if not isinstance(value, dict):
            self._fault(path, "config.type", "Options must be tables: section, then key = value.")
            return {}
        options: dict[str, dict[str, str]] = {}
        for section, keys in value.items():
            here = (*path, section)
            if not isinstance(keys, dict):
                fix = f'Write it as options.SECTION.{section} = "value".'
                self._fault(here, "option.unknown_section", f"'{section}' is in no section.", fix)
                continue
            options[section] = {}
            self._flatten(options[section], here, here, "", keys)
        return options

    def _flatten(
        self, into: dict[str, str], section: Path, written: Path, prefix: str, keys: dict[str, Any]
    ) -> None:
        """``disaster-recovery.site`` may be written with or without quotes: TOML nests the latter."""
        for part, value in keys.items():
            key, here = f"{prefix}{part}", (*written, part)
            if isinstance(value, dict):
                self._flatten(into, section, here, f"{key}.", value)
            elif isinstance(value, bool):
                into[key] = "true" if value else "false"
            elif isinstance(value, str | int | float):
                into[key] = str(value)
            elif isinstance(value, list) and all(isinstance(v, str | int | float) for v in value):
                into[key] = ",".join(str(v) for v in value)
            else:
                self._fault(
                    here, "option.value", "An option is a text, a number, true or false, or a list of those."
                )
            self._written[(*section, key)] = here

    def _convert(self, path: Path, value: Any, hint: Any) -> Any:
        try:
            return msgspec.convert(value, hint)
        except msgspec.ValidationError as error:
            self._fault(path, "config.type", *_in_words(value, hint, str(error)))
            return None

    def _unknown(self, path: Path, what: str, name: str, known: Any) -> None:
        near = nearest(name, known)
        fix = f"Did you mean '{near}'?" if near else "Known: " + ", ".join(sorted(known)) + "."
        self._fault(path, "config.unknown_key", f"Unknown {what} '{name}'.", fix)

    def _fault(self, path: Path, code: str, reason: str, fix: str = "") -> None:
        self._note(path, path, Refusal(code=code, reason=reason, fix=fix))

    def _note(self, written: Path, path: Path, refusal: Refusal) -> None:
        line, column = self._positions.of(written)
        key = _dotted(path)
        self.faults.append(Fault(self._file, line, column, key, msgspec.structs.replace(refusal, field=key)))


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if re.fullmatch(r"[\w-]+", part) else f'"{part}"'
            text += f".{shown}" if text else shown
    return text


def _in_words(value: Any, hint: Any, message: str) -> tuple[str, str]:
    if hint is ApplicationType:
        near = nearest(str(value), ApplicationType)
        fix = f"Did you mean '{near}'?" if near else "Use one of: " + ", ".join(ApplicationType) + "."
        return f"{value!r} is no type of Application.", fix
    words = {str: "a text", bool: "true or false", float: "a number", list[str]: "a list of texts"}
    expected = words.get(hint, "")
    shown = repr(value) if len(repr(value)) <= 40 else "This"
    reason = f"{shown} has the wrong type: {message[0].lower()}{message[1:]}."
    return reason, f"Use {expected}." if expected else ""
