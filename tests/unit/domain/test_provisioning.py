"""Reading a centre from TOML: what it becomes, and what its faults say."""

from pathlib import Path

import pytest

from stayline.domain.objects import ApplicationType, ObjectType
from stayline.domain.provisioning import ProvisioningError, assign_ports, parse_provisioning
from stayline.domain.topology import Configuration

SAMPLE = (Path(__file__).parents[3] / "examples" / "two-sites.toml").read_text(encoding="utf-8")


def faults(text: str) -> list[str]:
    with pytest.raises(ProvisioningError) as caught:
        parse_provisioning(text, "f.toml")
    return [str(fault) for fault in caught.value.faults]


def line_of(text: str, part: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if part in line)


def test_the_sample_is_the_centre_of_the_plan() -> None:
    parsed = parse_provisioning(SAMPLE)
    centre = Configuration(parsed.objects)
    for site in ("Site_A", "Site_B"):
        counts = {
            t: len(centre.applications(t, site))
            for t in ApplicationType
            if t not in (ApplicationType.WORKSPACE, ApplicationType.STAT_SERVER)
        }
        assert counts == {
            ApplicationType.CLUSTER: 1,
            ApplicationType.INTERACTION_SERVER: 2,
            ApplicationType.INTERACTION_SERVER_PROXY: 3,
            ApplicationType.CONTACT_SERVER: 2,
            ApplicationType.CONTACT_SERVER_PROXY: 3,
            ApplicationType.CHAT_SERVER: 2,
            ApplicationType.CONFIGURATION_SERVER: 1,
            ApplicationType.SOLUTION_CONTROL_SERVER: 1,
        }
    assert [c.site for c in centre.clusters_of("Workspace")] == ["Site_A", "Site_B"]
    assert len(centre.all(ObjectType.AGENT_GROUP)) == 2
    agents = [p for p in centre.all(ObjectType.PERSON) if "agent" in p.roles]
    assert len(agents) == 12
    assert all(parsed.passwords[p.name] == "stayline" for p in agents)
    assert all(p.password_hash == "" for p in agents)
    assert "stayline" not in repr(parsed)
    assert centre.application("Chat_A_1").ports == {"default": 0, "http": 0}
    assert centre.application("Workspace").tenant == "Environment"


def test_automatic_ports_are_chosen_and_given_ones_kept() -> None:
    text = SAMPLE.replace('default = "auto", http = "auto"', 'default = 5555, http = "auto"', 1)
    chosen = assign_ports(parse_provisioning(text).objects, lambda app, port_id: 7000 + len(app))
    ports = {o.name: o.ports for o in chosen}
    assert ports["Chat_A_1"] == {"default": 5555, "http": 7008}
    assert ports["Ixn_A_1"] == {"default": 7007}


@pytest.mark.parametrize(
    ("old", "new", "key", "fix"),
    [
        ('"IxnProxy_A_1",', '"IxnProxy_A_9",', "connections[0].server", "Did you mean 'IxnProxy_A_"),
        ('type = "Chat Server"', 'type = "Chat Srver"', "Chat_A_1.type", "Did you mean 'Chat Server'?"),
        ("hosts.host_b]\nsite", "hosts.host_b]\nsyte", "host_b.syte", "Did you mean 'site'?"),
        ("[queues.", "[queue.", "queue", "Did you mean 'queues'?"),
        ("delivering-timeout = 30", "delivering-timeot = 30", "delivering-timeot", "'delivering-timeout'"),
        ("delivering-timeout = 30", "delivering-timeout = 0", "delivering-timeout", "1 to 86400"),
        ('site = "Site_A"\nd', 'site = "Site_C"\nd', "eservices-site", "Did you mean"),
        ("local_timeout = 5,", 'local_timeout = "5 s",', "connections[0].local_timeout", "a number"),
        ("local_timeout = 5,", "local_timeout = -5,", "connections[0].local_timeout", "seconds"),
        (
            'capacity_rule = "Three chats"',
            'capacity_rule = "Tree chats"',
            "agent01.capacity_rule",
            "Three chats",
        ),
        ("capacity = { chat = 3 }", "capacity = { chta = 3 }", "capacity.chta", "Did you mean 'chat'?"),
        ('roles = ["agent"]', 'roles = ["agnet"]', "agent01.roles[0]", "Did you mean 'agent'?"),
        ('backup = "Ixn_A_2"', 'backup = "UCS_A_2"', "Ixn_A_1.backup", "one type at one site"),
        ('backup = "Ixn_A_2"', 'backup = "Ixn_B_2"', "Ixn_A_1.backup", "one type at one site"),
        ('default = "auto"', "default = 99999", "ports.default", "1 to 65535"),
        ('host = "host_a"', 'host = "host_c"', "Config_A.host", "Did you mean 'host_"),
        ('password = "stayline"', "password = 1", "admin.password", ""),
        ("Place_03 = {}", "Place_03 = 3", "places.Place_03", ""),
        ("Place_03 = {}", 'Place_03 = { capacity = "x" }', "Place_03.capacity", "Known"),
    ],
)
def test_a_fault_names_file_line_key_and_fix(old: str, new: str, key: str, fix: str) -> None:
    assert old in SAMPLE
    text = SAMPLE.replace(old, new, 1)
    wrong = next(
        i for i, (a, b) in enumerate(zip(SAMPLE.splitlines(), text.splitlines(), strict=True), 1) if a != b
    )
    said = faults(text)
    matching = [s for s in said if s.startswith(f"f.toml:{wrong}:")]
    assert matching, said
    assert any(key in s and fix in s for s in matching), said


def test_every_fault_is_said_at_once_in_the_order_of_the_lines() -> None:
    text = SAMPLE.replace('type = "Chat Server"', 'type = "Chat Srver"').replace("roles = [", "rolls = [")
    said = faults(text)
    assert len(said) == 4 + 13
    lines = [int(s.split(":")[1]) for s in said]
    assert lines == sorted(lines)


def test_bad_toml_names_its_line() -> None:
    text = SAMPLE.replace("delivering-timeout = 30", "delivering-timeout = = 30", 1)
    (said,) = faults(text)
    assert said.startswith(f"f.toml:{line_of(text, '= = 30')}:")
    (twice,) = faults(SAMPLE + "\n[hosts.host_a]\n")
    assert "twice" in twice


def test_a_port_used_twice_is_said_with_its_user() -> None:
    text = SAMPLE.replace('default = "auto", http = "auto"', "default = 5000, http = 5000", 1)
    (said,) = faults(text)
    assert "Chat_A_1 default" in said


def test_options_are_read_with_and_without_quotes() -> None:
    quoted = SAMPLE.replace("disaster-recovery.eservices-site = ", '"disaster-recovery.eservices-site" = ')
    plain = Configuration(parse_provisioning(SAMPLE).objects).application("Workspace")
    assert Configuration(parse_provisioning(quoted).objects).application("Workspace") == plain
    assert plain.option("interaction-workspace", "warm-standby.retry-delay") == "2"


def test_an_application_without_type_is_told_so() -> None:
    (said,) = faults('[tenants.T]\n[applications.Lonely]\nhost = "h"\n[hosts.h]\nsite="S"\n')
    assert said.startswith("f.toml:2:")
    assert "Interaction Server Proxy" in said


@pytest.mark.parametrize("text", ["tenants = 3", "[persons]\nx = 1", "hosts = []", "[[persons]]\nname = 'x'"])
def test_wrong_shapes_are_faults_not_crashes(text: str) -> None:
    assert faults(text)
