"""What a database node is told: its site, folders, address, certificates and passwords."""

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from stayline.domain.errors import refuse

APPLICATION_ROLE = "stayline"
"""Owner of the database, used by every service of ours."""

ADMIN_ROLE = "postgres"
"""Superuser, used by the node itself and by nobody else."""

REPLICATION_ROLE = "stayline_replicator"
"""Used by the other site's node; proven by certificate, has no password."""

DATABASE = "stayline"


class Passwords(msgspec.Struct, frozen=True):
    """SCRAM passwords of the local roles. Both sites need the same ones: roles are replicated."""

    admin: str
    application: str

    def __repr__(self) -> str:
        return "Passwords(...)"


def create_passwords(path: Path) -> Passwords:
    """Read the passwords in ``path``, or make the file (readable by its owner only) with new random ones."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Passwords)
    except FileNotFoundError:
        made = Passwords(admin=secrets.token_urlsafe(24), application=secrets.token_urlsafe(24))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(msgspec.json.encode(made))
    return made


@dataclass(frozen=True)
class NodeTls:
    """PEM files of the replication link. ``cert`` serves both as server and as client certificate."""

    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True)
class Upstream:
    """Where the primary of the other site listens. ``host`` must be named by its certificate."""

    site: str
    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class PostgresConfig:
    """Everything a node needs.

    ``directory``: where its data and sockets live (moved to a private place when the unprivileged account that runs
    PostgreSQL cannot enter it). ``host``/``port``: the replication listener. ``peer_site``: the site that replicates
    from here; ``peer_names``: common names of the certificates that may. ``settings``: further ``postgresql.conf``
    entries. ``durable_setup``: fsync what initdb and pg_basebackup write (tests switch it off; running servers always
    fsync). ``start_timeout``/``stop_timeout`` in seconds.
    """

    site: str
    directory: Path
    host: str
    port: int
    peer_site: str
    peer_names: tuple[str, ...]
    tls: NodeTls
    passwords: Passwords
    log_dir: Path
    bin_dir: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    durable_setup: bool = True
    start_timeout: float = 30.0
    stop_timeout: float = 15.0

    def __post_init__(self) -> None:
        for value, name in ((self.site, "site"), (self.peer_site, "peer_site")):
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", value):
                raise refuse(
                    "database.site_name",
                    f"{value!r} cannot name a site of a database.",
                    field=name,
                    fix="Use letters, digits, '_', '.' and '-', at most 40.",
                )


def replica_name(site: str) -> str:
    """Name of the replication slot of ``site``'s replica, and how the replica calls itself at the primary."""
    return "replica_" + re.sub(r"[^a-z0-9_]", "_", site.lower())
