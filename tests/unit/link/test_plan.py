"""From a configuration to a person's plan: what is read when, from which object, with which delays."""

from dataclasses import replace
from typing import Any

import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.objects import ApplicationType as App
from stayline.domain.objects import ConfigObject, Connection, ObjectType, TraceMode
from stayline.domain.topology import Configuration
from stayline.link.machine.plan import Link, Plan, plan_of, read_at_start, seconds_list

SECTION = "interaction-workspace"
SITE = "disaster-recovery.eservices-site"


def application(name: str, app_type: App, **fields: Any) -> ConfigObject:
    return ConfigObject(type=ObjectType.APPLICATION, name=name, app_type=app_type, **fields)


def centre(
    options: dict[str, str] | None = None,
    *,
    cluster: dict[str, str] | None = None,
    proxy: dict[str, dict[str, str]] | None = None,
    person: dict[str, str] | None = None,
    stat: dict[str, str] | None = None,
    reconnect: float = 0.0,
    backup: str = "Stat_B",
) -> Configuration:
    """Example 2 of the specification with one person, and a pair of Stat Servers."""
    objects = []
    for letter in "AB":
        objects.append(
            ConfigObject(
                type=ObjectType.HOST, name=f"host_{letter}", address="10.0.0.1", site=f"Site_{letter}"
            )
        )
        names = [f"IxnProxy_{letter}_{n}" for n in (1, 2, 3)]
        objects += [
            application(
                name,
                App.INTERACTION_SERVER_PROXY,
                host=f"host_{letter}",
                ports={"default": 7000 + n},
                options=(proxy or {}) if n == 0 else {},
            )
            for n, name in enumerate(names)
        ]
        ucs = f"UCS_Proxy_{letter}_1"
        objects.append(
            application(ucs, App.CONTACT_SERVER_PROXY, host=f"host_{letter}", ports={"default": 7100})
        )
        tag = {SECTION: {"disaster-recovery.site": f"Site_{letter}", **(cluster or {})}}
        connections = [Connection(server=name) for name in [*names, ucs]]
        objects.append(application(f"Cluster_{letter}", App.CLUSTER, connections=connections, options=tag))
        objects.append(
            application(
                f"Stat_{letter}",
                App.STAT_SERVER,
                host=f"host_{letter}",
                ports={"default": 7200},
                backup=backup if letter == "A" else "",
                reconnect_timeout=reconnect if letter == "A" else 0.0,
                options={SECTION: stat} if stat else {},
            )
        )
    links = [
        Connection(server=f"Cluster_{letter}", local_timeout=5, remote_timeout=9, trace_mode=TraceMode.BOTH)
        for letter in "AB"
    ]
    workspace = {SECTION: options} if options else {}
    objects.append(
        application(
            "Workspace", App.WORKSPACE, connections=[*links, Connection(server="Stat_A")], options=workspace
        )
    )
    own = {SECTION: person} if person else {}
    objects.append(ConfigObject(type=ObjectType.PERSON, name="agent01", options=own))
    return Configuration(objects, 1)


def read(configuration: Configuration) -> Plan:
    return plan_of(configuration, "Workspace", "agent01")


# -- who says what


def test_the_site_and_who_supplied_it() -> None:
    assert (read(centre()).wanted, read(centre()).wanted_by) == ("", "")
    plan = read(centre({SITE: " Site_A "}))
    assert (plan.wanted, plan.wanted_by) == ("Site_A", "Application Workspace")
    plan = read(centre({SITE: "Site_A"}, person={SITE: "Site_B"}))
    assert (plan.wanted, plan.wanted_by) == ("Site_B", "Person agent01")


