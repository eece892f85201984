"""Writing transitions of interactions and agent sessions: any number of them in one or two statements.

:func:`write_batch` is what the GroupWriter runs inside a transaction that has checked epoch and term. Each transition
is an update of the interaction's row guarded by its version, and its journal row: both or neither.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg
import msgspec

from stayline.domain.errors import Refusal
from stayline.domain.interaction import Interaction
from stayline.domain.ownership import Step
from stayline.domain.session import AgentSession, SessionState
from stayline.store.database import Connection


class RequestResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a keyed request came to. ``scope`` is who may repeat it; ``seq``/``version`` as in its answer;
    ``at`` Unix seconds."""

    scope: str
    key: str
    method: str
    at: float
    interaction: str = ""
    session: str = ""
    seq: int = 0
    version: int = 0


class Write(NamedTuple):
    """What must be committed together: transitions, session records and the result of the request behind them."""

    steps: tuple[Step, ...] = ()
    sessions: tuple[AgentSession, ...] = ()
    result: RequestResult | None = None


class Written(NamedTuple):
    """Journal positions of the steps; 0 for a submission whose interaction had been there before."""

    seqs: tuple[int, ...]


_INTERACTION = {
    "id": "text",
    "tenant": "text",
    "media": "text",
    "type": "text",
    "subtype": "text",
    "subject": "text",
    "contact": "text",
    "customer": "text",
    "chat_session": "text",
    "created_at": "float8",
    "state": "text",
    "queue": "text",
    "workbin": "text",
    "owner": "text",
    "session": "text",
    "last_owner": "text",
    "version": "int8",
    "epoch": "int8",
    "term": "int8",
    "properties": "text",
    "disposition": "text",
    "online": "bool",
    "queued_at": "float8",
    "offered_at": "float8",
    "offer_version": "int8",
    "offer_deadline": "float8",
    "owned_at": "float8",
    "handled_at": "float8",
    "handling_timeout": "float8",
    "ended_at": "float8",
}
_NEVER_CHANGES = 10
"""The first columns of an interaction are written once."""

_ENTRY = {
    "event": "text",
    "from_state": "text",
    "previous_agent": "text",
    "previous_session": "text",
    "actor": "text",
    "key": "text",
    "why": "text",
    "at": "float8",
}
_RESULT = {"scope": "text", "result_key": "text", "method": "text", "result_session": "text"}
_SESSION = {
    "id": "text",
    "tenant": "text",
    "agent": "text",
    "display_name": "text",
    "place": "text",
    "media": "text",
    "state": "text",
    "since": "float8",
    "opened_at": "float8",
    "ready_since": "float8",
    "exclusive": "bool",
    "version": "int8",
    "epoch": "int8",
    "term": "int8",
    "why": "text",
    "workspace": "text",
    "restore": "text",
}
_STEP_JSON = frozenset({"properties"})
_SESSION_JSON = frozenset({"media", "restore"})
"""Columns that are sent as text and kept as jsonb."""


def _unnest(columns: dict[str, str]) -> str:
    arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(columns.values(), 1))
    return f"select * from unnest({arrays}) with ordinality as t({', '.join(columns)}, ord)"


def _value(column: str, source: str, json: frozenset[str]) -> str:
    return f"{source}.{column}{'::jsonb' if column in json else ''}"


_STEP_COLUMNS = {**_INTERACTION, **_ENTRY, **_RESULT}
_MUTABLE = list(_INTERACTION)[_NEVER_CHANGES:]

_STEPS_SQL = f"""
with i as materialized ({_unnest(_STEP_COLUMNS)}),
created as (
    insert into interaction ({", ".join(_INTERACTION)})
    select {", ".join(_value(c, "i", _STEP_JSON) for c in _INTERACTION)} from i where i.version = 1 order by i.ord
    on conflict (id) do nothing
    returning id, version
), moved as (
    update interaction x set {", ".join(f"{c} = {_value(c, 'i', _STEP_JSON)}" for c in _MUTABLE)}
    from i
    where i.version > 1 and x.id = i.id and x.version = i.version - 1 and (x.epoch, x.term) <= (i.epoch, i.term)
    returning x.id, x.version
), done as (
    select id, version from created union all select id, version from moved
), noted as (
    insert into journal (interaction, version, event, from_state, to_state, agent, session, previous_agent,
        previous_session, queue, actor, key, why, epoch, term, at)
    select i.id, i.version, i.event, i.from_state, i.state, i.owner, i.session, i.previous_agent,
        i.previous_session, i.queue, i.actor, i.key, i.why, i.epoch, i.term, i.at
    from i join done using (id, version) order by i.ord
    returning seq, interaction, version
), kept as (
    insert into request_result (scope, key, method, interaction, session, seq, version, at)
    select i.scope, i.result_key, i.method, i.id, i.result_session, n.seq, i.version, i.at
    from i join noted n on n.interaction = i.id and n.version = i.version
    where i.result_key <> '' on conflict do nothing
)
select i.ord, n.seq from i join noted n on n.interaction = i.id and n.version = i.version
"""

