"""Where the page may listen without TLS."""

import pytest

from stayline.domain.errors import RefusedError
from stayline.link.exposure import is_loopback
from stayline.workspace.web.server import check_exposure


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_no_tls(host: str) -> None:
    assert is_loopback(host)
    check_exposure(host, tls=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "desk.example.org", ""])
def test_the_network_does(host: str) -> None:
    with pytest.raises(RefusedError, match="Without TLS") as refused:
        check_exposure(host, tls=False)
    assert refused.value.refusal.code == "workspace.exposed"
    check_exposure(host, tls=True)
