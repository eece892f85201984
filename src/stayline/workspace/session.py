"""The agent session on the Interaction Server: login, resume, the core going away and coming back.

The session survives links. On every new link, and when a proxy says that the core is back, it is resumed with
its ticket; the snapshot that answers is the truth and ends restricted mode. Only when the core says that the
session is over is the agent logged in anew, with the same place and readiness, without being asked.
"""

import asyncio
import uuid
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError
from stayline.link.messages.interaction import (
    AgentLogin,
    AgentResume,
    AgentStatus,
    Changed,
    CoreAway,
    CoreBack,
    Gone,
    InteractionView,
    MediaState,
    Offered,
    SessionEnded,
    SessionOpened,
)
from stayline.link.peer import Peer, read
from stayline.workspace.links import PoolLink

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 10.0
RETRY_SECONDS = 0.1
"""First pause after a refusal without a time; doubles up to :data:`RETRY_CAP`."""

RETRY_CAP = 2.0

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


class SessionUser(Protocol):
    """Who is told about the session, in the event loop and in order."""

    def session_opened(self, opened: SessionOpened) -> None:
        """Confirmed by the core (first time or again): the snapshot is the truth."""

    def session_away(self, why: str) -> None:
        """Not confirmed any more."""

    def session_lost(self, why: str) -> None:
        """The core has ended the session; the agent is being logged in anew."""

    def session_over(self, refusal: Refusal) -> None:
        """It is over and stays over."""

    def interaction(self, view: InteractionView) -> None:
        """An interaction as it is now."""

    def interaction_gone(self, gone: Gone) -> None:
        """An interaction is not this session's any more."""

    def media(self, states: list[MediaState]) -> None:
        """The agent's readiness as the core sees it."""


