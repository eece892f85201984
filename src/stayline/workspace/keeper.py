"""Writes the agent's file when something must survive, and continues from it."""

import asyncio
from collections.abc import Callable

import structlog

from stayline.workspace.render import Parts
from stayline.workspace.requests import Requests
from stayline.workspace.saved import AgentFile, SavedState
from stayline.workspace.settings import EngineSettings

log = structlog.get_logger(__name__)

SAVE_SECONDS = 0.2
"""Changes that need not be kept at once are written together after this time."""


class Keeper:
    """The file of one agent. ``token`` proves the agent from ``issued`` until ``expires`` (Unix s).

    A disk that refuses must not stop an agent who is connected: ``problem`` is told once that nothing is kept
    now, and every later change tries again.
    """

    def __init__(self, settings: EngineSettings, problem: Callable[[str], None]) -> None:
        self._problem = problem
        self._failing = False
        self.token = ""
        self.expires = 0.0
        self.issued = 0.0
        self.read: dict[str, int] = {}
        self._settings = settings
        self._parts: Parts | None = None
        self._requests: Requests | None = None
        self._file = AgentFile(None, "")
        self._timer: asyncio.TimerHandle | None = None
        self._forgotten = False

    def watch(self, parts: Parts, requests: Requests) -> None:
        """What is to be kept."""
        self._parts, self._requests = parts, requests

    def load(self, user: str) -> SavedState | None:
        """The agent's file, opened for writing from now on."""
        self._file = AgentFile(self._settings.state_dir, user, self._settings.durable)
        return self._file.load()

    def recall(self, saved: SavedState) -> None:
        """Continue: session, desk, drafts, what was sent and done but not answered."""
        parts, requests = self._parts, self._requests
        assert parts is not None
        assert requests is not None
        session = parts.session
        session.recall(saved.session, saved.ticket, saved.last_seq, saved.epoch, saved.place, saved.media)
        parts.media = saved.media
        parts.drafts = dict(saved.drafts)
        self.read = dict(saved.read)
        parts.notices = [*saved.notices, *parts.notices]
        parts.chats.restore(saved.outbox)
        requests.restore(saved.requests)
        if saved.ticket:
            for view in saved.interactions:
                parts.desk.put(view)
            parts.desk.doubt()
            parts.chats.follow(parts.desk.owned(), self.read)

    def soon(self) -> None:
        """Write within :data:`SAVE_SECONDS`."""
        if self._timer is None and not self._forgotten:
            self._timer = asyncio.get_running_loop().call_later(SAVE_SECONDS, self.now)

    def stop(self) -> None:
        """Write for the last time."""
        self.now()
        self._forgotten = True

    def forget(self) -> None:
        """The agent logged out: remove the file, write no more."""
        self._cancel()
        self._forgotten = True
        self._file.remove()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def now(self) -> None:
        """Write."""
        self._cancel()
        parts, requests = self._parts, self._requests
        if self._forgotten or parts is None or requests is None or not parts.user:
            return
        live = {view.chat_session for view in parts.desk.owned()}
        self.read = {session: seq for session, seq in self.read.items() if session in live}
        state = SavedState(
            user=parts.user,
            token=self.token,
            issued=self.issued,
            expires=self.expires,
            display_name=parts.display_name,
            tenant=parts.tenant,
            place=parts.session.place,
            session=parts.session.session,
            ticket=parts.session.ticket,
            last_seq=parts.session.view.last_seq,
            epoch=parts.epoch,
            read_epoch=parts.conductor.view.site.read_epoch,
            stated_site=parts.conductor.view.site.stated_site,
            stated_epoch=parts.conductor.view.site.stated_epoch,
            media=parts.session.wanted,
            interactions=[case.interaction for case in parts.desk.cases.values()],
            drafts=parts.drafts,
            outbox=parts.chats.outbox,
            notices=[notice for notice in parts.notices if notice.kept_text],
            requests=requests.kept,
            read=self.read,
        )
        self._write(state)

    def _write(self, state: SavedState) -> None:
        try:
            self._file.save(state)
        except OSError as error:
            log.error("workspace.not_kept", agent=state.user, why=str(error))
            if not self._failing:
                self._problem(error.strerror or str(error))
            self._failing = True
        else:
            self._failing = False
