"""The agent's session as the Workspace keeps it: a pure machine (ADR 5 §7).

``step(view, event, now, random) -> (view, actions)``; times are Unix seconds. The session survives links: on every new
link, and when a proxy says that the core is back, it is resumed with its ticket. The snapshot that answers is the truth
and ends restricted mode. Only when the core says that the session is over, or when it was not confirmed within
``eservices.session-restore-timeout`` after a proxy was reached again, is the agent logged in anew, without being asked.

At most one question is in flight. A login is repeated with its key until there is an answer: one whose answer was lost
could stand in the way of a new one. Repetitions at our own pace come out of a budget (``session_view.py``); a time that
the server named costs nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from stayline.domain.errors import Refusal
from stayline.link.machine.pool import Random
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
from stayline.link.machine.session_view import (
    ELSEWHERE,
    FINAL,
    FIRST_PAUSE,
    GIVEN_UP,
    LONGEST_PAUSE,
    OVER,
    RETRY_BURST,
    RETRY_SECONDS,
    RETRY_SHARE,
    SessionView,
    State,
)
from stayline.link.messages.interaction import SessionOpened

__all__ = [
    "ELSEWHERE",
    "FINAL",
    "GIVEN_UP",
    "OVER",
    "Event",
    "Result",
    "SessionView",
    "State",
    "heard",
    "step",
]

Result = tuple[SessionView, list[Action]]


def step(view: SessionView, event: Event, now: float, random: Random) -> Result:
    """The next view and what to do now, in this order. Late answers and timers are ignored and counted."""
    rule = _TABLE.get((view.state, type(event)))
    if rule is None or _is_late(view, event):
        return replace(view, ignored=view.ignored + 1), []
    after, actions = rule(view, event, now, random)
    if after.state is not view.state:
        after = replace(after, since=now)
    return _timed(after, actions)


def heard(view: SessionView, seq: int) -> tuple[SessionView, bool]:
    """Note an event of the core; False: it is in the last snapshot already. ``seq`` 0: an event without a position."""
    if not seq:
        return view, True
    return replace(view, last_seq=max(view.last_seq, seq)), seq > view.floor


def _is_late(view: SessionView, event: Event) -> bool:
    if isinstance(event, Due):
        return event.generation != view.timer
    generation = getattr(event, "generation", None) if not isinstance(event, LinkUp) else None
    return generation is not None and (generation != view.generation or view.state is not State.ASKING)


def _timed(view: SessionView, actions: list[Action]) -> Result:
    """Keep one timer for whatever comes first."""
    unconfirmed = view.state in (State.ASKING, State.PAUSING)
    times = [at for at in (view.until, view.given_up_at if unconfirmed else 0.0) if at]
    at = min(times, default=0.0)
    if at == view.timer_at:
        return view, actions
    if not at:
        return replace(view, timer=0, timer_at=0.0), actions
    number = view.timers + 1
    return replace(view, timers=number, timer=number, timer_at=at), [*actions, WaitUntil(number, at)]


# -- the link
# -----------------------------------------------------------------------------------------------------


def _link_up(view: SessionView, event: LinkUp, now: float, random: Random) -> Result:
    """A proxy answered: resume (or log in) through it."""
    actions = _dropped(view)
    if view.confirmed:
        actions.append(NotConfirmed("Another link stands now."))
        view = replace(view, away_since=now)
    epoch = max(view.epoch, event.epoch)
    view = replace(view, epoch=epoch, core_away=False, reached_at=now, pause=FIRST_PAUSE)
    return _ask(view, actions)


def _link_down(view: SessionView, event: LinkDown, now: float, random: Random) -> Result:
    view, actions = _unconfirmed(view, event.why, now)
    return replace(view, state=State.OFFLINE, core_away=False, reached_at=0.0, why=event.why), actions


def _unconfirmed(view: SessionView, why: str, now: float) -> Result:
    actions = _dropped(view)
    away_since = now if view.confirmed else view.away_since
    return replace(view, away_since=away_since), [*actions, NotConfirmed(why)]


def _dropped(view: SessionView) -> list[Action]:
    return [CancelAsk(view.generation)] if view.state is State.ASKING else []


def _token_refused(view: SessionView, event: TokenRefused, now: float, random: Random) -> Result:
    return _finish(view, event.refusal, _dropped(view))


def _stop(view: SessionView, event: Stop, now: float, random: Random) -> Result:
    return replace(view, state=State.OFFLINE, core_away=False, reached_at=0.0, why="Stopped."), _dropped(view)


# -- asking
# -------------------------------------------------------------------------------------------------------


def _ask(view: SessionView, before: list[Action]) -> Result:
    """One question, with a new generation."""
    generation = view.generation + 1
    view = replace(view, state=State.ASKING, generation=generation, retry_at=0.0)
    if view.ticket:
        view = replace(view, why="Resuming the session.")
        return view, [*before, AskResume(generation, view.ticket, view.last_seq)]
    repeated = view.login_key != ""
    if not repeated:
        logins = view.logins + 1
        view = replace(view, logins=logins, login_key=f"{view.seed}-{logins}")
    view = replace(view, repeated=repeated, why="Logging in.")
    return view, [*before, AskLogin(generation, view.login_key)]


def _opened(view: SessionView, event: Opened, now: float, random: Random) -> Result:
    return _take(view, event.opened, now, [])


def _take(view: SessionView, opened: SessionOpened, now: float, before: list[Action]) -> Result:
    """Confirmed, unless the answer is older than what is known."""
    snapshot = opened.snapshot
    if view.confirmed and opened.session == view.session and snapshot.as_of < view.floor:
        return view, before
    if 0 < snapshot.epoch < view.epoch:
        why = f"The session was confirmed under epoch {snapshot.epoch}, but {view.epoch} is known."
        return _leave(view, why, None, before, now)
    view = replace(
        view,
        state=State.CONFIRMED,
        session=opened.session,
        ticket=opened.ticket,
        login_key="",
        server_timeout=opened.restore_timeout,
        place=snapshot.place,
        epoch=max(view.epoch, snapshot.epoch),
        floor=snapshot.as_of,
        last_seq=snapshot.as_of,
        media=tuple(snapshot.media),
        core_away=False,
        reached_at=0.0,
        pause=FIRST_PAUSE,
        retry_at=0.0,
        budget=min(RETRY_BURST, view.budget + RETRY_SHARE),
        why="Confirmed by the Interaction Server.",
    )
    return view, [*before, Confirmed(opened)]


def _refused(view: SessionView, event: Refused, now: float, random: Random) -> Result:
    refusal = event.refusal
    asked_login = not view.ticket
    if asked_login and not refusal.retryable:
        view = replace(view, login_key="")
        if view.repeated and refusal.code == "session.closed":
            # It was carried out, and its session is over by now: log in anew.
            return _ask(view, [])
    if refusal.code in ELSEWHERE:
        return _leave(view, refusal.reason, refusal.retry_after, [], now)
    if refusal.retryable:
        return _pause(view, refusal.reason, refusal.retry_after, now, random)
    if view.ticket and refusal.code in OVER:
        view, actions = _lose(view, refusal.reason, refusal.code, now, [])
        return _ask(view, actions)
    return _finish(view, refusal, [])


def _no_answer(view: SessionView, event: NoAnswer, now: float, random: Random) -> Result:
    return _pause(view, event.why, None, now, random)


def _pause(view: SessionView, why: str, retry_after: float | None, now: float, random: Random) -> Result:
    """Ask again: when the server said, else after a doubling pause, and no more often than the budget allows."""
    if retry_after:
        at = now + retry_after
    else:
        budget = min(RETRY_BURST, view.budget + max(0.0, now - view.budget_at) / RETRY_SECONDS)
        short = max(0.0, 1.0 - budget) * RETRY_SECONDS
        at = now + max(view.pause * (0.5 + 0.5 * random()), short)
        view = replace(view, budget=budget - 1.0, budget_at=now)
    pause = min(LONGEST_PAUSE, view.pause * 2)
    return replace(view, state=State.PAUSING, retry_at=at, pause=pause, why=why), []


def _due(view: SessionView, event: Due, now: float, random: Random) -> Result:
    view = replace(view, timer=0, timer_at=0.0)
    if view.given_up_at and now >= view.given_up_at:
        return _give_up(view, now)
    if view.state is State.PAUSING and now >= view.retry_at:
        return _ask(view, [])
    return view, []


def _give_up(view: SessionView, now: float) -> Result:
    why = (
        f"The session was not confirmed within {view.restore_timeout:g} s after the server was reached again."
    )
    view, actions = _lose(view, why, GIVEN_UP, now, _dropped(view))
    return _ask(view, actions)


def _leave(
    view: SessionView, why: str, retry_after: float | None, before: list[Action], now: float
) -> Result:
    """This proxy cannot help, another one may."""
    away_since = now if view.confirmed else view.away_since
    view = replace(view, state=State.OFFLINE, reached_at=0.0, away_since=away_since, why=why)
    return view, [*before, GiveUpLink(why, retry_after)]


# -- what the core and the proxy tell
# ------------------------------------------------------------------------------


def _away(view: SessionView, event: Away, now: float, random: Random) -> Result:
    """What is being asked goes on: the core may be back before the answer is due."""
    away_since = now if view.confirmed else view.away_since
    state = State.AWAY if view.confirmed else view.state
    view = replace(view, state=state, core_away=True, reached_at=0.0, away_since=away_since, why=event.why)
    return view, [NotConfirmed(event.why)]


def _back(view: SessionView, event: Back, now: float, random: Random) -> Result:
    actions = _dropped(view)
    reached = view.reached_at or now
    view = replace(
        view, epoch=max(view.epoch, event.epoch), core_away=False, reached_at=reached, pause=FIRST_PAUSE
    )
    if event.opened is not None:
        return _take(view, event.opened, now, actions)
    if event.code in OVER and view.ticket:
        view, actions = _lose(view, event.reason, event.code, now, actions)
    elif view.confirmed:
        actions.append(NotConfirmed(event.reason or "The core was replaced."))
        view = replace(view, away_since=now)
    return _ask(view, actions)


def _ended(view: SessionView, event: Ended, now: float, random: Random) -> Result:
    if event.session and event.session != view.session:
        return view, []
    actions = _dropped(view)
    if event.code in FINAL:
        return _finish(view, Refusal(code=event.code, reason=event.why), actions)
    view, actions = _lose(view, event.why, event.code, now, actions)
    if view.state is State.OFFLINE:
        return view, actions
    return _ask(view, actions)


def _renewed(view: SessionView, event: Renewed, now: float, random: Random) -> Result:
    if not event.ticket or event.session != view.session:
        return view, []
    return replace(view, ticket=event.ticket), []


def _lose(view: SessionView, why: str, code: str, now: float, before: list[Action]) -> Result:
    away_since = now if view.confirmed else view.away_since
    view = replace(view, session="", ticket="", last_seq=0, floor=0, away_since=away_since, pause=FIRST_PAUSE)
    return view, [*before, NotConfirmed(why), SessionLost(why, code)]


def _finish(view: SessionView, refusal: Refusal, before: list[Action]) -> Result:
    view = replace(view, state=State.OVER, over=refusal, reached_at=0.0, retry_at=0.0, why=refusal.reason)
    return view, [*before, Over(refusal)]


def _nothing(view: SessionView, event: Event, now: float, random: Random) -> Result:
    return view, []


_Rule = Callable[..., Result]

_ALIVE: Mapping[type[Event], _Rule] = {
    LinkUp: _link_up,
    LinkDown: _link_down,
    TokenRefused: _token_refused,
    Ended: _ended,
    Renewed: _renewed,
    Stop: _stop,
}
_LINKED: Mapping[type[Event], _Rule] = {**_ALIVE, Opened: _opened, Away: _away, Back: _back}
_OVER: Mapping[type[Event], _Rule] = dict.fromkeys(
    (LinkUp, LinkDown, TokenRefused, Away, Back, Ended, Renewed, Stop), _nothing
)

_RULES: Mapping[State, Mapping[type[Event], _Rule]] = {
    State.OFFLINE: _ALIVE,
    State.ASKING: {**_LINKED, Refused: _refused, NoAnswer: _no_answer, Due: _due},
    State.PAUSING: {**_LINKED, Due: _due},
    State.CONFIRMED: _LINKED,
    State.AWAY: _LINKED,
    State.OVER: _OVER,
}

_TABLE: Mapping[tuple[State, type[Event]], _Rule] = {
    (state, kind): rule for state, rules in _RULES.items() for kind, rule in rules.items()
}
