"""Ownership under any sequence of events: invariants I1 to I6, checked after every step."""

import itertools

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stayline.domain.errors import Refusal, RefusedError
from stayline.domain.interaction import Command, Event, Interaction, JournalEntry, State
from stayline.domain.ownership import Step, step, submit

SESSIONS = [("anna", "s1"), ("anna", "s2"), ("bert", "s3"), ("carl", "s4")]
IDS = ["i1", "i2", "i3"]
AGENT_EVENTS = [Event.ACCEPT, Event.REJECT, Event.TRANSFER, Event.DONE, Event.CHANGE, Event.PARK, Event.PULL]


class Ownership(RuleBasedStateMachine):
    """A model of who owns what, kept beside the real rules and compared with them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.epoch = 1
        self.term = 1
        self.rows: dict[str, Interaction] = {}
        self.journal: dict[str, list[JournalEntry]] = {}
        self.submitted: set[str] = set()
        self.offers_ended: dict[tuple[str, int], int] = {}

    def command(self, event: Event, **fields: object) -> Command:
        base = {"event": event, "actor": "test", "epoch": self.epoch, "term": self.term}
        return Command(**(base | fields))  # type: ignore[arg-type]

    def commit(self, done: Step) -> None:
        self.rows[done.after.id] = done.after
        self.journal.setdefault(done.after.id, []).append(done.entry)
        if (
            done.before is not None
            and done.before.state is State.OFFERED
            and done.after.state is not State.OFFERED
        ):
            offer = (done.after.id, done.before.offer_version)
            self.offers_ended[offer] = self.offers_ended.get(offer, 0) + 1

    def attempt(self, id: str, command: Command) -> bool:
        """Carry out; a refusal must leave the row as it was and be typed."""
        before = self.rows[id]
        copy = msgspec.structs.replace(before)
        refusal: Refusal | None = None
        try:
            done = step(before, command, self.now)
        except RefusedError as error:
            refusal = error.refusal
        else:
            self.commit(done)
        if refusal is not None:
            assert self.rows[id] == copy
            assert refusal.code.startswith("interaction.")
            assert refusal.reason
        return refusal is None

    @initialize()
    def begin(self) -> None:
        self.submit("i1")

    @rule(id=st.sampled_from(IDS))
    def submit(self, id: str) -> None:
        if id in self.rows:
            return
        new = Interaction(
            id=id, tenant="T", media="chat", queue="q1", state=State.QUEUED, version=0, epoch=0, term=0
        )
        self.submitted.add(id)
        self.commit(submit(new, self.command(Event.SUBMIT), self.now))

    @rule(seconds=st.floats(0.1, 60.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(promotion=st.booleans())
    def takeover(self, promotion: bool) -> None:
        self.epoch += promotion
        self.term = 1 if promotion else self.term + 1

    @rule(id=st.sampled_from(IDS), who=st.sampled_from(SESSIONS))
    @precondition(lambda self: bool(self.rows))
    def offer(self, id: str, who: tuple[str, str]) -> None:
        if id in self.rows:
            was = self.rows[id].state
            made = self.attempt(
                id, self.command(Event.OFFER, agent=who[0], session=who[1], deadline=self.now + 30)
            )
            assert made == (was is State.QUEUED)

    @rule(
        id=st.sampled_from(IDS),
        who=st.sampled_from(SESSIONS),
        event=st.sampled_from(AGENT_EVENTS),
        behind=st.integers(0, 2),
    )
    def agent_asks(self, id: str, who: tuple[str, str], event: Event, behind: int) -> None:
        if id not in self.rows:
            return
        before = self.rows[id]
        accepted = self.attempt(
            id,
            self.command(
                event,
                agent=who[0],
                session=who[1],
                version=before.version - behind,
                queue="q2",
                set={"k": "v"},
            ),
        )
        if accepted and event is not Event.PULL:
            # I1, I4: nobody but the session it was with changed anything.
            assert before.session == who[1]

    @rule(
        id=st.sampled_from(IDS),
        event=st.sampled_from(
            [
                Event.OFFER_TIMEOUT,
                Event.SESSION_LOST_TIMEOUT,
                Event.NOT_RESTORED,
                Event.HANDLING_TIMEOUT,
                Event.LOGOUT_REQUEUE,
            ]
        ),
        who=st.sampled_from(SESSIONS),
    )
    def time_runs_out(self, id: str, event: Event, who: tuple[str, str]) -> None:
        if id not in self.rows:
            return
        before = self.rows[id]
        command = self.command(event, session=who[1], version=before.offer_version)
        if self.attempt(id, command):
            assert before.session == who[1]
            assert self.rows[id].state is State.QUEUED
            assert self.rows[id].queue == before.queue
            # I5, I6: exactly once, the same again has no effect.
            assert not self.attempt(id, command)

    @rule(id=st.sampled_from(IDS), event=st.sampled_from([Event.STOP, Event.CHANGE]))
    def media_server_asks(self, id: str, event: Event) -> None:
        if id in self.rows:
            was = self.rows[id].state
            assert self.attempt(id, self.command(event, online=False)) == (was is not State.STOPPED)

    @rule(id=st.sampled_from(IDS), event=st.sampled_from(sorted(set(Event) - {Event.SUBMIT})))
    def old_primary_decides_nothing(self, id: str, event: Event) -> None:
        if id in self.rows:
            row = self.rows[id]
            old = Command(
                event=event,
                actor="old",
                epoch=row.epoch,
                term=row.term - 1,
                agent=row.owner,
                session=row.session,
                version=row.version,
            )
            assert not self.attempt(id, old)

    @invariant()
    def in_exactly_one_place(self) -> None:
        for row in self.rows.values():
            held = row.state in (State.OFFERED, State.OWNED)
            assert held == bool(row.session) == bool(row.owner)
            assert (row.state is State.WORKBIN) == bool(row.workbin)
            assert (row.state is State.STOPPED) == (row.ended_at > 0)
            assert (row.state is State.OFFERED) == (row.offer_deadline > 0)
        assert set(self.rows) == self.submitted

    @invariant()
    def journal_has_no_gap_and_no_fork(self) -> None:
        for id, entries in self.journal.items():
            assert [e.version for e in entries] == list(range(1, len(entries) + 1))
            for before, after in itertools.pairwise(entries):
                assert after.from_state == before.to_state.value
                assert (after.previous_agent, after.previous_session) == (before.agent, before.session)
                assert (after.epoch, after.term) >= (before.epoch, before.term)
            row = self.rows[id]
            last = entries[-1]
            assert (row.version, row.state, row.owner, row.session) == (
                last.version,
                last.to_state,
                last.agent,
                last.session,
            )

    @invariant()
    def every_offer_ends_once(self) -> None:
        assert all(times == 1 for times in self.offers_ended.values())


TestOwnership = Ownership.TestCase
TestOwnership.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
