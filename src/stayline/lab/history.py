"""What every side wrote down during a drill, as plain values: agents, customers, and the database at the end.

The checker (``lab/checker.py``) and the stop-watch (``lab/drill_times.py``) read nothing else, so what they find can
be planted by a test.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

AGENTS_FILE = "history-agents.jsonl"
CUSTOMERS_FILE = "history-customers.jsonl"


class AgentFact(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fact of an agent's engine (``WorkspaceEngine.trace``). ``at`` is Unix seconds; ``session`` and
    ``chat_session`` both name the chat session, depending on the fact; other details are left out."""

    fact: str
    at: float
    agent: str
    interaction: str = ""
    session: str = ""
    chat_session: str = ""
    message: str = ""
    seq: int = 0
    version: int = 0
    link: str = ""
    application: str = ""
    site: str = ""
    party: str = ""
    kind: str = ""
    why: str = ""


class CustomerFact(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fact of a customer's page (``lab/customer.py`` says what each kind means)."""

    kind: str
    at: float
    session: str
    id: str = ""
    seq: int = 0
    party: str = ""
    text: str = ""
    server: str = ""
    why: str = ""


class EntryRow(msgspec.Struct, frozen=True):
    """A row of ``chat_entry``."""

    session: str
    seq: int
    id: str
    kind: str
    party: str
    user: str
    text: str


class InteractionRow(msgspec.Struct, frozen=True):
    """A row of ``interaction``."""

    id: str
    chat_session: str
    state: str
    owner: str
    session: str
    version: int


class JournalStep(msgspec.Struct, frozen=True):
    """A row of ``journal``: one committed transition."""

    interaction: str
    version: int
    event: str
    from_state: str
    to_state: str
    agent: str
    session: str
    previous_agent: str
    previous_session: str
    at: float


class History(msgspec.Struct):
    """All of it. ``agents`` and ``customers`` hold each one's facts in the order in which they happened, by agent
    and by chat session; the rows are those of the site that is active at the end."""

    agents: dict[str, list[AgentFact]]
    customers: dict[str, list[CustomerFact]]
    interactions: list[InteractionRow]
    journal: list[JournalStep]
    entries: list[EntryRow]


def read_agents(folder: Path) -> dict[str, list[AgentFact]]:
    """The agents' part of a history from the files that the load generators left."""
    found: dict[str, list[AgentFact]] = {}
    decoder = msgspec.json.Decoder(AgentFact)
    for path in sorted(folder.glob(f"*{AGENTS_FILE}")):
        for fact in decoder.decode_lines(path.read_bytes()):
            found.setdefault(fact.agent, []).append(fact)
    return found


def read_customers(folder: Path) -> dict[str, list[CustomerFact]]:
    """The customers' part, as :func:`read_agents`."""
    found: dict[str, list[CustomerFact]] = {}
    decoder = msgspec.json.Decoder(CustomerFact)
    for path in sorted(folder.glob(f"*{CUSTOMERS_FILE}")):
        for fact in decoder.decode_lines(path.read_bytes()):
            found.setdefault(fact.session, []).append(fact)
    return found


def write_facts(path: Path, facts: Iterable[object]) -> None:
    """Write facts as JSON lines."""
    path.write_bytes(msgspec.json.Encoder().encode_lines(facts))
