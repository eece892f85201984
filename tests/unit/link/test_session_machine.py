"""An agent's session, case by case: what is asked when, what is repeated, what ends it."""

from dataclasses import replace

import pytest

from stayline.domain.errors import Refusal
from stayline.link.machine.session import ELSEWHERE, FINAL, GIVEN_UP, OVER, SessionView, State, heard, step
from stayline.link.machine.session_events import (
    Action,
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
    Stop,
    TokenRefused,
    WaitUntil,
)
from stayline.link.messages.interaction import MediaState, SessionOpened, Snapshot
from tests.unit.link.plans import high, low


def opened(session: str = "s1", as_of: int = 10, epoch: int = 7, ticket: str = "") -> SessionOpened:
    snapshot = Snapshot(
        session=session,
        agent="agent01",
        place="Place_1",
        media=[MediaState("chat", True)],
        interactions=[],
        as_of=as_of,
        epoch=epoch,
        term=1,
    )
    return SessionOpened(
        session=session, ticket=ticket or f"ticket of {session}", restore_timeout=120.0, snapshot=snapshot
    )


class Machine:
    def __init__(self, random: object = high, **known: object) -> None:
        self.view = SessionView(seed="seed", **known)  # type: ignore[arg-type]
        self.random = random
        self.now = 1_000.0
        self.actions: list[Action] = []

    def feed(self, event: Event) -> list[Action]:
        self.view, self.actions = step(self.view, event, self.now, self.random)  # type: ignore[arg-type]
        return self.actions

    def answer(self, found: SessionOpened) -> None:
        self.feed(Opened(found, self.view.generation))

    def refuse(self, code: str, *, retryable: bool = False, retry_after: float | None = None) -> None:
        refusal = Refusal(code=code, reason=f"{code}!", retryable=retryable, retry_after=retry_after)
        self.feed(Refused(refusal, self.view.generation))

    def ring(self) -> None:
        assert self.view.timer_at >= self.now
        self.now = self.view.timer_at
        self.feed(Due(self.view.timer))

    def kinds(self) -> list[type[Action]]:
        return [type(action) for action in self.actions]

    def login(self) -> AskLogin:
        (found,) = (action for action in self.actions if isinstance(action, AskLogin))
        return found


def working(random: object = high) -> Machine:
    machine = Machine(random)
    machine.feed(LinkUp(1, 7))
    machine.answer(opened())
    assert machine.view.confirmed
    return machine


# -- login


def test_without_a_ticket_it_logs_in_and_the_answer_confirms() -> None:
    machine = Machine()
    machine.feed(LinkUp(1, 7))
    assert machine.actions == [AskLogin(1, "seed-1")]
    found = opened()
    machine.answer(found)
    assert machine.actions == [Confirmed(found)]
    view = machine.view
    assert (view.session, view.ticket, view.place, view.epoch, view.last_seq) == (
        "s1",
        "ticket of s1",
        "Place_1",
        7,
        10,
    )
    assert (view.media, view.server_timeout) == ((MediaState("chat", True),), 120.0)


@pytest.mark.parametrize("lost", ["no answer", "link"])
def test_a_login_without_an_answer_is_repeated_with_its_key(lost: str) -> None:
    machine = Machine()
    machine.feed(LinkUp(1))
    key = machine.login().key
    if lost == "link":
        machine.feed(LinkDown("reset"))
        assert machine.kinds() == [CancelAsk, NotConfirmed]
        machine.feed(LinkUp(2))
    else:
        machine.feed(NoAnswer("silence", machine.view.generation))
        machine.ring()
    assert machine.login().key == key


def test_a_refused_login_uses_a_new_key_next_time_and_a_retryable_one_the_same() -> None:
    machine = Machine()
    machine.feed(LinkUp(1))
    machine.refuse("link.not_now", retryable=True, retry_after=3.0)
    assert machine.view.until == machine.now + 3.0
    machine.ring()
    assert machine.login().key == "seed-1"
    machine.answer(opened())
    machine.feed(Ended("s1", "session.closed", "gone"))
    assert machine.login().key == "seed-2"


def test_a_repeated_login_whose_session_is_over_by_now_logs_in_anew_at_once() -> None:
    machine = Machine()
    machine.feed(LinkUp(1))
    machine.feed(NoAnswer("silence", machine.view.generation))
    machine.ring()
    machine.refuse("session.closed")
    assert machine.login().key == "seed-2"


def test_a_first_login_refused_as_closed_is_over() -> None:
    machine = Machine()
    machine.feed(LinkUp(1))
    machine.refuse("session.closed")
    assert machine.kinds() == [Over]


