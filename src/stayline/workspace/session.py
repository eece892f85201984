"""The agent session on the Interaction Server: the shell around ``link/machine/session.py``.

It asks on the link that stands what the machine wants asked, tells it what is answered and what the core says, and
tells its user the facts that follow.
"""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import msgspec
import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError
from stayline.link.machine.session import SessionView, heard, step
from stayline.link.machine.session_events import (
    Action,
    AskLogin,
    AskResume,
    Away,
    Back,
    CancelAsk,
    Confirmed,
    Due,
    Ended,
    Event,
    GiveUpLink,
    LinkDown,
    LinkUp,
    NoAnswer,
    NotConfirmed,
    Opened,
    Over,
    Refused,
    Renewed,
    SessionLost,
    Stop,
    TokenRefused,
    WaitUntil,
)
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
    TicketRenewed,
)
from stayline.link.peer import Peer, read
from stayline.link.standby_link import StandbyLink
from stayline.link.turn import Turn

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 10.0
"""An answer that has not come after this long is asked for again."""


class SessionUser(Protocol):
    """Who is told about the session, in the event loop and in order."""

    def session_opened(self, opened: SessionOpened) -> None:
        """Confirmed by the core (first time or again): the snapshot is the truth."""

    def session_away(self, why: str) -> None:
        """Not confirmed any more."""

    def session_lost(self, why: str, code: str) -> None:
        """The session is gone (``code`` says how); the agent is being logged in anew."""

    def session_over(self, refusal: Refusal) -> None:
        """It is over and stays over."""

    def session_changed(self) -> None:
        """Something of its status changed: a wait, a ticket."""

    def interaction(self, view: InteractionView) -> None:
        """An interaction as it is now."""

    def interaction_gone(self, gone: Gone) -> None:
        """An interaction is not this session's any more."""

    def media(self, states: list[MediaState]) -> None:
        """The agent's readiness as the core sees it."""


