"""The replication modes, whatever the replica does."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stayline.domain.replication import Action, Mode, Phase, Seen, View, step
from stayline.link.messages.control import ReplicationMode

AWAY = 2.0


def test_modes_are_those_of_the_messages() -> None:
    assert {mode.value for mode in Mode} == {mode.value for mode in ReplicationMode}


class Primary(RuleBasedStateMachine):
    """A model of a primary and its replica, with the real rules as its keeper.

    The model knows what was acknowledged and what the replica has, so it can tell a true status from a false one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mode = Mode.FOLLOW
        self.now = 1_000.0
        self.view = View()
        self.attached = False
        self.waiting = False
        self.written = 0
        self.there = 0
        self.acknowledged = 0
        self.barrier: int | None = None
        self.away_since: float | None = self.now

    @rule(amount=st.integers(1, 100))
    def write(self, amount: int) -> None:
        self.written += amount
        if not self.waiting:
            self.acknowledged = self.written

    @precondition(lambda self: self.attached)
    @rule(amount=st.integers(1, 100))
    def replicate(self, amount: int) -> None:
        self.there = min(self.written, self.there + amount)
        if self.waiting:
            self.acknowledged = max(self.acknowledged, self.there)

    @rule()
    def attach(self) -> None:
        self.attached, self.away_since = True, None

    @rule()
    def detach(self) -> None:
        self.attached = False
        self.away_since = self.away_since or self.now

    @rule(mode=st.sampled_from(list(Mode)))
    def change_mode(self, mode: Mode) -> None:
        """A keeper of another mode takes over (the mode is an argument of its start)."""
        self.mode = mode
        self.restart_keeper()

    @rule()
    def restart_keeper(self) -> None:
        self.view = View(exposed_since=self.view.exposed_since)
        self.barrier = None

    @rule(seconds=st.floats(0.1, 3.0))
    def look(self, seconds: float) -> None:
        self.now += seconds
        self.keep()

    def keep(self) -> None:
        seen = Seen(
            self.attached,
            self.waiting,
            self.written,
            self.there if self.attached else None,
            self.barrier,
            self.now,
        )
        self.view, actions = step(self.view, seen, mode=self.mode, away_timeout=AWAY, now=self.now)
        for action in actions:
            if action is Action.CONFIRM:
                self.barrier = self.written
                continue
            self.barrier = None
            self.waiting = action is Action.WAIT_FOR_REPLICA
            if not self.waiting:
                self.acknowledged = self.written

    @invariant()
    def together_means_on_both_sites(self) -> None:
        if self.view.exposure.synchronous and self.waiting:
            assert self.acknowledged <= self.there

    @invariant()
    def synchronous_is_never_exposed(self) -> None:
        if self.view.exposure.synchronous:
            assert self.view.exposed_since == 0.0

    @invariant()
    def exposed_when_commits_do_not_wait(self) -> None:
        if self.view.phase is Phase.ALONE and self.mode is not Mode.ASYNC:
            assert self.view.exposed_since > 0

    @invariant()
    def always_says_why(self) -> None:
        assert self.view.why.endswith(".")

    def teardown(self) -> None:
        """Left in peace, it comes to where its mode wants it to be."""
        for _ in range(8):
            self.look(1.0)
            if self.attached:
                self.there = self.written
        self.look(0.25)
        if self.mode is Mode.ASYNC:
            assert not self.waiting
        elif self.attached:
            assert self.view.phase is Phase.TOGETHER
        elif self.mode is Mode.FOLLOW:
            assert self.view.phase is Phase.ALONE
            assert not self.waiting
        else:
            assert self.waiting
            assert not self.view.exposure.synchronous


TestPrimary = Primary.TestCase
TestPrimary.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
