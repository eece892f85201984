"""What keeps one chat session going: joins, fills gaps, delivers the outbox in order, ends.

Each message goes out with the id it got when the agent pressed Send, until it is acknowledged; on a new link,
after a refusal that may pass or without an answer the same is simply done again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError
from stayline.link.messages.chat import End, Join, Joined, Send, Sent
from stayline.link.messages.contact import Entry
from stayline.link.peer import Peer
from stayline.link.standby_link import Report
from stayline.workspace.chat_session import ChatSession
from stayline.workspace.saved import OutMessage

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 5.0
"""A request not answered for this long on a living link is repeated."""

RETRY_SECONDS = 0.2
"""First pause after a refusal without a time; doubles up to :data:`RETRY_CAP`."""

RETRY_CAP = 5.0

OVER = frozenset({"chat.ended", "chat.unknown"})
"""Refusals that say the session has ended (or is not on record any more)."""

NOT_JOINED = frozenset({"chat.not_joined"})
"""Refusals that say this agent must join (again) first."""


@dataclass
class ChatContext:
    """What all workers of an agent share. ``peer``: the link to a Chat Server; ``name``: the agent's display
    name; ``changed`` is told the interaction whose chat changed; ``saved`` writes the outbox; ``proven`` says
    that the Chat Server works."""

    changed: Callable[[str], None]
    saved: Callable[[], None]
    report: Report
    proven: Callable[[], None]
    name: str = ""
    peer: Peer | None = None


class ChatWorker:
    """Works on one session."""

    def __init__(self, session: ChatSession, context: ChatContext) -> None:
        self.session = session
        self._context = context
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is news: a link, a grant, a message to send."""
        self._wake.set()

    def _changed(self) -> None:
        self._context.changed(self.session.interaction)

    def _report(self, fact: str, **details: object) -> None:
        session = self.session
        self._context.report(fact, interaction=session.interaction, session=session.id, **details)

    def rejoin(self) -> None:
        """Join once more: answers with everything after the last entry held."""
        self.session.joined = False
        self.session.problem = "Filling a gap in the transcript."
        self._wake.set()

    def take(self, entries: list[Entry]) -> bool:
        """Add entries; True when something is missing between."""
        outbox = len(self.session.outbox)
        was_ended = self.session.ended
        new, gap = self.session.add(entries)
        for entry in new:
            self._report(
                "seen",
                seq=entry.seq,
                message=entry.id,
                kind=entry.kind.value,
                party=entry.party.value,
            )
        if len(self.session.outbox) != outbox:
            self._context.saved()
        if self.session.ended and not was_ended:
            self._finished()
        return gap

    def _finished(self) -> None:
        self.session.ending = ""
        for waiter in self.session.end_waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.session.end_waiters.clear()
        if self.session.outbox:
            self._fail_all("The chat had ended before this was delivered.")

    def _fail_all(self, why: str) -> None:
        for message in list(self.session.outbox):
            self.session.refuse(message, why)
            self._report("unsent", message=message.id)
        self._context.saved()

    # -- the loop

    async def run(self) -> None:
        """Work until cancelled; between two pieces of news it does nothing."""
        while True:
            self._wake.clear()
            if self.session.pause:
                pause, self.session.pause = self.session.pause, 0.0
                await self._rest(pause)
                self._wake.clear()
            peer = self._context.peer
            if peer is None or peer.is_closed or not self.session.grant:
                await self._wake.wait()
                continue
            try:
                if not self.session.joined:
                    await self._join(peer)
                elif self.session.outbox and not self.session.ended:
                    await self._deliver(peer)
                elif self.session.ending and not self.session.ended:
                    await self._end(peer)
                else:
                    await self._wake.wait()
            except LinkLostError as error:
                # Not answered in time, or the link went: the next turn looks which.
                log.info("workspace.chat_repeat", session=self.session.id, why=error.refusal.reason)

    async def _rest(self, seconds: float) -> None:
        """Wait, but not longer than until there is news (a new link, a new grant)."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _join(self, peer: Peer) -> None:
        session = self.session
        request = Join(session=session.id, grant=session.grant, after=session.last_seq, last=session.last_id)
        try:
            joined = await peer.request("chat.join", request, Joined, timeout=ANSWER_SECONDS)
        except RefusedError as error:
            self._put_off(error.refusal)
            return
        if peer is not self._context.peer:
            return
        self.session.refusals = 0
        if joined.again:
            log.warning("workspace.chat_again", session=session.id, why="a forced switch-over lost entries")
            session.rewind()
            self._context.saved()
            self._report("rewound")
        gap = self.take(joined.entries)
        self.session.customer = joined.customer or self.session.customer
        self.session.customer_present = joined.customer_present
        if joined.ended and not self.session.ended:
            self.session.ended = True
            self._finished()
        self.session.joined = not gap
        self.session.problem = "" if not gap else "Filling a gap in the transcript."
        if gap:
            self.session.pause = RETRY_SECONDS
        else:
            self._context.proven()
        self._report("joined", after=request.after)
        self._changed()

    async def _deliver(self, peer: Peer) -> None:
        message = self.session.outbox[0]
        request = Send(session=self.session.id, id=message.id, text=message.text)
        try:
            sent = await peer.request("chat.send", request, Sent, key=message.id, timeout=ANSWER_SECONDS)
        except RefusedError as error:
            self._not_delivered(message, error.refusal)
            return
        self._report("acked", message=message.id, seq=sent.seq)
        if any(entry.id == message.id for entry in self.session.entries):
            return
        if sent.seq <= self.session.last_seq:
            # Stored under a number that is held by something else: never seen; the transcript is asked again.
            self.rejoin()
        elif self.session.acknowledged(message.id, sent.seq, sent.at, self._context.name):
            self._report(
                "seen",
                seq=sent.seq,
                message=message.id,
                kind="message",
                party="agent",
            )
            self._context.saved()
        else:
            self.rejoin()
        self._changed()

    def _not_delivered(self, message: OutMessage, refusal: Refusal) -> None:
        if refusal.retryable or refusal.code in NOT_JOINED:
            self.session.joined = self.session.joined and refusal.code not in NOT_JOINED
            self._put_off(refusal)
        elif refusal.code in OVER:
            self.session.ended = True
            self._finished()
            self.rejoin()
        else:
            log.warning(
                "workspace.message_refused", session=self.session.id, code=refusal.code, why=refusal.reason
            )
            self.session.refuse(message, refusal.reason)
            self._report("unsent", message=message.id)
            self._context.saved()
        self._changed()

    async def _end(self, peer: Peer) -> None:
        try:
            sent = await peer.request(
                "chat.end", End(self.session.id), Sent, key=self.session.ending, timeout=ANSWER_SECONDS
            )
        except RefusedError as error:
            self._not_ended(error.refusal)
            return
        self.session.ended = True
        self._finished()
        if sent.seq > self.session.last_seq:
            # The last entries come as events; asking makes sure of it.
            self.rejoin()
        self._changed()

    def _not_ended(self, refusal: Refusal) -> None:
        if refusal.retryable or refusal.code in NOT_JOINED:
            self.session.joined = self.session.joined and refusal.code not in NOT_JOINED
            self._put_off(refusal)
            return
        if refusal.code in OVER:
            self.session.ended = True
            self._finished()
            return
        self.session.ending = ""
        for waiter in self.session.end_waiters:
            if not waiter.done():
                waiter.set_exception(RefusedError(refusal))
        self.session.end_waiters.clear()

    def _put_off(self, refusal: Refusal) -> None:
        """Refused for now: try again after a pause that grows, at once on any news."""
        self.session.problem = refusal.reason
        self.session.refusals += 1
        growing = min(RETRY_CAP, RETRY_SECONDS * 2 ** min(self.session.refusals, 8))
        self.session.pause = refusal.retry_after or growing
        log.info(
            "workspace.chat_refused",
            session=self.session.id,
            code=refusal.code,
            why=refusal.reason,
            pause=self.session.pause,
        )
        self._changed()
