"""What one agent's Workspace keeps on its machine: so that a restart of the process loses nothing typed or
done."""

import os
import re
from pathlib import Path

import msgspec
import structlog

from stayline.link.messages.interaction import InteractionView, MediaState
from stayline.workspace.view import NoticeView

log = structlog.get_logger(__name__)


class OutMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message the agent has sent and the Chat Server has not yet acknowledged. ``id`` was made at that
    moment."""

    id: str
    session: str
    interaction: str
    text: str
    at: float
    failed: str = ""


class KeptRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An action of the agent that has not been answered: repeated with its ``key`` until it is."""

    key: str
    method: str
    params: msgspec.Raw
    interaction: str
    label: str
    at: float


class SavedState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The file. ``token`` and ``ticket`` are secrets: the file is readable by its owner only. ``read_epoch`` is the one
    under which the configuration was last read from a server that was current, ``stated_site`` and ``stated_epoch`` are
    the highest statement ever believed, ``notices`` those that hold what the agent had typed."""

    user: str = ""
    token: str = ""
    issued: float = 0.0
    expires: float = 0.0
    display_name: str = ""
    tenant: str = ""
    place: str = ""
    session: str = ""
    ticket: str = ""
    last_seq: int = 0
    epoch: int = 0
    read_epoch: int = 0
    stated_site: str = ""
    stated_epoch: int = 0
    media: list[MediaState] = []
    interactions: list[InteractionView] = []
    drafts: dict[str, str] = {}
    outbox: list[OutMessage] = []
    notices: list[NoticeView] = []
    requests: list[KeptRequest] = []
    read: dict[str, int] = {}


class AgentFile:
    """One agent's file in ``folder`` (None: nothing is kept).

    Writing replaces the file at once, so a reader sees the old or the new one, never a part; with ``durable``
    it is flushed to the disk before the call returns.
    """

    def __init__(self, folder: Path | None, user: str, durable: bool = False) -> None:
        name = re.sub(r"[^A-Za-z0-9_.@-]", lambda match: f"%{ord(match[0]):x}", user)
        self._path = folder / f"agent-{name}.json" if folder is not None else None
        self._durable = durable

    def load(self) -> SavedState | None:
        """The kept state; None when there is none or it cannot be read (said in the log)."""
        if self._path is None:
            return None
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=SavedState)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("workspace.file_unreadable", file=str(self._path), why=str(error))
            return None

    def save(self, state: SavedState) -> None:
        """Replace the file. Raises OSError when the disk refuses: what is typed must not be shown as kept."""
        if self._path is None:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(state))
            if self._durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, self._path)

    def remove(self) -> None:
        """Forget everything (the agent logged out)."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
