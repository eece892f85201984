"""The configuration as one immutable view: who is where, who connects to whom, which value an option has.

Option hierarchy, weakest to strongest: the catalogue's default, Application, Tenant, Agent Groups (sorted by
name, the last one wins), Person. Only section ``interaction-workspace`` can be overridden; others are the
Application's.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from stayline.domain.errors import Refusal, refuse
from stayline.domain.objects import ApplicationType, ConfigObject, Connection, ObjectType, TraceMode
from stayline.domain.options import default_of, nearest

WORKSPACE_SECTION = "interaction-workspace"
"""The one section that the hierarchy overrides."""

SITE_OPTION = "disaster-recovery.eservices-site"
"""Names the site that agents must use."""

TAG_OPTION = "disaster-recovery.site"
"""Names the site in which a cluster or server is."""

ObjectKey = tuple[ObjectType, str]


class EffectiveOption(NamedTuple):
    """A value and the object that supplied it (None: the catalogue's default)."""

    value: str
    supplier: ConfigObject | None


@dataclass(frozen=True)
class Cluster:
    """A cluster as reached from a Workspace application: ``site`` is its tag (may be empty)."""

    name: str
    site: str
    application: ConfigObject
    connection: Connection


@dataclass(frozen=True)
class Node:
    """A server to connect to: where it listens and with which (merged) connection values."""

    name: str
    site: str
    address: str
    port: int
    application: ConfigObject
    connection: Connection


class Configuration:
    """All objects at one revision. Immutable: :meth:`applied` gives the next one."""

    def __init__(self, objects: Iterable[ConfigObject] = (), revision: int = 0) -> None:
        self._objects: Mapping[ObjectKey, ConfigObject] = MappingProxyType(
            {(o.type, o.name): o for o in objects}
        )
        self.revision = revision
        # Worked out when first asked for: there are tens of thousands of persons, and lookups with every client.
        self._by_kind: dict[str, list[ConfigObject]] = {}
        self._groups_of: dict[str, list[ConfigObject]] | None = None

    # -- looking up --------------------------------------------------------------------------------

    @property
    def objects(self) -> list[ConfigObject]:
        """Every object, by type and name."""
        return [self._objects[key] for key in sorted(self._objects)]

    def get(self, type: ObjectType | str, name: str) -> ConfigObject | None:
        """The object, or None."""
        return self._objects.get((ObjectType(type), name))

    def require(self, type: ObjectType | str, name: str) -> ConfigObject:
        """The object; refused ``config.unknown_object`` (with the nearest name) when there is none."""
        found = self.get(type, name)
        if found is None:
            near = nearest(name, (o.name for o in self.all(type)))
            fix = f"Did you mean '{near}'?" if near else ""
            raise refuse(
                "config.unknown_object", f"There is no {ObjectType(type)} '{name}'.", field=name, fix=fix
            )
        return found

    def all(self, type: ObjectType | str) -> list[ConfigObject]:
        """All objects of a kind, sorted by name."""
        found = self._by_kind.get(type)
        if found is None:
            found = sorted((o for o in self._objects.values() if o.type == type), key=lambda o: o.name)
            self._by_kind[type] = found
        return list(found)

    def application(self, name: str) -> ConfigObject:
        """The Application; refused ``config.unknown_object`` when there is none."""
        return self.require(ObjectType.APPLICATION, name)

    def applications(
        self, app_type: ApplicationType | None = None, site: str | None = None
    ) -> list[ConfigObject]:
        """Enabled Applications of a kind (all when None) at a site (anywhere when None), sorted by name."""
        return [
            app
            for app in self.all(ObjectType.APPLICATION)
            if app.enabled
            and (app_type is None or app.app_type is app_type)
            and (site is None or self.site_of(app.name) == site)
        ]

    def sites(self) -> list[str]:
        """Names of all sites that have a host, sorted."""
        return sorted({host.site for host in self.all(ObjectType.HOST) if host.site})

    def applied(
        self,
        objects: Iterable[ConfigObject],
        deleted: Iterable[tuple[str, str]],
        revision: int,
        full: bool = False,
    ) -> "Configuration":
        """The view after a change; ``full`` forgets everything that is not in ``objects``."""
        gone = {(str(type_), name) for type_, name in deleted}
        kept = [] if full else [o for key, o in self._objects.items() if (str(key[0]), key[1]) not in gone]
        return Configuration([*kept, *objects], revision)

    # -- places and ways ---------------------------------------------------------------------------

    def host_of(self, app_name: str) -> ConfigObject:
        """The Host object of an Application."""
        return self.require(ObjectType.HOST, self.application(app_name).host)

    def site_of(self, app_name: str) -> str:
        """The site of an Application: its host's, for a cluster its tag; empty when it has none."""
        app = self.application(app_name)
        host = self.get(ObjectType.HOST, app.host) if app.host else None
        return host.site if host is not None else app.option(WORKSPACE_SECTION, TAG_OPTION)

    def endpoint_of(self, app_name: str, port_id: str = "default") -> tuple[str, int]:
        """Address and TCP port; refused ``config.no_port`` when the Application has no such port."""
        app = self.application(app_name)
        port = app.ports.get(port_id, 0)
        if not port:
            raise refuse(
                "config.no_port",
                f"Application '{app_name}' has no port '{port_id}'.",
                field=f"ports.{port_id}",
                fix="Give the port in the Application object.",
            )
        return self.host_of(app_name).address, port

    def pair_of(self, app_name: str) -> list[ConfigObject]:
        """Primary and backup, whichever of the two is named; one element when there is no backup."""
        app = self.application(app_name)
        if app.backup:
            return [app, self.application(app.backup)]
        for other in self.all(ObjectType.APPLICATION):
            if other.backup == app_name:
                return [other, app]
        return [app]

    def node(
        self, app_name: str, connection: Connection | None = None, via: Connection | None = None
    ) -> Node:
        """One server as a node; ``via`` (the connection to its cluster) is overridden by ``connection``, both
        by the server's own options."""
        app = self.application(app_name)
        merged = _merged(app, connection or Connection(server=app_name), via)
        address, port = self.endpoint_of(app_name, merged.port_id)
        return Node(app_name, self.site_of(app_name), address, port, app, merged)

    def cluster_nodes(self, cluster: Cluster | str, app_type: ApplicationType) -> list[Node]:
        """Enabled servers of a kind in a cluster, in the order of its connection list. Given a
        :class:`Cluster`, the values of the Workspace's connection to it apply to every node that does not set
        its own."""
        name, via = (cluster, None) if isinstance(cluster, str) else (cluster.name, cluster.connection)
        nodes = []
        for connection in self.application(name).connections:
            app = self.get(ObjectType.APPLICATION, connection.server)
            if app is not None and app.app_type is app_type and app.enabled:
                nodes.append(self.node(app.name, connection, via))
        return nodes

    def peers_of(self, app_name: str, app_type: ApplicationType) -> list[Node]:
        """Servers of a kind that an Application is connected to, each pair as primary then backup."""
        nodes: dict[str, Node] = {}
        for connection in self.application(app_name).connections:
            app = self.get(ObjectType.APPLICATION, connection.server)
            if app is None or app.app_type is not app_type:
                continue
            for member in self.pair_of(app.name):
                if member.enabled:
                    own = msgspec.structs.replace(connection, server=member.name)
                    nodes.setdefault(member.name, self.node(member.name, own))
        return list(nodes.values())

    # -- clusters ----------------------------------------------------------------------------------

    def clusters_of(self, workspace_app: str) -> list[Cluster]:
        """The clusters of a Workspace application, in the order of its connection list."""
        clusters = []
        for connection in self.application(workspace_app).connections:
            app = self.get(ObjectType.APPLICATION, connection.server)
            if app is not None and app.app_type is ApplicationType.CLUSTER and app.enabled:
                tag = app.option(WORKSPACE_SECTION, TAG_OPTION)
                clusters.append(Cluster(app.name, tag, app, connection))
        return clusters

    def select_cluster(
        self,
        workspace_app: str,
        site_value: str,
        available: Callable[[Cluster], bool] | Container[str] | None = None,
    ) -> Cluster | Refusal:
        """The cluster to use.

        ``site_value`` empty: the first *available* one of the list, whatever its tag (``available`` is a
        predicate or the set of names; None: all are). Set: the first of that site, available or not. No
        cluster carries it: a refusal, never another site.
        """
        clusters = self.clusters_of(workspace_app)
        if not clusters:
            return Refusal(
                code="cluster.none",
                reason=f"Application '{workspace_app}' is connected to no cluster.",
                fix="Add a connection to an Application Cluster.",
            )
        if site_value:
            return next((c for c in clusters if c.site == site_value), None) or _no_such_site(
                site_value, clusters
            )
        for cluster in clusters:
            if available is None or (
                available(cluster) if callable(available) else cluster.name in available
            ):
                return cluster
        names = ", ".join(c.name for c in clusters)
        return Refusal(
            code="cluster.none_available", reason=f"None of the clusters answers: {names}.", retryable=True
        )

    # -- options -----------------------------------------------------------------------------------

    def groups_of(self, person: str) -> list[ConfigObject]:
        """Enabled Agent Groups of a person, sorted by name."""
        if self._groups_of is None:
            groups: dict[str, list[ConfigObject]] = {}
            for group in self.all(ObjectType.AGENT_GROUP):
                for member in dict.fromkeys(group.members) if group.enabled else ():
                    groups.setdefault(member, []).append(group)
            self._groups_of = groups
        return list(self._groups_of.get(person, ()))

    def hierarchy(self, application: str, person: str = "") -> list[ConfigObject]:
        """The objects that may supply a Workspace option, weakest first."""
        app = self.application(application)
        chain = [app]
        agent = self.get(ObjectType.PERSON, person) if person else None
        tenant_name = agent.tenant if agent is not None and agent.tenant else app.tenant
        tenant = self.get(ObjectType.TENANT, tenant_name) if tenant_name else None
        if tenant is not None:
            chain.append(tenant)
        if agent is not None:
            chain += [*self.groups_of(person), agent]
        return chain

    def effective_option(self, workspace_app: str, person: str, section: str, key: str) -> EffectiveOption:
        """The value in force for a person at an application, and who supplied it. The whole chain is resolved
        each time: a stronger object may have gained the key. An empty value set on purpose counts as set."""
        chain = self.hierarchy(workspace_app, person)
        if section != WORKSPACE_SECTION:
            chain = chain[:1]
        for obj in reversed(chain):
            value = obj.options.get(section, {}).get(key)
            if value is not None:
                return EffectiveOption(value, obj)
        return EffectiveOption(default_of(section, key, chain[0].app_type), None)

    def connection_option(self, target: str, workspace_app: str, person: str, key: str) -> EffectiveOption:
        """A ``warm-standby.*`` value for connecting to ``target`` (a cluster or a server): its own value
        outranks the hierarchy of the Workspace."""
        app = self.application(target)
        value = app.options.get(WORKSPACE_SECTION, {}).get(key)
        if value is not None:
            return EffectiveOption(value, app)
        return self.effective_option(workspace_app, person, WORKSPACE_SECTION, key)

    def app_option(self, app_name: str, section: str, key: str) -> str:
        """The value set on an Application, else the catalogue's default."""
        app = self.application(app_name)
        value = app.options.get(section, {}).get(key)
        return default_of(section, key, app.app_type) if value is None else value

    def capacity_of(self, person: str, media: str) -> int:
        """How many interactions of a medium a person may have at once; 0 without a capacity rule."""
        agent = self.get(ObjectType.PERSON, person)
        rule = (
            self.get(ObjectType.CAPACITY_RULE, agent.capacity_rule) if agent and agent.capacity_rule else None
        )
        return rule.capacity.get(media, 0) if rule is not None and rule.enabled else 0

    def clusters(self) -> list[ConfigObject]:
        """Enabled Application Clusters, sorted by name."""
        return self.applications(ApplicationType.CLUSTER)

    def clusters_at(self, site: str) -> list[ConfigObject]:
        """The clusters tagged with a site."""
        return [app for app in self.clusters() if app.option(WORKSPACE_SECTION, TAG_OPTION) == site]


def _no_such_site(site: str, clusters: list[Cluster]) -> Refusal:
    known = ", ".join(f"{c.name} ({c.site or 'no site'})" for c in clusters)
    near = nearest(site, (c.site for c in clusters if c.site))
    return Refusal(
        code="cluster.site_unknown",
        reason=f"No cluster carries site '{site}'; connected clusters: {known}.",
        field=f"{WORKSPACE_SECTION}/{SITE_OPTION}",
        fix=f"Set the option to '{near}' or tag a cluster."
        if near
        else "Correct the option or tag a cluster.",
    )


def _merged(app: ConfigObject, own: Connection, via: Connection | None) -> Connection:
    """Values for a link to ``app``: the server's options outrank its own connection entry, that outranks
    ``via``."""
    base = via or own
    trace = own.trace_mode if own.trace_mode is not TraceMode.OFF else base.trace_mode
    own_trace = app.option("addp", "addp-trace")
    transport = {**base.transport_parameters, **own.transport_parameters}
    ip_version = app.option("transport", "ip-version")
    if ip_version:
        transport["ip-version"] = ip_version
    return Connection(
        server=app.name,
        port_id=own.port_id,
        protocol=own.protocol,
        local_timeout=float(app.option("addp", "addp-timeout") or own.local_timeout or base.local_timeout),
        remote_timeout=float(
            app.option("addp", "addp-remote-timeout") or own.remote_timeout or base.remote_timeout
        ),
        trace_mode=TraceMode(own_trace) if own_trace else trace,
        transport_parameters=transport,
        application_parameters={**base.application_parameters, **own.application_parameters},
    )
