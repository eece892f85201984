"""The life cycle's table: every edge and every refusal."""

import msgspec
import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.interaction import TRANSITIONS, Action, Command, Event, Interaction, State
from stayline.domain.ownership import handling_ends, step, submit, whereabouts

NEW = Interaction(
    id="i1", tenant="T", media="chat", queue="q", state=State.QUEUED, version=0, epoch=0, term=0, subject="s"
)


def command(event: Event, **fields: object) -> Command:
    return Command(**({"event": event, "actor": "server", "epoch": 1, "term": 1} | fields))  # type: ignore[arg-type]


def queued() -> Interaction:
    return submit(NEW, command(Event.SUBMIT), 10.0).after


def offered() -> Interaction:
    return step(queued(), command(Event.OFFER, agent="a", session="s", deadline=41.0), 11.0).after


def owned() -> Interaction:
    return step(offered(), command(Event.ACCEPT, agent="a", session="s", version=2), 12.0).after


def in_state(state: State) -> Interaction:
    match state:
        case State.QUEUED:
            return queued()
        case State.OFFERED:
            return offered()
        case State.OWNED:
            return owned()
        case State.WORKBIN:
            return step(owned(), command(Event.PARK, agent="a", session="s"), 13.0).after
        case State.STOPPED:
            return step(owned(), command(Event.DONE, agent="a", session="s"), 13.0).after


def test_submitted_is_queued_with_version_one() -> None:
    result = submit(NEW, command(Event.SUBMIT, key="k"), 10.0)
    assert (result.after.state, result.after.version, result.after.queued_at) == (State.QUEUED, 1, 10.0)
    assert (result.entry.from_state, result.entry.key, result.before) == ("", "k", None)


def test_offer_names_session_and_deadline() -> None:
    it = offered()
    assert (it.owner, it.session, it.offer_deadline, it.offer_version) == ("a", "s", 41.0, 2)


def test_accept_makes_the_session_owner() -> None:
    it = owned()
    assert (it.state, it.owner, it.session, it.owned_at, it.last_owner) == (State.OWNED, "a", "s", 12.0, "a")
    assert it.offer_deadline == 0.0


def test_accept_after_a_change_of_properties_still_answers_the_offer() -> None:
    changed = step(offered(), command(Event.CHANGE, online=False), 11.5).after
    accepted = step(changed, command(Event.ACCEPT, agent="a", session="s", version=2), 12.0).after
    assert (accepted.state, accepted.version, accepted.online) == (State.OWNED, 4, False)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"session": "other", "version": 2}, "interaction.offer_gone"),
        ({"session": "s", "version": 1}, "interaction.offer_gone"),
        ({"session": "s", "version": 9}, "interaction.offer_gone"),
        ({"session": "s", "version": 2, "term": 0}, "interaction.term_stale"),
        ({"session": "s", "version": 2, "epoch": 0, "term": 99}, "interaction.term_stale"),
    ],
)
def test_accept_is_refused(fields: dict[str, object], code: str) -> None:
    before = offered()
    with pytest.raises(RefusedError) as caught:
        step(before, command(Event.ACCEPT, agent="a", **fields), 12.0)
    assert caught.value.refusal.code == code
    assert before == offered()


def test_return_to_the_queue_keeps_the_place_in_it_and_transfer_does_not() -> None:
    rejected = step(offered(), command(Event.REJECT, agent="a", session="s", version=2), 20.0).after
    assert (rejected.queue, rejected.queued_at, rejected.session) == ("q", 10.0, "")
    moved = step(owned(), command(Event.TRANSFER, agent="a", session="s", queue="q2"), 20.0).after
    assert (moved.queue, moved.queued_at, moved.owner, moved.last_owner) == ("q2", 20.0, "", "a")


