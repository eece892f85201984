"""Links between servers are as their connection says: ADDP timeouts and who logs the polls."""

from types import SimpleNamespace
from typing import Any

import pytest

from stayline.domain.objects import ApplicationType as App
from stayline.domain.objects import ConfigObject, Connection, ObjectType, TraceMode
from stayline.domain.topology import Configuration
from stayline.link.transport import Endpoint
from stayline.servers.core import PARTNER_TIMEOUT, CoreServer
from stayline.servers.core_endpoints import core_endpoints


def _application(name: str, app_type: App, site: str, **changes: Any) -> ConfigObject:
    return ConfigObject(
        type=ObjectType.APPLICATION,
        name=name,
        app_type=app_type,
        host=f"host_{site}",
        ports={"default": 7000},
        **changes,
    )


def _configuration(partner: Connection) -> Configuration:
    hosts = [
        ConfigObject(type=ObjectType.HOST, name=f"host_{site}", address="10.0.0.1", site=f"Site_{site}")
        for site in "AB"
    ]
    connections = [
        Connection(server=f"UCS_{site}_1", local_timeout=3, remote_timeout=4, trace_mode=TraceMode.REMOTE)
        for site in "BA"
    ]
    return Configuration(
        [
            *hosts,
            _application("UCS_A_1", App.CONTACT_SERVER, "A", backup="UCS_A_2", connections=[partner]),
            _application("UCS_A_2", App.CONTACT_SERVER, "A"),
            _application("UCS_B_1", App.CONTACT_SERVER, "B"),
            _application("Chat_A_1", App.CHAT_SERVER, "A", connections=connections),
        ],
        1,
    )


def test_the_own_sites_pair_is_reached_as_the_connection_says() -> None:
    found = core_endpoints(
        _configuration(Connection(server="UCS_A_2")), "Chat_A_1", "Site_A", App.CONTACT_SERVER
    )
    assert found == [
        Endpoint("10.0.0.1", 7000, name, local=3, remote=4, trace=TraceMode.REMOTE)
        for name in ("UCS_A_1", "UCS_A_2")
    ]


class Core(CoreServer):
    """As much of a core as looking for its partner needs."""

    def __init__(self, configuration: Configuration) -> None:
        snapshot = SimpleNamespace(snapshot=configuration)
        self.process = SimpleNamespace(name="UCS_A_1", configuration=snapshot)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("connection", "local", "trace"),
    [
        (Connection(server="UCS_A_2", local_timeout=5, trace_mode=TraceMode.LOCAL), 5, TraceMode.LOCAL),
        (Connection(server="UCS_B_1", local_timeout=5, trace_mode=TraceMode.BOTH), PARTNER_TIMEOUT, "off"),
    ],
)
def test_the_partner_is_watched_as_its_connection_says(
    connection: Connection, local: float, trace: str
) -> None:
    endpoint = Core(_configuration(connection))._partner_endpoint()
    assert endpoint is not None
    assert (endpoint.application, endpoint.local, endpoint.trace) == ("UCS_A_2", local, trace)
