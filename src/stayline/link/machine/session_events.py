"""What happens to an agent's session (``link/machine/session.py``), and what the machine wants done about it."""

from dataclasses import dataclass

from stayline.domain.errors import Refusal
from stayline.link.messages.interaction import SessionOpened

# -- events
# -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LinkUp:
    """A proxy answered: the link of this generation stands; ``epoch`` is the one it acts under (0: none said)."""

    generation: int
    epoch: int = 0


@dataclass(frozen=True)
class LinkDown:
    """The link is gone, and with it whatever was asked on it."""

    why: str


@dataclass(frozen=True)
class Opened:
    """The answer to the question of this generation (None: told without being asked): the snapshot is the truth."""

    opened: SessionOpened
    generation: int | None = None


@dataclass(frozen=True)
class Refused:
    """The question of this generation was refused."""

    refusal: Refusal
    generation: int | None = None


@dataclass(frozen=True)
class NoAnswer:
    """The question of this generation got no answer in time; the link may stand."""

    why: str
    generation: int | None = None


@dataclass(frozen=True)
class TokenRefused:
    """A server says that the person's token is of no use (any more)."""

    refusal: Refusal


@dataclass(frozen=True)
class Away:
    """The proxy says that its core is away."""

    why: str


@dataclass(frozen=True)
class Back:
    """The proxy says that its core is back: ``opened`` is the restored session, or ``code``/``reason`` why there is
    none."""

    epoch: int
    opened: SessionOpened | None = None
    code: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Ended:
    """The core says that a session (empty: ours) is over."""

    session: str
    code: str
    why: str


@dataclass(frozen=True)
class Renewed:
    """The core says: this ticket from now on."""

    session: str
    ticket: str


@dataclass(frozen=True)
class Due:
    """The wait of this generation is over."""

    generation: int


@dataclass(frozen=True)
class Stop:
    """Ask nothing any more; the session stays in the core."""


Event = (
    LinkUp
    | LinkDown
    | Opened
    | Refused
    | NoAnswer
    | TokenRefused
    | Away
    | Back
    | Ended
    | Renewed
    | Due
    | Stop
)

# -- actions
# ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AskLogin:
    """Ask ``agent.login`` with this idempotency key; report the answer with this generation."""

    generation: int
    key: str


@dataclass(frozen=True)
class AskResume:
    """Ask ``agent.resume``; report the answer with this generation."""

    generation: int
    ticket: str
    last_seq: int


@dataclass(frozen=True)
class CancelAsk:
    """Wait for the answer of this generation no longer."""

    generation: int


@dataclass(frozen=True)
class GiveUpLink:
    """Leave this proxy for the next one; it is not to be asked again before ``retry_after`` seconds."""

    why: str
    retry_after: float | None = None


@dataclass(frozen=True)
class WaitUntil:
    """Report :class:`Due` with this generation at ``at`` (Unix seconds); the newest replaces the ones before."""

    generation: int
    at: float


@dataclass(frozen=True)
class Confirmed:
    """Fact: the core has confirmed the session; restricted mode ends here and nowhere else. The link is proven."""

    opened: SessionOpened


@dataclass(frozen=True)
class NotConfirmed:
    """Fact: restricted from here on."""

    why: str


@dataclass(frozen=True)
class SessionLost:
    """Fact: the session is gone (``code`` says how; ``session.given_up``: we did not wait any longer); the agent is
    being logged in anew."""

    why: str
    code: str


@dataclass(frozen=True)
class Over:
    """Fact: it is over and stays over; only the agent can start again."""

    refusal: Refusal


Action = (
    AskLogin | AskResume | CancelAsk | GiveUpLink | WaitUntil | Confirmed | NotConfirmed | SessionLost | Over
)
