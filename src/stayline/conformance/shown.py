"""Judging what a client shows of itself, by its status lines."""

from collections.abc import Callable

from stayline.conformance import expectations as see
from stayline.conformance.court import Court, Outcome, Verdict, last_line
from stayline.conformance.status import ClientStatus


def _shown(
    court: Court, check: Callable[[ClientStatus], list[str]], tell: Callable[[ClientStatus], object]
) -> Verdict:
    line = last_line(court.record)
    status = line.get("status") if line is not None else None
    if not isinstance(status, ClientStatus) or line is None:
        return Verdict(Outcome.NOT_YET, "the client told nothing of itself")
    wrong = check(status)
    if wrong:
        return Verdict(Outcome.NOT_YET, f"it shows {tell(status)} ({'; '.join(wrong)})")
    return Verdict(Outcome.MET, str(tell(status)))


def _one_of(wanted: str | list[str] | None, value: str) -> bool:
    return wanted is None or value == wanted or (isinstance(wanted, list) and value in wanted)


def _missing(words: list[str], text: str) -> list[str]:
    return [f"it does not say '{word}'" for word in words if word.casefold() not in text.casefold()]


def shows_choice(expected: see.ShowsChoice, court: Court) -> Verdict:
    """Judge :class:`~stayline.conformance.expectations.ShowsChoice`."""

    def check(status: ClientStatus) -> list[str]:
        choice = status.choice
        wrong = [
            f"{key} is {getattr(choice, key)!r}"
            for key in ("cluster", "site", "code", "epoch")
            if getattr(expected, key) is not None and getattr(choice, key) != getattr(expected, key)
        ]
        return wrong + _missing(expected.says, choice.why)

    return _shown(court, check, lambda status: status.choice)


def shows_link(expected: see.ShowsLink, court: Court) -> Verdict:
    """Judge :class:`~stayline.conformance.expectations.ShowsLink`."""

    def check(status: ClientStatus) -> list[str]:
        link = status.links.get(expected.link.value)
        if link is None:
            return [f"it shows no {expected.link} link"]
        wrong = [] if _one_of(expected.state, link.state) else [f"state is {link.state}"]
        if expected.server is not None and not court.matches(expected.server, link.server):
            wrong.append(f"server is {link.server or 'none'}")
        if expected.until is not None:
            left = link.until - court.wall - court.now
            if not link.until or not court.within(left, expected.until, 0.0):
                wrong.append(f"until is {left:.3f} s from now" if link.until else "no time is shown")
        return wrong + _missing(expected.says, link.why)

    return _shown(court, check, lambda status: status.links.get(expected.link.value))


def shows_session(expected: see.ShowsSession, court: Court) -> Verdict:
    """Judge :class:`~stayline.conformance.expectations.ShowsSession`."""

    def check(status: ClientStatus) -> list[str]:
        session = status.session
        wrong = [] if _one_of(expected.state, session.state) else [f"state is {session.state}"]
        if expected.same is not None and (session.session == court.marks.session) is not expected.same:
            wrong.append(f"session is {session.session or 'none'}, it was {court.marks.session or 'none'}")
        if expected.code is not None and session.code != expected.code:
            wrong.append(f"code is {session.code!r}")
        return wrong + _missing(expected.says, session.why)

    return _shown(court, check, lambda status: status.session)


def shows_configuration(expected: see.ShowsConfiguration, court: Court) -> Verdict:
    """Judge :class:`~stayline.conformance.expectations.ShowsConfiguration`."""

    def check(status: ClientStatus) -> list[str]:
        configuration = status.configuration
        wrong = [] if configuration.current is expected.current else [f"current is {configuration.current}"]
        if not configuration.current and not expected.current and not configuration.as_of:
            wrong.append("its age is not told")
        return wrong + _missing(expected.says, configuration.why)

    return _shown(court, check, lambda status: status.configuration)


def counted(expected: see.Counted, court: Court) -> Verdict:
    """Judge :class:`~stayline.conformance.expectations.Counted`."""

    def check(status: ClientStatus) -> list[str]:
        kinds = ("forged", "expired", "lower", "foreign", "stale", "ignored")
        return [
            f"{kind}: {status.counted.get(kind, 0)}"
            for kind in kinds
            if status.counted.get(kind, 0) < getattr(expected, kind)
        ]

    return _shown(court, check, lambda status: status.counted)
