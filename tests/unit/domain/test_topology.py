"""The configuration as a view: selection of clusters, merged connections, hierarchy of options."""

from pathlib import Path

import msgspec
import pytest

from stayline.domain.errors import Refusal, RefusedError
from stayline.domain.objects import ApplicationType, ConfigObject, Connection, ObjectType, TraceMode
from stayline.domain.provisioning import assign_ports, parse_provisioning
from stayline.domain.topology import SITE_OPTION, TAG_OPTION, WORKSPACE_SECTION, Cluster, Configuration

SAMPLE = Path(__file__).parents[3] / "examples" / "two-sites.toml"


@pytest.fixture(scope="module")
def centre() -> Configuration:
    ports = iter(range(40_000, 41_000))
    objects = parse_provisioning(SAMPLE.read_text(encoding="utf-8")).objects
    return Configuration(assign_ports(objects, lambda *_: next(ports)), 1)


def changed(centre: Configuration, type_: ObjectType, name: str, **fields: object) -> Configuration:
    obj = msgspec.structs.replace(centre.require(type_, name), **fields)
    return centre.applied([obj], [], centre.revision + 1)


def with_option(centre: Configuration, type_: ObjectType, name: str, key: str, value: str) -> Configuration:
    obj = centre.require(type_, name)
    section = {**obj.options.get(WORKSPACE_SECTION, {}), key: value}
    return changed(centre, type_, name, options={**obj.options, WORKSPACE_SECTION: section})


def selected(found: Cluster | Refusal) -> str:
    return found.name if isinstance(found, Cluster) else found.code


class TestSelectCluster:
    def test_set_takes_the_first_cluster_of_the_site_available_or_not(self, centre: Configuration) -> None:
        assert selected(centre.select_cluster("Workspace", "Site_B", set())) == "Cluster eService Site_B"

    def test_unset_takes_the_first_available_whatever_its_site(self, centre: Configuration) -> None:
        assert selected(centre.select_cluster("Workspace", "")) == "Cluster eService Site_A"
        only_b = {"Cluster eService Site_B"}
        assert selected(centre.select_cluster("Workspace", "", only_b)) == "Cluster eService Site_B"
        by_site = centre.select_cluster("Workspace", "", lambda c: c.site == "Site_B")
        assert selected(by_site) == "Cluster eService Site_B"
        assert selected(centre.select_cluster("Workspace", "", set())) == "cluster.none_available"

    def test_no_cluster_of_the_site_is_an_error_never_another_site(self, centre: Configuration) -> None:
        found = centre.select_cluster("Workspace", "Site_C")
        assert isinstance(found, Refusal)
        assert found.code == "cluster.site_unknown"
        assert "Site_C" in found.reason
        assert "Cluster eService Site_A (Site_A)" in found.reason

    def test_two_clusters_of_one_site_the_order_of_the_list_decides(self, centre: Configuration) -> None:
        both = with_option(centre, ObjectType.APPLICATION, "Cluster eService Site_B", TAG_OPTION, "Site_A")
        workspace = both.application("Workspace")
        assert selected(both.select_cluster("Workspace", "Site_A")) == "Cluster eService Site_A"
        turned = changed(
            both, ObjectType.APPLICATION, "Workspace", connections=list(reversed(workspace.connections))
        )
        assert selected(turned.select_cluster("Workspace", "Site_A")) == "Cluster eService Site_B"

    def test_a_workspace_without_clusters(self, centre: Configuration) -> None:
        alone = changed(centre, ObjectType.APPLICATION, "Workspace", connections=[])
        assert selected(alone.select_cluster("Workspace", "")) == "cluster.none"


