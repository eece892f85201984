"""The one way in which anything changes: decide on the committed state, commit, then let it be true.

Transitions of one interaction are serialised by its lock, those of different ones commit together. The reply and the
events of a transition come after its commit, in the order of the journal.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, NoReturn, Protocol

import msgspec
import structlog

from stayline.domain import ownership
from stayline.domain.errors import RefusedError, refuse
from stayline.domain.interaction import Command, Interaction
from stayline.domain.ownership import Step
from stayline.domain.session import AgentSession
from stayline.servers.interaction.keyed_lock import KeyedLock
from stayline.servers.interaction.model import Model
from stayline.store.interaction import RequestResult, Write, Written

log = structlog.get_logger(__name__)

_TERM_IS_OVER = frozenset({"core.not_primary", "core.conflict"})
"""Refusals of the writer after which what is in memory may be wrong: nothing may be said or done with it."""


class TermOverError(Exception):
    """This server is no longer primary: whatever waits is dropped unanswered, and will be repeated elsewhere."""


class Writer(Protocol):
    """The part of the GroupWriter that is used here."""

    async def submit(self, item: Write) -> Written:
        """Commit; raises RefusedError."""


class Recorded(NamedTuple):
    """A committed step and its journal position (0: a submission that had been there before)."""

    step: Step
    seq: int


class Ledger:
    """Commits transitions and sessions.

    ``find`` reads an interaction that is not in memory; ``after`` is called with each committed step, ``lost`` with
    the reason when the term is over. ``clock`` gives Unix seconds.
    """

    def __init__(
        self,
        model: Model,
        writer: Writer,
        *,
        epoch: int,
        term: int,
        clock: Callable[[], float],
        find: Callable[[str], Awaitable[Interaction | None]],
        after: Callable[[Recorded], None],
        lost: Callable[[str], None],
    ) -> None:
        self.model = model
        self.epoch = epoch
        self.term = term
        self.clock = clock
        self.locks = KeyedLock()
        self._writer = writer
        self._find = find
        self._after = after
        self._lost = lost

    async def find(self, id: str) -> Interaction:
        """An interaction as committed, also one that ended long ago. Raises RefusedError ``interaction.unknown``."""
        found = self.model.interaction(id) or await self._find(id)
        if found is None:
            raise refuse("interaction.unknown", f"There is no interaction {id!r}.", field="interaction")
        return found

    async def submit(
        self, new: Interaction, command: Command, result: RequestResult | None = None
    ) -> Recorded:
        """Begin an interaction; harmless when it is there already (then the record is the present one, seq 0)."""
        async with self.locks.hold(_key(new.id)):
            known = self.model.interaction(new.id)
            now = self.clock()
            step = ownership.submit(new, command, now)
            if known is None:
                recorded = await self._record(step, now, result)
                if recorded.seq:
                    return recorded
                known = await self.find(new.id)  # ended long ago, so no longer in memory
            return Recorded(msgspec.structs.replace(step, after=known), 0)

    async def apply(
        self,
        id: str,
        decide: Callable[[Interaction], Command],
        result: RequestResult | None = None,
    ) -> Recorded:
        """Carry out the command that ``decide`` makes of the interaction as it is when its turn comes. Raises
        RefusedError (from ``decide``, the table or a full queue: nothing has changed), TermOverError."""
        async with self.locks.hold(_key(id)):
            current = await self.find(id)
            now = self.clock()
            return await self._record(ownership.step(current, decide(current), now), now, result)

    async def save(
        self,
        changes: Sequence[tuple[AgentSession | None, AgentSession]],
        result: RequestResult | None = None,
    ) -> None:
        """Commit session records (before, after) together. The caller holds their agents' locks."""
        await self._commit(Write(sessions=tuple(after for _, after in changes), result=result))
        for before, after in changes:
            self.model.committed_session(before, after)
            log.info(
                "session.changed",
                session=after.id,
                agent=after.agent,
                place=after.place,
                state=after.state.value,
                version=after.version,
                why=after.why,
            )
        if result is not None:
            self.model.remember(result)

    async def _record(self, step: Step, now: float, result: RequestResult | None) -> Recorded:
        written = await self._commit(Write(steps=(step,), result=result))
        seq = written.seqs[0]
        recorded = Recorded(step, seq)
        if not seq:
            return recorded
        self.model.committed(step, seq, now)
        if result is not None:
            self.model.remember(msgspec.structs.replace(result, seq=seq, version=step.after.version))
        entry = step.entry
        log.info(
            "interaction.moved",
            interaction=entry.interaction,
            by=entry.event.value,
            version=entry.version,
            seq=seq,
            state=entry.to_state.value,
            queue=entry.queue,
            agent=entry.agent or entry.previous_agent,
            why=entry.why if entry.actor == "server" else "",
        )
        self._after(recorded)
        return recorded

    async def _commit(self, write: Write) -> Written:
        try:
            return await self._writer.submit(write)
        except RefusedError as error:
            if error.refusal.code not in _TERM_IS_OVER:
                raise
            self._lost(error.refusal.reason)
            raise TermOverError(error.refusal.reason) from error

    def give_up(self, why: str) -> NoReturn:
        """The term is over, because of ``why``. Raises TermOverError."""
        self._lost(why)
        raise TermOverError(why)


def _key(id: str) -> str:
    return f"interaction:{id}"
