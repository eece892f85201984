"""The state folder: complete, repeatable, and never somebody else's."""

import socket
import stat
from pathlib import Path

import msgspec
import pytest

from stayline.control.host.plan import Provision, load_plan
from stayline.domain.errors import RefusedError
from stayline.domain.objects import ApplicationType, ObjectType
from stayline.lab.crowd_objects import CROWD_PASSWORD
from stayline.lab.layout import (
    HOST_PORT,
    LAB,
    WORKSPACE_FOLDER,
    chat_addresses,
    lay_out,
    locked,
    read_layout,
    remove,
)
from stayline.lab.sample import load_centre
from stayline.link.authority import tls_files
from stayline.link.bootstrap import load_bootstrap
from stayline.link.messages.control import ReplicationMode
from stayline.store.passwords import PREFIX


def test_every_application_has_a_certificate_that_names_it_and_a_port(tmp_path: Path) -> None:
    from cryptography import x509

    layout = lay_out(tmp_path / "lab")
    servers = [one for one in layout.applications() if one.host]
    assert len(servers) == 28
    for one in servers:
        files = tls_files(layout.sites[layout.site_of(one.name)].folder / "certificates", one.name)
        assert files.cert is not None
        certificate = x509.load_pem_x509_certificate(files.cert.read_bytes())
        assert f"CN={one.name}" in certificate.subject.rfc4514_string()
        assert f"OU={one.app_type}" in certificate.subject.rfc4514_string()
        assert all(one.ports.values())
    numbers = [port for ports in layout.laid.ports.values() for port in ports.values()]
    assert len(numbers) == len(set(numbers))


def test_laying_out_again_keeps_ports_certificates_and_keys(tmp_path: Path) -> None:
    first = lay_out(tmp_path / "lab")
    kept = {path: path.read_bytes() for path in (tmp_path / "lab").rglob("*.pem")}
    second = lay_out(tmp_path / "lab")
    assert second.laid.ports == first.laid.ports
    assert {path: path.read_bytes() for path in (tmp_path / "lab").rglob("*.pem")} == kept


def test_a_port_that_somebody_took_meanwhile_is_replaced(tmp_path: Path) -> None:
    first = lay_out(tmp_path / "lab")
    taken = first.application("Chat_A_1").ports["http"]
    with socket.create_server(("127.0.0.1", taken)):
        second = lay_out(tmp_path / "lab")
    assert second.application("Chat_A_1").ports["http"] != taken
    changed = {
        name
        for name, ports in second.laid.ports.items()
        for port_id, port in ports.items()
        if first.laid.ports[name][port_id] != port
    }
    assert changed == {"Chat_A_1"}


def test_read_layout_tells_the_same_without_changing_anything(tmp_path: Path) -> None:
    made = lay_out(tmp_path / "lab", agents=2)
    assert read_layout(tmp_path / "lab") == made


def test_private_files_are_private(tmp_path: Path) -> None:
    lay_out(tmp_path / "lab")
    secret = [
        *(tmp_path / "lab").rglob("*.key"),
        *(tmp_path / "lab").rglob("*signing*"),
        *(tmp_path / "lab").rglob("bootstrap.json"),
    ]
    secret += [tmp_path / "lab/provision.json", tmp_path / "lab/authority/database-passwords.json"]
    assert len(secret) > 30
    for path in secret:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_no_password_is_written_in_clear(tmp_path: Path) -> None:
    lay_out(tmp_path / "lab", agents=2)
    written = msgspec.json.decode((tmp_path / "lab/provision.json").read_bytes(), type=Provision)
    persons = [one for one in written.objects if one.type is ObjectType.PERSON]
    assert len(persons) > 10
    for person in persons:
        assert written.with_hash(person).password_hash.startswith(PREFIX)
    for password in {*load_centre(None, tmp_path).passwords.values(), CROWD_PASSWORD}:
        quoted = msgspec.json.encode(password)
        for path in (tmp_path / "lab").rglob("*.json"):
            assert quoted not in path.read_bytes(), path


def test_synthetic_agents_get_places_groups_and_a_capacity(tmp_path: Path) -> None:
    layout = lay_out(tmp_path / "lab", agents=5)
    persons = {one.name: one for one in layout.objects if one.type is ObjectType.PERSON}
    places = {one.name for one in layout.objects if one.type is ObjectType.PLACE}
    members = [name for one in layout.objects if one.type is ObjectType.AGENT_GROUP for name in one.members]
    for number in range(1, 6):
        robot = persons[f"robot{number:04d}"]
        assert robot.default_place in places
        assert robot.capacity_rule
        assert members.count(robot.name) == 1


def test_plans_name_peer_and_first_site(tmp_path: Path) -> None:
    layout = lay_out(tmp_path / "lab", replication=ReplicationMode.STRICT)
    plan_a, plan_b = (load_plan(layout.sites[site].folder) for site in ("Site_A", "Site_B"))
    assert (plan_a.first, plan_b.first) == (True, False)
    assert plan_a.peer is not None
    assert (plan_a.peer.host, plan_a.peer.port) == (plan_b.host, plan_b.port)
    assert plan_b.replication is ReplicationMode.STRICT
    assert plan_a.in_order()[0].app_type is ApplicationType.CONFIGURATION_SERVER
    host = next(one for one in layout.objects if one.name == "host_a")
    assert host.ports[HOST_PORT] == plan_a.port


def test_the_workspaces_bootstrap_has_no_secrets(tmp_path: Path) -> None:
    lay_out(tmp_path / "lab")
    bootstrap = load_bootstrap(tmp_path / "lab" / WORKSPACE_FOLDER)
    assert bootstrap.database_dsn == ""
    assert bootstrap.host_agent is None
    assert [node.application for node in bootstrap.configuration] == ["Config_A", "Config_B"]
    assert not list((tmp_path / "lab" / WORKSPACE_FOLDER).rglob("*.key"))


def test_chat_servers_let_the_sample_page_in(tmp_path: Path) -> None:
    layout = lay_out(tmp_path / "lab")
    shop = layout.laid.ports[LAB]["shop"]
    for one in layout.applications(ApplicationType.CHAT_SERVER):
        assert f"http://127.0.0.1:{shop}" in one.option("settings", "allowed-origins")
        assert one.option("settings", "max-starts-per-minute") == "100000"
    assert [address.split(":")[0] for address in chat_addresses(layout)] == ["http"] * 4


def test_a_lab_in_use_is_not_removed_and_a_strange_folder_never(tmp_path: Path) -> None:
    lay_out(tmp_path / "lab")
    with locked(tmp_path / "lab"), pytest.raises(RefusedError, match="Another lab runs"):
        remove(tmp_path / "lab")
    strange = tmp_path / "home"
    strange.mkdir()
    (strange / "letter").write_text("dear")
    with pytest.raises(RefusedError, match="nothing was removed"):
        lay_out(strange, fresh=True)
    assert (strange / "letter").exists()
    remove(tmp_path / "lab")
    assert not (tmp_path / "lab").exists()