class TestNodes:
    def test_a_pool_is_the_servers_of_the_type_in_list_order(self, centre: Configuration) -> None:
        cluster = centre.clusters_of("Workspace")[1]
        nodes = centre.cluster_nodes(cluster, ApplicationType.CONTACT_SERVER_PROXY)
        assert [n.name for n in nodes] == ["UCS_Proxy_B_1", "UCS_Proxy_B_2", "UCS_Proxy_B_3"]
        assert {n.site for n in nodes} == {"Site_B"}
        assert all(n.port for n in nodes)

    def test_addp_of_the_workspace_connection_holds_for_all_nodes(self, centre: Configuration) -> None:
        cluster = centre.clusters_of("Workspace")[0]
        for node in centre.cluster_nodes(cluster, ApplicationType.INTERACTION_SERVER_PROXY):
            assert (node.connection.local_timeout, node.connection.remote_timeout) == (5.0, 9.0)
            assert node.connection.transport_parameters == {"ip-version": "4,6"}
            assert node.connection.server == node.name

    def test_a_server_overrides_them_in_its_own_options(self, centre: Configuration) -> None:
        own = {"addp": {"addp-timeout": "0", "addp-trace": "both"}, "transport": {"ip-version": "6,4"}}
        other = changed(centre, ObjectType.APPLICATION, "IxnProxy_A_2", options=own)
        nodes = other.cluster_nodes(
            other.clusters_of("Workspace")[0], ApplicationType.INTERACTION_SERVER_PROXY
        )
        second = next(n for n in nodes if n.name == "IxnProxy_A_2").connection
        assert (second.local_timeout, second.remote_timeout) == (0.0, 9.0)
        assert second.trace_mode is TraceMode.BOTH
        assert second.transport_parameters == {"ip-version": "6,4"}

    def test_the_clusters_own_connection_outranks_the_workspaces(self, centre: Configuration) -> None:
        cluster = centre.application("Cluster eService Site_A")
        connections = [
            msgspec.structs.replace(c, local_timeout=3.0) if c.server == "IxnProxy_A_1" else c
            for c in cluster.connections
        ]
        other = changed(centre, ObjectType.APPLICATION, cluster.name, connections=connections)
        nodes = other.cluster_nodes(
            other.clusters_of("Workspace")[0], ApplicationType.INTERACTION_SERVER_PROXY
        )
        assert [n.connection.local_timeout for n in nodes] == [3.0, 5.0, 5.0]

    def test_a_disabled_server_is_no_node(self, centre: Configuration) -> None:
        less = changed(centre, ObjectType.APPLICATION, "IxnProxy_A_2", enabled=False)
        names = [
            n.name
            for n in less.cluster_nodes("Cluster eService Site_A", ApplicationType.INTERACTION_SERVER_PROXY)
        ]
        assert names == ["IxnProxy_A_1", "IxnProxy_A_3"]

    def test_peers_are_both_members_of_the_pair(self, centre: Configuration) -> None:
        peers = centre.peers_of("IxnProxy_A_1", ApplicationType.INTERACTION_SERVER)
        assert [p.name for p in peers] == ["Ixn_A_1", "Ixn_A_2"]
        assert {p.connection.local_timeout for p in peers} == {2.0}
        assert peers[0].port != peers[1].port

    def test_a_pair_is_found_from_either_member(self, centre: Configuration) -> None:
        for name in ("UCS_B_1", "UCS_B_2"):
            assert [o.name for o in centre.pair_of(name)] == ["UCS_B_1", "UCS_B_2"]
        assert [o.name for o in centre.pair_of("Chat_A_1")] == ["Chat_A_1"]

    def test_what_is_not_there_is_refused_with_the_nearest_name(self, centre: Configuration) -> None:
        with pytest.raises(RefusedError) as caught:
            centre.application("IxnProxi_A_1")
        assert caught.value.refusal.fix == "Did you mean 'IxnProxy_A_1'?"
        with pytest.raises(RefusedError) as caught:
            centre.endpoint_of("Ixn_A_1", "http")
        assert caught.value.refusal.code == "config.no_port"


