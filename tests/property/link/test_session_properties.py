"""Whatever happens in whatever order, an agent's session keeps its promises."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stayline.domain.errors import Refusal
from stayline.link.machine.session import SessionView, State, step
from stayline.link.machine.session_events import (
    AskLogin,
    AskResume,
    Away,
    Back,
    CancelAsk,
    Confirmed,
    Due,
    Ended,
    Event,
    GiveUpLink,
    LinkDown,
    LinkUp,
    NoAnswer,
    NotConfirmed,
    Opened,
    Over,
    Refused,
    Renewed,
    SessionLost,
    WaitUntil,
)
from stayline.link.messages.interaction import SessionOpened, Snapshot

ALMOST_ONE = 1.0 - 2**-53
CODES = ["core.away", "session.unknown", "session.closed", "epoch.stale", "link.not_now", "token.expired"]


def opened(session: str, as_of: int, epoch: int) -> SessionOpened:
    snapshot = Snapshot(
        session=session, agent="a", place="P", media=[], interactions=[], as_of=as_of, epoch=epoch, term=1
    )
    return SessionOpened(session=session, ticket=f"t{as_of}", restore_timeout=120.0, snapshot=snapshot)


class SessionMachine(RuleBasedStateMachine):
    """Plays the link, the core and the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.view = SessionView(seed="seed")
        self.now = 1_000.0
        self.random = 0.0
        self.linked = False
        self.asking: AskLogin | AskResume | None = None
        self.timer: WaitUntil | None = None
        self.told_confirmed = False
        self.links = 0
        self.as_of = 0
        self.asked = 0
        self.prompted = 0

    @initialize(random=st.sampled_from([0.0, 0.5, ALMOST_ONE]))
    def begin(self, random: float) -> None:
        self.random = random

    def feed(self, event: Event) -> None:
        before = self.view
        self.view, actions = step(before, event, self.now, lambda: self.random)
        assert self.view.epoch >= before.epoch
        for action in actions:
            if isinstance(action, AskLogin | AskResume):
                assert self.asking is None, "never two questions in flight"
                assert self.linked, "a question needs a link"
                self.asking = action
                self.asked += 1
            elif isinstance(action, CancelAsk):
                assert self.asking is not None
                assert self.asking.generation == action.generation
                self.asking = None
            elif isinstance(action, WaitUntil):
                assert action.at >= self.now
                self.timer = action
            elif isinstance(action, GiveUpLink):
                self.linked = False
                self.told_confirmed = False
            elif isinstance(action, Confirmed):
                self.told_confirmed = True
            elif isinstance(action, NotConfirmed | Over | SessionLost):
                self.told_confirmed = False

    @precondition(lambda self: not self.linked)
    @rule(epoch=st.integers(0, 5))
    def link_up(self, epoch: int) -> None:
        self.linked, self.links = True, self.links + 1
        self.prompted += 1
        self.feed(LinkUp(self.links, epoch))

    @precondition(lambda self: self.linked)
    @rule()
    def link_down(self) -> None:
        self.linked = False
        self.feed(LinkDown("reset"))

    @precondition(lambda self: self.asking is not None)
    @rule(session=st.sampled_from(["s1", "s2"]), back=st.integers(0, 3), epoch=st.integers(0, 5))
    def answered(self, session: str, back: int, epoch: int) -> None:
        assert self.asking is not None
        generation, self.asking = self.asking.generation, None
        self.as_of += 1
        self.prompted += 1
        self.feed(Opened(opened(session, self.as_of - back, epoch), generation))

    @precondition(lambda self: self.asking is not None)
    @rule(code=st.sampled_from(CODES), retryable=st.booleans(), retry_after=st.none() | st.floats(0.1, 5))
    def refused(self, code: str, retryable: bool, retry_after: float | None) -> None:
        assert self.asking is not None
        generation, self.asking = self.asking.generation, None
        if not retryable or retry_after:
            self.prompted += 1
        refusal = Refusal(code=code, reason="no", retryable=retryable, retry_after=retry_after)
        self.feed(Refused(refusal, generation))

    @precondition(lambda self: self.asking is not None)
    @rule()
    def unanswered(self) -> None:
        assert self.asking is not None
        generation, self.asking = self.asking.generation, None
        self.feed(NoAnswer("silence", generation))

    @precondition(lambda self: self.timer is not None)
    @rule()
    def rings(self) -> None:
        timer, self.timer = self.timer, None
        assert timer is not None
        self.now = max(self.now, timer.at)
        had = self.view.ticket
        self.feed(Due(timer.generation))
        if had and not self.view.ticket:
            self.prompted += 1

    @precondition(lambda self: self.linked)
    @rule(
        event=st.sampled_from(
            [
                Away("failover"),
                Back(1),
                Back(2, opened("s1", 500, 2)),
                Back(2, None, "session.unknown", "gone"),
                Ended("", "session.timeout", "late"),
                Ended("s2", "session.closed", "closed"),
                Renewed("s1", "newer"),
            ]
        )
    )
    def told(self, event: Event) -> None:
        self.prompted += 1
        self.feed(event)

    @rule(behind=st.integers(1, 4))
    def late(self, behind: int) -> None:
        before = self.view
        for event in (
            Opened(opened("s9", 9_999, 9), before.generation - behind),
            Refused(Refusal(code="token.expired", reason="no"), before.generation - behind),
            NoAnswer("late", before.generation - behind),
            Due(before.timer - behind if before.timer else -1),
        ):
            self.feed(event)
        assert self.view == replace(before, ignored=before.ignored + 4)

    @invariant()
    def confirmed_only_by_the_core(self) -> None:
        assert self.view.confirmed == self.told_confirmed
        assert not self.view.confirmed or self.linked

    @invariant()
    def there_is_a_way_forward(self) -> None:
        state = self.view.state
        assert (state is State.ASKING) == (self.asking is not None)
        if state is State.PAUSING:
            assert self.timer is not None
            assert self.timer.generation == self.view.timer
            assert self.timer.at <= self.view.until
            assert self.view.why
        if state is State.AWAY:
            assert self.linked, "the proxy will tell, or the link will go"
        if state is State.OVER:
            assert self.view.over is not None
        if self.view.given_up_at and state is State.ASKING:
            assert self.view.timer_at <= self.view.given_up_at

    @invariant()
    def repetitions_stay_within_the_budget(self) -> None:
        earned = 11 + (self.now - 1_000.0) / 4 + 0.1 * self.asked
        assert self.asked <= self.prompted + earned

    def teardown(self) -> None:
        """When everything answers, it is confirmed within the longest wait of ours and ten seconds."""
        if self.view.over is not None:
            return
        begun = self.now
        if not self.linked:
            self.link_up(epoch=0)
        if self.view.core_away:
            self.feed(Back(self.view.epoch))
        for _ in range(10):
            if self.view.confirmed:
                break
            if self.asking is not None:
                generation, self.asking = self.asking.generation, None
                self.feed(Opened(opened("s1", 10_000, self.view.epoch), generation))
            else:
                self.rings()
        assert self.view.confirmed
        assert self.now <= begun + 10.0


SessionMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestSessionMachine = SessionMachine.TestCase
