"""What the connection logic of one Workspace is doing and why, for people and for whoever judges it.

The page shows a part of it in an agent's words; this is the whole, in the words of an administrator. All times are Unix
seconds, 0 means "none".
"""

import enum

import msgspec


class LinkState(enum.StrEnum):
    """State of one link."""

    STOPPED = "stopped"
    BLOCKED = "blocked"
    """There is nothing to connect to; the configuration must change first."""
    WAITING = "waiting"
    CONNECTING = "connecting"
    HELD = "held"
    """A server lets it in, but not yet."""
    UP = "up"


class SessionState(enum.StrEnum):
    """State of the agent's session."""

    NONE = "none"
    OPENING = "opening"
    CONFIRMED = "confirmed"
    RESTRICTED = "restricted"
    """It was confirmed, and is not at the moment."""
    OVER = "over"


class ChoiceStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which cluster is used, its site, since when and why. ``wanted`` is the site asked for, ``epoch`` the highest
    known. When none can be used, ``code`` says so, ``why`` explains and ``fix`` says what mends it; ``until`` is when
    the next look follows."""

    cluster: str = ""
    site: str = ""
    wanted: str = ""
    code: str = ""
    why: str = ""
    fix: str = ""
    since: float = 0.0
    until: float = 0.0
    epoch: int = 0


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``server``: connected to, or being tried. ``works``: requests are answered (false while the core behind a proxy
    is away). ``until``: when what it waits for comes. ``leaving_at``: when it goes to another server because this one
    is being drained. ``failures``: attempts since it was last up."""

    state: LinkState = LinkState.STOPPED
    server: str = ""
    cluster: str = ""
    site: str = ""
    works: bool = False
    why: str = ""
    since: float = 0.0
    until: float = 0.0
    leaving_at: float = 0.0
    failures: int = 0


class SessionStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``session`` is its id, ``code`` that of the refusal that ended it; ``until`` when the next attempt follows,
    ``given_up_at`` when a session that is not confirmed is given up."""

    state: SessionState = SessionState.NONE
    session: str = ""
    place: str = ""
    code: str = ""
    why: str = ""
    until: float = 0.0
    given_up_at: float = 0.0


class ConfigurationStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``current``: a Configuration Server that is up to date is linked. ``as_of``: when what is used was last known to
    be current. ``from_disk_since``: the same, while the copy on disk is all there is."""

    current: bool = False
    revision: int = 0
    as_of: float = 0.0
    from_disk_since: float = 0.0
    why: str = ""


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole. ``links`` by name: interaction, contact, chat, statistics, configuration. ``counted``: ``forged``,
    ``expired`` and ``lower`` statements, ``foreign`` servers, ``stale`` ones, ``ignored`` late events."""

    choice: ChoiceStatus = ChoiceStatus()
    links: dict[str, LinkStatus] = {}
    session: SessionStatus = SessionStatus()
    configuration: ConfigurationStatus = ConfigurationStatus()
    counted: dict[str, int] = {}
