"""What is known about an agent's session, and the numbers it is kept by. See ``link/machine/session.py``."""

import enum
from dataclasses import dataclass

from stayline.domain.errors import Refusal
from stayline.link.messages.interaction import MediaState

FIRST_PAUSE = 0.1
"""Longest first pause after a refusal without a time; doubles up to :data:`LONGEST_PAUSE`."""

LONGEST_PAUSE = 2.0
RETRY_BURST = 10.0
RETRY_SHARE = 0.1
"""Repetitions earned by each confirmation."""

RETRY_SECONDS = 4.0
"""Seconds in which one repetition is earned in any case: a session must not wait for ever."""

OVER = frozenset(
    {
        "session.unknown",
        "session.closed",
        "session.expired",
        "session.ended",
        "session.timeout",
        "ticket.other_agent",
        # Of the ticket; if it is the person's own token, the login that follows says so again.
        "token.expired",
        "token.invalid",
    }
)
"""Refusals of a resume that mean: this session is over, log in anew."""

ELSEWHERE = frozenset({"epoch.stale"})
"""Refusals that another proxy may answer differently."""

FINAL = frozenset({"session.taken", "session.logged_out", "session.logout", "token.expired", "token.invalid"})
"""Ends after which only the agent can start again."""

GIVEN_UP = "session.given_up"
"""Code of a session that was not confirmed in time."""


class State(enum.StrEnum):
    """What the machine is doing."""

    OFFLINE = "offline"
    """There is no link."""
    ASKING = "asking"
    PAUSING = "pausing"
    """Between two questions."""
    CONFIRMED = "confirmed"
    AWAY = "away"
    """The link stands, but its core is away: the proxy says when it is back."""
    OVER = "over"


@dataclass(frozen=True, kw_only=True)
class SessionView:
    """Everything the machine knows; ``why``, ``since`` and ``until`` are meant to be read by people.

    ``seed`` makes the login keys of this process its own. ``floor``: position of the last snapshot: events up to it are
    in it. ``restore_timeout``: the option ``eservices.session-restore-timeout`` (0: as long as the server allows);
    ``server_timeout``: the server's own, told with the session. ``reached_at``: since when a proxy with its core has
    been there without confirming (0: it is not). ``retry_at``: next question. ``timer``/``timer_at``: the wait
    under way.
    """

    seed: str
    state: State = State.OFFLINE
    generation: int = 0
    session: str = ""
    ticket: str = ""
    last_seq: int = 0
    floor: int = 0
    epoch: int = 0
    place: str = ""
    media: tuple[MediaState, ...] = ()
    restore_timeout: float = 60.0
    server_timeout: float = 0.0
    core_away: bool = False
    away_since: float = 0.0
    reached_at: float = 0.0
    login_key: str = ""
    logins: int = 0
    repeated: bool = False
    pause: float = FIRST_PAUSE
    retry_at: float = 0.0
    budget: float = RETRY_BURST
    budget_at: float = 0.0
    timers: int = 0
    timer: int = 0
    timer_at: float = 0.0
    over: Refusal | None = None
    why: str = ""
    since: float = 0.0
    ignored: int = 0

    @property
    def confirmed(self) -> bool:
        """Whether the core has confirmed the session on the link that stands."""
        return self.state is State.CONFIRMED

    @property
    def given_up_at(self) -> float:
        """When a session that is not confirmed is given up (0: never, as things are)."""
        if not (self.ticket and self.reached_at and self.restore_timeout > 0):
            return 0.0
        return self.reached_at + self.restore_timeout

    @property
    def until(self) -> float:
        """When the next question follows (0: none is planned)."""
        return self.retry_at if self.state is State.PAUSING else 0.0
