"""Whether a ``see`` step is true, by what was seen: pure, the same for virtual time and for sockets.

The player plays a step, notes it in :class:`~stayline.conformance.court.Marks`, and asks :func:`judge` each time
something more was seen, until the step is met, can not come true any more, or its time is over. What a step found is
used up by ``Marks.met``.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from stayline.conformance import asked, shown
from stayline.conformance import expectations as see
from stayline.conformance.actions import Link
from stayline.conformance.court import Court, Outcome, Verdict, none_of, standing
from stayline.conformance.record import Seen

__all__ = ["Court", "Outcome", "Verdict", "judge"]


def judge(expected: see.AnyExpectation, court: Court) -> Verdict:
    """What the expectation is now."""
    return _JUDGES[type(expected)](expected, court)


def _connected(expected: see.Connected, court: Court) -> Verdict:
    seen, since, good = [], 0.0, True
    for link in Link:
        pattern = getattr(expected, link.value)
        if pattern is None:
            continue
        now = standing(court.record, court.scene, link)
        server = now.server if now is not None else ""
        seen.append(f"{link} is connected to {server or 'nothing'}")
        good = good and court.matches(pattern, server)
        since = max(since, now.at) if now is not None else since
    return Verdict(Outcome.MET if good else Outcome.NOT_YET, ", ".join(seen), at=since)


def _attempted(expected: see.Attempted, court: Court) -> Verdict:
    tries = court.of_link(expected.link, Seen.ATTEMPT)
    if not tries:
        return Verdict(Outcome.NOT_YET, f"no attempt of the {expected.link} link")
    first = tries[0]
    waited = first.at - court.marks.reference
    seen = f"the next attempt was at {first.server}, {waited:.3f} s after"
    good = court.matches(expected.to, first.server) and court.within(first.at, expected.after)
    return Verdict(Outcome.MET if good else Outcome.BROKEN, seen, (first,) if good else ())


def _round(expected: see.Round, court: Court) -> Verdict:
    wanted = court.scene.members(expected.of, court.marks.bound)
    wanted = frozenset(s for s in wanted if court.scene.links.get(s) is expected.link)
    tries = court.of_link(expected.link, Seen.ATTEMPT)[: len(wanted)]
    names = [one.server for one in tries]
    seen = "attempts: " + ", ".join(f"{one.server} at {one.at:.3f}" for one in tries)
    gaps = [(b.at, a.at) for a, b in itertools.pairwise(tries)]
    good = set(names) <= wanted and len(set(names)) == len(names)
    good = good and all(court.within(at, expected.apart, since) for at, since in gaps)
    good = good and (not tries or court.within(tries[0].at, expected.after))
    if not good:
        return Verdict(Outcome.BROKEN, seen)
    if len(tries) < len(wanted):
        return Verdict(Outcome.NOT_YET, seen)
    return Verdict(Outcome.MET, seen, tuple(tries))


def _no_attempt(expected: see.NoAttempt, court: Court) -> Verdict:
    return none_of(court, court.of_link(expected.link, Seen.ATTEMPT), expected.to)


def _no_probe(expected: see.NoProbe, court: Court) -> Verdict:
    return none_of(court, list(court.since_block(Seen.PROBE)), expected.at)


def _probed(expected: see.Probed, court: Court) -> Verdict:
    some = [one for one in court.since_block(Seen.PROBE) if court.matches(expected.at, one.server)]
    if not some:
        return Verdict(Outcome.NOT_YET, "no such probe")
    return Verdict(Outcome.MET, f"probed {some[0].server}", (some[0],))


def _left(expected: see.Left, court: Court) -> Verdict:
    some = [one for one in court.since_block(Seen.CLOSED) if court.matches(expected.server, one.server)]
    own = [one for one in some if one.get("by") == "client"]
    if not own:
        others = ", ".join(f"{one.server} by {one.get('by')}" for one in some)
        return Verdict(Outcome.NOT_YET, f"closed: {others}" if others else "no link was left")
    first = own[0]
    how = see.How.POLITELY if first.get("polite") else see.How.ABRUPTLY
    good = expected.how in (None, how) and court.within(first.at, expected.after)
    seen = f"{first.server} was left {how}, {first.at - court.marks.reference:.3f} s after"
    return Verdict(Outcome.MET if good else Outcome.BROKEN, seen, (first,) if good else ())


def _said(expected: see.Said, court: Court) -> Verdict:
    some = [one for one in court.of_link(expected.link, Seen.HELLO) if court.matches(expected.to, one.server)]
    if not some:
        return Verdict(Outcome.NOT_YET, "no such hello")
    first = some[0]
    for key in ("ticket", "expect", "expect_cluster", "expect_site", "local", "remote"):
        wanted = getattr(expected, key)
        if wanted is not None and first.get(key) != wanted:
            return Verdict(
                Outcome.BROKEN, f"the hello to {first.server} said {key} {first.get(key)!r}, not {wanted!r}"
            )
    return Verdict(Outcome.MET, f"hello to {first.server}", (first,))


def _polled(expected: see.Polled, court: Court) -> Verdict:
    polls = [
        one for one in court.of_link(expected.link, Seen.POLL) if one.at >= court.marks.reference - 0.001
    ]
    seen = f"{len(polls)} polls"
    if len(polls) > expected.most:
        return Verdict(Outcome.BROKEN, seen)
    return Verdict(Outcome.MET if len(polls) >= expected.least else Outcome.NOT_YET, seen)


def _times(expected: see.Times, court: Court) -> Verdict:
    count = len(court.of_link(expected.link, Seen.WELCOMED))
    seen = f"the {expected.link} link came to stand {count} times"
    if count > expected.most:
        return Verdict(Outcome.BROKEN, seen)
    return Verdict(Outcome.MET if count >= expected.least else Outcome.NOT_YET, seen)


def _set_ups(expected: see.SetUps, court: Court) -> Verdict:
    """Each attempt begins a set-up, the first word about its link ends it. A server may hear of the end of one a
    little after the beginning of the next."""
    begun: dict[str, list[float]] = {}
    ended: dict[str, list[float]] = {}
    settled: set[int] = set()
    for one in court.record:
        if court.scene.links.get(one.server) is Link.CONFIGURATION:
            continue
        if one.what is Seen.ATTEMPT:
            begun.setdefault(one.server, []).append(one.at)
        elif one.what in (Seen.WELCOMED, Seen.REFUSED, Seen.CLOSED) and one.link not in settled:
            if one.link:
                settled.add(one.link)
            if len(ended.get(one.server, [])) < len(begun.get(one.server, [])):
                ended.setdefault(one.server, []).append(one.at)
    spans = [
        (start, end)
        for server, starts in begun.items()
        for start, end in itertools.zip_longest(starts, ended.get(server, []), fillvalue=float("inf"))
    ]
    late = court.slack / 4
    most = max((sum(a <= at < b - late for a, b in spans) for at, _ in spans), default=0)
    seen = f"at most {most} set-ups were under way at once"
    return Verdict(Outcome.MET if most <= expected.most else Outcome.BROKEN, seen)


def _spread(expected: see.Spread, court: Court) -> Verdict:
    members = sorted(court.scene.members(expected.over, court.marks.bound))
    members = [name for name in members if court.scene.links.get(name) is expected.link]
    ups = [one.server for one in court.record if one.what is Seen.WELCOMED and one.server in members]
    shares = {name: ups.count(name) / max(1, len(ups)) for name in members}
    seen = ", ".join(f"{name}: {share:.0%}" for name, share in shares.items()) + f" of {len(ups)}"
    low, high = expected.each
    good = bool(ups) and all(low <= share <= high for share in shares.values())
    return Verdict(Outcome.MET if good else Outcome.BROKEN, seen)


_JUDGES: Mapping[type[Any], Callable[[Any, Court], Verdict]] = {
    see.Connected: _connected,
    see.Attempted: _attempted,
    see.Round: _round,
    see.NoAttempt: _no_attempt,
    see.Probed: _probed,
    see.NoProbe: _no_probe,
    see.Left: _left,
    see.Said: _said,
    see.Requested: asked.requested,
    see.NoRequest: asked.no_request,
    see.Polled: _polled,
    see.SetUps: _set_ups,
    see.Spread: _spread,
    see.Times: _times,
    see.ShowsChoice: shown.shows_choice,
    see.ShowsLink: shown.shows_link,
    see.ShowsSession: shown.shows_session,
    see.ShowsConfiguration: shown.shows_configuration,
    see.Counted: shown.counted,
}