def test_clusters_in_the_order_of_the_list_with_a_pool_for_each_link() -> None:
    first, second = read(centre()).clusters
    assert (first.name, first.site, second.name) == ("Cluster_A", "Site_A", "Cluster_B")
    assert [n.application for n in first.pools[Link.INTERACTION].nodes] == [
        "IxnProxy_A_1",
        "IxnProxy_A_2",
        "IxnProxy_A_3",
    ]
    assert [n.application for n in first.pools[Link.CONTACT].nodes] == ["UCS_Proxy_A_1"]
    assert first.pools[Link.CHAT].nodes == ()
    node = first.pools[Link.INTERACTION].nodes[1]
    assert (node.cluster, node.site, node.port) == ("Cluster_A", "Site_A", 7001)
    assert (node.local, node.remote, node.trace) == (5.0, 9.0, TraceMode.BOTH)
    assert (node.ip_version, node.open_timeout) == ("4,6", 5.0)


def test_an_unknown_workspace_application_is_refused() -> None:
    with pytest.raises(RefusedError) as refused:
        plan_of(centre(), "Workspaces", "agent01")
    assert refused.value.refusal.code == "config.unknown_object"


def test_no_cluster_says_why() -> None:
    lonely = Configuration([application("Workspace", App.WORKSPACE)])
    assert plan_of(lonely, "Workspace", "agent01").refusal == (
        "Application 'Workspace' is connected to no cluster."
    )


# -- delays and where they come from


def test_the_cluster_outranks_the_workspace_for_how_it_is_connected_to() -> None:
    options = {
        "warm-standby.retry-delay": "1,2",
        "warm-standby.backup-delay": "3",
        "warm-standby.reconnection-random-delay-range": "4",
        "warm-standby.open-timeout": "6",
    }
    pool = read(centre(options)).clusters[0].pools[Link.INTERACTION]
    assert (pool.retry_delays, pool.backup_delay, pool.reconnect_range) == ((1.0, 2.0), 3.0, 4.0)
    assert {node.open_timeout for node in pool.nodes} == {6.0}
    of_cluster = {"warm-standby.retry-delay": "7", "warm-standby.open-timeout": "8"}
    of_proxy = {SECTION: {"warm-standby.open-timeout": "9"}, "transport": {"ip-version": "6,4"}}
    pool = read(centre(options, cluster=of_cluster, proxy=of_proxy)).clusters[0].pools[Link.INTERACTION]
    assert pool.retry_delays == (7.0,)
    assert [node.open_timeout for node in pool.nodes] == [9.0, 8.0, 8.0]
    assert [node.ip_version for node in pool.nodes] == ["6,4", "4,6", "4,6"]


def test_nonsense_falls_back_to_the_default_instead_of_stopping_the_agent() -> None:
    plan = read(centre({"warm-standby.retry-delay": "soon", "eservices.session-restore-timeout": "-1"}))
    assert plan.clusters[0].pools[Link.INTERACTION].retry_delays == (10.0,)
    assert plan.restore_timeout == 60.0


@pytest.mark.parametrize(
    ("options", "spread"),
    [
        ({}, 5.0),
        ({"disaster-recovery.eservices-random-delay-range": "2"}, 2.0),
        ({"disaster-recovery.eservices-spread-window": "3"}, 3.0),
        (
            {
                "disaster-recovery.eservices-spread-window": "3",
                "disaster-recovery.eservices-random-delay-range": "8",
            },
            8.0,
        ),
    ],
)
def test_the_spread_of_a_move(options: dict[str, str], spread: float) -> None:
    assert read(centre(options)).spread == spread


def test_what_is_restored() -> None:
    plan = read(
        centre({"eservices.session-restore-mediatype": "chat, sms", "eservices.session-restore-timeout": "9"})
    )
    assert (plan.restore_media, plan.restore_timeout) == (("chat", "sms"), 9.0)
    assert read(centre({"eservices.session-restore-mediatype": ""})).restore_media == ()


# -- what is read when


def changed(configuration: Configuration, name: str, **fields: Any) -> Configuration:
    app = configuration.application(name)
    values = {field: getattr(app, field) for field in app.__struct_fields__} | fields
    return configuration.applied([ConfigObject(**values)], [], configuration.revision + 1)


