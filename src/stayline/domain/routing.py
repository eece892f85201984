"""Which waiting interaction goes to which agent session: a pure function of what waits and who is ready.

Longest waiting interaction first; for it the least loaded ready session that serves its queue, the longest idle of
those first. Nobody gets more than the capacity allows, and nobody gets the interaction that was just refused.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple


class Waiting(NamedTuple):
    """A queued interaction; ``since`` (Unix seconds) orders the line."""

    interaction: str
    tenant: str
    queue: str
    media: str
    since: float


class Candidate(NamedTuple):
    """A live session. ``free`` is media -> how many more of it the agent may get now (only media it is ready for);
    ``load`` how many interactions it has; ``idle_since`` (Unix seconds) when it last became free or ready."""

    session: str
    tenant: str
    groups: frozenset[str]
    free: Mapping[str, int]
    load: int
    idle_since: float


class Match(NamedTuple):
    """An offer to make."""

    interaction: str
    session: str


class _Line:
    """The candidates of one (tenant, queue, medium), best first; loads change while matching."""

    def __init__(self, candidates: Iterable[Candidate], load: dict[str, int]) -> None:
        self._load = load
        self._heap = [(load[c.session], c.idle_since, c.session) for c in candidates]
        heapq.heapify(self._heap)

    def take(self, fits: Callable[[str], bool], held_back: Callable[[str], bool]) -> str:
        """The best session, or "": ``fits`` says whether it still has room, ``held_back`` excludes it for now."""
        aside = []
        chosen = ""
        while self._heap and not chosen:
            load, since, session = heapq.heappop(self._heap)
            if not fits(session):
                continue
            if load != self._load[session]:
                heapq.heappush(self._heap, (self._load[session], since, session))
                continue
            aside.append((load, since, session))
            if not held_back(session):
                chosen = session
        for entry in aside:
            heapq.heappush(self._heap, entry)
        return chosen


def match(
    waiting: Iterable[Waiting],
    candidates: Iterable[Candidate],
    queue_groups: Mapping[str, frozenset[str]],
    held_back: Callable[[str, str], bool],
    limit: int,
) -> list[Match]:
    """At most ``limit`` offers to make now.

    ``queue_groups``: queue -> agent groups that serve it (empty: everybody); a queue that is not in it is served by
    nobody. ``held_back(interaction, session)``: this session refused this interaction a short while ago.
    """
    everybody = list(candidates)
    load = {c.session: c.load for c in everybody}
    free = {c.session: dict(c.free) for c in everybody}
    lines: dict[tuple[str, str, str], _Line] = {}
    matches: list[Match] = []
    for item in sorted(waiting, key=lambda w: (w.since, w.interaction)):
        if len(matches) >= limit:
            break
        key = (item.tenant, item.queue, item.media)
        if key not in lines:
            lines[key] = _Line(_serving(everybody, item, queue_groups.get(item.queue)), load)
        session = lines[key].take(
            lambda s, media=item.media: free[s].get(media, 0) > 0,  # type: ignore[misc]
            lambda s, interaction=item.interaction: held_back(interaction, s),  # type: ignore[misc]
        )
        if session:
            free[session][item.media] -= 1
            load[session] += 1
            matches.append(Match(item.interaction, session))
    return matches


def _serving(
    candidates: Iterable[Candidate], item: Waiting, groups: frozenset[str] | None
) -> Iterable[Candidate]:
    if groups is None:
        return []
    return [
        c
        for c in candidates
        if c.tenant == item.tenant and c.free.get(item.media, 0) > 0 and (not groups or groups & c.groups)
    ]
