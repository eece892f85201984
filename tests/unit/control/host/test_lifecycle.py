"""The supervised process's table: delays, commands that overtake each other, nothing lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stayline.control.host.lifecycle import (
    LONGEST_DELAY,
    STABLE_AFTER,
    TABLE,
    Action,
    Event,
    Life,
    delay_after,
    step,
)
from stayline.link.messages.control import ProcessState


def _run(life: Life, *events: tuple[Event, float]) -> tuple[Life, list[Action]]:
    actions = []
    for event, now in events:
        life, action, _ = step(life, event, now)
        actions.append(action)
    return life, actions


def test_a_crash_is_followed_by_a_wait_and_a_restart() -> None:
    life, actions = _run(
        Life(), (Event.START, 0.0), (Event.REPORTED, 1.0), (Event.EXITED, 2.0), (Event.RETRY, 2.2)
    )
    assert actions == [Action.SPAWN, Action.NOTHING, Action.WAIT, Action.SPAWN]
    assert life.state is ProcessState.STARTING
    assert life.restarts == 1


def test_the_delay_grows_to_its_limit_and_starts_anew_after_a_stable_time() -> None:
    assert [delay_after(n) for n in (1, 2, 3)] == [0.2, 0.4, 0.8]
    assert delay_after(50) == LONGEST_DELAY
    life, now = step(Life(), Event.START, 0.0).life, 0.0
    for _ in range(6):
        now += 1.0
        life = step(life, Event.EXITED, now).life
        life = step(life, Event.RETRY, now).life
    assert step(life, Event.EXITED, now + 1.0).delay == LONGEST_DELAY
    assert step(life, Event.EXITED, now + STABLE_AFTER).delay == 0.2


def test_a_commanded_stop_is_no_crash() -> None:
    life, actions = _run(
        Life(), (Event.START, 0.0), (Event.REPORTED, 1.0), (Event.STOP, 2.0), (Event.EXITED, 3.0)
    )
    assert life.state is ProcessState.STOPPED
    assert actions[-2:] == [Action.TERMINATE, Action.NOTHING]


def test_a_stop_that_takes_too_long_becomes_a_kill() -> None:
    _, actions = _run(Life(), (Event.START, 0.0), (Event.STOP, 1.0), (Event.STOP_TIMEOUT, 6.0))
    assert actions[-1] is Action.KILL


def test_a_start_during_a_stop_starts_again_afterwards() -> None:
    life, actions = _run(
        Life(), (Event.START, 0.0), (Event.STOP, 1.0), (Event.START, 1.5), (Event.EXITED, 2.0)
    )
    assert life.state is ProcessState.STARTING
    assert actions[-1] is Action.SPAWN


def test_a_stop_during_the_wait_ends_the_waiting() -> None:
    life, _ = _run(Life(), (Event.START, 0.0), (Event.EXITED, 1.0), (Event.STOP, 1.1), (Event.RETRY, 1.2))
    assert life.state is ProcessState.STOPPED


@pytest.mark.parametrize("pair", sorted(TABLE))
def test_every_transition_says_why(pair: tuple[ProcessState, Event]) -> None:
    assert TABLE[pair].why


@given(st.lists(st.sampled_from(list(Event)), max_size=40))
def test_the_last_command_decides_where_a_process_settles(events: list[Event]) -> None:
    """However commands and accidents mix: once things settle, it runs if and only if that was the last
    command."""
    life, now = Life(), 0.0
    for event in events:
        now += 0.1
        life = step(life, event, now).life
    for _ in range(3):  # let the shell do its part: a stopping process ends, a waiting one is retried
        if life.state is ProcessState.STOPPING:
            life = step(life, Event.EXITED, now).life
        elif life.state is ProcessState.CRASHED:
            life = step(life, Event.RETRY, now).life
    runs = life.state in (ProcessState.STARTING, ProcessState.RUNNING)
    assert runs == life.wanted
