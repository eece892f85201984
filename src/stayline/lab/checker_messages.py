"""The messages' part of the checker: everything acknowledged is in the transcript once, and shown once, in order, on
both sides. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from stayline.lab.history import AgentFact, CustomerFact, EntryRow, History

LOST, DOUBLED, OUT_OF_ORDER = "message lost", "message doubled", "out of order"

Found = tuple[str, str, str]
"""(fault, subject, why)."""

Shown = list[tuple[int, str]]
"""(seq, id) in the order in which one side was shown them."""


@dataclass
class MessageFindings:
    """``sent`` messages typed; ``lost_ids`` acknowledged ones that are in no transcript."""

    sent: int = 0
    found: list[Found] = field(default_factory=list)
    lost_ids: set[str] = field(default_factory=set)


def check_messages(history: History) -> MessageFindings:
    """Judge all messages of a history."""
    result = MessageFindings()
    transcripts: dict[str, list[EntryRow]] = defaultdict(list)
    for entry in sorted(history.entries, key=lambda one: (one.session, one.seq)):
        transcripts[entry.session].append(entry)
    for session, entries in transcripts.items():
        result.found += _transcript(session, entries)
    ids = {(entry.session, entry.id) for entry in history.entries}
    for session, facts in history.customers.items():
        _sender(result, ids, f"customer of {session}", _customer_sent(facts))
        here = all(fact.kind != "left" for fact in facts)
        result.found += _side(f"customer of {session}", _customer_shown(facts), transcripts[session], here)
    for agent, agent_facts in history.agents.items():
        _sender(result, ids, agent, _agent_sent(agent_facts))
        for session, shown in _agent_shown(agent_facts).items():
            result.found += _side(f"{agent} in {session}", shown, transcripts[session])
    return result


def _sender(
    result: MessageFindings, ids: set[tuple[str, str]], who: str, sent: Iterable[tuple[str, str, str]]
) -> None:
    """Count what one side sent; what was acknowledged to it must be in the transcript."""
    for what, session, message in sent:
        if what == "sent":
            result.sent += 1
        elif (session, message) not in ids:
            result.lost_ids.add(message)
            result.found.append((LOST, message, f"acknowledged to {who} and not in the transcript"))


def _customer_sent(facts: Iterable[CustomerFact]) -> Iterable[tuple[str, str, str]]:
    for fact in facts:
        if fact.kind in ("typed", "acked"):
            yield "sent" if fact.kind == "typed" else "acked", fact.session, fact.id


def _agent_sent(facts: Iterable[AgentFact]) -> Iterable[tuple[str, str, str]]:
    for fact in facts:
        if fact.fact in ("sent", "acked"):
            yield fact.fact, fact.session, fact.message


def _transcript(session: str, entries: list[EntryRow]) -> list[Found]:
    """The transcript itself: 1, 2, 3 ... with each id and each text once. (What synthetic people write is never
    the same twice in a chat, so a message that was stored under two ids is found by its text.)"""
    found: list[Found] = []
    for number, entry in enumerate(entries, 1):
        if entry.seq != number:
            found.append(
                (OUT_OF_ORDER, f"{session}/{entry.id}", f"number {entry.seq} stands at place {number}")
            )
            break
    for id_, count in Counter(entry.id for entry in entries).items():
        if count > 1:
            found.append((DOUBLED, f"{session}/{id_}", f"{count} times in the transcript"))
    texts = Counter((entry.party, entry.user, entry.text) for entry in entries if entry.kind == "message")
    for (party, user, text), count in texts.items():
        if count > 1:
            found.append((DOUBLED, f"{session}/{text}", f"{party} {user} has {text!r} {count} times"))
    return found


def _customer_shown(facts: Iterable[CustomerFact]) -> Shown:
    """What is on the customer's screen at the end (a reload begins a new one, and so does a transcript that lost its
    end)."""
    shown: Shown = []
    for fact in facts:
        if fact.kind in ("reloaded", "rewound"):
            shown = []
        elif fact.kind == "shown":
            shown.append((fact.seq, fact.id))
    return shown


def _agent_shown(facts: Iterable[AgentFact]) -> dict[str, Shown]:
    """What is on the agent's screen at the end, by chat session: only of chats that are still the agent's."""
    owned: dict[str, str] = {}
    shown: dict[str, Shown] = {}
    for fact in facts:
        if fact.fact == "owned" and fact.chat_session:
            owned[fact.interaction] = fact.chat_session
            shown.setdefault(fact.chat_session, [])
        elif fact.fact == "gone":
            shown.pop(owned.pop(fact.interaction, ""), None)
        elif fact.fact == "seen":
            shown.setdefault(fact.session, []).append((fact.seq, fact.message))
        elif fact.fact == "rewound":
            shown[fact.session] = []
        elif fact.fact == "begun":
            owned, shown = {}, {}
    return {session: lines for session, lines in shown.items() if session in owned.values()}


def _side(side: str, shown: Shown, transcript: list[EntryRow], here: bool = True) -> list[Found]:
    """One side against the transcript; who is not ``here`` any more is shown nothing of what comes later."""
    found: list[Found] = []
    counts = Counter(id_ for _, id_ in shown)
    for id_, count in counts.items():
        if count > 1:
            found.append((DOUBLED, f"{side}/{id_}", f"shown {count} times"))
    place = {entry.id: entry.seq for entry in transcript}
    last, moved = 0, False
    for seq, id_ in shown:
        if id_ not in place:
            found.append((LOST, id_, f"shown to {side}, and not in the transcript"))
            moved = (
                not here
            )  # to a closed page nobody says that what came after a lost entry stands elsewhere now
        elif place[id_] != seq and not moved:
            found.append((OUT_OF_ORDER, f"{side}/{id_}", f"shown as number {seq}, it is number {place[id_]}"))
        if seq <= last:
            found.append((OUT_OF_ORDER, f"{side}/{id_}", f"number {seq} was shown after number {last}"))
        last = max(last, seq)
    found += [
        (LOST, f"{side}/{entry.id}", f"{entry.kind} number {entry.seq} of {entry.party} was never shown")
        for entry in transcript
        if here and entry.id not in counts
    ]
    return found
