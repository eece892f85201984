"""Where the core servers are that a proxy or a media server works with."""

from stayline.domain.objects import ApplicationType
from stayline.domain.topology import Configuration
from stayline.link.transport import Endpoint


def core_endpoints(
    configuration: Configuration, name: str, site: str, app_type: ApplicationType
) -> list[Endpoint]:
    """The servers of ``app_type`` among the connections of application ``name``, with the ADDP timeouts, trace and
    order of address families of each; only those of its own ``site``, whatever else is connected."""
    return [
        Endpoint(
            node.address,
            node.port,
            node.name,
            local=node.connection.local_timeout,
            remote=node.connection.remote_timeout,
            trace=node.connection.trace_mode,
            ip_version=node.connection.transport_parameters.get("ip-version") or "4,6",
        )
        for node in configuration.peers_of(name, app_type)
        if node.site == site
    ]
