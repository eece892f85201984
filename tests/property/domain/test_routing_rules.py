"""Routing for any queues and agents: never more than the capacity, never who must not, nothing left that fits."""

from hypothesis import given
from hypothesis import strategies as st

from stayline.domain.routing import Candidate, Waiting, match

QUEUES = {"all": frozenset[str](), "a": frozenset({"A"}), "b": frozenset({"B"})}
MEDIA = st.sampled_from(["chat", "email"])

waiting_lists = st.lists(
    st.builds(
        Waiting,
        interaction=st.integers(0, 30).map(str),
        tenant=st.just("T"),
        queue=st.sampled_from(["all", "a", "b", "gone"]),
        media=MEDIA,
        since=st.floats(0, 100),
    ),
    max_size=25,
    unique_by=lambda w: w.interaction,
)
candidate_lists = st.lists(
    st.builds(
        Candidate,
        session=st.integers(0, 9).map(lambda n: f"s{n}"),
        tenant=st.just("T"),
        groups=st.frozensets(st.sampled_from("AB")),
        free=st.dictionaries(MEDIA, st.integers(0, 3)),
        load=st.integers(0, 3),
        idle_since=st.floats(0, 100),
    ),
    max_size=8,
    unique_by=lambda c: c.session,
)
refusals = st.sets(
    st.tuples(st.integers(0, 30).map(str), st.integers(0, 9).map(lambda n: f"s{n}")), max_size=20
)


@given(waiting_lists, candidate_lists, refusals)
def test_matches_are_allowed_and_complete(
    waiting: list[Waiting], candidates: list[Candidate], refused: set[tuple[str, str]]
) -> None:
    found = match(waiting, candidates, QUEUES, lambda i, s: (i, s) in refused, 1_000)
    items = {w.interaction: w for w in waiting}
    agents = {c.session: c for c in candidates}
    left = {c.session: dict(c.free) for c in candidates}
    assert len({m.interaction for m in found}) == len(found)
    for interaction, session in found:
        item, agent = items[interaction], agents[session]
        assert (interaction, session) not in refused
        assert not QUEUES[item.queue] or QUEUES[item.queue] & agent.groups
        left[session][item.media] -= 1
        assert left[session][item.media] >= 0
    matched = {m.interaction for m in found}
    for item in waiting:
        if item.interaction in matched or item.queue == "gone":
            continue
        for agent in candidates:
            serves = not QUEUES[item.queue] or bool(QUEUES[item.queue] & agent.groups)
            free = left[agent.session].get(item.media, 0)
            assert not (serves and free > 0 and (item.interaction, agent.session) not in refused)
