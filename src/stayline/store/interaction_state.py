"""What a new primary finds: it loads everything alive, and marks every open session as lost from now on.

Also the bounded memory of keyed requests' results. Runs through the GroupWriter, so under the term's check.
"""

from typing import NamedTuple

import msgspec

from stayline.domain.interaction import Interaction
from stayline.domain.session import AgentSession
from stayline.store.database import Connection
from stayline.store.interaction import RequestResult, interaction_from, session_from

MAX_RESULTS = 100_000
"""How many results of keyed requests are remembered, whatever their age."""

RESULT_SECONDS = 3600.0
"""How long the result of a keyed request is remembered."""


class TakeOver(NamedTuple):
    """Begin a term at ``at`` (Unix seconds). ``held_since``: refused offers younger than this are reported."""

    epoch: int
    term: int
    at: float
    held_since: float


class Prune(NamedTuple):
    """Forget results of requests older than ``before`` (Unix seconds), at most ``limit`` at once."""

    before: float
    limit: int = 5_000


class Pruned(NamedTuple):
    """How many results were forgotten; as many as the limit: there may be more."""

    rows: int


class Prove(NamedTuple):
    """Nothing but the check that the term is held, which every transaction begins with."""


class Proven(NamedTuple):
    """The term was held when :class:`Prove` had its turn."""


class HeldBack(NamedTuple):
    """``session`` refused ``interaction`` at ``at``."""

    interaction: str
    session: str
    at: float


class Loaded(NamedTuple):
    """The committed state. ``seq`` is the last journal position; ``freed`` session -> when it last gave up an
    interaction (Unix seconds)."""

    interactions: list[Interaction]
    sessions: list[AgentSession]
    results: list[RequestResult]
    held_back: list[HeldBack]
    freed: dict[str, float]
    seq: int


_LOSE_ALL = """
update agent_session set state = 'lost', since = $1, version = version + 1, epoch = $2, term = $3,
    why = 'a new primary took over'
where state <> 'closed' returning *
"""

_FREED = """
select s.id, j.at from unnest($1::text[]) as s(id) cross join lateral (
    select at from journal where previous_session = s.id and session <> s.id order by seq desc limit 1
) j
"""

_RESULTS = """
select scope, key, method, interaction, session, seq, version, at from request_result order by at desc limit $1
"""

_HELD = """
select interaction, previous_session, at from journal
where seq > $1 and at > $2 and event in ('reject', 'offer-timeout', 'handling-timeout', 'transfer', 'not-restored')
order by seq desc limit 10000
"""

_PRUNE = """
delete from request_result where (scope, key) in (
    select scope, key from request_result where at < $1 order by at limit $2)
"""

_HELD_BACK_ROWS = 50_000
"""How far back in the journal refused offers are looked for."""


async def take_over(connection: Connection, item: TakeOver) -> Loaded:
    """Lose every open session as of ``item.at`` and load what is alive."""
    sessions = await connection.fetch(_LOSE_ALL, item.at, item.epoch, item.term)
    interactions = await connection.fetch("select * from interaction where state <> 'stopped'")
    seq = int(await connection.fetchval("select coalesce(max(seq), 0) from journal"))
    results = await connection.fetch(_RESULTS, MAX_RESULTS)
    held = await connection.fetch(_HELD, seq - _HELD_BACK_ROWS, item.held_since)
    freed = await connection.fetch(_FREED, [row["id"] for row in sessions])
    return Loaded(
        interactions=[interaction_from(row) for row in interactions],
        sessions=[session_from(row) for row in sessions],
        # Oldest first: the memory forgets from its front.
        results=[msgspec.convert(dict(row), RequestResult) for row in reversed(results)],
        held_back=[HeldBack(row["interaction"], row["previous_session"], row["at"]) for row in held],
        freed={row["id"]: row["at"] for row in freed},
        seq=seq,
    )


async def prune(connection: Connection, item: Prune) -> Pruned:
    """Forget old results of requests."""
    done = await connection.execute(_PRUNE, item.before, item.limit)
    return Pruned(int(done.rpartition(" ")[2]))
