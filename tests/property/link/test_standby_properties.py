"""Whatever happens in whatever order, the connection machine keeps its promises."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stayline.link.machine.pool import Assignment, Node, Pool
from stayline.link.machine.standby import (
    Assigned,
    Connect,
    Disconnect,
    Due,
    Event,
    Failed,
    Granted,
    Held,
    Idle,
    Lame,
    Lost,
    Opened,
    Proven,
    StandbyView,
    State,
    Stop,
    Wait,
    Woke,
    step,
)

NAMES = ("1", "2", "3")
SECONDS = st.floats(0, 30, allow_nan=False)
NUMBERS = st.floats(0, 1, exclude_max=True, allow_nan=False)


def make_pool(site: str, numbers: tuple[str, ...], retry: tuple[float, ...], spread: float) -> Pool:
    cluster = f"Cluster {site}"
    nodes = tuple(
        Node(application=f"{site}{n}", cluster=cluster, site=site, host="h", port=1) for n in numbers
    )
    return Pool(cluster=cluster, site=site, nodes=nodes, retry_delays=retry, reconnect_range=spread)


pools = st.builds(
    make_pool,
    st.sampled_from(["A", "B"]),
    st.lists(st.sampled_from(NAMES), unique=True, max_size=3).map(tuple),
    st.lists(st.floats(0.1, 20, allow_nan=False), min_size=1, max_size=3).map(tuple),
    SECONDS,
)
assignments = st.builds(
    lambda found, move: Assignment(wanted=found.site if found else "", pool=found, move_range=move),
    st.none() | pools,
    SECONDS,
)
happenings = st.one_of(
    assignments.map(Assigned),
    st.sampled_from(
        ["due", "opened", "proven", "stop", "late", "held", "granted", "woke", "idle", "busy", "lame"]
    ),
    st.tuples(st.just("failed"), st.none() | SECONDS),
    st.tuples(st.just("lost"), st.none() | SECONDS),
)


def event_of(happening: object, view: StandbyView) -> Event:
    generation = view.generation
    if isinstance(happening, Assigned):
        return happening
    if isinstance(happening, tuple):
        kind = Failed if happening[0] == "failed" else Lost
        return kind(generation, "it happened", happening[1])
    table: dict[object, Event] = {
        "due": Due(generation),
        "opened": Opened(generation),
        "proven": Proven(generation),
        "stop": Stop(),
        "late": Opened(generation - 1),
        "held": Held(generation, 5_000.0, "others first"),
        "granted": Granted(generation),
        "woke": Woke(),
        "idle": Idle(),
        "busy": Idle(False),
        "lame": Lame(generation, 1_030.0, "drained", 5.0),
    }
    return table[happening]


@given(
    st.lists(st.tuples(happenings, st.floats(0, 20, allow_nan=False)), max_size=60),
    st.lists(NUMBERS, min_size=1),
)
def test_promises(story: list[tuple[object, float]], numbers: list[float]) -> None:
    drawn = iter(numbers * 500)
    view, now = StandbyView(), 1000.0
    for happening, later in story:
        now += later
        event = event_of(happening, view)
        before = view
        view, actions = step(view, event, now, lambda: next(drawn))
        connects = [action for action in actions if isinstance(action, Connect)]
        waits = [action for action in actions if isinstance(action, Wait)]
        # One thing at a time, and always with the generation that will be believed.
        assert len(connects) + len(waits) <= 1
        for started in [c.generation for c in connects] + [w.generation for w in waits]:
            assert started == view.generation
            assert view.state is State.UP or started > before.generation
        # An older generation changes nothing but the counter.
        if getattr(event, "generation", before.generation) != before.generation:
            assert view == replace(before, ignored=before.ignored + 1)
        # Only servers of the assignment are ever tried.
        for connect in connects:
            assert connect.node in view.assignment.nodes
            assert view.not_before.get(connect.node.application, 0.0) <= now
        # A wait ends, and is short of the longest delay anybody asked for.
        for wait in waits:
            assert now <= wait.at <= now + 60.0
            assert wait.at == view.until
            assert view.why
        # An open link or attempt is never forgotten without hanging up.
        was_open = before.state in (State.UP, State.CONNECTING)
        if was_open and view.generation != before.generation and not isinstance(event, Failed | Lost):
            assert any(isinstance(action, Disconnect) for action in actions)
        # It is never stuck: waiting has a timer, connecting a node, blocked a reason.
        if view.state is State.CONNECTING:
            assert view.node is not None
        if view.state is State.WAITING:
            assert view.next_attempt_at > 0
            assert view.assignment.nodes
        if view.state is State.UP and view.leaving_at:
            assert view.leaving_why
        if view.state is State.BLOCKED:
            assert not view.assignment.nodes
            assert view.why
        if view.state is State.UP and not isinstance(event, Assigned):
            assert view.node is not None


@given(assignments, st.lists(NUMBERS, min_size=1))
def test_a_round_tries_each_server_once(assignment: Assignment, numbers: list[float]) -> None:
    drawn = iter(numbers * 500)
    view, actions = step(StandbyView(), Assigned(assignment), 0.0, lambda: next(drawn))
    tried = []
    while view.state is State.CONNECTING:
        assert isinstance(actions[0], Connect)
        tried.append(actions[0].node)
        view, actions = step(view, Failed(view.generation, "no"), 0.0, lambda: next(drawn))
    assert sorted(tried, key=str) == sorted(assignment.nodes, key=str)
