"""Certificates are made once for all tests of links."""

import pytest

from tests.integration.link.material import Material


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Authority, certificates and token keys."""
    return Material.make(tmp_path_factory.mktemp("link"))
