"""The contact centre of a case: its servers, their names and its configuration objects, and how steps change it.

Pure: the fake site gives the ports and serves :attr:`Centre.configuration`, the player in virtual time hands it to the
machines directly.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from stayline.conformance.actions import (
    Connections,
    DeleteOption,
    Disable,
    Enable,
    Link,
    Nodes,
    SetOption,
)
from stayline.conformance.case import DEFAULT_OPTIONS, Given, GivenCluster
from stayline.domain.errors import refuse
from stayline.domain.objects import ApplicationType, ConfigObject, Connection, ObjectType, Options
from stayline.domain.topology import TAG_OPTION, WORKSPACE_SECTION, Configuration

WORKSPACE = "Workspace"
TENANT = "Environment"
AGENT = "jane"
PLACE = "Place_1"
RULE = "Everything"
HOST_ADDRESS = "127.0.0.1"

_TYPES = {
    Link.INTERACTION: ApplicationType.INTERACTION_SERVER_PROXY,
    Link.CONTACT: ApplicationType.CONTACT_SERVER_PROXY,
    Link.STATISTICS: ApplicationType.STAT_SERVER,
    Link.CONFIGURATION: ApplicationType.CONFIGURATION_SERVER,
}
_PREFIXES = {Link.INTERACTION: "IxnProxy", Link.CONTACT: "UCS_Proxy"}

ConfigurationAction = SetOption | DeleteOption | Nodes | Enable | Disable | Connections
"""Steps that change the configuration."""


@dataclass(frozen=True, kw_only=True)
class CentreServer:
    """A server of the centre: for which link of a Workspace, in which cluster (or none) and at which site."""

    name: str
    link: Link
    cluster: str = ""
    site: str = ""

    @property
    def app_type(self) -> ApplicationType:
        """Its type."""
        return _TYPES[self.link]


def node_names(cluster: GivenCluster, link: Link) -> list[str]:
    """Names of the proxies of a cluster: ``IxnProxy_A_1``..., with what follows the last ``_`` of its name."""
    count = cluster.interaction if link is Link.INTERACTION else cluster.contact
    letter = cluster.name.rsplit("_", 1)[-1]
    return [f"{_PREFIXES[link]}_{letter}_{number}" for number in range(1, count + 1)]


class Centre:
    """The centre of one case. ``port(name)``: where a server listens, asked once for each new server."""

    def __init__(self, given: Given, port: Callable[[str], int]) -> None:
        self.given = given
        self.servers: dict[str, CentreServer] = {}
        self._port = port
        self._clusters = [*given.clusters, *given.unconnected]
        for cluster in self._clusters:
            for link in _PREFIXES:
                for name in node_names(cluster, link):
                    self._add(CentreServer(name=name, link=link, cluster=cluster.name, site=cluster.site))
        for link, servers in (
            (Link.STATISTICS, given.statistics),
            (Link.CONFIGURATION, given.configuration),
        ):
            for one in servers:
                self._add(CentreServer(name=one.name, link=link, site=one.site))
        self.configuration = Configuration(self._objects(), revision=1)

    def _add(self, server: CentreServer) -> None:
        self.servers.setdefault(server.name, server)

    # -- names

    @property
    def clusters(self) -> list[str]:
        """Names of all clusters."""
        return [cluster.name for cluster in self._clusters]

    @property
    def sites(self) -> list[str]:
        """Names of all sites of clusters."""
        return list(dict.fromkeys(cluster.site for cluster in self._clusters if cluster.site))

    def expand(self, names: str | Iterable[str]) -> list[str]:
        """The servers meant by names of servers, clusters and sites. Raises RefusedError for an unknown name."""
        wanted = [names] if isinstance(names, str) else list(names)
        found: list[str] = []
        for name in wanted:
            some = [s.name for s in self.servers.values() if name in (s.name, s.cluster, s.site)]
            if not some:
                raise refuse(
                    "conformance.name", f"The case has no server, cluster or site '{name}'.", field=name
                )
            found += some
        return list(dict.fromkeys(found))

    def initially_open(self) -> list[str]:
        """The servers that listen when the story begins: Configuration and Stat Servers, and the active proxies."""
        active = self.given.active
        return [
            server.name
            for server in self.servers.values()
            if active is None
            or not server.cluster
            or {server.name, server.cluster, server.site} & set(active)
        ]

    # -- objects

    def _objects(self) -> list[ConfigObject]:
        given = self.given
        people = [
            ConfigObject(type=ObjectType.TENANT, name=TENANT, options=self._options("Tenant")),
            ConfigObject(type=ObjectType.PLACE, name=PLACE, tenant=TENANT),
            ConfigObject(
                type=ObjectType.CAPACITY_RULE,
                name=RULE,
                tenant=TENANT,
                capacity={"chat": 5, "email": 5, "sms": 5},
            ),
            ConfigObject(
                type=ObjectType.PERSON,
                name=AGENT,
                tenant=TENANT,
                roles=["agent"],
                default_place=PLACE,
                capacity_rule=RULE,
                options=self._options("Person"),
            ),
        ]
        groups = [
            ConfigObject(
                type=ObjectType.AGENT_GROUP,
                name=name.removeprefix("Group "),
                tenant=TENANT,
                members=[AGENT],
                options=self._options(name),
            )
            for name in given.options
            if name.startswith("Group ")
        ]
        servers = [obj for server in self.servers.values() for obj in self._server(server)]
        clusters = [self._cluster(cluster) for cluster in self._clusters]
        return [*people, *groups, *servers, *clusters, self._workspace()]

    def _workspace(self) -> ConfigObject:
        given = self.given
        options = self._options(WORKSPACE)
        section = {**DEFAULT_OPTIONS, **options.get(WORKSPACE_SECTION, {})}
        primaries = [one.name for one in given.statistics if one.name not in _backups(given)]
        return ConfigObject(
            type=ObjectType.APPLICATION,
            name=WORKSPACE,
            tenant=TENANT,
            app_type=ApplicationType.WORKSPACE,
            options={**options, WORKSPACE_SECTION: section},
            connections=[
                *(self._connection(cluster.name) for cluster in given.clusters),
                *(Connection(server=name) for name in primaries),
            ],
        )

    def _connection(self, name: str) -> Connection:
        addp = self.given.addp
        return Connection(server=name, local_timeout=addp.local, remote_timeout=addp.remote)

    def _cluster(self, cluster: GivenCluster) -> ConfigObject:
        options = self._options(cluster.name)
        section = dict(options.get(WORKSPACE_SECTION, {}))
        if cluster.site:
            section.setdefault(TAG_OPTION, cluster.site)
        names = [name for link in _PREFIXES for name in node_names(cluster, link)]
        return ConfigObject(
            type=ObjectType.APPLICATION,
            name=cluster.name,
            tenant=TENANT,
            app_type=ApplicationType.CLUSTER,
            options={**options, WORKSPACE_SECTION: section} if section else options,
            enabled=cluster.name not in self.given.disabled,
            connections=[Connection(server=name) for name in names],
        )

    def _server(self, server: CentreServer) -> list[ConfigObject]:
        given = {one.name: one for one in [*self.given.statistics, *self.given.configuration]}.get(
            server.name
        )
        options = self._options(server.name)
        if given is not None and server.site:
            section = {TAG_OPTION: server.site, **options.get(WORKSPACE_SECTION, {})}
            options = {**options, WORKSPACE_SECTION: section}
        host = f"host of {server.name}"
        return [
            ConfigObject(type=ObjectType.HOST, name=host, address=HOST_ADDRESS, site=server.site),
            ConfigObject(
                type=ObjectType.APPLICATION,
                name=server.name,
                tenant=TENANT,
                app_type=server.app_type,
                host=host,
                ports={"default": self._port(server.name)},
                backup=given.backup if given is not None else "",
                reconnect_timeout=given.reconnect if given is not None else 0.0,
                enabled=server.name not in self.given.disabled,
                options=options,
            ),
        ]

    def _options(self, name: str) -> Options:
        options: Options = {}
        for key, value in self.given.options.get(name, {}).items():
            section, short = _split(key)
            options.setdefault(section, {})[short] = option_text(value)
        return options

    # -- changes

    def change(self, action: ConfigurationAction) -> list[ConfigObject]:
        """Carry a step out: the objects that changed, as they are now, at the next revision."""
        before = self.configuration
        objects = self._changed(action)
        revision = before.revision + 1
        objects = [msgspec.structs.replace(obj, revision=revision) for obj in objects]
        self.configuration = before.applied(objects, [], revision)
        return objects

    def _changed(self, action: ConfigurationAction) -> list[ConfigObject]:
        match action:
            case SetOption() | DeleteOption():
                return [_with_option(self.object_of(action.on), action)]
            case Connections():
                return [self._reconnected(action.are)]
            case Enable() | Disable():
                names = [action.name] if isinstance(action.name, str) else action.name
                on = isinstance(action, Enable)
                return [msgspec.structs.replace(self.object_of(name), enabled=on) for name in names]
            case Nodes():
                return self._with_nodes(action)

    def object_of(self, name: str) -> ConfigObject:
        """The object that ``on`` of a step means. Raises RefusedError when there is none."""
        if name == "Tenant":
            return self.configuration.require(ObjectType.TENANT, TENANT)
        if name == "Person":
            return self.configuration.require(ObjectType.PERSON, AGENT)
        if name.startswith("Group "):
            return self.configuration.require(ObjectType.AGENT_GROUP, name.removeprefix("Group "))
        return self.configuration.application(name)

    def _reconnected(self, clusters: list[str]) -> ConfigObject:
        workspace = self.configuration.application(WORKSPACE)
        others = [c for c in workspace.connections if c.server not in self.clusters]
        wanted = [self._connection(name) for name in clusters]
        return msgspec.structs.replace(workspace, connections=[*wanted, *others])

    def _with_nodes(self, action: Nodes) -> list[ConfigObject]:
        cluster = self.configuration.application(action.of)
        site = next(c.site for c in self._clusters if c.name == action.of)
        new: list[ConfigObject] = []
        for name in action.add:
            link = Link.INTERACTION if name.startswith(_PREFIXES[Link.INTERACTION]) else Link.CONTACT
            server = CentreServer(name=name, link=link, cluster=action.of, site=site)
            if name not in self.servers:
                self._add(server)
                new += self._server(server)
        kept = [c for c in cluster.connections if c.server not in action.remove]
        added = [Connection(server=name) for name in action.add]
        return [*new, msgspec.structs.replace(cluster, connections=[*kept, *added])]


def option_text(value: str | float | int | bool) -> str:
    """An option's value as configuration objects hold it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _split(key: str) -> tuple[str, str]:
    section, slash, short = key.partition("/")
    return (section, short) if slash else (WORKSPACE_SECTION, key)


def _with_option(obj: ConfigObject, action: SetOption | DeleteOption) -> ConfigObject:
    section, key = _split(action.key)
    values = dict(obj.options.get(section, {}))
    if isinstance(action, SetOption):
        values[key] = option_text(action.value)
    else:
        values.pop(key, None)
    return msgspec.structs.replace(obj, options={**obj.options, section: values})


def _backups(given: Given) -> set[str]:
    return {one.backup for one in given.statistics if one.backup}