class AgentSession:
    """One agent's session. ``link`` is where it is asked for; ``installation`` names this Workspace; ``restore``: the
    media whose interactions shall be owned again after a loss (None: all). ``random`` gives numbers in [0, 1),
    ``clock`` Unix seconds."""

    def __init__(
        self, user: SessionUser, clock: Callable[[], float], *, random: Callable[[], float], installation: str
    ) -> None:
        self.view = SessionView(seed=uuid.uuid4().hex)
        self.link: StandbyLink | None = None
        self.restore: list[str] | None = None
        self._user = user
        self._clock = clock
        self._random = random
        self._installation = installation
        self._asked_at = 0.0
        self._tell = Turn(self._step)
        self._timer: asyncio.TimerHandle | None = None
        self._asks: dict[int, asyncio.Task[None]] = {}

    # -- what it is

    @property
    def session(self) -> str:
        """Its id (empty: there is none yet)."""
        return self.view.session

    @property
    def ticket(self) -> str:
        """What resumes it (empty: there is none)."""
        return self.view.ticket

    @property
    def place(self) -> str:
        """Where the agent is logged in; the same over its whole life."""
        return self.view.place

    @property
    def wanted(self) -> list[MediaState]:
        """The readiness that the agent has, or wants to log in with."""
        return list(self.view.media)

    @property
    def confirmed(self) -> bool:
        """Whether the core has confirmed it on the link that stands."""
        return self.view.confirmed

    @property
    def over(self) -> Refusal | None:
        """Why it is over for good."""
        return self.view.over

    # -- what the Workspace tells

    def begin_as(self, place: str, media: list[MediaState]) -> None:
        """Log in there, ready like that, as soon as there is a link."""
        self.view = replace(self.view, place=place, media=tuple(media))

    def recall(
        self, session: str, ticket: str, last_seq: int, epoch: int, place: str, media: list[MediaState]
    ) -> None:
        """Continue what an earlier process had."""
        self.view = replace(
            self.view,
            session=session,
            ticket=ticket,
            last_seq=last_seq,
            epoch=epoch,
            place=place,
            media=tuple(media),
        )

    def note_media(self, media: list[MediaState]) -> None:
        """The readiness to log in with, should that be needed."""
        self.view = replace(self.view, media=tuple(media))

    def limit(self, restore_timeout: float) -> None:
        """Seconds after which a session that is not confirmed is given up."""
        self.view = replace(self.view, restore_timeout=restore_timeout)

    def forget(self) -> None:
        """The session is nobody's to resume."""
        self.view = replace(self.view, session="", ticket="")

    def stop(self) -> None:
        """Ask nothing any more; the session itself stays in the core."""
        self._tell(Stop())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._asks.values():
            task.cancel()

    async def finished(self) -> None:
        """Wait for the tasks that :meth:`stop` ended."""
        if self._asks:
            await asyncio.wait(list(self._asks.values()))

    # -- the link (LinkUser)

    def link_up(self, peer: Peer) -> None:
        """A proxy answered: resume (or log in) through it."""
        generation = self.link.view.generation if self.link is not None else 0
        self._tell(LinkUp(generation, peer.hello.epoch))

    def link_down(self, why: str) -> None:
        """The link is gone."""
        self._tell(LinkDown(why))

    def link_changed(self) -> None:
        """Shown by the engine."""

    def link_refused(self, refusal: Refusal) -> None:
        """No proxy will let this agent in any more (the token has expired)."""
        self._tell(TokenRefused(refusal))

    def link_event(self, name: str, payload: msgspec.Raw, seq: int) -> None:
        """An event of the core or of the proxy."""
        if name == "core.away":
            self._tell(Away(read(payload, CoreAway, name).why))
        elif name == "core.back":
            back = read(payload, CoreBack, name)
            self._tell(Back(back.epoch, back.opened, back.code, back.reason))
        elif name == "session.ended":
            ended = read(payload, SessionEnded, name)
            self._tell(Ended(ended.session, ended.code, ended.why))
        elif name == "session.ticket":
            renewed = read(payload, TicketRenewed, name)
            self._tell(Renewed(renewed.session, renewed.ticket))
        else:
            self.view, is_news = heard(self.view, seq)
            if is_news:
                self._news(name, payload)

    def _news(self, name: str, payload: msgspec.Raw) -> None:
        if name == "interaction.offered":
            self._user.interaction(read(payload, Offered, name).interaction)
        elif name == "interaction.changed":
            self._user.interaction(read(payload, Changed, name).interaction)
        elif name == "interaction.gone":
            self._user.interaction_gone(read(payload, Gone, name))
        elif name == "agent.status":
            self._user.media(read(payload, AgentStatus, name).media)

    # -- the machine

    def _step(self, event: Event) -> None:
        before = self.view
        self.view, actions = step(before, event, self._clock(), self._random)
        if (self.view.state, self.view.generation) != (before.state, before.generation):
            log.info(
                "workspace.session",
                state=self.view.state,
                before=before.state,
                session=self.view.session,
                epoch=self.view.epoch,
                why=self.view.why,
            )
        for action in actions:
            self._do(action)
        if self.view is not before:
            self._user.session_changed()

    def _do(self, action: Action) -> None:
        match action:
            case AskLogin() | AskResume():
                self._ask(action)
            case CancelAsk():
                task = self._asks.get(action.generation)
                if task is not None and task is not asyncio.current_task():
                    task.cancel()
            case WaitUntil():
                self._wait(action)
            case GiveUpLink():
                if self.link is not None:
                    self.link.give_up(action.why, action.retry_after)
            case Confirmed():
                if self.link is not None:
                    self.link.proven()
                self._user.session_opened(action.opened)
            case NotConfirmed():
                self._user.session_away(action.why)
            case SessionLost():
                log.warning("workspace.session_lost", code=action.code, why=action.why)
                self._user.session_lost(action.why, action.code)
            case Over():
                log.warning("workspace.session_over", code=action.refusal.code, why=action.refusal.reason)
                self._user.session_over(action.refusal)

    def _wait(self, action: WaitUntil) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0.0, action.at - self._clock())
        due = Due(action.generation)
        self._timer = asyncio.get_running_loop().call_later(delay, self._tell, due)

    def _ask(self, action: AskLogin | AskResume) -> None:
        peer = self.link.peer if self.link is not None else None
        if peer is None:
            self._tell(NoAnswer("There is no link to ask on.", action.generation))
            return
        generation = action.generation
        name = f"agent session {generation}"
        task = asyncio.get_running_loop().create_task(self._question(action, peer), name=name)
        self._asks[generation] = task
        task.add_done_callback(lambda _: self._asks.pop(generation, None))

    async def _question(self, action: AskLogin | AskResume, peer: Peer) -> None:
        """Ask, and tell the machine the answer. When the link goes, the machine hears that from the link."""
        try:
            if isinstance(action, AskResume):
                opened = await self._resume(action, peer)
            else:
                opened = await self._login(action, peer)
        except LinkLostError as error:
            self._tell(NoAnswer(error.refusal.reason, action.generation))
        except RefusedError as error:
            self._tell(Refused(error.refusal, action.generation))
        else:
            self._tell(Opened(opened, action.generation))

    def _asking(self) -> float:
        """The time of this asking: later than that of the one before, whatever the clock does."""
        self._asked_at = max(self._clock(), self._asked_at + 0.001)
        return self._asked_at

    async def _resume(self, action: AskResume, peer: Peer) -> SessionOpened:
        request = AgentResume(
            ticket=action.ticket, last_seq=action.last_seq, restore=self.restore, asked_at=self._asking()
        )
        key = uuid.uuid4().hex  # resuming twice changes nothing
        return await peer.request("agent.resume", request, SessionOpened, key=key, timeout=ANSWER_SECONDS)

    async def _login(self, action: AskLogin, peer: Peer) -> SessionOpened:
        request = AgentLogin(
            place=self.view.place,
            media=self.wanted,
            workspace=self._installation,
            restore=self.restore,
            asked_at=self._asking(),
        )
        return await peer.request(
            "agent.login", request, SessionOpened, key=action.key, timeout=ANSWER_SECONDS
        )
