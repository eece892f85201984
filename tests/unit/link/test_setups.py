"""At most two set-ups at a time, first come first served."""

from stayline.link.machine.setups import Setups


def full() -> Setups:
    setups = Setups()
    for id in ("interaction:1", "contact:1"):
        setups, begun = setups.request(id, 100.0, 130.0)
        assert begun
    return setups


def test_two_begin_at_once_the_third_waits() -> None:
    setups, begun = full().request("chat:1", 101.0, 131.0)
    assert not begun
    assert (setups.running, [w.id for w in setups.waiting], setups.due) == (
        ("interaction:1", "contact:1"),
        ["chat:1"],
        131.0,
    )


def test_asking_twice_changes_nothing() -> None:
    setups, _ = full().request("chat:1", 101.0, 131.0)
    assert setups.request("chat:1", 109.0, 190.0) == (setups, False)
    assert setups.request("contact:1", 109.0, 190.0) == (setups, True)


def test_who_came_first_begins_first() -> None:
    setups = full()
    for id in ("chat:1", "statistics:1"):
        setups, _ = setups.request(id, 101.0, 131.0)
    setups, begun = setups.release("contact:1")
    assert begun == ("chat:1",)
    setups, at_once = setups.request("contact:2", 102.0, 132.0)
    assert not at_once
    setups, begun = setups.release("interaction:1")
    assert begun == ("statistics:1",)
    assert setups.running == ("chat:1", "statistics:1")


def test_who_stops_waiting_lets_nobody_in() -> None:
    setups, _ = full().request("chat:1", 101.0, 131.0)
    setups, begun = setups.release("chat:1")
    assert begun == ()
    assert setups == full()
    assert setups.due == 0.0


def test_a_deadline_is_told_with_whom_was_waited_for() -> None:
    setups, _ = full().request("chat:1", 101.0, 131.0)
    assert setups.expire(130.9) == (setups, ())
    setups, late = setups.expire(131.0)
    ((id, refusal),) = late
    assert (id, setups.waiting) == ("chat:1", ())
    assert refusal.code == "setup.timeout"
    assert refusal.retryable
    assert refusal.reason == (
        "chat:1 waited 30.0 s for its turn to connect; being set up: interaction:1, contact:1."
    )
