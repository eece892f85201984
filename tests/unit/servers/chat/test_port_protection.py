"""What protects the customers' port, and the addresses that follow from it."""

import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.domain.topology import Configuration
from stayline.servers.chat.page import security_headers
from stayline.servers.chat.protection import Protection, customer_addresses, protection_of

TLS = Protection(certificate="/etc/chat.pem", key="/etc/chat.key")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_needs_no_tls(host: str) -> None:
    Protection().check(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "chat.example.org"])
def test_a_network_needs_tls_or_a_proxy_that_speaks_it(host: str) -> None:
    with pytest.raises(
        RefusedError, match=f"Without TLS the customers' port must not listen on {host}"
    ) as no:
        Protection().check(host)
    assert no.value.refusal.code == "chat.exposed"
    assert "behind-tls-proxy" in no.value.refusal.fix
    TLS.check(host)
    Protection(proxied=True).check(host)


@pytest.mark.parametrize("half", [Protection(certificate="a.pem"), Protection(key="a.key", proxied=True)])
def test_half_of_a_pair_is_a_mistake_everywhere(half: Protection) -> None:
    with pytest.raises(RefusedError) as no:
        half.check("127.0.0.1")
    assert no.value.refusal.code == "chat.certificate"


def chat(name: str, host: str, **settings: str) -> ConfigObject:
    options = {key.replace("_", "-"): value for key, value in settings.items()}
    return ConfigObject(
        type=ObjectType.APPLICATION,
        name=name,
        app_type=ApplicationType.CHAT_SERVER,
        host=host,
        ports={"default": 1, "http": 8443},
        options={"settings": options},
    )


def test_the_widgets_server_list_says_how_each_server_is_reached() -> None:
    configuration = Configuration(
        [
            ConfigObject(type=ObjectType.HOST, name="a", address="192.0.2.1", site="A"),
            ConfigObject(type=ObjectType.HOST, name="b", address="2001:db8::1", site="B"),
            chat("C1", "a"),
            chat("C2", "a", public_certificate="x.pem", public_key="x.key"),
            chat("C3", "b", behind_tls_proxy="true"),
            chat("C4", "b", behind_tls_proxy="true", public_address="https://chat.example"),
        ]
    )
    addresses = customer_addresses(configuration)
    assert addresses == [
        "http://192.0.2.1:8443",
        "https://192.0.2.1:8443",
        "https://[2001:db8::1]:8443",
        "https://chat.example",
    ]
    policy = security_headers(addresses)["content-security-policy"]
    assert "ws://192.0.2.1:8443 wss://192.0.2.1:8443 wss://[2001:db8::1]:8443 wss://chat.example;" in policy
    assert protection_of(configuration, "C2") == Protection("x.pem", "x.key")
