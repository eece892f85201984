"""Was anything lost, doubled, owned twice or shown in the wrong order? Pure: reads a history, trusts nobody in it.

A finding always names what it is about, so that a failed drill says where to look first.
"""

import enum
from collections import Counter, defaultdict
from itertools import pairwise

import msgspec

from stayline.lab.checker_messages import check_messages
from stayline.lab.history import AgentFact, History, InteractionRow, JournalStep

STOPPED = "stopped"

NEWS_SECONDS = 0.5
"""The loser of an interaction learns of it this much later than its new owner, at most: events go out after the
commit, to each on its own way. The journal, not the agents' belief, is what decides inside that time."""


class Fault(enum.StrEnum):
    """What the checker can find; the names of the figures in a drill's result."""

    LOST_INTERACTION = "interaction lost"
    DOUBLED_INTERACTION = "interaction doubled"
    TWO_OWNERS = "two owners"
    LOST_MESSAGE = "message lost"
    DOUBLED_MESSAGE = "message doubled"
    OUT_OF_ORDER = "out of order"


class Finding(msgspec.Struct, frozen=True):
    """One thing that must not be. ``subject`` is what is counted: an interaction, or a message at one side."""

    fault: Fault
    subject: str
    why: str


class Findings(msgspec.Struct, frozen=True):
    """The judgement. ``open`` live interactions at the end, ``sent`` messages typed by customers and agents.
    ``lost_ids`` are the ids of acknowledged messages that are in no transcript."""

    open: int
    sent: int
    found: list[Finding]
    lost_ids: frozenset[str] = frozenset()

    def count(self, fault: Fault) -> int:
        """How many different subjects have this fault."""
        return len({finding.subject for finding in self.found if finding.fault is fault})


def check(history: History, news_seconds: float = NEWS_SECONDS) -> Findings:
    """Judge a whole history."""
    messages = check_messages(history)
    found = [*_interactions(history), *_journal(history), *_beliefs(history, news_seconds)]
    found += [Finding(Fault(fault), subject, why) for fault, subject, why in messages.found]
    return Findings(
        open=sum(row.state != STOPPED for row in history.interactions),
        sent=messages.sent,
        found=found,
        lost_ids=frozenset(messages.lost_ids),
    )


# -- interactions: none lost, none doubled


def _interactions(history: History) -> list[Finding]:
    """Whoever was told that there is an interaction must find exactly one live row for it."""
    rows = {row.id: row for row in history.interactions}
    live: dict[str, list[InteractionRow]] = defaultdict(list)
    for row in history.interactions:
        if row.state != STOPPED:
            live[row.chat_session].append(row)
    found: list[Finding] = []
    for session, facts in history.customers.items():
        kinds = {fact.kind for fact in facts}
        if not kinds & {"started", "resumed"} or "ended" in kinds:
            continue
        if not live[session]:
            why = "the customer was told that the chat stands, and no live interaction has it"
            found.append(Finding(Fault.LOST_INTERACTION, session, why))
    for session, alive in live.items():
        if session and len(alive) > 1:
            names = ", ".join(row.id for row in alive)
            found.append(
                Finding(Fault.DOUBLED_INTERACTION, session, f"live interactions {names} have one chat")
            )
    for interaction, agents in _owned_by(history).items():
        if interaction not in rows:
            why = f"owned by {', '.join(sorted(agents))}, and the database does not know it"
            found.append(Finding(Fault.LOST_INTERACTION, interaction, why))
    counts = Counter(row.id for row in history.interactions)
    for interaction, count in counts.items():
        if count > 1:
            found.append(Finding(Fault.DOUBLED_INTERACTION, interaction, f"{count} rows have this id"))
    return found


def _owned_by(history: History) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for agent, facts in history.agents.items():
        for fact in facts:
            if fact.fact == "owned":
                found[fact.interaction].add(agent)
    return found


# -- ownership: one chain in the journal, and one believer at a time


def _journal(history: History) -> list[Finding]:
    """The history of each interaction is one chain: no gap, no fork, and its end is the row."""
    chains: dict[str, list[JournalStep]] = defaultdict(list)
    for step in history.journal:
        chains[step.interaction].append(step)
    found = [
        Finding(Fault.TWO_OWNERS, row.id, "the interaction has no history at all")
        for row in history.interactions
        if row.id not in chains
    ]
    rows = {row.id: row for row in history.interactions}
    for interaction, steps in chains.items():
        steps.sort(key=lambda step: step.version)
        why = _broken(steps, rows.get(interaction))
        if why:
            found.append(Finding(Fault.TWO_OWNERS, interaction, why))
    return found


def _broken(steps: list[JournalStep], row: InteractionRow | None) -> str:
    """Why these steps (by version) are not one chain ending at the row; empty: they are."""
    if steps[0].version != 1:
        return f"its history begins with version {steps[0].version}"
    for before, after in pairwise(steps):
        if after.version != before.version + 1:
            return f"version {after.version} follows version {before.version}"
        if after.from_state != before.to_state:
            return f"version {after.version} left state {after.from_state}, it was {before.to_state}"
        if (after.previous_agent, after.previous_session) != (before.agent, before.session):
            return (
                f"version {after.version} was taken from {after.previous_agent or 'nobody'}, "
                f"{before.agent or 'nobody'} had it"
            )
    last = steps[-1]
    if row is None:
        return "its history is there and the interaction is not"
    if row.version != last.version or row.state != last.to_state:
        return f"the row is {row.state} at version {row.version}, its history ends {last.to_state} at {last.version}"
    if row.state in ("offered", "owned") and row.owner != last.agent:
        return f"the row says {row.owner}, its history {last.agent}"
    return ""


def _beliefs(history: History, news_seconds: float) -> list[Finding]:
    """No two agents may hold an interaction without restriction at the same time."""
    held: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for agent, facts in history.agents.items():
        for interaction, start, end in beliefs(facts):
            held[interaction].append((start, end, agent))
    found: list[Finding] = []
    for interaction, spans in held.items():
        spans.sort()
        for number, (_, end, agent) in enumerate(spans):
            for start_after, _, other in spans[number + 1 :]:
                if other != agent and start_after < end - news_seconds:
                    why = f"{agent} and {other} both had it for {end - start_after:.2f} s or less"
                    found.append(Finding(Fault.TWO_OWNERS, interaction, why))
    return found


def beliefs(facts: list[AgentFact]) -> list[tuple[str, float, float]]:
    """(interaction, from, until) of each time in which an agent held an interaction without restriction; infinite
    when that never ended."""
    found: list[tuple[str, float, float]] = []
    owned: set[str] = set()
    since: dict[str, float] = {}
    restricted = False
    for fact in facts:
        if fact.fact == "owned":
            owned.add(fact.interaction)
            if not restricted:
                since.setdefault(fact.interaction, fact.at)
        elif fact.fact == "gone":
            owned.discard(fact.interaction)
            if fact.interaction in since:
                found.append((fact.interaction, since.pop(fact.interaction), fact.at))
        elif fact.fact in ("restricted", "ended"):
            restricted = True
            found += [(interaction, start, fact.at) for interaction, start in since.items()]
            since.clear()
        elif fact.fact in ("restored", "begun"):
            restricted = False
            for interaction in owned:
                since.setdefault(interaction, fact.at)
    return found + [(interaction, start, float("inf")) for interaction, start in since.items()]
