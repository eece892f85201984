"""The results of cases played in virtual time, in the words of those played over sockets."""

import time
from collections.abc import Callable, Iterable

from stayline.conformance.case import Case
from stayline.conformance.play import CaseResult, StepResult
from stayline.conformance.pure_run import run_pure

WAY = "virtual time"


def play_purely(cases: Iterable[Case], tell: Callable[[CaseResult], None]) -> list[CaseResult]:
    """Play each case to the pure machines with every chance; the first failure of a case is its result. ``tell`` gets
    each result as it comes."""
    results = []
    for case in cases:
        result = _played(case)
        tell(result)
        results.append(result)
    return results


def _played(case: Case) -> CaseResult:
    began = time.monotonic()
    failures = run_pure(case)
    seconds = time.monotonic() - began
    if not failures:
        return CaseResult(case=case.id, title=case.title, way=WAY, seconds=seconds)
    first = failures[0]
    return CaseResult(
        case=case.id,
        title=case.title,
        way=f"{WAY}, {first.chance}",
        failed=StepResult(number=first.number, step=first.step, why=first.why),
        timeline=list(first.timeline),
        seconds=seconds,
    )
