"""What happens to the choice of site and cluster (``site.py``), and what the machine wants done about it."""

from dataclasses import dataclass

from stayline.link.machine.plan import Plan
from stayline.link.machine.pool import Node

# -- events
# -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planned:
    """The configuration was read (first time, or again after any change). ``current``: from a Configuration Server
    that is current, not from a copy on disk or one that does not follow its database. ``epoch``: the highest one known
    when this configuration was read from a current server, as kept with the copy on disk (0: not kept)."""

    plan: Plan
    current: bool
    epoch: int = 0


@dataclass(frozen=True)
class ConfigurationAway:
    """No current Configuration Server is linked any more."""

    why: str


@dataclass(frozen=True)
class StatementHeard:
    """A proxy carried a statement whose signature and expiry are good: ``site`` is master under ``epoch``."""

    site: str
    epoch: int


@dataclass(frozen=True)
class EpochHeard:
    """A server said in its hello or by an event under which epoch it acts. ``link``: on which link (empty: another)."""

    epoch: int
    link: str = ""


@dataclass(frozen=True)
class Probed:
    """Whether a server of ``cluster`` accepted a TCP connection: the answer to :class:`Probe` ``number``."""

    number: int
    cluster: str
    available: bool


@dataclass(frozen=True)
class Asked:
    """What :class:`Ask` ``number`` brought: the site and epoch of a good statement, or None."""

    number: int
    cluster: str
    stated: tuple[str, int] | None


@dataclass(frozen=True)
class RoundFailed:
    """No server of the Interaction pool of the chosen cluster could be reached. ``busy``: one of them named a time to
    come again; it is overloaded, not dead."""

    busy: bool = False


@dataclass(frozen=True)
class Standing:
    """The link to the Interaction Server stands."""


@dataclass(frozen=True)
class SiteDue:
    """The wait ``number`` is over."""

    number: int


# -- actions
# ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """Try the ``nodes`` one after the other, each for ``timeout`` seconds: does one accept a TCP connection? Report
    :class:`Probed` with this number."""

    number: int
    cluster: str
    nodes: tuple[Node, ...]
    timeout: float


@dataclass(frozen=True)
class Ask:
    """Open a link to the ``nodes`` one after the other until one shows a good statement, and leave again. Report
    :class:`Asked` with this number."""

    number: int
    cluster: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class SiteWait:
    """Report :class:`SiteDue` with this number at ``at`` (Unix seconds)."""

    number: int
    at: float


SiteAction = Probe | Ask | SiteWait
