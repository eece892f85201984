"""From a configuration to what one person's Workspace may use: clusters, their pools, delays, and who said so.

What is read when (ADR 5 §2): the list of connections and the options that take effect at a restart are read once, as
:class:`AtStart`; everything else is read again with each :func:`plan_of`.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from stayline.domain.errors import RefusedError
from stayline.domain.objects import ApplicationType, ConfigObject, Connection, ObjectType
from stayline.domain.options import default_of
from stayline.domain.topology import (
    SITE_OPTION,
    TAG_OPTION,
    WORKSPACE_SECTION,
    Cluster,
    Configuration,
    EffectiveOption,
)
from stayline.domain.topology import Node as Server
from stayline.link.machine.pool import Node, Pool

RETRY_DELAY = "warm-standby.retry-delay"
RECONNECT_RANGE = "warm-standby.reconnection-random-delay-range"
BACKUP_DELAY = "warm-standby.backup-delay"
OPEN_TIMEOUT = "warm-standby.open-timeout"
MOVE_RANGE = "disaster-recovery.eservices-random-delay-range"
WINDOW = "disaster-recovery.eservices-spread-window"
ENABLED = "disaster-recovery.enabled"
LOSS_TIMEOUT = "disaster-recovery.timeout"
PREFERRED_SITE = "disaster-recovery.preferred-site"
PEER_SITE = "disaster-recovery.peer-site"
RESTORE_MEDIA = "eservices.session-restore-mediatype"
RESTORE_TIMEOUT = "eservices.session-restore-timeout"


class Link(enum.StrEnum):
    """The links of a Workspace besides the one to the Configuration Server."""

    INTERACTION = "interaction"
    CONTACT = "contact"
    CHAT = "chat"
    STATISTICS = "statistics"


POOLED: Mapping[Link, ApplicationType] = {
    Link.INTERACTION: ApplicationType.INTERACTION_SERVER_PROXY,
    Link.CONTACT: ApplicationType.CONTACT_SERVER_PROXY,
    Link.CHAT: ApplicationType.CHAT_SERVER,
}
"""The links whose servers come from the chosen cluster, and what those servers are."""


@dataclass(frozen=True, kw_only=True)
class ClusterPlan:
    """A cluster that may be used: its site tag (may be empty) and its pool for each pooled link. ``faults`` says what
    is wrong with a server that had to be left out."""

    name: str
    site: str
    pools: Mapping[Link, Pool] = field(default_factory=dict)
    faults: Mapping[Link, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PairPlan:
    """Servers that are no pool: a primary and its backup, or a preferred and a peer group of them.

    ``nodes`` in their order, each with the site that it is tagged with. ``enabled`` false: one pair. True: those of
    ``preferred`` first, those of ``peer`` after the former have been lost for ``timeout`` seconds. ``needed``: where
    no server carries either site, that is said and all are used as one pair. Delays as those of a
    :class:`~stayline.link.machine.pool.Pool`.
    """

    nodes: tuple[Node, ...]
    enabled: bool = False
    preferred: str = ""
    peer: str = ""
    timeout: float = 60.0
    needed: bool = False
    retry_delays: tuple[float, ...] = (10.0,)
    reconnect_range: float = 2.0
    backup_delay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that the configuration says to one person's Workspace.

    ``wanted`` is the value of ``disaster-recovery.eservices-site`` (empty: none) and ``wanted_by`` the object that
    supplied it ("Application Workspace"; empty: nobody). ``clusters`` in the order of the connection list.
    ``refusal`` says why there is no cluster at all. Seconds: ``move_range`` is the option for the spread of a site
    move, ``move_range_set`` whether an administrator set it, ``window`` what the switch-over computed (0: nothing).
    ``statistics``: the Stat Servers (None: not connected to one). ``restore_media``/``restore_timeout``: which media
    are owned again after a lost link, and how long that is tried.
    """

    wanted: str = ""
    wanted_by: str = ""
    clusters: tuple[ClusterPlan, ...] = ()
    refusal: str = ""
    move_range: float = 5.0
    move_range_set: bool = False
    window: float = 0.0
    statistics: PairPlan | None = None
    restore_media: tuple[str, ...] = ("chat", "email", "sms")
    restore_timeout: float = 60.0

    @property
    def spread(self) -> float:
        """Seconds over which a move to another site is spread: the window sent with it, at least what an
        administrator demands; without a window the option or its default."""
        if self.window <= 0:
            return self.move_range
        return max(self.window, self.move_range) if self.move_range_set else self.window

    def cluster(self, name: str) -> ClusterPlan | None:
        """The cluster of that name."""
        return next((cluster for cluster in self.clusters if cluster.name == name), None)

    def cluster_of(self, site: str) -> ClusterPlan | None:
        """The first cluster of that site."""
        return next((cluster for cluster in self.clusters if cluster.site == site), None)


