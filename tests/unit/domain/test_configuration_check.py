"""Findings of a whole configuration: each names the object, the key and the fix."""

import dataclasses
from pathlib import Path

import msgspec
import pytest

from stayline.domain.configuration_check import Finding, Severity, findings
from stayline.domain.objects import ConfigObject, ObjectType, Options
from stayline.domain.provisioning import parse_provisioning
from stayline.domain.topology import WORKSPACE_SECTION, Configuration

SAMPLE = Configuration(parse_provisioning(Path("examples/two-sites.toml").read_text()).objects)


def with_options(kind: ObjectType, name: str, section: str, values: dict[str, str]) -> Configuration:
    """The sample with options added to one object."""
    obj = SAMPLE.require(kind, name)
    options: Options = {**obj.options, section: {**obj.options.get(section, {}), **values}}
    return put(msgspec.structs.replace(obj, options=options))


def put(obj: ConfigObject) -> Configuration:
    return SAMPLE.applied([obj], [], 2)


def only(configuration: Configuration) -> Finding:
    found = findings(configuration)
    assert len(found) == 1, [str(one) for one in found]
    return found[0]


def test_the_sample_is_good() -> None:
    assert findings(SAMPLE) == []


@pytest.mark.parametrize(
    ("values", "code", "fix"),
    [
        (
            {"disaster-recovery.eservices-sight": "Site_B"},
            "option.unknown",
            "disaster-recovery.eservices-site",
        ),
        ({"warm-standby.retry-delay": "-3"}, "option.value", "0"),
        ({"warm-standby.retry-delay": "ten"}, "option.value", "number"),
        ({"disaster-recovery.eservices-site": "Site_C"}, "option.site_unknown", "Site_"),
    ],
)
def test_an_option_of_an_agent_that_cannot_be(values: dict[str, str], code: str, fix: str) -> None:
    found = only(with_options(ObjectType.PERSON, "agent01", WORKSPACE_SECTION, values))
    assert (found.severity, found.code, found.obj) == (Severity.ERROR, code, "Person 'agent01'")
    assert found.key == f"{WORKSPACE_SECTION}/{next(iter(values))}"
    assert fix in found.fix


def test_a_hyphen_in_a_site_name_is_said_with_the_name_to_use() -> None:
    found = findings(
        with_options(
            ObjectType.TENANT,
            "Environment",
            WORKSPACE_SECTION,
            {"disaster-recovery.eservices-site": "Site-A"},
        )
    )
    spelling = next(one for one in found if one.code == "option.value")
    assert "'Site_A'" in spelling.fix
    assert spelling.obj == "Tenant 'Environment'"


def test_a_host_at_a_site_with_a_hyphen() -> None:
    host = msgspec.structs.replace(SAMPLE.require(ObjectType.HOST, "host_a"), site="Site-A")
    found = next(one for one in findings(put(host)) if one.code == "config.site")
    assert (found.obj, found.key) == ("Host 'host_a'", "site")
    assert "'Site_A'" in found.fix


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ObjectType.APPLICATION, "Workspace"),
        (ObjectType.TENANT, "Environment"),
        (ObjectType.AGENT_GROUP, "Support"),
        (ObjectType.PERSON, "agent03"),
    ],
)
def test_a_client_that_hopes_longer_than_the_server_keeps(kind: ObjectType, name: str) -> None:
    key = "eservices.session-restore-timeout"
    found = only(with_options(kind, name, WORKSPACE_SECTION, {key: "121"}))
    assert (found.code, found.obj) == ("option.restore_timeout", f"{kind} '{name}'")
    assert "121 s" in found.reason
    assert "120" in found.fix
    assert findings(with_options(kind, name, WORKSPACE_SECTION, {key: "120"})) == []


def test_the_server_that_keeps_shortest_counts() -> None:
    found = only(
        with_options(ObjectType.APPLICATION, "Ixn_B_2", "settings", {"agent-session-restore-timeout": "30"})
    )
    assert (found.code, found.obj) == ("option.restore_timeout", "Application 'Workspace'")
    assert "30 s" in found.reason


def test_a_move_spread_longer_than_interactions_are_kept() -> None:
    values = {"disaster-recovery.eservices-random-delay-range": "120"}
    found = only(with_options(ObjectType.APPLICATION, "Workspace", WORKSPACE_SECTION, values))
    assert found.code == "option.move_range"


def test_groups_that_disagree_are_a_warning_and_the_persons_own_value_settles_it() -> None:
    key = "warm-standby.retry-delay"
    support = with_options(ObjectType.AGENT_GROUP, "Support", WORKSPACE_SECTION, {key: "3"})
    sales = msgspec.structs.replace(
        SAMPLE.require(ObjectType.AGENT_GROUP, "Sales"), options={WORKSPACE_SECTION: {key: "4"}}
    )
    both = support.applied([sales], [], 3)
    shared = {p for p in sales.members if p in both.require(ObjectType.AGENT_GROUP, "Support").members}
    if not shared:
        member = msgspec.structs.replace(sales, members=[*sales.members, "agent01"])
        both, shared = both.applied([member], [], 4), {"agent01"}
    found = only(both)
    assert (found.severity, found.code) == (Severity.WARNING, "option.groups")
    assert found.obj == "Agent Group 'Sales'"
    assert "'Support' says '3'" in found.reason
    persons = [
        msgspec.structs.replace(
            both.require(ObjectType.PERSON, name), options={WORKSPACE_SECTION: {key: "5"}}
        )
        for name in both.require(ObjectType.AGENT_GROUP, "Sales").members
    ]
    assert findings(both.applied(persons, [], 5)) == []


def test_a_cluster_without_proxies_and_one_without_a_tag() -> None:
    cluster = SAMPLE.application("Cluster eService Site_B")
    without = [c for c in cluster.connections if not c.server.startswith("UCS_Proxy")]
    empty = only(put(msgspec.structs.replace(cluster, connections=without)))
    assert (empty.code, empty.obj) == ("cluster.empty", "Application 'Cluster eService Site_B'")
    untagged = only(put(msgspec.structs.replace(cluster, options={})))
    assert (untagged.severity, untagged.code) == (Severity.WARNING, "cluster.untagged")


def test_preferred_and_peer_need_servers_and_differ() -> None:
    values = {
        "disaster-recovery.enabled": "true",
        "disaster-recovery.preferred-site": "Site_A",
        "disaster-recovery.peer-site": "Site_A",
    }
    same = only(with_options(ObjectType.APPLICATION, "Workspace", WORKSPACE_SECTION, values))
    assert same.code == "option.peer_site"
    values["disaster-recovery.peer-site"] = "Site_Z"
    unknown = only(with_options(ObjectType.APPLICATION, "Workspace", WORKSPACE_SECTION, values))
    assert unknown.key.endswith("disaster-recovery.peer-site")
    assert "Site_A, Site_B" in unknown.fix


def test_an_agent_without_a_capacity_rule_is_never_offered_anything() -> None:
    agent = msgspec.structs.replace(SAMPLE.require(ObjectType.PERSON, "agent02"), capacity_rule="")
    found = only(put(agent))
    assert (found.severity, found.key) == (Severity.WARNING, "capacity_rule")


def test_errors_come_before_warnings() -> None:
    agent = msgspec.structs.replace(
        SAMPLE.require(ObjectType.PERSON, "agent02"),
        capacity_rule="",
        options={WORKSPACE_SECTION: {"warm-standby.retry-delay": "x"}},
    )
    assert [one.severity for one in findings(put(agent))] == [Severity.ERROR, Severity.WARNING]
    assert all(dataclasses.asdict(one)["fix"] for one in findings(put(agent)))