def test_the_list_of_connections_is_that_of_the_start_and_the_nodes_are_those_of_now() -> None:
    before = centre()
    start = read_at_start(before, "Workspace", "agent01")
    now = changed(before, "Workspace", connections=[Connection(server="Cluster_B")])
    now = changed(now, "Cluster_A", connections=[Connection(server="IxnProxy_A_2")])
    plan = plan_of(now, "Workspace", "agent01", start)
    assert [cluster.name for cluster in plan.clusters] == ["Cluster_A", "Cluster_B"]
    assert [n.application for n in plan.clusters[0].pools[Link.INTERACTION].nodes] == ["IxnProxy_A_2"]
    assert [cluster.name for cluster in read(now).clusters] == ["Cluster_B"]


def test_options_that_take_effect_at_a_restart_are_those_of_the_start() -> None:
    before = centre({"disaster-recovery.enabled": "true", "disaster-recovery.preferred-site": "Site_A"})
    start = read_at_start(before, "Workspace", "agent01")
    now = changed(before, "Workspace", options={SECTION: {"disaster-recovery.timeout": "7"}})
    pair = plan_of(now, "Workspace", "agent01", start).statistics
    assert pair is not None
    assert (pair.enabled, pair.preferred, pair.timeout) == (True, "Site_A", 7.0)


def test_a_disabled_server_or_cluster_is_not_used() -> None:
    configuration = changed(centre(), "IxnProxy_A_2", enabled=False)
    nodes = read(configuration).clusters[0].pools[Link.INTERACTION].nodes
    assert [n.application for n in nodes] == ["IxnProxy_A_1", "IxnProxy_A_3"]
    assert [c.name for c in read(changed(centre(), "Cluster_A", enabled=False)).clusters] == ["Cluster_B"]


def test_a_server_configured_wrongly_does_not_take_the_others_away() -> None:
    cluster = read(changed(centre(), "IxnProxy_A_2", ports={})).clusters[0]
    nodes = cluster.pools[Link.INTERACTION].nodes
    assert [n.application for n in nodes] == ["IxnProxy_A_1", "IxnProxy_A_3"]
    assert "IxnProxy_A_2" in cluster.faults[Link.INTERACTION]
    assert Link.CONTACT not in cluster.faults


# -- Stat Servers


def test_a_pair_is_primary_then_backup_with_the_primarys_reconnect_timeout() -> None:
    pair = read(centre(reconnect=4.0)).statistics
    assert pair is not None
    assert [(n.application, n.site) for n in pair.nodes] == [("Stat_A", "Site_A"), ("Stat_B", "Site_B")]
    assert (pair.enabled, pair.retry_delays) == (False, (4.0,))


def test_a_pair_without_a_reconnect_timeout_waits_as_the_workspace_says() -> None:
    own = {"warm-standby.retry-delay": "6"}
    pair = read(centre({"warm-standby.retry-delay": "3"}, stat=own)).statistics
    assert pair is not None
    assert pair.retry_delays == (3.0,)


def test_a_single_server_waits_as_it_says_itself() -> None:
    own = {"warm-standby.retry-delay": "6", "disaster-recovery.site": "Site_X"}
    pair = read(centre({"warm-standby.retry-delay": "3"}, stat=own, backup="")).statistics
    assert pair is not None
    assert [n.application for n in pair.nodes] == ["Stat_A"]
    assert pair.retry_delays == (6.0,)
    assert pair.nodes[0].site == "Site_X", "its tag outranks its host's site"


def test_no_stat_server_is_no_plan_for_one() -> None:
    start = read_at_start(centre(), "Workspace", "agent01")
    without = replace(start, connections=start.connections[:2])
    assert plan_of(centre(), "Workspace", "agent01", without).statistics is None


def test_seconds_list() -> None:
    assert seconds_list("1, 2.5,9") == (1.0, 2.5, 9.0)
    assert seconds_list("") == ()
    for nonsense in ("1,-2", "inf", "nan"):
        with pytest.raises(ValueError, match="delay"):
            seconds_list(nonsense)
