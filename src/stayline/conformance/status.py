"""What a client under test tells of itself: one JSON line for each change of its status.

The servers of a case see what a client does; what it knows and shows to its agent only the client can tell. A client
that prints no such lines can still be judged by everything else.
"""

import msgspec

from stayline.workspace.status import LinkState, SessionState

__all__ = [
    "ChoiceStatus",
    "ClientStatus",
    "ConfigurationStatus",
    "LinkState",
    "LinkStatus",
    "SessionState",
    "SessionStatus",
    "read_line",
]


class ChoiceStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which cluster is used and ``why``; ``code`` of the refusal when none can be. ``epoch``: the highest known."""

    cluster: str = ""
    site: str = ""
    code: str = ""
    why: str = ""
    epoch: int = 0


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``server``: connected to, or being tried. ``until``: Unix seconds of what it waits for (0: nothing)."""

    state: LinkState = LinkState.STOPPED
    server: str = ""
    why: str = ""
    until: float = 0.0


class SessionStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``session`` is its id, ``code`` that of the refusal that ended it."""

    state: SessionState = SessionState.NONE
    session: str = ""
    code: str = ""
    why: str = ""


class ConfigurationStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``current``: a Configuration Server that is up to date is linked. ``as_of``: Unix seconds when what is used was
    last known to be current (0: never)."""

    current: bool = False
    as_of: float = 0.0
    why: str = ""


class ClientStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One status line. ``links`` by name: interaction, contact, statistics, configuration. ``counted``: forged,
    expired, lower (statements), foreign, stale (answers), ignored (late events)."""

    choice: ChoiceStatus = ChoiceStatus()
    links: dict[str, LinkStatus] = {}
    session: SessionStatus = SessionStatus()
    configuration: ConfigurationStatus = ConfigurationStatus()
    counted: dict[str, int] = {}


def read_line(line: bytes | str) -> ClientStatus:
    """A status line. Raises msgspec.DecodeError for anything else; unknown fields are ignored."""
    return msgspec.json.decode(line, type=ClientStatus)
