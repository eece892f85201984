"""Runs cases: many at a time over sockets, and the sums at the end."""

import asyncio
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from stayline.conformance.case import Case
from stayline.conformance.client import MakeClient
from stayline.conformance.credentials import Credentials
from stayline.conformance.play import SLACK_SECONDS, CaseResult, Player

PARALLEL = 8
"""Cases played at a time."""


class Sums(msgspec.Struct, frozen=True):
    """What all came to. A case that could not be judged is in neither of the two last."""

    cases: int
    passed: int
    failed: int


async def play_all(
    cases: Iterable[Case],
    make_client: MakeClient,
    folder: Path,
    tell: Callable[[CaseResult], None],
    *,
    parallel: int = PARALLEL,
    slack: float = SLACK_SECONDS,
) -> list[CaseResult]:
    """Play the cases over sockets, ``parallel`` at a time, each in a folder of its own below ``folder``. ``tell`` gets
    each result as it comes; the list has the order of the cases."""
    credentials = Credentials(folder)
    free = asyncio.Semaphore(parallel)

    async def one(case: Case) -> CaseResult:
        async with free:
            player = Player(case, make_client, credentials, folder / "cases" / case.id, slack=slack)
            result = await player.play()
        tell(result)
        return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(case), name=f"case {case.id}") for case in cases]
    return [task.result() for task in tasks]


def run_over_sockets(
    cases: Iterable[Case],
    make_client: MakeClient,
    tell: Callable[[CaseResult], None],
    *,
    parallel: int = PARALLEL,
    slack: float = SLACK_SECONDS,
) -> list[CaseResult]:
    """As :func:`play_all`, in an event loop and a temporary folder of its own."""
    with tempfile.TemporaryDirectory(prefix="stayline-conformance-") as folder:
        return asyncio.run(play_all(cases, make_client, Path(folder), tell, parallel=parallel, slack=slack))


def sums(cases: Iterable[Case], results: Iterable[CaseResult]) -> Sums:
    """A case has passed when it has in every way in which it was played."""
    numbers = {case.id for case in cases}
    told = list(results)
    failed = {result.case for result in told if result.failed is not None}
    good = {result.case for result in told if result.passed}
    unsure = {result.case for result in told if result.unjudged}
    return Sums(cases=len(numbers), passed=len(good - failed - unsure), failed=len(failed))


def row(result: CaseResult) -> dict[str, object]:
    """A result for programs."""
    told: dict[str, object] = {
        "case": result.case,
        "way": result.way,
        "passed": result.passed,
        "seconds": round(result.seconds, 3),
    }
    if result.failed is not None:
        told |= {"step": result.failed.number, "expected": result.failed.step, "seen": result.failed.why}
        told["timeline"] = result.timeline
    if result.unjudged:
        told["not_judged"] = result.unjudged
    return told


def report(result: CaseResult) -> str:
    """A result for people: one line, and for a failed case what was expected, what was seen and the timeline."""
    if result.passed:
        return f"passed      {result.case}  {result.title}"
    if result.failed is None:
        return f"not judged  {result.case}  {result.title}: {result.unjudged}"
    failed = result.failed
    lines = [
        f"FAILED      {result.case}  {result.title} ({result.way})",
        f"    step {failed.number}: {failed.step}",
        f"    but: {failed.why}",
        *(f"      {line}" for line in result.timeline),
    ]
    return "\n".join(lines)
