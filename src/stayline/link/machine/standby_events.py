"""What happens to a link that is chosen by ``link/machine/standby.py``, and what the machine wants done about it."""

from dataclasses import dataclass

from stayline.link.machine.pool import Assignment, Node

# -- events
# -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assigned:
    """The configuration says which pool may be used (first time, or again after any change of it). ``at``: when to
    begin at another cluster than before (Unix seconds; None: the machine draws it from the assignment's
    ``move_range``)."""

    assignment: Assignment
    at: float | None = None


@dataclass(frozen=True)
class Due:
    """The wait is over."""

    generation: int


@dataclass(frozen=True)
class Opened:
    """The server answered the hello; ``epoch`` is the one it acts under (0: it said none)."""

    generation: int
    epoch: int = 0


@dataclass(frozen=True)
class Proven:
    """The server did something useful (a session restored, a request answered)."""

    generation: int


@dataclass(frozen=True)
class Failed:
    """The attempt failed; ``retry_after`` (seconds) when the server itself said when to come back; ``code`` of the
    refusal, where there was one."""

    generation: int
    why: str
    retry_after: float | None = None
    code: str = ""


@dataclass(frozen=True)
class Lost:
    """The open link is gone; ``retry_after`` and ``code`` as in :class:`Failed`."""

    generation: int
    why: str
    retry_after: float | None = None
    code: str = ""


@dataclass(frozen=True)
class Held:
    """The attempt waits its turn until about ``until`` (Unix seconds): the server lets others in first, or this
    process has too many attempts under way."""

    generation: int
    until: float
    why: str


@dataclass(frozen=True)
class Granted:
    """The turn has come: the attempt goes on."""

    generation: int


@dataclass(frozen=True)
class Lame:
    """The server is being drained: the link works on and is to be left at ``at`` (Unix seconds); the server is not to
    be asked again before ``retry_after`` seconds after that."""

    generation: int
    at: float
    why: str
    retry_after: float | None = None


@dataclass(frozen=True)
class Idle:
    """The agent owns nothing now (``idle`` false: owns something again)."""

    idle: bool = True


@dataclass(frozen=True)
class Woke:
    """This machine was asleep."""


@dataclass(frozen=True)
class Stop:
    """Close and stay closed."""


Event = Assigned | Due | Opened | Proven | Failed | Lost | Held | Granted | Lame | Idle | Woke | Stop

# -- actions
# ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Connect:
    """Open a link to ``node``; report :class:`Opened` or :class:`Failed` with this generation."""

    generation: int
    node: Node


@dataclass(frozen=True)
class Disconnect:
    """Drop the open link or the attempt under way; nothing about it needs to be reported any more."""

    why: str


@dataclass(frozen=True)
class Wait:
    """Report :class:`Due` with this generation at ``at``; a link that stands is kept meanwhile. The newest replaces
    the ones before."""

    generation: int
    at: float


Action = Connect | Disconnect | Wait