def test_the_time_of_an_owner_begins_anew_with_each_thing_done() -> None:
    accept = command(Event.ACCEPT, agent="a", session="s", version=2, handling=60.0)
    mail = step(offered(), accept, 12.0).after
    assert handling_ends(mail) == 72.0
    assert handling_ends(step(mail, command(Event.CHANGE, set={"x": "1"}), 30.0).after) == 72.0
    touched = step(mail, command(Event.CHANGE, agent="a", session="s", set={"x": "1"}), 30.0).after
    assert handling_ends(touched) == 90.0
    returned = step(touched, command(Event.HANDLING_TIMEOUT, session="s"), 90.0)
    assert (returned.after.state, returned.after.session, returned.entry.previous_session) == (
        State.QUEUED,
        "",
        "s",
    )
    assert handling_ends(returned.after) == 0.0
    assert handling_ends(owned()) == 0.0, "taken without a limit"


def test_a_chat_has_an_end_only_when_its_customer_has_gone() -> None:
    accept = command(Event.ACCEPT, agent="a", session="s", version=2, handling=60.0)
    chat = step(msgspec.structs.replace(offered(), chat_session="c"), accept, 12.0).after
    assert handling_ends(chat) == 0.0
    over = step(chat, command(Event.CHANGE, online=False), 500.0).after
    assert handling_ends(over) == 560.0
    assert handling_ends(step(over, command(Event.CHANGE, online=False), 520.0).after) == 560.0


def test_late_owner_is_told_who_has_it() -> None:
    it = step(owned(), command(Event.SESSION_LOST_TIMEOUT, session="s"), 99.0).after
    it = step(it, command(Event.OFFER, agent="b", session="sb", deadline=130.0), 100.0).after
    it = step(it, command(Event.ACCEPT, agent="b", session="sb", version=5), 101.0).after
    with pytest.raises(RefusedError) as caught:
        step(it, command(Event.DONE, agent="a", session="s"), 102.0)
    assert caught.value.refusal.code == "interaction.not_yours"
    assert "with b" in caught.value.refusal.reason


def test_done_keeps_who_handled_it() -> None:
    it = step(owned(), command(Event.DONE, agent="a", session="s", disposition="Solved"), 30.0).after
    assert (it.state, it.owner, it.last_owner, it.disposition) == (State.STOPPED, "", "a", "Solved")
    assert (it.ended_at, it.online) == (30.0, False)


def test_only_the_workbin_owner_pulls() -> None:
    parked = in_state(State.WORKBIN)
    assert parked.workbin == "a"
    with pytest.raises(RefusedError):
        step(parked, command(Event.PULL, agent="b", session="sb"), 14.0)
    pulled = step(parked, command(Event.PULL, agent="a", session="s9"), 14.0).after
    assert (pulled.state, pulled.session, pulled.workbin) == (State.OWNED, "s9", "")


def test_agents_change_only_what_they_own_media_servers_anything() -> None:
    with pytest.raises(RefusedError):
        step(offered(), command(Event.CHANGE, agent="a", session="s", set={"x": "1"}), 12.0)
    with pytest.raises(RefusedError):
        step(owned(), command(Event.CHANGE, agent="b", session="sb", set={"x": "1"}), 12.0)
    mine = step(owned(), command(Event.CHANGE, agent="a", session="s", set={"x": "1"}), 12.5).after
    gone = step(mine, command(Event.CHANGE, delete=("x", "y"), disposition="d"), 12.6).after
    assert (mine.properties, gone.properties, gone.disposition) == ({"x": "1"}, {}, "d")


def test_everything_not_in_the_table_is_refused() -> None:
    for state in State:
        for event in Event:
            if (state, event) in TRANSITIONS:
                continue
            before = in_state(state)
            with pytest.raises(RefusedError) as caught:
                step(before, command(event, agent="a", session="s", version=2), 50.0)
            assert caught.value.refusal.code == "interaction.state"
            assert whereabouts(before) in caught.value.refusal.reason


def test_every_state_is_reached_and_left_and_every_action_used() -> None:
    assert {t.new for t in TRANSITIONS.values()} == set(State)
    assert {state for state, _ in TRANSITIONS} == {None, *State} - {State.STOPPED}
    assert {event for _, event in TRANSITIONS} == set(Event)
    assert {a for t in TRANSITIONS.values() for a in t.actions} == set(Action)
    assert all(t.why for t in TRANSITIONS.values())
