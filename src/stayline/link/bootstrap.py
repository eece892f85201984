"""All that a process must know before it can read the configuration: one small file per site."""

import os
from pathlib import Path

import msgspec

from stayline.domain.errors import refuse
from stayline.link.frames import field_of


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """Where an application listens: its name (checked in the hello), host or address, and TCP port."""

    application: str
    host: str
    port: int


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``bootstrap.json``. Paths are absolute.

    ``configuration``: all Configuration Servers, own site's first. ``database_dsn``: of this site's database,
    only for core tier and Configuration Server (empty: none). ``host_agent``: whom servers report to (None:
    nobody).
    """

    site: str
    host: str
    state: str
    configuration: list[Node]
    certificates: str
    keys: str
    log_dir: str
    database_dsn: str = ""
    host_agent: Node | None = None


def load_bootstrap(path: str | Path) -> Bootstrap:
    """Read ``bootstrap.json``; ``path`` is the file or the state folder that holds it.

    Raises RefusedError ``bootstrap.missing`` or ``bootstrap.malformed`` (naming the field).
    """
    file = Path(path)
    if file.is_dir():
        file = file / "bootstrap.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=Bootstrap)
    except FileNotFoundError as error:
        fix = "Give the state folder of a site (--state), or make one with `stayline lab up`."
        raise refuse("bootstrap.missing", f"There is no {file}.", fix=fix) from error
    except msgspec.MsgspecError as error:
        reason = f"{file} cannot be read: {error}."
        raise refuse("bootstrap.malformed", reason, field=field_of(error)) from error


def save_bootstrap(path: str | Path, bootstrap: Bootstrap) -> None:
    """Write ``bootstrap.json``: a reader sees the old or the new file, never a part; only its owner may."""
    file = Path(path)
    if file.is_dir():
        file = file / "bootstrap.json"
    part = file.with_suffix(".part")
    # Private before its first byte: it holds the database's password.
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        os.fchmod(descriptor, 0o600)  # the leavings of a killed process have the mode that they had
        written.write(msgspec.json.format(msgspec.json.encode(bootstrap), indent=2) + b"\n")
    os.replace(part, file)