_SESSIONS_SQL = f"""
with s as materialized ({_unnest({**_SESSION, **_RESULT, "at": "float8"})}),
saved as (
    insert into agent_session ({", ".join(_SESSION)})
    select {", ".join(_value(c, "s", _SESSION_JSON) for c in _SESSION)} from s order by s.ord
    on conflict (id) do update set {", ".join(f"{c} = excluded.{c}" for c in list(_SESSION)[3:])}
    where agent_session.version = excluded.version - 1
        and (agent_session.epoch, agent_session.term) <= (excluded.epoch, excluded.term)
    returning id
), kept as (
    insert into request_result (scope, key, method, session, at)
    select s.scope, s.result_key, s.method, s.result_session, s.at from s join saved using (id)
    where s.result_key <> '' on conflict do nothing
)
select s.ord from s join saved using (id)
"""


async def write_batch(connection: Connection, items: Sequence[Write]) -> list[Written | Refusal]:
    """Write all ``items`` (at most one step for an interaction and one record for a session among them).

    The answer of an item whose row was not at the version before is a refusal ``core.conflict``; the caller's idea of
    the state is wrong then, and it must not go on with it.
    """
    seqs = await _write_steps(connection, items)
    saved = await _write_sessions(connection, items)
    return [_outcome(item, seqs[n], saved[n]) for n, item in enumerate(items)]


async def _write_steps(connection: Connection, items: Sequence[Write]) -> list[list[int]]:
    seqs = [[0] * len(item.steps) for item in items]
    rows: list[tuple[Any, ...]] = []
    places: list[tuple[int, int]] = []
    for number, item in enumerate(items):
        for position, step in enumerate(item.steps):
            # The result hangs on the first row that the item writes.
            rows.append(_step_row(step, item.result if position == 0 else None))
            places.append((number, position))
    if rows:
        for record in await connection.fetch(_STEPS_SQL, *map(list, zip(*rows, strict=True))):
            number, position = places[record["ord"] - 1]
            seqs[number][position] = record["seq"]
    return seqs


async def _write_sessions(connection: Connection, items: Sequence[Write]) -> list[int]:
    saved = [0] * len(items)
    rows: list[tuple[Any, ...]] = []
    places: list[int] = []
    for number, item in enumerate(items):
        for position, session in enumerate(item.sessions):
            rows.append(_session_row(session, item.result if position == 0 and not item.steps else None))
            places.append(number)
    if rows:
        for record in await connection.fetch(_SESSIONS_SQL, *map(list, zip(*rows, strict=True))):
            saved[places[record["ord"] - 1]] += 1
    return saved


def _outcome(item: Write, seqs: list[int], saved: int) -> Written | Refusal:
    for step, seq in zip(item.steps, seqs, strict=True):
        if not seq and step.before is not None:
            return _conflict(f"interaction {step.after.id} was not at version {step.before.version}")
    if saved != len(item.sessions):
        return _conflict("an agent session was not at the version before")
    return Written(tuple(seqs))


def _conflict(what: str) -> Refusal:
    return Refusal(code="core.conflict", reason=f"The database holds something else: {what}.", retryable=True)


def _step_row(step: Step, result: RequestResult | None) -> tuple[Any, ...]:
    return (*_interaction_row(step.after), *_entry_row(step), *_result_row(result))


def _interaction_row(it: Interaction) -> tuple[Any, ...]:
    return (
        it.id,
        it.tenant,
        it.media,
        it.type,
        it.subtype,
        it.subject,
        it.contact,
        it.customer,
        it.chat_session,
        it.created_at,
        it.state.value,
        it.queue,
        it.workbin,
        it.owner,
        it.session,
        it.last_owner,
        it.version,
        it.epoch,
        it.term,
        msgspec.json.encode(it.properties).decode(),
        it.disposition,
        it.online,
        it.queued_at,
        it.offered_at,
        it.offer_version,
        it.offer_deadline,
        it.owned_at,
        it.handled_at,
        it.handling_timeout,
        it.ended_at,
    )


def _entry_row(step: Step) -> tuple[Any, ...]:
    entry = step.entry
    return (
        entry.event.value,
        entry.from_state,
        entry.previous_agent,
        entry.previous_session,
        entry.actor,
        entry.key,
        entry.why,
        entry.at,
    )


def _session_row(session: AgentSession, result: RequestResult | None) -> tuple[Any, ...]:
    return (
        session.id,
        session.tenant,
        session.agent,
        session.display_name,
        session.place,
        msgspec.json.encode(session.media).decode(),
        session.state.value,
        session.since,
        session.opened_at,
        session.ready_since,
        session.exclusive,
        session.version,
        session.epoch,
        session.term,
        session.why,
        session.workspace,
        None if session.restore is None else msgspec.json.encode(session.restore).decode(),
        *_result_row(result),
        result.at if result else 0.0,
    )


def _result_row(result: RequestResult | None) -> tuple[str, str, str, str]:
    return (result.scope, result.key, result.method, result.session) if result else ("", "", "", "")


def interaction_from(record: asyncpg.Record) -> Interaction:
    """The record of a row of table ``interaction``."""
    values = {name: record[name] for name in _INTERACTION}
    values["properties"] = msgspec.json.decode(values["properties"], type=dict[str, str])
    return msgspec.convert(values, Interaction)


def session_from(record: asyncpg.Record) -> AgentSession:
    """The record of a row of table ``agent_session``."""
    values = {name: record[name] for name in _SESSION}
    values["media"] = msgspec.json.decode(values["media"])
    values["restore"] = msgspec.json.decode(values["restore"]) if values["restore"] is not None else None
    values["state"] = SessionState(values["state"])
    return msgspec.convert(values, AgentSession)
