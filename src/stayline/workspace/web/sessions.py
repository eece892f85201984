"""Who is logged in at this process: one engine per agent, found again after a restart of the process."""

import asyncio
import os
import secrets
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path

import msgspec
import structlog

from stayline.domain.errors import StaylineError, refuse
from stayline.workspace.protocol import Workspace
from stayline.workspace.view import Phase
from stayline.workspace.web.page import Page
from stayline.workspace.web.settings import WebSettings

log = structlog.get_logger(__name__)

_SAVE_STEP = 600.0
"""Seconds by which an expiry must have moved before it is written again."""

_OVER = (Phase.OFFLINE, Phase.ENDED)


class SavedSession(msgspec.Struct, frozen=True, kw_only=True):
    """One open session as kept in ``web-sessions.json``."""

    user: str
    expires: float


@dataclass
class Session:
    """A login at this page. Its id is new at each login, so cookies and tokens of an earlier one die.

    ``expires`` (Unix seconds) moves on with every request; while a page listens it does not count.
    """

    id: str
    user: str
    expires: float
    engine: Workspace
    pages: dict[str, Page] = field(default_factory=dict)

    def page(self, page: str, zone: tzinfo | None, limit: int) -> Page:
        """The open page with this id, made if it is new. Beyond ``limit`` the oldest page is closed."""
        found = self.pages.get(page)
        if found is None:
            while len(self.pages) >= limit:
                self.pages.pop(next(iter(self.pages))).end("pages")
            found = self.pages[page] = Page(page, self.engine, zone)
        return found

    def is_expired(self, now: float) -> bool:
        """Whether nobody has used this login for too long."""
        return self.expires <= now and not any(page.listening for page in self.pages.values())

    def is_over(self) -> bool:
        """Whether the agent must log in again."""
        return self.engine.view.phase in _OVER


class Sessions:
    """All sessions of the process."""

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._file = settings.state_dir / "web-sessions.json"
        self._sessions: dict[str, Session] = {}
        self._logging_in: set[str] = set()

    def get(self, session: str) -> Session | None:
        """The session with this id, while it lasts; asking for it keeps it."""
        found = self._sessions.get(session)
        now = self._settings.clock()
        if found is None or found.is_expired(now):
            return None
        expires = now + self._settings.session_seconds
        worth_saving = expires - found.expires > _SAVE_STEP
        found.expires = expires
        if worth_saving:
            self._save()
        return found

    async def restore(self) -> None:
        """Continue the sessions that were open when the process stopped. Those that cannot be are dropped."""
        saved = self._load()
        now = self._settings.clock()
        kept = [(key, one) for key, one in saved.items() if one.expires > now][-self._settings.max_sessions :]
        await asyncio.gather(*(self._restore(key, one) for key, one in kept))
        self._save()

    async def _restore(self, key: str, saved: SavedSession) -> None:
        engine = self._settings.engine_factory(saved.user)
        if await self._restored(engine, saved.user):
            self._sessions[key] = Session(key, saved.user, saved.expires, engine)
        else:
            await engine.close()

    async def _restored(self, engine: Workspace, user: str) -> bool:
        try:
            restored = await engine.restore()
        except (StaylineError, OSError, msgspec.MsgspecError) as error:
            log.warning("session not restored", agent=user, why=str(error))
            return False
        log.info(
            "session restored" if restored else "session not restored", agent=user, why="process restarted"
        )
        return restored

    async def login(self, user: str, password: str, place: str, source: str = "") -> Session:
        """Check the password and open (or take over) the session of ``user``. ``source``: the browser's address.

        Raises RefusedError or LinkLostError with the sentence to show. A user who is at work here already
        keeps the engine, with everything open on the desk; pages of the earlier login close.
        """
        await self._sweep()
        if len(self._sessions) >= self._settings.max_sessions:
            raise refuse(
                "workspace.full", "This Workspace process has no room for another agent.", retryable=True
            )
        if len(self._logging_in) >= self._settings.max_logins:
            raise refuse(
                "workspace.busy", "Too many people log in at this moment.", retryable=True, retry_after=2.0
            )
        if user in self._logging_in:
            raise refuse("workspace.busy", "A login of this user is already under way.", retryable=True)
        self._logging_in.add(user)
        try:
            return await self._login(user, password, place, source)
        finally:
            self._logging_in.discard(user)

    async def _login(self, user: str, password: str, place: str, source: str) -> Session:
        present = next((one for one in self._sessions.values() if one.user == user), None)
        if present is not None and not present.is_over():
            await self._settings.check_password(user, password, source)
            del self._sessions[present.id]
            for page in present.pages.values():
                page.end("session")
            return self._keep(user, present.engine)
        if present is not None:
            await self.forget(present)
        engine = self._settings.engine_factory(user)
        try:
            await engine.login(user, password, place, source=source)
        except BaseException:  # also when cancelled: nobody else knows this engine yet
            await engine.close()
            raise
        return self._keep(user, engine)

    async def _sweep(self) -> None:
        """Drop logins that nobody uses any more; their agent sessions end by the core's own timeout."""
        now = self._settings.clock()
        for session in [one for one in self._sessions.values() if one.is_expired(now)]:
            log.info("session dropped", agent=session.user, why="no page and no request for too long")
            await self.forget(session)

    def _keep(self, user: str, engine: Workspace) -> Session:
        expires = self._settings.clock() + self._settings.session_seconds
        session = Session(secrets.token_urlsafe(24), user, expires, engine)
        self._sessions[session.id] = session
        self._save()
        return session

    async def logout(self, session: Session, *, requeue: bool) -> None:
        """End the agent session. Raises RefusedError while interactions are owned and ``requeue`` is false."""
        if not session.is_over():
            await session.engine.logout(requeue=requeue)
        await self.forget(session)

    async def forget(self, session: Session) -> None:
        """Drop a session and stop its engine."""
        self._sessions.pop(session.id, None)
        self._save()
        for page in session.pages.values():
            page.end("session")
        await session.engine.close()

    def end_pages(self) -> None:
        """The process stops: streams end now, pages come back to the next process by themselves."""
        for session in self._sessions.values():
            for page in session.pages.values():
                page.end()

    async def close(self) -> None:
        """The process stops: engines stop, agent sessions stay for the next start."""
        self.end_pages()
        await asyncio.gather(*(session.engine.close() for session in self._sessions.values()))

    def _load(self) -> dict[str, SavedSession]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, SavedSession])
        except FileNotFoundError:
            return {}
        except msgspec.MsgspecError as error:
            log.warning("saved sessions ignored", why=str(error))
            return {}

    def _save(self) -> None:
        saved = {key: SavedSession(user=one.user, expires=one.expires) for key, one in self._sessions.items()}
        replace_file(self._file, msgspec.json.encode(saved))


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new content; readable by the owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    part.replace(path)