class TestHierarchy:
    def value(
        self, centre: Configuration, person: str = "agent07", key: str = SITE_OPTION
    ) -> tuple[str, str]:
        found = centre.effective_option("Workspace", person, WORKSPACE_SECTION, key)
        return found.value, found.supplier.name if found.supplier else ""

    def test_each_level_overrides_the_weaker_ones(self, centre: Configuration) -> None:
        assert self.value(centre) == ("Site_A", "Workspace")
        for type_, name, value in (
            (ObjectType.TENANT, "Environment", "one"),
            (ObjectType.AGENT_GROUP, "Sales", "two"),
            (ObjectType.PERSON, "agent07", "three"),
        ):
            centre = with_option(centre, type_, name, SITE_OPTION, value)
            assert self.value(centre) == (value, name)
        # Somebody else's person and group do not matter.
        assert self.value(centre, "agent01") == ("one", "Environment")

    def test_of_several_groups_the_last_by_name_wins(self, centre: Configuration) -> None:
        centre = with_option(centre, ObjectType.AGENT_GROUP, "Support", SITE_OPTION, "late")
        centre = with_option(centre, ObjectType.AGENT_GROUP, "Sales", SITE_OPTION, "early")
        assert self.value(centre, "agent07") == ("late", "Support")
        assert self.value(centre, "agent12") == ("early", "Sales")

    def test_empty_on_purpose_counts_as_set(self, centre: Configuration) -> None:
        centre = with_option(centre, ObjectType.PERSON, "agent07", SITE_OPTION, "")
        assert self.value(centre) == ("", "agent07")

    def test_a_default_has_no_supplier(self, centre: Configuration) -> None:
        assert self.value(centre, key="warm-standby.open-timeout") == ("5", "")

    def test_other_sections_are_not_overridden(self, centre: Configuration) -> None:
        log = {"log": {"level": "debug"}}
        centre = changed(centre, ObjectType.PERSON, "agent07", options=log)
        assert centre.effective_option("Workspace", "agent07", "log", "level").value == "info"

    def test_a_clusters_retry_delay_outranks_the_workspaces(self, centre: Configuration) -> None:
        key = "warm-standby.retry-delay"
        cluster = "Cluster eService Site_B"
        assert centre.connection_option(cluster, "Workspace", "agent01", key).value == "2"
        other = with_option(centre, ObjectType.APPLICATION, cluster, key, "1,4")
        assert other.connection_option(cluster, "Workspace", "agent01", key).value == "1,4"

    def test_server_options_fall_back_to_their_own_default(self, centre: Configuration) -> None:
        assert centre.app_option("UCS_A_1", "settings", "flex-disconnect-timeout") == "120"
        assert centre.app_option("IxnProxy_A_1", "interaction-server-proxy", "core-grace") == "10"
        assert centre.app_option("Ixn_A_1", "settings", "max-interactions-per-snapshot") == "500"


def test_capacity_is_zero_without_a_rule(centre: Configuration) -> None:
    assert centre.capacity_of("agent01", "chat") == 3
    assert centre.capacity_of("agent01", "email") == 0
    assert centre.capacity_of("admin", "chat") == 0


def test_a_change_leaves_the_old_view_as_it_was(centre: Configuration) -> None:
    new = centre.applied([ConfigObject(type=ObjectType.PLACE, name="Place_99")], [("Place", "Place_01")], 2)
    assert new.get("Place", "Place_99") is not None
    assert new.get("Place", "Place_01") is None
    assert centre.get("Place", "Place_01") is not None
    assert [o.name for o in new.applied([], [], 3, full=True).objects] == []


def test_a_server_that_is_no_application_breaks_nothing(centre: Configuration) -> None:
    gone = centre.applied([], [("Application", "IxnProxy_A_1")], 2)
    nodes = gone.cluster_nodes("Cluster eService Site_A", ApplicationType.INTERACTION_SERVER_PROXY)
    assert [n.name for n in nodes] == ["IxnProxy_A_2", "IxnProxy_A_3"]
    assert Connection(server="IxnProxy_A_1") in gone.application("Cluster eService Site_A").connections
