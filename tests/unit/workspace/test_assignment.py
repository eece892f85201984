"""Which pools a person may use, from the configuration."""

import pytest

from stayline.domain.objects import ApplicationType as App
from stayline.domain.objects import ConfigObject, Connection, ObjectType, TraceMode
from stayline.domain.topology import Configuration
from stayline.workspace.assignment import assignment_of, seconds_list

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


def clusters(found: Configuration) -> tuple[str, ...]:
    return assignment_of(found, "Workspace", "agent01", App.INTERACTION_SERVER_PROXY).clusters


@pytest.mark.parametrize("unset", [None, "", " "])
def test_not_defined_or_empty_gives_every_cluster_in_the_order_of_the_list(unset: str | None) -> None:
    assert clusters(configuration(unset)) == ("Cluster eService Site_A", "Cluster eService Site_B")


@pytest.mark.parametrize("site", ["Site_A", "Site_B"])
def test_a_site_gives_the_cluster_that_carries_it(site: str) -> None:
    assert clusters(configuration(site)) == (f"Cluster eService {site}",)


def test_the_person_outranks_the_application() -> None:
    assert clusters(configuration("Site_A", person="Site_B")) == ("Cluster eService Site_B",)


def test_a_site_that_nobody_carries_gives_no_pool_and_the_reason() -> None:
    found = assignment_of(configuration("Site_C"), "Workspace", "agent01", App.INTERACTION_SERVER_PROXY)
    assert found.pools == ()
    assert "Site_C" in found.refusal


def test_nodes_delays_and_heartbeats_come_from_the_cluster_connection() -> None:
    found = assignment_of(configuration("Site_A"), "Workspace", "agent01", App.INTERACTION_SERVER_PROXY)
    (pool,) = found.pools
    assert [node.application for node in pool.nodes] == ["IxnProxy_A_1", "IxnProxy_A_2", "IxnProxy_A_3"]
    assert {(node.local, node.remote) for node in pool.nodes} == {(5.0, 9.0)}
    assert {node.trace for node in pool.nodes} == {TraceMode.BOTH}
    assert pool.nodes[1].port == 7001
    assert pool.retry_delays == (1.0, 2.0)
    assert pool.reconnect_range == 2.0
    assert found.move_range == 5.0


def test_the_retry_delay_of_the_cluster_outranks_the_workspace() -> None:
    found = assignment_of(
        configuration("Site_A", cluster_options={"warm-standby.retry-delay": "7"}),
        "Workspace",
        "agent01",
        App.INTERACTION_SERVER_PROXY,
    )
    assert found.pools[0].retry_delays == (7.0,)


def test_a_nonsense_delay_falls_back_to_the_default_instead_of_stopping_the_agent() -> None:
    found = assignment_of(
        configuration("Site_A", cluster_options={"warm-standby.retry-delay": "soon"}),
        "Workspace",
        "agent01",
        App.INTERACTION_SERVER_PROXY,
    )
    assert found.pools[0].retry_delays == (10.0,)


def test_seconds_list() -> None:
    assert seconds_list("1, 2.5,9") == (1.0, 2.5, 9.0)
    assert seconds_list("") == ()
    with pytest.raises(ValueError, match="negative"):
        seconds_list("1,-2")
