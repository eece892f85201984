"""What is written for a node, and what is read from its data folder."""

import stat
from pathlib import Path

import pytest

from stayline.control.postgres.account import Account
from stayline.control.postgres.config import (
    NodeTls,
    Passwords,
    PostgresConfig,
    Upstream,
    create_passwords,
    replica_name,
)
from stayline.control.postgres.control_data import parse_control_data
from stayline.control.postgres.postmaster import clear_stale_locks, read_lock, running_postmaster
from stayline.control.postgres.settings import (
    Files,
    render,
    upstream_settings,
    write_auto_conf,
    write_settings,
)
from stayline.domain.errors import RefusedError

_OURSELVES = Account(None, None)


def _config(base: Path, **changes: object) -> PostgresConfig:
    for name in ("ca", "cert", "key"):
        (base / name).write_text(name)
    values: dict[str, object] = {
        "site": "Site_A",
        "directory": base / "database",
        "host": "127.0.0.1",
        "port": 5999,
        "peer_site": "Site_B",
        "peer_names": ("host_b",),
        "tls": NodeTls(base / "ca", base / "cert", base / "key"),
        "passwords": Passwords("secret-a", "secret-b"),
        "log_dir": base / "log",
    }
    return PostgresConfig(**(values | changes))  # type: ignore[arg-type]


def _files(base: Path) -> Files:
    files = Files(base / "root", base / "run")
    files.data.mkdir(parents=True)
    files.run.mkdir()
    return files


def test_settings_hold_what_the_traps_need(tmp_path: Path) -> None:
    files = _files(tmp_path)
    write_settings(_config(tmp_path, settings={"shared_buffers": "1GB"}), files, _OURSELVES)
    lines = files.conf.read_text().splitlines()
    for wanted in (
        "wal_retrieve_retry_interval = '200ms'",
        "wal_log_hints = 'on'",
        "fsync = 'on'",
        "listen_addresses = '127.0.0.1'",
        "ssl_min_protocol_version = 'TLSv1.3'",
        "shared_buffers = '1GB'",
    ):
        assert wanted in lines
    assert stat.S_IMODE((files.tls / "node.key").stat().st_mode) == 0o600
    access = (files.root / "pg_hba.conf").read_text().splitlines()
    assert all(line.startswith(("local ", "hostssl ")) for line in access)
    assert all("cert map=stayline" in line for line in access if line.startswith("hostssl"))
    assert (files.root / "pg_ident.conf").read_text() == 'stayline "host_b" stayline_replicator\n'


def test_no_password_is_in_any_file_or_text(tmp_path: Path) -> None:
    files = _files(tmp_path)
    config = _config(tmp_path)
    write_settings(config, files, _OURSELVES)
    write_auto_conf(files, _OURSELVES, upstream_settings(config, files, Upstream("Site_B", "h", 1)))
    texts = [path.read_text() for path in files.root.rglob("*") if path.is_file()]
    assert not [text for text in [*texts, repr(config)] if "secret" in text]


def test_replica_names_itself_and_its_slot_after_its_site(tmp_path: Path) -> None:
    found = upstream_settings(_config(tmp_path), _files(tmp_path), Upstream("Site_B", "db.example", 6000))
    assert found["primary_slot_name"] == "replica_site_a"
    assert "application_name=replica_site_a" in found["primary_conninfo"]
    assert "sslmode='verify-full'" in found["primary_conninfo"]
    assert replica_name("Site-B.2") == "replica_site_b_2"


def test_values_are_quoted() -> None:
    assert render({"a": "it's"}) == "a = 'it''s'\n"


def test_site_that_cannot_name_a_slot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as caught:
        _config(tmp_path, site="Site 'A'")
    assert caught.value.refusal.field == "site"


def test_passwords_are_made_once_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "passwords.json"
    made = create_passwords(path)
    assert create_passwords(path) == made
    assert made.admin != made.application
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


_CONTROL = """\
pg_control version number:            1700
Database system identifier:           7711112688349589775
Database cluster state:               {state}
pg_control last modified:             Sun Nov 22 21:35:31 2026
Latest checkpoint location:           0/30000F8
Latest checkpoint's REDO location:    0/30000F8
Latest checkpoint's TimeLineID:       3
"""


@pytest.mark.parametrize(
    ("state", "clean"),
    [
        ("shut down", True),
        ("shut down in recovery", False),
        ("in production", False),
        ("in archive recovery", False),
    ],
)
def test_control_data(state: str, clean: bool) -> None:
    data = parse_control_data(_CONTROL.format(state=state))
    assert (data.system_id, data.checkpoint, data.timeline) == ("7711112688349589775", "0/30000F8", 3)
    assert data.cleanly_stopped is clean


@pytest.mark.parametrize("content", ["", "x", "12\n", "4000000\n/data\n1795383331\n5999\n"])
def test_lock_files_of_nobody(tmp_path: Path, content: str) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    (run / "private").mkdir(parents=True)
    (data / "postmaster.pid").write_text(content)
    (run / "private" / ".s.PGSQL.5999.lock").write_text("4000000")
    lock = read_lock(data)
    assert lock is None or lock.pid == 4000000
    assert running_postmaster(data) is None
    assert "stale" in clear_stale_locks(data, run)
    assert clear_stale_locks(data, run) == ""
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