def test_keys_of_two_processes_differ() -> None:
    one, other = Machine(), Machine()
    other.view = replace(other.view, seed="another")
    one.feed(LinkUp(1))
    other.feed(LinkUp(1))
    assert one.login().key != other.login().key


# -- resuming


def test_on_every_new_link_it_resumes_from_the_last_event() -> None:
    machine = working()
    machine.view, news = heard(machine.view, 15)
    assert news
    machine.feed(LinkDown("reset"))
    assert machine.actions == [NotConfirmed("reset")]
    machine.feed(LinkUp(2, 7))
    assert machine.actions[0] == AskResume(2, "ticket of s1", 15)
    assert not machine.view.confirmed, "restricted until the core has confirmed"


def test_events_in_the_snapshot_are_no_news() -> None:
    view = working().view
    assert heard(view, 10) == (view, False)
    assert heard(view, 0) == (view, True)
    assert heard(view, 12) == (replace(view, last_seq=12), True)


def test_an_answer_older_than_what_is_known_changes_nothing() -> None:
    machine = working()
    before = machine.view
    assert machine.feed(Opened(opened(as_of=9))) == []
    assert machine.view == before


def test_late_answers_and_timers_change_nothing_but_the_counter() -> None:
    machine = working()
    before = machine.view
    for event in (
        Opened(opened("s2"), 1),
        Refused(Refusal(code="x", reason="x"), 1),
        NoAnswer("late", 1),
        Due(77),
    ):
        assert machine.feed(event) == []
    assert machine.view == replace(before, ignored=4)


@pytest.mark.parametrize("code", sorted(OVER))
def test_a_resume_refused_as_over_logs_in_anew_without_being_asked(code: str) -> None:
    machine = working()
    machine.feed(LinkDown("reset"))
    machine.feed(LinkUp(2))
    machine.refuse(code)
    assert machine.kinds()[:3] == [NotConfirmed, SessionLost, AskLogin]
    assert (machine.view.session, machine.view.ticket, machine.view.last_seq) == ("", "", 0)


@pytest.mark.parametrize("code", sorted(ELSEWHERE))
def test_a_stale_proxy_is_left(code: str) -> None:
    machine = working()
    machine.feed(LinkDown("reset"))
    machine.feed(LinkUp(2))
    machine.refuse(code, retry_after=5.0)
    assert machine.actions == [GiveUpLink(f"{code}!", 5.0)]
    machine.feed(LinkDown("left"))
    machine.feed(LinkUp(3))
    assert isinstance(machine.actions[0], AskResume)


def test_a_confirmation_under_a_lower_epoch_is_not_believed() -> None:
    machine = working()
    machine.feed(LinkDown("reset"))
    machine.feed(LinkUp(2, 8))
    machine.answer(opened(epoch=7, as_of=20))
    assert machine.kinds() == [GiveUpLink]
    assert not machine.view.confirmed


@pytest.mark.parametrize("code", ["session.taken", "auth.disabled", "place.unknown"])
def test_any_other_refusal_is_the_end(code: str) -> None:
    machine = working()
    machine.feed(LinkDown("reset"))
    machine.feed(LinkUp(2))
    machine.refuse(code)
    assert machine.actions == [Over(Refusal(code=code, reason=f"{code}!"))]
    assert machine.feed(LinkUp(3)) == []


# -- repeating


def test_pauses_double_up_to_their_longest_and_have_a_jittered_lower_half() -> None:
    for random, share in ((low, 0.5), (high, 1.0)):
        machine = Machine(random)
        machine.feed(LinkUp(1))
        waits = []
        for _ in range(7):
            machine.refuse("core.away", retryable=True)
            waits.append(machine.view.until - machine.now)
            machine.ring()
        assert waits == pytest.approx([share * wait for wait in (0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0)])


def test_beyond_the_budget_it_repeats_rarely_but_never_stops() -> None:
    machine = Machine(low)
    machine.feed(LinkUp(1))
    asked = 0
    begun = machine.now
    while machine.now < begun + 600:
        machine.refuse("core.away", retryable=True)
        machine.ring()
        asked += 1
    assert 600 / 4 <= asked <= 600 / 4 + 13


def test_a_time_that_the_server_named_costs_nothing() -> None:
    machine = Machine()
    machine.feed(LinkUp(1))
    for _ in range(50):
        machine.refuse("link.not_now", retryable=True, retry_after=1.0)
        assert machine.view.until == machine.now + 1.0
        machine.ring()
    assert machine.view.budget == 10.0


# -- the core away and back


