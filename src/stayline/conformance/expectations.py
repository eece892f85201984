"""What a case expects: the verbs of a ``see`` step. Each is a small struct; YAML names it with the key in
:data:`EXPECTATIONS`.

A ``see`` step has ``within`` N seconds (default :data:`~stayline.conformance.case.WITHIN`) to come true, or must be
true ``for`` N seconds. Attempts, requests and the like are looked for since the latest block of ``do`` steps began;
each one found is used up, so that consecutive ``see`` steps tell a sequence. ``after: [a, b]`` is measured from the
one found by the step before in the same block of ``see`` steps, the first one from the last ``do`` that is not a
passing of time.

A pattern for servers is a server, a cluster, a site, ``@link`` or ``@name`` as in ``actions.py``, a list of these,
``anything`` or ``nothing``; ``not X`` is everything but X.
"""

import enum
from typing import Annotated, TypeAlias

import msgspec

from stayline.conformance.actions import Link

Pattern: TypeAlias = str | list[str]
Range: TypeAlias = tuple[Annotated[float, msgspec.Meta(ge=0)], Annotated[float, msgspec.Meta(ge=0)]]


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all verbs."""


# -- seen at the servers -----------------------------------------------------------------------------------


class Connected(Expectation, frozen=True, kw_only=True):
    """Each named link stands (hello and welcome exchanged) to a server of the pattern; ``nothing``: stands nowhere."""

    interaction: Pattern | None = None
    contact: Pattern | None = None
    statistics: Pattern | None = None
    configuration: Pattern | None = None


class Attempted(Expectation, frozen=True, kw_only=True):
    """The next attempt of a link goes to a server of the pattern. What only probes a port is no attempt."""

    link: Link = Link.INTERACTION
    to: Pattern = "anything"
    after: Range | None = None


class Round(Expectation, frozen=True, kw_only=True):
    """The next attempts of a link go to each server of the pattern once, in any order, each within ``apart`` seconds
    of the one before."""

    link: Link = Link.INTERACTION
    of: Pattern
    apart: Range | None = None
    after: Range | None = None


class NoAttempt(Expectation, frozen=True, kw_only=True):
    """No attempt of the link (any link: None) at a server of the pattern; needs ``for``."""

    link: Link | None = None
    to: Pattern = "anything"


class Probed(Expectation, frozen=True, kw_only=True):
    """The port of a server of the pattern was probed: a connection was opened and closed without a word."""

    at: Pattern


class NoProbe(Expectation, frozen=True, kw_only=True):
    """No port of a server of the pattern is probed; needs ``for``."""

    at: Pattern = "anything"


class How(enum.StrEnum):
    """How a client ends a connection."""

    POLITELY = "politely"
    ABRUPTLY = "abruptly"


class Left(Expectation, frozen=True, kw_only=True):
    """The client itself ended a link (or an attempt) to a server of the pattern."""

    server: Pattern
    how: How | None = None
    after: Range | None = None


class Said(Expectation, frozen=True, kw_only=True):
    """The next hello to a server of the pattern said this. ``ticket``: whether it carried one. ``expect``...: whom the
    client said it wants to reach; ``local``/``remote``: the ADDP timeouts."""

    link: Link = Link.INTERACTION
    to: Pattern = "anything"
    ticket: bool | None = None
    expect: str | None = None
    expect_cluster: str | None = None
    expect_site: str | None = None
    local: float | None = None
    remote: float | None = None


class Compared(enum.StrEnum):
    """A value compared with the one of the request of this method before."""

    SAME = "same"
    NEW = "new"


class Requested(Expectation, frozen=True, kw_only=True):
    """The next request ``method`` arrives. ``key``: compared with the key of the request of this method before.
    ``ticket``: the ticket shown, compared likewise with the one of the resume before (``renewed``: the newest one
    issued). ``restore``: media named. ``workspace``, ``place``: the installation and the place, compared with the login
    before."""

    method: str
    at: Pattern = "anything"
    after: Range | None = None
    key: Compared | None = None
    ticket: str | None = None
    restore: list[str] | None = None
    workspace: Compared | None = None
    place: Compared | None = None


class NoRequest(Expectation, frozen=True, kw_only=True):
    """No request ``method`` arrives; needs ``for``."""

    method: str


class Polled(Expectation, frozen=True, kw_only=True):
    """The client polls (ADDP) on the link: at least ``least`` and at most ``most`` times since the last ``do``."""

    link: Link = Link.INTERACTION
    least: int = 0
    most: int = 1_000


class SetUps(Expectation, frozen=True, kw_only=True):
    """Never more than ``most`` set-ups (from attempt to welcome or failure) were under way at once in this case."""

    most: int


class Spread(Expectation, frozen=True, kw_only=True):
    """Over all sessions of this case, each server of the pattern was connected to in a share within ``each``."""

    link: Link = Link.INTERACTION
    over: Pattern
    each: Range


class Times(Expectation, frozen=True, kw_only=True):
    """How often a link came to stand since the latest block of ``do`` steps began."""

    link: Link = Link.INTERACTION
    least: int = 0
    most: int = 1_000


# -- told by the client ------------------------------------------------------------------------------------


class ShowsChoice(Expectation, frozen=True, kw_only=True):
    """The choice of a site as the client shows it. ``code``: of the refusal (empty: there is none). ``says``: each of
    these words is in what it says. ``epoch``: the highest it knows."""

    cluster: str | None = None
    site: str | None = None
    code: str | None = None
    says: list[str] = []
    epoch: int | None = None


class ShowsLink(Expectation, frozen=True, kw_only=True):
    """A link as the client shows it. ``until``: how many seconds from now the shown time of the next attempt is."""

    link: Link = Link.INTERACTION
    state: str | list[str] | None = None
    server: Pattern | None = None
    says: list[str] = []
    until: Range | None = None


class ShowsSession(Expectation, frozen=True, kw_only=True):
    """The session as the client shows it. ``same``: whether it is the session shown when the latest block of ``do``
    steps began."""

    state: str | list[str] | None = None
    same: bool | None = None
    code: str | None = None
    says: list[str] = []


class ShowsConfiguration(Expectation, frozen=True, kw_only=True):
    """The configuration as the client shows it: whether it is current, and whether its age is told."""

    current: bool
    says: list[str] = []


class Counted(Expectation, frozen=True, kw_only=True):
    """The client has counted at least so many of each kind: statements ``forged``, ``expired``, ``lower``; answers
    ``foreign`` and ``stale``, and ``ignored`` late events."""

    forged: int = 0
    expired: int = 0
    lower: int = 0
    foreign: int = 0
    stale: int = 0
    ignored: int = 0


AnyExpectation: TypeAlias = (
    Connected
    | Attempted
    | Round
    | NoAttempt
    | Probed
    | NoProbe
    | Left
    | Said
    | Requested
    | NoRequest
    | Polled
    | SetUps
    | Spread
    | Times
    | ShowsChoice
    | ShowsLink
    | ShowsSession
    | ShowsConfiguration
    | Counted
)

EXPECTATIONS: dict[str, type[Expectation]] = {
    "connected": Connected,
    "attempt": Attempted,
    "round": Round,
    "no attempt": NoAttempt,
    "probe": Probed,
    "no probe": NoProbe,
    "left": Left,
    "hello": Said,
    "request": Requested,
    "no request": NoRequest,
    "polls": Polled,
    "set-ups": SetUps,
    "spread": Spread,
    "connections": Times,
    "choice": ShowsChoice,
    "link": ShowsLink,
    "session": ShowsSession,
    "configuration": ShowsConfiguration,
    "counted": Counted,
}
"""The verbs of ``see``, as YAML names them."""

MUST_LAST = (NoAttempt, NoProbe, NoRequest)
"""Expectations that mean something only ``for`` a time."""

OF_STATUS = (ShowsChoice, ShowsLink, ShowsSession, ShowsConfiguration, Counted)
"""Expectations judged by the client's own status lines."""

SHORT_EXPECTATIONS: dict[type[Expectation], str] = {
    Probed: "at",
    NoProbe: "at",
    Left: "server",
    Requested: "method",
    NoRequest: "method",
    SetUps: "most",
    ShowsSession: "state",
    ShowsConfiguration: "current",
}
"""The field meant when a verb is given a plain value: ``{no request: agent.login}``."""
