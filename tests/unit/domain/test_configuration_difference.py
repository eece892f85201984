"""From a running configuration to what a file says."""

from pathlib import Path

import msgspec
import pytest

from stayline.domain.configuration_difference import difference
from stayline.domain.errors import RefusedError
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.domain.provisioning import assign_ports, parse_provisioning
from stayline.domain.topology import SITE_OPTION, WORKSPACE_SECTION, Configuration

SAMPLE = (Path(__file__).parents[3] / "examples" / "two-sites.toml").read_text(encoding="utf-8")


def running() -> Configuration:
    ports = iter(range(40_000, 41_000))
    objects = assign_ports(parse_provisioning(SAMPLE).objects, lambda *_: next(ports))
    return Configuration([msgspec.structs.replace(o, revision=4) for o in objects], 4)


def test_the_same_file_changes_nothing() -> None:
    assert difference(running(), parse_provisioning(SAMPLE).objects, {}, prune=True) == ([], [])


def test_agents_stay_at_their_site_and_other_options_follow_the_file() -> None:
    centre = running()
    workspace = centre.application("Workspace")
    section = {
        **workspace.options[WORKSPACE_SECTION],
        SITE_OPTION: "Site_B",
        "warm-standby.open-timeout": "9",
    }
    moved = msgspec.structs.replace(workspace, options={WORKSPACE_SECTION: section})
    text = SAMPLE.replace("warm-standby.retry-delay = 2", "warm-standby.retry-delay = 3")
    wanted = parse_provisioning(text).objects
    for prune in (False, True):
        (put,), gone = difference(centre.applied([moved], [], 5), wanted, {}, prune=prune)
        assert put.option(WORKSPACE_SECTION, SITE_OPTION) == "Site_B"
        assert put.option(WORKSPACE_SECTION, "warm-standby.retry-delay") == "3"
        kept = put.option(WORKSPACE_SECTION, "warm-standby.open-timeout")
        assert kept == ("" if prune else "9")
        assert gone == []


def test_what_the_file_lacks_goes_only_with_prune_users_first() -> None:
    centre = running()
    text = SAMPLE.replace(
        '[queues."chat.sales"]\nmedia = ["chat"]\ngroups = ["Sales"]', '[queues."chat.sales"]', 1
    )
    wanted = [o for o in parse_provisioning(text).objects if o.name not in ("Sales", "Place_12", "agent12")]
    assert difference(centre, wanted, {}, prune=False)[1] == []
    gone = difference(centre, wanted, {}, prune=True)[1]
    assert gone == [("Agent Group", "Sales"), ("Person", "agent12"), ("Place", "Place_12")]


def test_passwords_are_put_though_nothing_else_differs() -> None:
    puts, _ = difference(
        running(), parse_provisioning(SAMPLE).objects, {"agent03": "$argon2id$x"}, prune=False
    )
    assert [(p.name, p.password_hash) for p in puts] == [("agent03", "$argon2id$x")]


def test_a_new_server_must_say_its_port() -> None:
    text = (
        SAMPLE
        + '\n[applications.Chat_A_3]\ntype = "Chat Server"\nhost = "host_a"\nports = { default = 5001 }\n'
    )
    with pytest.raises(RefusedError) as caught:
        difference(running(), parse_provisioning(text).objects, {}, prune=False)
    assert caught.value.refusal.code == "config.port"
    assert "http" in caught.value.refusal.fix
    said = text.replace("default = 5001", "default = 5001, http = 5002")
    (put,), _ = difference(running(), parse_provisioning(said).objects, {}, prune=False)
    assert (put.name, put.ports) == ("Chat_A_3", {"default": 5001, "http": 5002})


def test_ports_of_a_host_given_by_the_lab_stay() -> None:
    centre = running()
    host = msgspec.structs.replace(centre.require(ObjectType.HOST, "host_a"), ports={"agent": 7001})
    with_agent = centre.applied([host], [], 5)
    assert difference(with_agent, parse_provisioning(SAMPLE).objects, {}, prune=True) == ([], [])


def test_referenced_objects_come_before_their_users() -> None:
    empty = Configuration([ConfigObject(type=ObjectType.TENANT, name="Environment")])
    ports = iter(range(40_000, 41_000))
    objects = assign_ports(parse_provisioning(SAMPLE).objects, lambda *_: next(ports))
    kinds = [put.type for put in difference(empty, objects, {}, prune=False)[0]]
    assert kinds.index(ObjectType.CAPACITY_RULE) < kinds.index(ObjectType.PERSON)
    assert kinds.index(ObjectType.PERSON) < kinds.index(ObjectType.AGENT_GROUP)
    assert kinds.index(ObjectType.AGENT_GROUP) < kinds.index(ObjectType.QUEUE)