class AgentSession:
    """One agent's session. ``wanted``: the readiness to log in with."""

    def __init__(self, user: SessionUser, clock: Callable[[], float]) -> None:
        self.session = ""
        self.ticket = ""
        self.last_seq = 0
        self.epoch = 0
        self.place = ""
        self.wanted: list[MediaState] = []
        self.restore_timeout = 0.0
        self.confirmed = False
        self.away_since = 0.0
        self.over: Refusal | None = None
        self.link: PoolLink | None = None
        self._user = user
        self._clock = clock
        self._floor = 0
        self._login_key = ""
        self._task: asyncio.Task[None] | None = None

    # -- the link

    def link_up(self, peer: Peer) -> None:
        """A proxy answered: resume (or log in) through it."""
        self.epoch = max(self.epoch, peer.hello.epoch)
        self._establish(peer)

    def link_down(self, why: str) -> None:
        """The link is gone."""
        self._cancel()
        self._away(why)

    def link_changed(self) -> None:
        """Shown by the engine."""

    def link_refused(self, refusal: Refusal) -> None:
        """No proxy will let this agent in any more (the token has expired)."""
        if self.over is None:
            self._finish(refusal)

    def link_event(self, name: str, payload: msgspec.Raw, seq: int) -> None:
        """An event of the core or of the proxy."""
        if name == "core.away":
            self._away(read(payload, CoreAway, name).why)
        elif name == "core.back":
            self._back(read(payload, CoreBack, name))
        elif name == "session.ended":
            self._ended(read(payload, SessionEnded, name))
        elif self._is_news(seq):
            self._news(name, payload)

    def stop(self) -> None:
        """End the task of the session; the session itself stays in the core."""
        self._cancel()
        self.confirmed = False

    def _is_news(self, seq: int) -> bool:
        """Events up to the snapshot's position are in it already."""
        if not seq:
            return True
        self.last_seq = max(self.last_seq, seq)
        return seq > self._floor

    def _news(self, name: str, payload: msgspec.Raw) -> None:
        if name == "interaction.offered":
            self._user.interaction(read(payload, Offered, name).interaction)
        elif name == "interaction.changed":
            self._user.interaction(read(payload, Changed, name).interaction)
        elif name == "interaction.gone":
            self._user.interaction_gone(read(payload, Gone, name))
        elif name == "agent.status":
            self._user.media(read(payload, AgentStatus, name).media)

    def _away(self, why: str) -> None:
        if self.confirmed:
            self.confirmed = False
            self.away_since = self._clock()
        self._user.session_away(why)

    def _back(self, back: CoreBack) -> None:
        self.epoch = max(self.epoch, back.epoch)
        if back.opened is not None:
            self._cancel()
            self._opened(back.opened)
            return
        if back.code:
            log.warning("workspace.not_restored", session=self.session, code=back.code, why=back.reason)
            refusal = Refusal(code=back.code, reason=back.reason)
            if back.code in OVER:
                self._lost(refusal)
        peer = self.link.peer if self.link is not None else None
        if peer is not None:
            self._establish(peer)

    def _ended(self, ended: SessionEnded) -> None:
        if ended.session and ended.session != self.session:
            return
        refusal = Refusal(code=ended.code, reason=ended.why)
        if ended.code in FINAL:
            self._finish(refusal)
            return
        self._lost(refusal)
        peer = self.link.peer if self.link is not None else None
        if peer is not None:
            self._establish(peer)

    # -- opening

    def _establish(self, peer: Peer) -> None:
        self._cancel()
        if self.over is None:
            task = self._open(peer)
            self._task = asyncio.get_running_loop().create_task(task, name="agent session")

    def _cancel(self) -> None:
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _open(self, peer: Peer) -> None:
        """Until the session stands, the link goes, or it is over for good."""
        pause = RETRY_SECONDS
        while not peer.is_closed and self.over is None:
            wait = pause
            try:
                opened = await self._ask(peer)
            except LinkLostError as error:
                log.info("workspace.session_repeat", why=error.refusal.reason)
            except RefusedError as error:
                refusal = error.refusal
                if refusal.code in ELSEWHERE and self.link is not None:
                    self.link.give_up(refusal.reason, refusal.retry_after)
                    return
                if refusal.retryable:
                    log.info("workspace.session_waits", code=refusal.code, why=refusal.reason)
                    wait = refusal.retry_after or pause
                elif self.ticket and refusal.code in OVER:
                    self._lost(refusal)
                    wait = 0.0
                else:
                    self._finish(refusal)
                    return
            else:
                self._opened(opened)
                return
            pause = min(RETRY_CAP, pause * 2)
            await asyncio.sleep(wait)

    async def _ask(self, peer: Peer) -> SessionOpened:
        if self.ticket:
            resume = AgentResume(ticket=self.ticket, last_seq=self.last_seq)
            key = uuid.uuid4().hex  # resuming twice changes nothing
            return await peer.request("agent.resume", resume, SessionOpened, key=key, timeout=ANSWER_SECONDS)
        return await self._login(peer)

    async def _login(self, peer: Peer) -> SessionOpened:
        """With the same key until there is an answer: a login whose answer was lost could stand in the way of a new
        one."""
        while True:
            repeated, self._login_key = self._login_key != "", self._login_key or uuid.uuid4().hex
            key, login = self._login_key, AgentLogin(place=self.place, media=self.wanted)
            try:
                return await peer.request(
                    "agent.login", login, SessionOpened, key=key, timeout=ANSWER_SECONDS
                )
            except RefusedError as error:
                if error.refusal.retryable:
                    raise
                self._login_key = ""
                if not (repeated and error.refusal.code == "session.closed"):
                    raise
                # It was carried out, and its session is over by now: log in anew.

    def _opened(self, opened: SessionOpened) -> None:
        snapshot = opened.snapshot
        if self.confirmed and opened.session == self.session and snapshot.as_of < self._floor:
            return
        self.session, self.ticket = opened.session, opened.ticket
        self._login_key = ""
        self.restore_timeout = opened.restore_timeout
        self.place = snapshot.place
        self.epoch = max(self.epoch, snapshot.epoch)
        self._floor = snapshot.as_of
        self.last_seq = snapshot.as_of
        self.wanted = snapshot.media
        self.confirmed = True
        if self.link is not None:
            self.link.proven()
        log.info(
            "workspace.session", session=opened.session, epoch=snapshot.epoch, why="confirmed by the core"
        )
        self._user.session_opened(opened)

    def _lost(self, refusal: Refusal) -> None:
        log.warning("workspace.session_lost", session=self.session, code=refusal.code, why=refusal.reason)
        self.session = self.ticket = ""
        self.last_seq = self._floor = 0
        self._away(refusal.reason)
        self._user.session_lost(refusal.reason)

    def _finish(self, refusal: Refusal) -> None:
        log.warning("workspace.session_over", session=self.session, code=refusal.code, why=refusal.reason)
        self.over = refusal
        self.confirmed = False
        self._user.session_over(refusal)
