"""What is true: interactions and sessions as last committed, in memory. Nothing gets in here before its commit."""

from collections.abc import Iterable
from typing import NamedTuple

from stayline.domain.interaction import Interaction, State
from stayline.domain.ownership import Step
from stayline.domain.session import AgentSession, SessionState
from stayline.store.interaction import RequestResult
from stayline.store.interaction_state import MAX_RESULTS, Loaded

MAX_STOPPED = 5_000
"""How many ended interactions stay at hand for late requests; older ones are read from the database."""


class Holding(NamedTuple):
    """What a session has: by medium, and in total."""

    by_media: dict[str, int]
    total: int


class Model:
    """The committed state of one term. ``seq`` is the last journal position that is in it."""

    def __init__(self, loaded: Loaded) -> None:
        self.seq = loaded.seq
        self.interactions: dict[str, Interaction] = {}
        self.sessions: dict[str, AgentSession] = {s.id: s for s in loaded.sessions}
        self.results: dict[tuple[str, str], RequestResult] = {(r.scope, r.key): r for r in loaded.results}
        self.idle_since: dict[str, float] = {}
        self._held_by: dict[str, set[str]] = {}
        self._queued: set[str] = set()
        self._stopped: dict[str, Interaction] = {}
        self._by_agent: dict[tuple[str, str], set[str]] = {}
        self._by_place: dict[tuple[str, str], set[str]] = {}
        for interaction in loaded.interactions:
            self._put(interaction)
        for session in loaded.sessions:
            self._index(session)
            self.idle_since[session.id] = max(session.ready_since, loaded.freed.get(session.id, 0.0))

    # -- reading ---------------------------------------------------------------------------------------------

    def interaction(self, id: str) -> Interaction | None:
        """An interaction that is alive, or ended not long ago."""
        return self.interactions.get(id) or self._stopped.get(id)

    def held_by(self, session: str) -> list[Interaction]:
        """What is offered to or owned by a session, in the order of creation."""
        held = [self.interactions[id] for id in self._held_by.get(session, ())]
        return sorted(held, key=lambda i: (i.created_at, i.id))

    def holding(self, session: str) -> Holding:
        """How much a session has."""
        by_media: dict[str, int] = {}
        for id in self._held_by.get(session, ()):
            media = self.interactions[id].media
            by_media[media] = by_media.get(media, 0) + 1
        return Holding(by_media, sum(by_media.values()))

    @property
    def is_anything_queued(self) -> bool:
        """Whether anything waits in a queue."""
        return bool(self._queued)

    def queued(self) -> Iterable[Interaction]:
        """All that wait in queues."""
        return [self.interactions[id] for id in self._queued]

    def offered(self) -> list[Interaction]:
        """All standing offers."""
        return [i for i in self.interactions.values() if i.state is State.OFFERED]

    def owned(self) -> list[Interaction]:
        """All that agents own."""
        return [i for i in self.interactions.values() if i.state is State.OWNED]

    def stranded(self) -> list[Interaction]:
        """What is with a session that is not open: a primary died between closing it and requeueing."""
        return [
            self.interactions[id]
            for session, held in self._held_by.items()
            if session not in self.sessions
            for id in held
        ]

    def sessions_of(self, tenant: str, agent: str) -> list[AgentSession]:
        """The open sessions of an agent."""
        return [self.sessions[id] for id in sorted(self._by_agent.get((tenant, agent), ()))]

    def sessions_at(self, tenant: str, place: str) -> list[AgentSession]:
        """The open sessions at a place."""
        return [self.sessions[id] for id in sorted(self._by_place.get((tenant, place), ()))]

    def counts(self) -> dict[str, int]:
        """Interactions alive by state."""
        counts: dict[str, int] = {}
        for interaction in self.interactions.values():
            counts[interaction.state.value] = counts.get(interaction.state.value, 0) + 1
        return counts

    # -- what a commit changes -------------------------------------------------------------------------------

    def committed(self, step: Step, seq: int, now: float) -> None:
        """A step is durable at journal position ``seq``."""
        self.seq = max(self.seq, seq)
        if step.before is not None:
            self._remove(step.before)
            if step.before.session in self.sessions and step.before.session != step.after.session:
                self.idle_since[step.before.session] = now
        self._put(step.after)
        if step.after.session in self.sessions and (
            step.before is None or step.before.session != step.after.session
        ):
            self.idle_since[step.after.session] = now

    def committed_session(self, before: AgentSession | None, session: AgentSession) -> None:
        """A session record is durable."""
        if before is not None:
            self._by_agent.get((before.tenant, before.agent), set()).discard(before.id)
            self._by_place.get((before.tenant, before.place), set()).discard(before.id)
        if session.state is SessionState.CLOSED:
            self.sessions.pop(session.id, None)
            self.idle_since.pop(session.id, None)
            return
        self.sessions[session.id] = session
        self._index(session)
        if before is None or before.ready_since != session.ready_since:
            self.idle_since[session.id] = session.ready_since

    def remember(self, result: RequestResult) -> None:
        """Keep the result of a keyed request; the oldest is forgotten when there are too many."""
        self.results[result.scope, result.key] = result
        while len(self.results) > MAX_RESULTS:
            del self.results[next(iter(self.results))]

    def forget_results(self, before: float) -> int:
        """Forget results older than ``before`` (Unix seconds); how many."""
        old = []
        for key, result in self.results.items():
            if result.at >= before:
                break
            old.append(key)
        for key in old:
            del self.results[key]
        return len(old)

    def _put(self, interaction: Interaction) -> None:
        if interaction.state is State.STOPPED:
            self._stopped[interaction.id] = interaction
            if len(self._stopped) > MAX_STOPPED:
                del self._stopped[next(iter(self._stopped))]
            return
        self.interactions[interaction.id] = interaction
        if interaction.session:
            self._held_by.setdefault(interaction.session, set()).add(interaction.id)
        if interaction.state is State.QUEUED:
            self._queued.add(interaction.id)

    def _remove(self, interaction: Interaction) -> None:
        self.interactions.pop(interaction.id, None)
        self._queued.discard(interaction.id)
        held = self._held_by.get(interaction.session)
        if held is not None:
            held.discard(interaction.id)
            if not held:
                del self._held_by[interaction.session]

    def _index(self, session: AgentSession) -> None:
        self._by_agent.setdefault((session.tenant, session.agent), set()).add(session.id)
        self._by_place.setdefault((session.tenant, session.place), set()).add(session.id)
