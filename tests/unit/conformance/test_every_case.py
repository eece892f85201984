"""Every case of the suite, played to the pure machines with chance turning out in several ways."""

import pytest

from stayline.conformance.case import Case, load_suite
from stayline.conformance.pure_run import run_pure

SUITE = load_suite()


@pytest.mark.parametrize("case", SUITE, ids=[case.id for case in SUITE])
def test_case(case: Case) -> None:
    failures = run_pure(case)
    assert not failures, "\n\n".join(str(failure) for failure in failures)
