"""Judging the requests that a client sent."""

from collections.abc import Callable, Mapping
from typing import Any

from stayline.conformance import expectations as see
from stayline.conformance.court import Court, Outcome, Verdict, none_of
from stayline.conformance.record import Happening, Seen


def _payload(one: Happening) -> Mapping[str, Any]:
    told = one.get("payload")
    return told if isinstance(told, Mapping) else {}


def requested(expected: see.Requested, court: Court) -> Verdict:
    """Judge :class:`~stayline.conformance.expectations.Requested`."""
    some = [one for one in court.since_block(Seen.REQUEST) if one.get("method") == expected.method]
    if not some:
        others = ", ".join(str(one.get("method")) for one in court.since_block(Seen.REQUEST))
        return Verdict(Outcome.NOT_YET, f"requests: {others or 'none'}")
    first = some[0]
    why = _objection(expected, first, court)
    if why:
        return Verdict(Outcome.BROKEN, why)
    return Verdict(Outcome.MET, f"{expected.method} at {first.server}", (first,))


def _objection(expected: see.Requested, first: Happening, court: Court) -> str:
    if not court.matches(expected.at, first.server):
        return f"{expected.method} came at {first.server}"
    if not court.within(first.at, expected.after):
        return f"{expected.method} came {first.at - court.marks.reference:.3f} s after"
    earlier = [
        one
        for one in court.record
        if one.what is Seen.REQUEST and one.get("method") == expected.method and one.at < first.at
    ]
    before = earlier[-1] if earlier else None
    checks: list[tuple[str, see.Compared | None, Callable[[Happening], object]]] = [
        ("key", expected.key, lambda one: one.get("key")),
        ("workspace", expected.workspace, lambda one: _payload(one).get("workspace")),
        ("place", expected.place, lambda one: _payload(one).get("place")),
    ]
    for what, wanted, value in checks:
        same = before is not None and value(before) == value(first)
        if wanted is not None and same is not (wanted is see.Compared.SAME):
            return f"its {what} was {'the same' if same else 'another one'}"
    if expected.restore is not None:
        media = _payload(first).get("restore")
        if sorted(media or []) != sorted(expected.restore):
            return f"it named the media {media}"
    return _ticket_objection(expected.ticket, first, before, court)


def _ticket_objection(wanted: str | None, first: Happening, before: Happening | None, court: Court) -> str:
    shown = _payload(first).get("ticket")
    if wanted is None:
        return ""
    if wanted == "renewed":
        issued = [
            one.get("ticket")
            for one in court.record
            if one.what is Seen.SAID and one.get("name") == "session.ticket" and one.at < first.at
        ]
        return "" if issued and issued[-1] == shown else "it did not show the renewed ticket"
    same = before is not None and _payload(before).get("ticket") == shown
    return "" if same is (wanted == "same") else f"it showed {'the same' if same else 'another'} ticket"


def no_request(expected: see.NoRequest, court: Court) -> Verdict:
    """Judge :class:`~stayline.conformance.expectations.NoRequest`."""
    some = [one for one in court.since_block(Seen.REQUEST) if one.get("method") == expected.method]
    return none_of(court, some, "anything")
