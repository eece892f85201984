"""What the configuration says to one person's Workspace."""

import msgspec
import pytest

from stayline.domain.objects import ApplicationType as App
from stayline.domain.objects import ConfigObject, Connection, ObjectType, TraceMode
from stayline.domain.topology import Configuration
from stayline.link.plan import AtStart, Link, Plan, plan_of, read_at_start, seconds_list
from stayline.link.pool import Pool

SECTION = "interaction-workspace"


def configuration(
    site: str | None, *, person: str | None = None, cluster_options: dict[str, str] | None = None
) -> Configuration:
    """Example 2 of the specification, plus one person."""
    objects = []
    for letter in "AB":
        objects.append(
            ConfigObject(
                type=ObjectType.HOST, name=f"host_{letter}", address="10.0.0.1", site=f"Site_{letter}"
            )
        )
        names = [f"IxnProxy_{letter}_{n}" for n in (1, 2, 3)]
        objects += [
            ConfigObject(
                type=ObjectType.APPLICATION,
                name=name,
                app_type=App.INTERACTION_SERVER_PROXY,
                host=f"host_{letter}",
                ports={"default": 7000 + n},
            )
            for n, name in enumerate(names)
        ]
        objects.append(
            ConfigObject(
                type=ObjectType.APPLICATION,
                name=f"Cluster eService Site_{letter}",
                app_type=App.CLUSTER,
                connections=[Connection(server=name) for name in names],
                options={SECTION: {"disaster-recovery.site": f"Site_{letter}", **(cluster_options or {})}},
            )
        )
    options = {"warm-standby.retry-delay": "1,2"}
    if site is not None:
        options["disaster-recovery.eservices-site"] = site
    objects.append(
        ConfigObject(
            type=ObjectType.APPLICATION,
            name="Workspace",
            app_type=App.WORKSPACE,
            connections=[
                Connection(
                    server=f"Cluster eService Site_{letter}",
                    local_timeout=5,
                    remote_timeout=9,
                    trace_mode=TraceMode.BOTH,
                )
                for letter in "AB"
            ],
            options={SECTION: options},
        )
    )
    own = {SECTION: {"disaster-recovery.eservices-site": person}} if person is not None else {}
    objects.append(ConfigObject(type=ObjectType.PERSON, name="agent01", options=own))
    return Configuration(objects, 1)


def plan(found: Configuration, at_start: AtStart | None = None) -> Plan:
    return plan_of(found, "Workspace", "agent01", at_start)


def pool(found: Configuration) -> Pool:
    return plan(found).clusters[0].pools[Link.INTERACTION]


@pytest.mark.parametrize("unset", [None, "", " "])
def test_not_defined_or_empty_wants_no_site_and_knows_every_cluster_in_the_order_of_the_list(
    unset: str | None,
) -> None:
    found = plan(configuration(unset))
    assert found.wanted == ""
    assert [one.name for one in found.clusters] == ["Cluster eService Site_A", "Cluster eService Site_B"]
    assert [one.site for one in found.clusters] == ["Site_A", "Site_B"]


@pytest.mark.parametrize("site", ["Site_A", "Site_B"])
def test_a_site_is_wanted_with_the_object_that_says_so(site: str) -> None:
    found = plan(configuration(site))
    assert (found.wanted, found.wanted_by) == (site, "Application Workspace")
    chosen = found.cluster_of(site)
    assert chosen is not None
    assert chosen.name == f"Cluster eService {site}"


def test_the_person_outranks_the_application() -> None:
    found = plan(configuration("Site_A", person="Site_B"))
    assert (found.wanted, found.wanted_by) == ("Site_B", "Person agent01")


def test_a_site_that_nobody_carries_has_no_cluster() -> None:
    assert plan(configuration("Site_C")).cluster_of("Site_C") is None


def test_nodes_delays_and_heartbeats_come_from_the_cluster_connection() -> None:
    found = pool(configuration("Site_A"))
    assert [node.application for node in found.nodes] == ["IxnProxy_A_1", "IxnProxy_A_2", "IxnProxy_A_3"]
    assert {(node.local, node.remote) for node in found.nodes} == {(5.0, 9.0)}
    assert {node.trace for node in found.nodes} == {TraceMode.BOTH}
    assert {node.ip_version for node in found.nodes} == {"4,6"}
    assert {node.open_timeout for node in found.nodes} == {5.0}
    assert found.nodes[1].port == 7001
    assert found.retry_delays == (1.0, 2.0)
    assert found.reconnect_range == 2.0
    assert plan(configuration("Site_A")).move_range == 5.0


def test_the_retry_delay_of_the_cluster_outranks_the_workspace() -> None:
    found = pool(configuration("Site_A", cluster_options={"warm-standby.retry-delay": "7"}))
    assert found.retry_delays == (7.0,)


def test_a_nonsense_delay_falls_back_to_the_default_instead_of_stopping_the_agent() -> None:
    found = pool(configuration("Site_A", cluster_options={"warm-standby.retry-delay": "soon"}))
    assert found.retry_delays == (10.0,)


def test_the_list_of_connections_is_the_one_of_the_start_the_nodes_are_those_of_now() -> None:
    before = configuration("Site_A")
    start = read_at_start(before, "Workspace", "agent01")
    workspace = before.application("Workspace")
    cluster = before.application("Cluster eService Site_A")
    after = before.applied(
        [
            msgspec.structs.replace(workspace, connections=workspace.connections[1:]),
            msgspec.structs.replace(cluster, connections=cluster.connections[:2]),
        ],
        [],
        2,
    )
    found = plan(after, start)
    assert [one.site for one in found.clusters] == ["Site_A", "Site_B"]
    assert len(found.clusters[0].pools[Link.INTERACTION].nodes) == 2
    assert [one.site for one in plan(after).clusters] == ["Site_B"], "as after a restart"


def test_without_a_cluster_the_plan_says_why() -> None:
    found = configuration("Site_A")
    workspace = found.application("Workspace")
    alone = found.applied([msgspec.structs.replace(workspace, connections=[])], [], 2)
    assert "connected to no cluster" in plan(alone).refusal


def test_seconds_list() -> None:
    assert seconds_list("1, 2.5,9") == (1.0, 2.5, 9.0)
    assert seconds_list("") == ()
    with pytest.raises(ValueError, match="negative"):
        seconds_list("1,-2")
