"""From the configuration to the pools an agent may use: site, clusters, nodes, delays. Pure."""

from stayline.domain.errors import Refusal, RefusedError
from stayline.domain.objects import ApplicationType
from stayline.domain.options import default_of
from stayline.domain.topology import SITE_OPTION, WORKSPACE_SECTION, Cluster, Configuration
from stayline.link.pool import Assignment, Node, Pool

RETRY_DELAY = "warm-standby.retry-delay"
RECONNECT_RANGE = "warm-standby.reconnection-random-delay-range"
MOVE_RANGE = "disaster-recovery.eservices-random-delay-range"


def _seconds(text: str, key: str) -> tuple[float, ...]:
    """As :func:`seconds_list`; the catalogue's default where the configuration holds nonsense (the
    Configuration Server refuses that, a copy on disk may be older): a wrong delay must not keep an agent from
    working."""
    try:
        return seconds_list(text) or seconds_list(default_of(WORKSPACE_SECTION, key, None))
    except ValueError:
        return seconds_list(default_of(WORKSPACE_SECTION, key, None))


def seconds_list(text: str) -> tuple[float, ...]:
    """``"10"`` or ``"1, 2, 5"`` as seconds. Raises ValueError on anything else."""
    values = tuple(float(part) for part in text.replace(";", ",").split(",") if part.strip())
    if any(value < 0 for value in values):
        raise ValueError(f"'{text}' holds a negative delay")
    return values


def wanted_site(configuration: Configuration, application: str, person: str) -> str:
    """Value of ``disaster-recovery.eservices-site`` in force for a person (empty: none)."""
    return configuration.effective_option(application, person, WORKSPACE_SECTION, SITE_OPTION).value.strip()


def assignment_of(
    configuration: Configuration, application: str, person: str, app_type: ApplicationType
) -> Assignment:
    """The pools of one type of server that a person's Workspace may use now.

    A site is set: the first cluster that carries it, or none at all with the reason. None is set: every
    cluster of the list in its order, whatever its tag; which is *available* shows only by connecting.
    """
    wanted = wanted_site(configuration, application, person)
    move = configuration.effective_option(application, person, WORKSPACE_SECTION, MOVE_RANGE).value
    clusters = configuration.clusters_of(application)
    chosen: list[Cluster] = clusters
    refusal = ""
    if wanted or not clusters:
        selected = configuration.select_cluster(application, wanted)
        if isinstance(selected, Refusal):
            chosen, refusal = [], f"{selected.reason} {selected.fix}".strip()
        else:
            chosen = [selected]
    pools: list[Pool] = []
    for cluster in chosen:
        try:
            pools.append(_pool(configuration, application, person, cluster, app_type))
        except RefusedError as error:
            # One object that is configured wrongly must not take the other clusters away.
            refusal = error.refusal.reason
    return Assignment(
        wanted=wanted,
        pool=pools[0] if pools else None,
        others=tuple(pools[1:]),
        refusal=refusal,
        move_range=_seconds(move, MOVE_RANGE)[0],
    )


def _pool(
    configuration: Configuration,
    application: str,
    person: str,
    cluster: Cluster,
    app_type: ApplicationType,
) -> Pool:
    nodes = tuple(
        Node(
            application=node.name,
            cluster=cluster.name,
            site=node.site or cluster.site,
            host=node.address,
            port=node.port,
            local=node.connection.local_timeout,
            remote=node.connection.remote_timeout,
            trace=node.connection.trace_mode,
        )
        for node in configuration.cluster_nodes(cluster, app_type)
    )
    retry = configuration.connection_option(cluster.name, application, person, RETRY_DELAY).value
    spread = configuration.connection_option(cluster.name, application, person, RECONNECT_RANGE).value
    return Pool(
        cluster=cluster.name,
        site=cluster.site,
        nodes=nodes,
        retry_delays=_seconds(retry, RETRY_DELAY),
        reconnect_range=_seconds(spread, RECONNECT_RANGE)[0],
    )