def test_the_core_away_restricts_and_asks_nothing() -> None:
    machine = working()
    assert machine.feed(Away("failover")) == [NotConfirmed("failover")]
    assert (machine.view.state, machine.view.timer_at) == (State.AWAY, 0.0)
    found = opened(as_of=20)
    machine.feed(Back(7, found))
    assert machine.actions == [Confirmed(found)]


def test_the_core_back_without_the_session_resumes_and_after_its_end_logs_in() -> None:
    machine = working()
    machine.feed(Away("failover"))
    machine.feed(Back(7))
    assert isinstance(machine.actions[0], AskResume)
    machine = working()
    machine.feed(Away("failover"))
    machine.feed(Back(8, None, "session.unknown", "unknown"))
    assert machine.kinds()[:3] == [NotConfirmed, SessionLost, AskLogin]
    assert machine.view.epoch == 8


def test_what_is_being_asked_when_the_core_goes_is_still_answered_but_asked_once() -> None:
    machine = Machine()
    machine.feed(LinkUp(1))
    machine.feed(Away("failover"))
    assert machine.view.state is State.ASKING
    machine.feed(Back(7))
    assert machine.kinds() == [CancelAsk, AskLogin]
    assert machine.login().key == "seed-1"


# -- the end


@pytest.mark.parametrize("code", sorted(FINAL))
def test_a_final_end_is_the_end(code: str) -> None:
    machine = working()
    machine.feed(Ended("s1", code, "elsewhere"))
    assert machine.actions == [Over(Refusal(code=code, reason="elsewhere"))]
    assert machine.view.state is State.OVER


def test_any_other_end_logs_in_anew() -> None:
    machine = working()
    machine.feed(Ended("", "session.timeout", "too long away"))
    assert machine.kinds() == [NotConfirmed, SessionLost, AskLogin]


def test_the_end_of_another_session_is_no_business_of_ours() -> None:
    machine = working()
    before = machine.view
    assert machine.feed(Ended("s0", "session.taken", "elsewhere")) == []
    assert machine.view == before


def test_a_refused_token_is_the_end_also_without_a_link() -> None:
    machine = Machine()
    refusal = Refusal(code="token.expired", reason="expired")
    assert machine.feed(TokenRefused(refusal)) == [Over(refusal)]


def test_stopping_asks_nothing_any_more() -> None:
    machine = Machine()
    machine.feed(LinkUp(1))
    assert machine.feed(Stop()) == [CancelAsk(1)]
    assert machine.view.state is State.OFFLINE


# -- the ticket


def test_a_renewed_ticket_is_used_from_then_on_and_anothers_is_not() -> None:
    machine = working()
    machine.feed(Renewed("s0", "of another"))
    machine.feed(Renewed("s1", "newer"))
    machine.feed(LinkDown("reset"))
    machine.feed(LinkUp(2))
    assert machine.actions[0] == AskResume(2, "newer", 10)


# -- given up


def unconfirmed() -> Machine:
    machine = working()
    machine.feed(LinkDown("reset"))
    machine.now += 300
    machine.feed(LinkUp(2))
    return machine


def test_not_confirmed_in_time_after_a_proxy_was_reached_again_it_is_given_up() -> None:
    machine = unconfirmed()
    reached = machine.now
    assert machine.actions[1] == WaitUntil(machine.view.timer, reached + 60.0)
    machine.ring()
    assert machine.now == reached + 60.0
    assert machine.kinds()[:4] == [CancelAsk, NotConfirmed, SessionLost, AskLogin]
    (lost,) = (action for action in machine.actions if isinstance(action, SessionLost))
    assert lost.code == GIVEN_UP
    assert "within 60 s" in lost.why


def test_refusals_do_not_put_the_giving_up_off() -> None:
    machine = unconfirmed()
    reached = machine.now
    while machine.view.ticket:
        if machine.view.state is State.ASKING:
            machine.refuse("core.away", retryable=True)
        machine.ring()
    assert machine.now == reached + 60.0


def test_while_no_proxy_or_no_core_is_there_the_time_does_not_run() -> None:
    machine = unconfirmed()
    machine.now += 59
    machine.feed(Away("failover"))
    assert machine.view.given_up_at == 0.0
    machine.now += 500
    machine.feed(Back(7))
    assert machine.view.given_up_at == machine.now + 60.0
    machine.feed(LinkDown("reset"))
    assert machine.view.given_up_at == 0.0


def test_with_0_it_is_tried_as_long_as_the_server_allows() -> None:
    machine = unconfirmed()
    machine.view = replace(machine.view, restore_timeout=0.0)
    assert machine.view.given_up_at == 0.0


def test_a_login_is_never_given_up() -> None:
    machine = Machine()
    machine.feed(LinkUp(1))
    assert machine.view.timer_at == 0.0
