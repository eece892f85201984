"""Why an option has its value: supplier, what it overrode, groups that disagree, single targets."""

from pathlib import Path

import msgspec
import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.objects import ObjectType
from stayline.domain.option_explanation import explain, explain_all, workspace_options
from stayline.domain.provisioning import parse_provisioning
from stayline.domain.topology import WORKSPACE_SECTION, Configuration

SAMPLE = Configuration(parse_provisioning(Path("examples/two-sites.toml").read_text()).objects)
KEY = "warm-standby.retry-delay"
LEVELS = [
    (ObjectType.APPLICATION, "Workspace"),
    (ObjectType.TENANT, "Environment"),
    (ObjectType.AGENT_GROUP, "Support"),
    (ObjectType.PERSON, "agent01"),
]


def told(configuration: Configuration, kind: ObjectType, name: str, value: str) -> Configuration:
    obj = configuration.require(kind, name)
    section = {**obj.options.get(WORKSPACE_SECTION, {}), KEY: value}
    changed = msgspec.structs.replace(obj, options={**obj.options, WORKSPACE_SECTION: section})
    if kind is ObjectType.AGENT_GROUP and "agent01" not in obj.members:
        changed = msgspec.structs.replace(changed, members=[*obj.members, "agent01"])
    return configuration.applied([changed], [], configuration.revision + 1)


@pytest.mark.parametrize("levels", range(1, 5))
def test_the_strongest_level_supplies_and_the_weaker_ones_are_overridden(levels: int) -> None:
    configuration = SAMPLE
    for number, (kind, name) in enumerate(LEVELS[:levels], 1):
        configuration = told(configuration, kind, name, str(number))
    found = explain(configuration, "Workspace", "agent01", KEY)
    kind, name = LEVELS[levels - 1]
    assert (found.value, found.supplier) == (str(levels), f"{kind} '{name}'")
    assert [one.value for one in found.overrode] == [*(str(n) for n in range(levels - 1, 0, -1)), "10"]
    assert found.overrode[-1].supplier == "the default"


def test_the_explanation_is_what_the_workspace_uses() -> None:
    for one in explain_all(SAMPLE, "Workspace", "agent01"):
        effective = SAMPLE.effective_option("Workspace", "agent01", WORKSPACE_SECTION, one.spec.key)
        assert one.value == effective.value
        assert (one.supplier == "the default") == (effective.supplier is None)
    assert len(explain_all(SAMPLE, "Workspace", "agent01")) == len(workspace_options())


def test_of_groups_that_disagree_the_last_by_name_wins_and_both_are_named() -> None:
    configuration = told(SAMPLE, ObjectType.AGENT_GROUP, "Sales", "3")
    configuration = told(configuration, ObjectType.AGENT_GROUP, "Support", "4")
    found = explain(configuration, "Workspace", "agent01", KEY)
    assert (found.value, found.supplier) == ("4", "Agent Group 'Support'")
    assert [one.supplier for one in found.disagreeing] == ["Agent Group 'Sales'", "Agent Group 'Support'"]
    assert "last by name wins" in found.sentence


def test_an_empty_value_set_on_purpose_is_a_value() -> None:
    person = msgspec.structs.replace(
        SAMPLE.require(ObjectType.PERSON, "agent01"),
        options={WORKSPACE_SECTION: {"disaster-recovery.eservices-site": ""}},
    )
    found = explain(
        SAMPLE.applied([person], [], 2), "Workspace", "agent01", "disaster-recovery.eservices-site"
    )
    assert (found.value, found.supplier) == ("", "Person 'agent01'")
    assert "is empty" in found.sentence


def test_a_cluster_that_sets_its_own_value_is_told() -> None:
    configuration = told(SAMPLE, ObjectType.APPLICATION, "Cluster eService Site_B", "7")
    found = explain(configuration, "Workspace", "agent01", KEY)
    assert [(one.supplier, one.value) for one in found.targets] == [
        ("Application 'Cluster eService Site_B'", "7")
    ]


@pytest.mark.parametrize("key", ["warm-standby.retry-dely", f"{WORKSPACE_SECTION}/warm-standby.retry-dely"])
def test_a_misspelt_option_is_refused_with_the_right_one(key: str) -> None:
    with pytest.raises(RefusedError) as refused:
        explain(SAMPLE, "Workspace", "agent01", key)
    assert "warm-standby.retry-delay" in refused.value.refusal.fix


def test_a_misspelt_agent_is_refused_with_the_right_one() -> None:
    with pytest.raises(RefusedError) as refused:
        explain(SAMPLE, "Workspace", "agent1", KEY)
    assert "agent" in refused.value.refusal.fix
