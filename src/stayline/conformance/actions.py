"""What a case does: the verbs of a ``do`` step. Each is a small struct; YAML names it with the key in
:data:`ACTIONS`.

Servers are named as in the case (``IxnProxy_A_1``), by their cluster or site (all of it), or by ``@interaction``,
``@contact``, ``@statistics``, ``@configuration``: the server that link is connected to, or was connected to last.
``@word`` is a server that an earlier ``remember`` called so. All times are seconds.
"""

import enum
from typing import Annotated, TypeAlias

import msgspec

Names: TypeAlias = str | list[str]
"""One server, cluster or site, or several."""

Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=86_400)]


class Link(enum.StrEnum):
    """The links of a Workspace that a site can see."""

    INTERACTION = "interaction"
    CONTACT = "contact"
    STATISTICS = "statistics"
    CONFIGURATION = "configuration"


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all verbs."""


# -- the client and the time -------------------------------------------------------------------------------


class Start(Action, frozen=True, kw_only=True):
    """The agent starts the client and logs in. What the client keeps on disk is kept from start to start."""


class StopClient(Action, frozen=True, kw_only=True):
    """The agent ends the client."""


class Restart(Action, frozen=True, kw_only=True):
    """The client is ended and started again, ``times`` times; after each start its session is waited for."""

    times: Annotated[int, msgspec.Meta(ge=1, le=60)] = 1


class TimePasses(Action, frozen=True, kw_only=True):
    """Nothing is done for a while."""

    seconds: Seconds


class WakeUp(Action, frozen=True, kw_only=True):
    """The machine of the client wakes up after having slept ``slept`` seconds; its links look open as before."""

    slept: Seconds = 3_600.0


class Owns(Action, frozen=True, kw_only=True):
    """The server gives this many interactions to the agent's session (0: takes them away again)."""

    interactions: Annotated[int, msgspec.Meta(ge=0, le=20)]


class Remember(Action, frozen=True, kw_only=True):
    """Calls the server that ``link`` is connected to ``@name`` from now on."""

    link: Link
    name: str = msgspec.field(name="as")


# -- servers and the network -------------------------------------------------------------------------------


class Becomes(enum.StrEnum):
    """How a server behaves from now on."""

    OPEN = "open"
    """Listens and answers well: the end of all misbehaviour."""
    CLOSED = "closed"
    """Its process has died: the port is closed, its links are reset. Attempts at a closed port cannot be seen."""
    NOT_LISTENING = "not listening"
    """The port is closed, standing links go on."""
    RESETTING = "resetting"
    """Takes each new connection and resets it at once; standing links go on."""
    SILENT = "silent"
    """Takes new connections and never answers them; standing links go on."""
    FROZEN = "frozen"
    """As a stopped process: nothing is answered on any link, new connections are taken by the system only."""
    DROPPING = "dropping"
    """Welcomes each new client and hangs up at once; standing links go on."""
    REFUSING = "refusing"
    """Answers each new hello with the refusal ``code`` (and ``retry_after``); standing links go on."""
    WAITING = "waiting"
    """Answers each new hello with a ``wait`` frame of ``seconds``, ``ahead``, and welcomes after that time."""
    DEAF = "deaf"
    """Answers polls, and nothing else: open, but delivers nothing. It has sent an event that never arrives."""


class Server(Action, frozen=True, kw_only=True):
    """Servers change their behaviour. ``times``: after so many new connections they are open again (0: never)."""

    name: Names
    becomes: Becomes
    code: str = ""
    reason: str = ""
    retry_after: Seconds | None = None
    seconds: Seconds = 0.0
    ahead: int = 0
    times: Annotated[int, msgspec.Meta(ge=0)] = 0


class IdentityOf(Action, frozen=True, kw_only=True):
    """What servers say of themselves in their next welcomes, instead of the truth. None: the truth."""

    server: Names
    application: str | None = None
    cluster: str | None = None
    site: str | None = None
    epoch: int | None = None
    version: int | None = None


class StatementKind(enum.StrEnum):
    """What is wrong with a statement."""

    VALID = "valid"
    FORGED = "forged"
    EXPIRED = "expired"
    NONE = "none"


class StatementAt(Action, frozen=True, kw_only=True):
    """Interaction Server Proxies carry this statement of mastership from now on, in welcomes and answers to polls."""

    at: Names
    site: str = ""
    epoch: int = 0
    kind: StatementKind = msgspec.field(name="is", default=StatementKind.VALID)


class SiteState(enum.StrEnum):
    """Whether the proxies of a site listen."""

    ACTIVE = "active"
    PASSIVE = "passive"


class Site(Action, frozen=True, kw_only=True):
    """All proxies of a site (or cluster) open or close their ports; ``epoch`` is what they report from then on."""

    name: Names
    becomes: SiteState
    epoch: int | None = None


class SiteMoves(Action, frozen=True, kw_only=True):
    """The whole switch-over: the proxies of all other sites close, those of ``to`` open under ``epoch``.

    ``option``: the option is written on the Workspace application (with ``window`` as spread window, if not 0).
    ``statement``: the proxies of ``to`` carry a signed statement of it.
    """

    to: str
    epoch: int
    option: bool = True
    window: Seconds = 0.0
    statement: bool = True


