"""The result of a drill: figures, verdict and why. Pure."""

from collections.abc import Sequence

import msgspec

from stayline.lab.checker import Fault, Finding, Findings
from stayline.lab.drill_times import Outage, Spread, spread

SHOWN_FINDINGS = 3
"""Findings that are told word for word in ``why``."""


class InteractionFigures(msgspec.Struct, frozen=True):
    """Counts of interactions: live at the end, and what must be 0."""

    open: int = 0
    lost: int = 0
    doubled: int = 0
    two_owners: int = 0


class MessageFigures(msgspec.Struct, frozen=True):
    """Counts of messages: typed, and what must be 0."""

    sent: int = 0
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0


class Seconds(msgspec.Struct, frozen=True):
    """Over all agents whom the fault touched: fault to notice, first limit to full controls, fault to
    full controls."""

    detection: Spread = Spread()
    restricted: Spread = Spread()
    restored: Spread = Spread()


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of ``stayline lab drill --json``; its keys never change."""

    drill: str
    agents: int
    interactions: InteractionFigures = InteractionFigures()
    messages: MessageFigures = MessageFigures()
    seconds: Seconds = Seconds()
    verdict: str
    why: str

    @property
    def passed(self) -> bool:
        """Whether the drill was passed."""
        return self.verdict == "pass"


class Budget(msgspec.Struct, frozen=True):
    """``spread`` (detection, restricted or restored) must have its ``rank`` (p50, p99 or max) at ``seconds`` or
    less."""

    spread: str
    rank: str
    seconds: float

    def exceeded(self, seconds: Seconds) -> str:
        """In words by how much; empty: kept."""
        value = float(getattr(getattr(seconds, self.spread), self.rank))
        if value <= self.seconds:
            return ""
        return f"{self.spread} {self.rank} took {value:g} s, the budget is {self.seconds:g} s"


def judge(
    drill: str,
    agents: int,
    findings: Findings,
    outages: Sequence[Outage],
    budgets: Sequence[Budget],
    problems: Sequence[str] = (),
    reported: frozenset[str] = frozenset(),
) -> Result:
    """The verdict. ``problems`` are sentences about what else went wrong; ``reported`` ids of what the system itself
    said it had lost (asynchronous replication only): losing these is no fault, losing another one is."""
    found = [one for one in findings.found if not _reported(one, reported)]
    interactions = InteractionFigures(
        open=findings.open,
        lost=_count(findings, Fault.LOST_INTERACTION),
        doubled=_count(findings, Fault.DOUBLED_INTERACTION),
        two_owners=_count(findings, Fault.TWO_OWNERS),
    )
    messages = MessageFigures(
        sent=findings.sent,
        lost=_count(findings, Fault.LOST_MESSAGE),
        doubled=_count(findings, Fault.DOUBLED_MESSAGE),
        out_of_order=_count(findings, Fault.OUT_OF_ORDER),
    )
    seconds = figures(outages)
    wrong = [*problems, *_told(found)]
    never = [one.agent for one in outages if one.restored is None]
    if never:
        wrong.append(f"{len(never)} agents never got their controls back ({', '.join(sorted(never)[:3])})")
    wrong += [said for budget in budgets if (said := budget.exceeded(seconds))]
    return Result(
        drill=drill,
        agents=agents,
        interactions=interactions,
        messages=messages,
        seconds=seconds,
        verdict="fail" if wrong else "pass",
        why="; ".join(wrong) or _well(outages, budgets, findings, reported),
    )


def figures(outages: Sequence[Outage]) -> Seconds:
    """The three spreads. Who never came back counts with none of them but the notice."""
    back = [(one, one.restored) for one in outages if one.restored is not None]
    return Seconds(
        detection=spread([one.detected - one.fault for one in outages]),
        restricted=spread([restored - one.limited for one, restored in back]),
        restored=spread([restored - one.fault for one, restored in back]),
    )


def _count(findings: Findings, fault: Fault) -> int:
    return findings.count(fault)


def _reported(finding: Finding, reported: frozenset[str]) -> bool:
    return finding.subject.rpartition("/")[2] in reported


def _told(found: Sequence[Finding]) -> list[str]:
    kinds: dict[Fault, list[Finding]] = {}
    for one in found:
        kinds.setdefault(one.fault, []).append(one)
    said: list[str] = []
    for fault, ones in kinds.items():
        examples = "; ".join(f"{one.subject}: {one.why}" for one in ones[:SHOWN_FINDINGS])
        said.append(f"{fault}: {len({one.subject for one in ones})} ({examples})")
    return said


def _well(
    outages: Sequence[Outage], budgets: Sequence[Budget], findings: Findings, reported: frozenset[str]
) -> str:
    kept = ", ".join(f"{one.spread} {one.rank} within {one.seconds:g} s" for one in budgets)
    lost = f"{len(findings.lost_ids)} acknowledged messages lost, all of them reported" if reported else ""
    parts = [f"{len({one.agent for one in outages})} agents noticed it and all are back", kept, lost]
    parts.append(
        "nothing else lost, doubled or owned twice" if lost else "nothing lost, doubled or owned twice"
    )
    return "; ".join(part for part in parts if part)
