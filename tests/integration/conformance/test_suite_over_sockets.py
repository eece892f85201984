"""Our own Workspace engine passes every case of the suite over real sockets."""

import pytest

from stayline.conformance.case import load_suite
from stayline.conformance.run import report, run_over_sockets
from stayline.conformance.self_client import SelfClient


@pytest.mark.timeout(300)
def test_the_engine_passes_every_case() -> None:
    cases = load_suite()
    assert len(cases) >= 150
    results = run_over_sockets(cases, SelfClient, lambda result: None)
    bad = [report(result) for result in results if not result.passed]
    assert not bad, f"{len(bad)} of {len(cases)} cases\n" + "\n".join(bad)