class Cut(Action, frozen=True, kw_only=True):
    """The network resets the link; the server stays as it is."""

    link: Link


# -- what servers say to the client ------------------------------------------------------------------------


class LeavingSays(Action, frozen=True, kw_only=True):
    """The server of ``link`` says good-bye: ``slot`` 0: it hangs up at once; else the client shall leave by itself
    after ``slot`` seconds and the server stays."""

    link: Link = Link.INTERACTION
    retry_after: Seconds = 0.0
    slot: Seconds = 0.0


class CoreGone(Action, frozen=True, kw_only=True):
    """The proxy of the interaction link says that its core is away; it holds requests back meanwhile."""


class CoreReturns(Action, frozen=True, kw_only=True):
    """The proxy says that its core is back; ``restored``: with the session, else with refusal ``code``."""

    restored: bool = True
    code: str = "session.unknown"


class SessionEnds(Action, frozen=True, kw_only=True):
    """The core ends the session: event ``session.ended`` with ``code``."""

    code: str
    why: str = "as the case says"


class TicketRenews(Action, frozen=True, kw_only=True):
    """The core gives the session a new ticket, event ``session.ticket``."""


class AnswerHow(enum.StrEnum):
    """How a request is answered."""

    NORMALLY = "normally"
    REFUSED = "refused"
    NEVER = "never"
    CUT = "done and cut"
    """It is carried out, and the link is reset before the answer."""


class Answer(Action, frozen=True, kw_only=True):
    """How the core answers ``method`` from now on, ``times`` times (0: always), then normally."""

    method: str
    how: AnswerHow
    code: str = ""
    reason: str = ""
    retryable: bool = False
    retry_after: Seconds | None = None
    times: Annotated[int, msgspec.Meta(ge=0)] = 0


# -- the configuration -------------------------------------------------------------------------------------


class SetOption(Action, frozen=True, kw_only=True):
    """An option is set. ``on``: ``Workspace``, ``Tenant``, ``Group NAME``, ``Person``, a cluster or a server.
    ``key`` is of section ``interaction-workspace`` unless it is written ``section/key``."""

    on: str
    key: str
    value: str | float | int | bool


class DeleteOption(Action, frozen=True, kw_only=True):
    """An option is deleted; fields as in :class:`SetOption`."""

    on: str
    key: str


class Nodes(Action, frozen=True, kw_only=True):
    """Servers are added to and removed from a cluster's list. New ones listen as soon as they are there."""

    of: str
    add: list[str] = []
    remove: list[str] = []


class Enable(Action, frozen=True, kw_only=True):
    """The Application object of a server or cluster is enabled again."""

    name: Names


class Disable(Action, frozen=True, kw_only=True):
    """The Application object of a server or cluster is disabled (its process goes on)."""

    name: Names


class Connections(Action, frozen=True, kw_only=True):
    """The connection list of the Workspace application becomes this list of clusters."""

    are: list[str]


class ConfigurationState(enum.StrEnum):
    """How Configuration Servers behave."""

    AWAY = "away"
    CURRENT = "current"
    STALE = "stale"
    """It answers, but says that its database is away: another server may know more."""


class ConfigurationBecomes(Action, frozen=True, kw_only=True):
    """Configuration Servers go away, come back, or lose their database. Options may change meanwhile all the same."""

    becomes: ConfigurationState
    name: Names = []


AnyAction: TypeAlias = (
    Start
    | StopClient
    | Restart
    | TimePasses
    | WakeUp
    | Owns
    | Remember
    | Server
    | IdentityOf
    | StatementAt
    | Site
    | SiteMoves
    | Cut
    | LeavingSays
    | CoreGone
    | CoreReturns
    | SessionEnds
    | TicketRenews
    | Answer
    | SetOption
    | DeleteOption
    | Nodes
    | Enable
    | Disable
    | Connections
    | ConfigurationBecomes
)

ACTIONS: dict[str, type[Action]] = {
    "start": Start,
    "stop": StopClient,
    "restart": Restart,
    "time passes": TimePasses,
    "wake up": WakeUp,
    "owns": Owns,
    "remember": Remember,
    "server": Server,
    "identity": IdentityOf,
    "statement": StatementAt,
    "site": Site,
    "site moves": SiteMoves,
    "cut": Cut,
    "leaving": LeavingSays,
    "core away": CoreGone,
    "core back": CoreReturns,
    "session ended": SessionEnds,
    "ticket renewed": TicketRenews,
    "answer": Answer,
    "set": SetOption,
    "delete": DeleteOption,
    "nodes": Nodes,
    "enable": Enable,
    "disable": Disable,
    "connections": Connections,
    "configuration": ConfigurationBecomes,
}
"""The verbs of ``do``, as YAML names them."""

SHORT: dict[type[Action], str] = {
    Restart: "times",
    TimePasses: "seconds",
    WakeUp: "slept",
    Owns: "interactions",
    Cut: "link",
    Enable: "name",
    Disable: "name",
    Connections: "are",
    ConfigurationBecomes: "becomes",
}
"""The field meant when a verb is given a plain value: ``{time passes: 0.5}``."""