@dataclass(frozen=True, kw_only=True)
class AtStart:
    """What takes effect at the start of a Workspace only: its connections in their order, and the options of the
    preferred/peer model."""

    connections: tuple[Connection, ...]
    enabled: bool = False
    preferred: str = ""
    peer: str = ""


def read_at_start(configuration: Configuration, application: str, person: str) -> AtStart:
    """Read it now. Raises RefusedError ``config.unknown_object`` when the Workspace application is not configured."""
    options = _Options(configuration, application, person)
    return AtStart(
        connections=tuple(configuration.application(application).connections),
        enabled=options.text(ENABLED) == "true",
        preferred=options.text(PREFERRED_SITE),
        peer=options.text(PEER_SITE),
    )


def plan_of(
    configuration: Configuration, application: str, person: str, at_start: AtStart | None = None
) -> Plan:
    """The plan as the configuration is now; ``at_start`` as read when this Workspace started (None: starting now).

    Raises RefusedError ``config.unknown_object`` when the Workspace application is not configured.
    """
    start = at_start or read_at_start(configuration, application, person)
    options = _Options(configuration, application, person)
    wanted = options.option(SITE_OPTION)
    move = options.option(MOVE_RANGE)
    clusters = tuple(_cluster(options, found) for found in _clusters(configuration, start.connections))
    refusal = "" if clusters else f"Application '{application}' is connected to no cluster."
    return Plan(
        wanted=wanted.value.strip(),
        wanted_by=_supplier(wanted.supplier),
        clusters=clusters,
        refusal=refusal,
        move_range=seconds_of(move.value, MOVE_RANGE)[0],
        move_range_set=move.supplier is not None,
        window=options.seconds(WINDOW),
        statistics=_statistics(options, start),
        restore_media=tuple(part.strip() for part in options.text(RESTORE_MEDIA).split(",") if part.strip()),
        restore_timeout=options.seconds(RESTORE_TIMEOUT),
    )


@dataclass(frozen=True)
class _Options:
    """The options in force for one person's Workspace."""

    configuration: Configuration
    application: str
    person: str

    def option(self, key: str) -> EffectiveOption:
        return self.configuration.effective_option(self.application, self.person, WORKSPACE_SECTION, key)

    def text(self, key: str) -> str:
        return self.option(key).value.strip()

    def seconds(self, key: str) -> float:
        return seconds_of(self.option(key).value, key)[0]

    def of(self, target: str, key: str) -> tuple[float, ...]:
        """As :meth:`seconds`, all values of a list; the option of ``target`` itself outranks the hierarchy."""
        found = self.configuration.connection_option(target, self.application, self.person, key)
        return seconds_of(found.value, key)


def seconds_list(text: str) -> tuple[float, ...]:
    """``"10"`` or ``"1, 2, 5"`` as seconds. Raises ValueError on anything else."""
    values = tuple(float(part) for part in text.replace(";", ",").split(",") if part.strip())
    if any(not 0 <= value < float("inf") for value in values):
        raise ValueError(f"'{text}' holds a negative or endless delay")
    return values


def seconds_of(text: str, key: str) -> tuple[float, ...]:
    """The catalogue's default where the configuration holds nonsense (the Configuration Server refuses that, a copy on
    disk may be older): a wrong delay must not keep an agent from working."""
    try:
        values = seconds_list(text)
    except ValueError:
        values = ()
    return values or seconds_list(default_of(WORKSPACE_SECTION, key, None))


def _supplier(supplier: ConfigObject | None) -> str:
    return f"{supplier.type} {supplier.name}" if supplier is not None else ""


def _clusters(configuration: Configuration, connections: tuple[Connection, ...]) -> list[Cluster]:
    """As ``Configuration.clusters_of``, for the list of connections that was read at the start."""
    found = []
    for connection in connections:
        app = configuration.get(ObjectType.APPLICATION, connection.server)
        if app is not None and app.app_type is ApplicationType.CLUSTER and app.enabled:
            found.append(Cluster(app.name, app.option(WORKSPACE_SECTION, TAG_OPTION), app, connection))
    return found


