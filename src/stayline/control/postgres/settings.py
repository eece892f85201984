"""The files that tell a server how to run. They lie beside the data folder, so that neither a base backup nor a
rewind can bring the other site's settings with it; only ``postgresql.auto.conf`` is inside and is rewritten by us."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stayline.control.postgres.account import Account, Location
from stayline.control.postgres.config import (
    ADMIN_ROLE,
    APPLICATION_ROLE,
    DATABASE,
    REPLICATION_ROLE,
    PostgresConfig,
    Upstream,
    replica_name,
)

_FIXED: dict[str, str] = {
    "shared_buffers": "64MB",
    "max_connections": "200",
    "wal_level": "replica",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "wal_log_hints": "on",
    "full_page_writes": "on",
    "fsync": "on",
    "synchronous_commit": "on",
    "hot_standby": "on",
    "max_wal_size": "512MB",
    # An old primary needs its own log back to the fork to be rewound instead of copied anew.
    "wal_keep_size": "256MB",
    # A replica that stays away must not fill the primary's disk: beyond this it is rebuilt by a base backup.
    "max_slot_wal_keep_size": "4GB",
    "wal_receiver_timeout": "3s",
    "wal_sender_timeout": "3s",
    "wal_receiver_status_interval": "1s",
    # The default of 5 s now and then makes a promotion last that long (feasibility, trap 4).
    "wal_retrieve_retry_interval": "200ms",
    "password_encryption": "scram-sha-256",
    "ssl": "on",
    "ssl_min_protocol_version": "TLSv1.3",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "unix_socket_permissions": "0700",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %a ",
    "log_checkpoints": "off",
    # Statements and details of errors can carry what customers wrote: neither may reach a log.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}


@dataclass(frozen=True)
class Files:
    """The files of a node below its place."""

    root: Path
    run: Path

    @classmethod
    def of(cls, location: Location) -> "Files":
        """The files of the node that lives at ``location``."""
        return cls(Path(location.root), Path(location.run))

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.root / "data"

    @property
    def conf(self) -> Path:
        """The settings file."""
        return self.root / "postgresql.conf"

    @property
    def tls(self) -> Path:
        """Folder of the node's copies of the PEM files."""
        return self.root / "tls"

    @property
    def standby_signal(self) -> Path:
        """While this file exists the server starts as a replica, whatever else happens."""
        return self.data / "standby.signal"


def write_settings(config: PostgresConfig, files: Files, account: Account) -> None:
    """(Re)write everything outside the data folder from ``config``."""
    files.tls.mkdir(mode=0o700, exist_ok=True)
    account.give(files.tls)
    for source, name in (
        (config.tls.ca, "ca.pem"),
        (config.tls.cert, "node.pem"),
        (config.tls.key, "node.key"),
    ):
        _write(files.tls / name, source.read_text(), account)
    settings = dict(_FIXED)
    settings |= {
        "listen_addresses": config.host,
        "port": str(config.port),
        "unix_socket_directories": str(files.run),
        "data_directory": str(files.data),
        "hba_file": str(files.root / "pg_hba.conf"),
        "ident_file": str(files.root / "pg_ident.conf"),
        "ssl_ca_file": str(files.tls / "ca.pem"),
        "ssl_cert_file": str(files.tls / "node.pem"),
        "ssl_key_file": str(files.tls / "node.key"),
        "cluster_name": f"stayline {config.site}",
        **config.settings,
    }
    _write(files.conf, render(settings), account)
    _write(files.root / "pg_hba.conf", _hba(), account)
    peers = "".join(f'stayline "{name}" {REPLICATION_ROLE}\n' for name in config.peer_names)
    _write(files.root / "pg_ident.conf", peers, account)


def write_auto_conf(files: Files, account: Account, settings: Mapping[str, str]) -> None:
    """Replace ``postgresql.auto.conf`` of a server that is not running: what a copy or a rewind brought is dropped."""
    _write(files.data / "postgresql.auto.conf", render(settings), account)


def write_standby_signal(files: Files, account: Account) -> None:
    """From now on the server can only start as a replica."""
    _write(files.standby_signal, "", account)


def write_marker(path: Path, text: str, account: Account) -> None:
    """Replace a marker file; with an empty text: remove it."""
    if text:
        _write(path, text, account)
    else:
        path.unlink(missing_ok=True)


def upstream_settings(config: PostgresConfig, files: Files, upstream: Upstream) -> dict[str, str]:
    """What makes a replica follow ``upstream``."""
    return {
        "primary_conninfo": conninfo(config, files, upstream)
        + f" application_name={replica_name(config.site)}",
        "primary_slot_name": replica_name(config.site),
    }


def conninfo(config: PostgresConfig, files: Files, upstream: Upstream, database: str = "") -> str:
    """libpq connection string to the other site's node, proven by certificates both ways."""
    parts = {
        "host": upstream.host,
        "port": str(upstream.port),
        "user": REPLICATION_ROLE,
        "sslmode": "verify-full",
        "sslrootcert": str(files.tls / "ca.pem"),
        "sslcert": str(files.tls / "node.pem"),
        "sslkey": str(files.tls / "node.key"),
        "connect_timeout": "3",
        "keepalives_idle": "2",
        "keepalives_interval": "1",
        "keepalives_count": "3",
    }
    if database:
        parts["dbname"] = database
    return " ".join(f"{name}={_libpq(value)}" for name, value in parts.items())


def remove_tree(path: Path) -> None:
    """Remove a folder and all below it, if it is there."""
    if path.exists():
        shutil.rmtree(path)


def render(settings: Mapping[str, str]) -> str:
    """Text of a settings file."""
    lines = []
    for name, value in settings.items():
        quoted = value.replace("'", "''")
        lines.append(f"{name} = '{quoted}'\n")
    return "".join(lines)


def _hba() -> str:
    return (
        f"local all {ADMIN_ROLE} scram-sha-256\n"
        f"local all {APPLICATION_ROLE} scram-sha-256\n"
        f"hostssl replication {REPLICATION_ROLE} all cert map=stayline\n"
        f"hostssl {DATABASE} {REPLICATION_ROLE} all cert map=stayline\n"
    )


def _libpq(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _write(path: Path, text: str, account: Account) -> None:
    """Replace a file at once, readable by the account only."""
    fresh = path.with_name(path.name + ".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    account.give(fresh)
    fresh.replace(path)
