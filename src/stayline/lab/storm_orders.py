"""What the parent of a storm and its client processes say to each other: JSON lines, both ways."""

import enum

import msgspec

TELL_EVERY = 0.2
"""Seconds between two lines of a client process, which are also its looks at who knows until when it waits."""

MAX_LINE = 4 * 1024 * 1024


class Do(enum.StrEnum):
    """What the parent may ask for."""

    LOGIN = "login"
    """Log everybody in, at the pace that the servers allow."""
    HANG_UP = "hang-up"
    """The first ``count`` agents hang up; their sessions stay."""
    RESUME = "resume"
    """The same agents resume, ``at_once`` of them at a time, each one only when one before it is back."""
    MARK = "mark"
    """Count anew from now on."""
    ORIGINAL = "original"
    """Everybody goes on with the original's constants, ``at_once`` at a time."""
    FINISH = "finish"
    """End."""


class StormOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """One order."""

    do: Do
    count: int = 0
    at_once: int = 0


class Turned(msgspec.Struct, frozen=True, array_like=True):
    """Agent ``agent`` is whole at ``site`` since ``at`` (Unix seconds), in session ``session``; ``site`` empty: not
    whole any more since then."""

    agent: int
    at: float
    site: str = ""
    session: str = ""


class Counts(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Since the last mark. ``opened`` links that were welcomed, ``wasted`` those of them given up before they were of
    use and attempts of which the server had the hello and nothing came; ``turned_away`` refusals with a time;
    ``longest_wait`` seconds anybody was told to wait; ``looks`` at waiting agents, of which ``uninformed`` did not know
    until when and ``late`` waited beyond it; ``lost_at`` when the first link was lost (Unix seconds; 0: none);
    ``sessions_lost`` sessions that the core had ended."""

    opened: int = 0
    wasted: int = 0
    turned_away: int = 0
    longest_wait: float = 0.0
    looks: int = 0
    uninformed: int = 0
    late: int = 0
    lost_at: float = 0.0
    sessions_lost: int = 0
    told: str = ""

    def take(self, other: "Counts") -> None:
        """Add another process's."""
        self.opened += other.opened
        self.wasted += other.wasted
        self.turned_away += other.turned_away
        self.looks += other.looks
        self.uninformed += other.uninformed
        self.late += other.late
        self.sessions_lost += other.sessions_lost
        self.longest_wait = max(self.longest_wait, other.longest_wait)
        known = [at for at in (self.lost_at, other.lost_at) if at]
        self.lost_at = min(known, default=0.0)
        self.told = self.told or other.told


class StormState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line of a client process. ``ready``: it has its configuration; ``obeyed`` orders; ``turned`` since the line
    before (whole: a confirmed session and a UCS link at the site that the Workspace shall use); ``problem`` what ended
    its work; ``refusals`` how often each was heard since the start."""

    ready: bool = False
    obeyed: int = 0
    turned: list[Turned] = []
    counts: Counts = msgspec.field(default_factory=Counts)
    refusals: dict[str, int] = {}
    problem: str = ""