def _cluster(options: _Options, cluster: Cluster) -> ClusterPlan:
    pools, faults = {}, {}
    for link, app_type in POOLED.items():
        servers, fault = _servers(options.configuration, cluster, app_type)
        if fault:
            faults[link] = fault
        pools[link] = Pool(
            cluster=cluster.name,
            site=cluster.site,
            nodes=tuple(_node(options, server, cluster.name, cluster.site) for server in servers),
            retry_delays=options.of(cluster.name, RETRY_DELAY),
            reconnect_range=options.of(cluster.name, RECONNECT_RANGE)[0],
            backup_delay=options.of(cluster.name, BACKUP_DELAY)[0],
        )
    return ClusterPlan(name=cluster.name, site=cluster.site, pools=pools, faults=faults)


def _servers(
    configuration: Configuration, cluster: Cluster, app_type: ApplicationType
) -> tuple[list[Server], str]:
    """The usable servers of a kind; one that is configured wrongly must not take the others away."""
    servers, fault = [], ""
    for connection in cluster.application.connections:
        app = configuration.get(ObjectType.APPLICATION, connection.server)
        if app is None or app.app_type is not app_type or not app.enabled:
            continue
        try:
            servers.append(configuration.node(app.name, connection, cluster.connection))
        except RefusedError as error:
            fault = error.refusal.reason
    return servers, fault


def _node(options: _Options, server: Server, cluster: str, site: str) -> Node:
    own = server.application.option(WORKSPACE_SECTION, OPEN_TIMEOUT)
    timeouts = seconds_of(own, OPEN_TIMEOUT) if own else options.of(cluster or server.name, OPEN_TIMEOUT)
    return Node(
        application=server.name,
        cluster=cluster,
        site=server.site or site,
        host=server.address,
        port=server.port,
        local=server.connection.local_timeout,
        remote=server.connection.remote_timeout,
        trace=server.connection.trace_mode,
        ip_version=server.connection.transport_parameters.get("ip-version") or "4,6",
        open_timeout=timeouts[0],
    )


def _statistics(options: _Options, start: AtStart) -> PairPlan | None:
    """The Stat Servers that the Workspace is connected to, each pair as primary then backup."""
    configuration = options.configuration
    nodes: dict[str, Node] = {}
    first: ConfigObject | None = None
    for connection in start.connections:
        app = configuration.get(ObjectType.APPLICATION, connection.server)
        if app is None or app.app_type is not ApplicationType.STAT_SERVER:
            continue
        for member in configuration.pair_of(app.name):
            if member.enabled and member.name not in nodes:
                found = _stat_server(options, member, connection)
                if found is not None:
                    nodes[member.name] = found
                    first = first or member
    if first is None:
        return None
    has_backup = len(configuration.pair_of(first.name)) > 1
    return PairPlan(
        nodes=tuple(nodes.values()),
        enabled=start.enabled,
        preferred=start.preferred,
        peer=start.peer,
        timeout=options.seconds(LOSS_TIMEOUT),
        retry_delays=_pair_delays(options, first, has_backup),
        reconnect_range=options.of(first.name, RECONNECT_RANGE)[0],
        backup_delay=options.of(first.name, BACKUP_DELAY)[0],
    )


def _stat_server(options: _Options, member: ConfigObject, connection: Connection) -> Node | None:
    own = Connection(
        server=member.name,
        local_timeout=connection.local_timeout,
        remote_timeout=connection.remote_timeout,
        trace_mode=connection.trace_mode,
        transport_parameters=connection.transport_parameters,
    )
    try:
        server = options.configuration.node(member.name, own)
    except RefusedError:
        return None
    node = _node(options, server, "", "")
    tag = member.option(WORKSPACE_SECTION, TAG_OPTION)
    return replace(node, site=tag) if tag else node


def _pair_delays(options: _Options, primary: ConfigObject, has_backup: bool) -> tuple[float, ...]:
    """A pair waits the primary's Reconnect Timeout; a single server its own option; else the Workspace's option."""
    if not has_backup:
        return options.of(primary.name, RETRY_DELAY)
    if primary.reconnect_timeout > 0:
        return (primary.reconnect_timeout,)
    return seconds_of(options.option(RETRY_DELAY).value, RETRY_DELAY)
