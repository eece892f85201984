"""The agent's chat sessions on whichever Chat Server of the site the link reaches.

Nothing here needs the Interaction Server: while its link is away, the grants held stay good.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterable

import msgspec
import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError
from stayline.link.messages.chat import Leave, PartyTyping, Presence, Removed, Said
from stayline.link.messages.chat import Typing as TypingNotice
from stayline.link.messages.contact import Party
from stayline.link.messages.interaction import InteractionView
from stayline.link.peer import Peer, read
from stayline.workspace.chat_session import TYPING_SECONDS, ChatSession
from stayline.workspace.chat_worker import ANSWER_SECONDS, RETRY_SECONDS, ChatContext, ChatWorker
from stayline.workspace.saved import OutMessage

log = structlog.get_logger(__name__)

MAX_OUTBOX = 200
"""Unacknowledged messages of one session; more are refused."""


class Chats:
    """All sessions. The owner sets ``user`` (the agent) and the context's name before the first
    interaction."""

    def __init__(
        self, context: ChatContext, clock: Callable[[], float], random: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.user = ""
        self.context = context
        self._clock = clock
        self._random = random
        self._spread = 0.0
        self._workers: dict[str, ChatWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._kept: list[OutMessage] = []

    # -- which sessions there are

    @property
    def sessions(self) -> list[ChatSession]:
        """Every session the agent takes part in."""
        return [worker.session for worker in self._workers.values()]

    def restore(self, outbox: list[OutMessage]) -> None:
        """What the file had: put into its session as soon as there is one."""
        self._kept = list(outbox)

    @property
    def outbox(self) -> list[OutMessage]:
        """Everything sent and not acknowledged, of all sessions."""
        return [*self._kept, *(m for session in self.sessions for m in session.outbox)]

    def session_of(self, interaction: str) -> ChatSession | None:
        """The session of an interaction."""
        return next((s for s in self.sessions if s.interaction == interaction), None)

    def follow(self, owned: Iterable[InteractionView], read_marks: dict[str, int]) -> None:
        """Take part in the sessions of these interactions (new ones are joined, grants are renewed)."""
        for view in owned:
            if not view.chat_session:
                continue
            worker = self._workers.get(view.chat_session)
            if worker is None:
                self._begin(view, read_marks.get(view.chat_session, 0))
            elif view.grant and view.grant != worker.session.grant:
                worker.session.grant = view.grant
                worker.wake()

    def _begin(self, view: InteractionView, seen: int) -> None:
        session = ChatSession(
            id=view.chat_session,
            interaction=view.id,
            grant=view.grant,
            user=self.user,
            read=seen,
            customer=view.customer,
            ended=not view.online,
            outbox=[m for m in self._kept if m.session == view.chat_session],
        )
        self._kept = [m for m in self._kept if m.session != session.id]
        worker = self._workers[session.id] = ChatWorker(session, self.context)
        loop = asyncio.get_running_loop()
        self._tasks[session.id] = loop.create_task(worker.run(), name=f"chat {session.id}")

    def drop(self, interaction: str) -> list[OutMessage]:
        """The interaction is no longer the agent's. Returns what was typed and never acknowledged."""
        session = self.session_of(interaction)
        if session is None:
            return []
        del self._workers[session.id]
        self._tasks.pop(session.id).cancel()
        for waiter in session.end_waiters:
            if not waiter.done():
                waiter.set_result(None)
        peer = self.context.peer
        if session.joined and peer is not None and not peer.is_closed and not session.ended:
            self._leave(peer, session.id)
        return [*session.outbox, *session.failed]

    def _leave(self, peer: Peer, session: str) -> None:
        async def leave() -> None:
            try:
                await peer.request("chat.leave", Leave(session), msgspec.Raw, timeout=ANSWER_SECONDS)
            except (LinkLostError, RefusedError) as error:
                # The core tells the Chat Servers who owns the interaction: this was only politeness.
                log.info("workspace.chat_leave", session=session, why=error.refusal.reason)

        name = f"leave {session}"
        task = self._tasks[name] = asyncio.get_running_loop().create_task(leave(), name=name)
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    def orphans(self) -> list[OutMessage]:
        """Messages from the file whose session is not the agent's any more; they are given out once."""
        kept, self._kept = self._kept, []
        return kept

    async def stop(self) -> None:
        """End every worker; the outbox stays as it is."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._tasks.clear()

    # -- what the agent does

    def send(self, session: ChatSession, message: OutMessage) -> None:
        """Put a message into the outbox and send it when its turn comes. Raises RefusedError when it is
        full."""
        if len(session.outbox) >= MAX_OUTBOX:
            reason = f"{MAX_OUTBOX} messages of this chat wait for the Chat Server already."
            raise RefusedError(Refusal(code="chat.outbox_full", reason=reason, retryable=True))
        session.outbox.append(message)
        self.context.saved()
        self.context.report("sent", interaction=session.interaction, session=session.id, message=message.id)
        self._touch(session)

    def typing(self, session: ChatSession) -> None:
        """Tell the customer's side that the agent types; lost when there is no link."""
        if session.joined and self.context.peer is not None:
            self.context.peer.event("chat.typing", TypingNotice(session.id))

    async def end(self, session: ChatSession, timeout: float) -> None:
        """End the session for both sides, after everything in the outbox. Raises RefusedError, or
        LinkLostError when it is not acknowledged after ``timeout`` seconds; it is repeated until it is all
        the same."""
        if session.ended:
            return
        session.ending = session.ending or uuid.uuid4().hex
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        session.end_waiters.append(waiter)
        self._touch(session)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            reason = "The end of the chat is not confirmed yet; it is repeated until it is."
            raise LinkLostError(Refusal(code="action.kept", reason=reason, retryable=True)) from None

    # -- the link

    def spread(self, seconds: float) -> None:
        """Everybody moved to another site together: transcripts are read there spread over ``seconds``."""
        self._spread = max(0.0, seconds)

    def link_up(self, peer: Peer) -> None:
        """A Chat Server answered: join everything there."""
        self.context.peer = peer
        spread, self._spread = self._spread, 0.0
        for session in self.sessions:
            # A chat in which something waits to be sent is joined at once.
            session.pause = 0.0 if session.outbox else spread * self._random()
            session.problem = f"Joining the chat at {peer.hello.application}."
            self._touch(session)

    def link_down(self, why: str) -> None:
        """The Chat Server is gone; another one follows."""
        self.context.peer = None
        for session in self.sessions:
            session.joined = False
            session.problem = why
            self.context.changed(session.interaction)

    def link_event(self, name: str, payload: msgspec.Raw, seq: int) -> None:
        """An event of the Chat Server."""
        if name == "chat.entry":
            said = read(payload, Said, name)
            worker = self._workers.get(said.session)
            if worker is not None and worker.take([said.entry]):
                worker.rejoin()
            self._changed(worker)
        elif name == "chat.typing":
            typing = read(payload, PartyTyping, name)
            if typing.party is Party.CUSTOMER:
                self._customer_types(self._workers.get(typing.session))
        elif name == "chat.presence":
            presence = read(payload, Presence, name)
            worker = self._workers.get(presence.session)
            if worker is not None:
                worker.session.customer_present = presence.customer_present
            self._changed(worker)
        elif name == "chat.removed":
            removed = read(payload, Removed, name)
            self._removed(self._workers.get(removed.session), removed.why)

    def link_refused(self, refusal: Refusal) -> None:
        """Said by the Interaction Server's link as well."""

    def link_changed(self) -> None:
        """Shown by the engine."""

    def _changed(self, worker: ChatWorker | None) -> None:
        if worker is not None:
            self.context.changed(worker.session.interaction)

    def _touch(self, session: ChatSession) -> None:
        self.context.changed(session.interaction)
        self._workers[session.id].wake()

    def _customer_types(self, worker: ChatWorker | None) -> None:
        if worker is None:
            return
        worker.session.typing_until = self._clock() + TYPING_SECONDS
        self._changed(worker)
        asyncio.get_running_loop().call_later(TYPING_SECONDS + 0.05, self._changed, worker)

    def _removed(self, worker: ChatWorker | None, why: str) -> None:
        """Removed there. If the interaction is still ours (its news may come later than this), the grant says
        so."""
        if worker is None:
            return
        log.info("workspace.chat_removed", session=worker.session.id, why=why)
        worker.session.joined = False
        worker.session.problem = why
        worker.session.pause = RETRY_SECONDS
        self._touch(worker.session)
