"""Synthetic agents: the real Workspace engine over real sockets, with a behaviour instead of a person.

An agent accepts what it is offered, answers what customers write (each message once), ends and finishes chats
when the behaviour says so, and notes every fact for the drill checker: the engine's trace, with its clock.
"""

import asyncio
import random as random_module
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from stayline.domain.errors import LinkLostError, RefusedError, StaylineError
from stayline.link.messages.contact import EntryKind, Party
from stayline.link.messages.interaction import Ownership
from stayline.workspace.engine import WorkspaceEngine
from stayline.workspace.settings import EngineSettings
from stayline.workspace.view import InteractionCard, Phase, WorkspaceView

log = structlog.get_logger(__name__)

Fact = dict[str, Any]

MAX_FACTS = 200_000
"""Facts kept of one agent; more end the run with an error rather than with a wrong verdict."""

LOGIN_ATTEMPTS = 30


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How an agent works. Times are (least, most) seconds, drawn anew each time.

    ``accept_after``: thinking time before an offer is accepted. ``answer_after``: before a customer's message
    is answered. ``answers``: answer at all. ``finish_after``: how long a chat is kept before it is ended and
    marked done (None: it stays open until its customer ends it; ``finish_ended`` says whether it is marked
    done then). ``reject_share``: share of offers that are rejected.
    """

    accept_after: tuple[float, float] = (0.05, 0.3)
    answer_after: tuple[float, float] = (0.2, 1.0)
    answers: bool = True
    finish_after: tuple[float, float] | None = None
    finish_ended: bool = True
    reject_share: float = 0.0
    disposition: str = ""


@dataclass
class _Chat:
    """What the agent does about one interaction."""

    task: asyncio.Task[None] | None = None
    answered: set[str] = field(default_factory=set)
    finish_at: float | None = None


class SyntheticAgent:
    """One agent. ``facts`` is its history; ``on_fact`` gets each fact as it happens."""

    def __init__(
        self,
        settings: EngineSettings,
        user: str,
        password: str,
        *,
        place: str = "",
        behaviour: Behaviour | None = None,
        random: random_module.Random | None = None,
        on_fact: Callable[[Fact], None] | None = None,
    ) -> None:
        self.user = user
        self.facts: list[Fact] = []
        self.behaviour = behaviour or Behaviour()
        self.engine = WorkspaceEngine(replace(settings, user=user))
        self.engine.trace = self._note
        self._clock = settings.clock
        self._password = password
        self._place = place
        self._random = random or random_module.Random()
        self._on_fact = on_fact
        self._chats: dict[str, _Chat] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._sending = True
        self._answers = 0

    # -- life

    async def start(self, ready: bool = True) -> None:
        """Log in (waiting out what is only busy), be ready, and work until :meth:`stop`. Raises
        StaylineError."""
        await self._login()
        self._unsubscribe = self.engine.subscribe(lambda _: self._changed.set())
        if ready:
            await self._ready()
        self._task = asyncio.create_task(self._work(), name=f"agent {self.user}")

    async def _login(self) -> None:
        for attempt in range(LOGIN_ATTEMPTS):
            try:
                await self.engine.login(self.user, self._password, self._place)
            except StaylineError as error:
                if not error.refusal.retryable or attempt == LOGIN_ATTEMPTS - 1:
                    raise
                pause = error.refusal.retry_after or 0.5
                await asyncio.sleep(pause * (1.0 + self._random.random()))
            else:
                return

    async def _ready(self) -> None:
        for attempt in range(LOGIN_ATTEMPTS):
            try:
                await self.engine.set_ready(True)
            except LinkLostError:
                return  # kept by the engine and repeated
            except RefusedError as error:
                if not error.refusal.retryable or attempt == LOGIN_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(error.refusal.retry_after or 0.5)
            else:
                return

    def quiet(self) -> None:
        """Send nothing more; accept nothing more (a drill lets everything settle)."""
        self._sending = False

    async def stop(self, *, logout: bool = False) -> None:
        """Stop working. ``logout`` ends the session too and gives interactions back to their queues."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        tasks = [chat.task for chat in self._chats.values() if chat.task is not None]
        tasks += [self._task] if self._task is not None else []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if logout:
            try:
                await self.engine.logout(requeue=True)
            except StaylineError as error:
                log.warning("agent.logout", agent=self.user, why=error.refusal.reason)
        await self.engine.close()

    # -- what a drill asks

    @property
    def view(self) -> WorkspaceView:
        """The agent's desk."""
        return self.engine.view

    @property
    def owned(self) -> list[str]:
        """Interactions the agent owns, as far as it knows."""
        return [card.id for card in self.view.interactions if card.state is Ownership.OWNED]

    @property
    def whole(self) -> bool:
        """Whether nothing is restricted and nothing is on its way: all links up, all messages
        acknowledged."""
        view = self.view
        links = [view.links.interaction, view.links.contact, *view.links.chats]
        return (
            view.phase is Phase.READY
            and all(link.up for link in links)
            and all(card.unsent == 0 and not card.busy for card in view.interactions)
            and all(
                card.chat_up
                for card in view.interactions
                if card.state is Ownership.OWNED and card.media == "chat" and card.online
            )
        )

    # -- working

    def _note(self, fact: Fact) -> None:
        if len(self.facts) >= MAX_FACTS:
            raise RuntimeError(f"more than {MAX_FACTS} facts of {self.user}: the history would not be whole")
        self.facts.append(fact)
        if self._on_fact is not None:
            self._on_fact(fact)

    async def _work(self) -> None:
        """Look at the desk after every change, and when a chat is due to be finished."""
        while True:
            self._changed.clear()
            view = self.engine.view
            if view.phase is Phase.ENDED:
                log.warning("agent.ended", agent=self.user, why=view.banner.text if view.banner else "")
                return
            present = {card.id for card in view.interactions}
            for gone in [key for key in self._chats if key not in present]:
                self._chats.pop(gone)
            for card in view.interactions:
                self._look(card)
            try:
                async with asyncio.timeout(0.5):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _look(self, card: InteractionCard) -> None:
        """Begin the next thing to do about an interaction, one thing at a time."""
        chat = self._chats.setdefault(card.id, _Chat())
        if chat.task is not None and not chat.task.done():
            return
        doing = self._next(card, chat)
        if doing is not None:
            chat.task = asyncio.create_task(_ended(doing), name=f"{self.user} {card.id}")

    def _next(self, card: InteractionCard, chat: _Chat) -> Coroutine[Any, Any, object] | None:
        behaviour = self.behaviour
        able = {name for name, state in card.controls.items() if state.enabled}
        if card.busy or not self._sending:
            return None
        if card.state is Ownership.OFFERED:
            return self._decide(card) if "accept" in able else None
        if chat.finish_at is None and behaviour.finish_after is not None:
            chat.finish_at = self._clock() + self._random.uniform(*behaviour.finish_after)
        if not card.online:
            return self._finish(card) if behaviour.finish_ended and "done" in able else None
        if chat.finish_at is not None and self._clock() >= chat.finish_at and "end" in able:
            return self._try("end", self.engine.end_chat(card.id))
        question = self._unanswered(card, chat)
        if question and behaviour.answers and "send" in able:
            return self._answer(card.id, chat, question)
        return None

    def _unanswered(self, card: InteractionCard, chat: _Chat) -> list[str]:
        """Customers' messages that nobody answered. What was there before this agent came counts as one
        question."""
        return [
            line.id
            for line in card.transcript
            if line.party is Party.CUSTOMER
            and line.kind is EntryKind.MESSAGE
            and line.id not in chat.answered
        ]

    async def _decide(self, card: InteractionCard) -> None:
        await self._pause(self.behaviour.accept_after)
        if self._random.random() < self.behaviour.reject_share:
            await self._try("reject", self.engine.reject(card.id, "busy with something else"))
        else:
            await self._try("accept", self.engine.accept(card.id))

    async def _answer(self, interaction: str, chat: _Chat, question: list[str]) -> None:
        self.engine.typing(interaction)
        await self._pause(self.behaviour.answer_after)
        if not self._sending:
            return
        self.engine.mark_read(interaction)
        # Numbered over all chats and times: a checker finds a message that was stored twice by its text.
        self._answers += 1
        if await self._try("send", self.engine.send(interaction, f"{self.user} answers #{self._answers}")):
            chat.answered.update(question)

    async def _finish(self, card: InteractionCard) -> None:
        await self._pause(self.behaviour.answer_after)
        await self._try("done", self.engine.done(card.id, self.behaviour.disposition))

    async def _pause(self, seconds: Sequence[float]) -> None:
        await asyncio.sleep(self._random.uniform(*seconds))

    async def _try(self, what: str, action: Coroutine[Any, Any, object]) -> bool:
        """Do it; a refusal is normal when the desk changed meanwhile or is restricted."""
        try:
            await action
        except LinkLostError:
            return True  # kept by the engine and repeated
        except RefusedError as error:
            log.info("agent.refused", agent=self.user, what=what, code=error.refusal.code, why=str(error))
            await asyncio.sleep(0.2)
            return False
        return True


async def _ended(doing: Coroutine[Any, Any, object]) -> None:
    await doing
