"""The chat sessions that this Chat Server holds because a customer or an agent looks at them here.

No Chat Server owns a session. Each that holds one subscribes to it at the Contact Server; :meth:`Sessions.sync` is the
one operation that loads it, fills a gap and renews the subscription at a new primary.
"""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, Protocol

import structlog

from stayline.domain.errors import LinkLostError, StaylineError, refuse
from stayline.link.messages.contact import (
    Append,
    Appended,
    Entry,
    EntryAdded,
    GetTranscript,
    Party,
    Signal,
    Subscribe,
    Transcript,
    Unsubscribe,
)
from stayline.link.pair import PairLink
from stayline.servers.chat.transcript import HeldTranscript

log = structlog.get_logger(__name__)

APPEND_TIMEOUT = 30.0
"""Seconds that a message waits for the Contact Server, through a failover of it."""

MAX_PAGES = 8
"""Pages of one customer that look at one session at this server: tabs, not a means to multiply every message."""

PAGES_RETRY = 5.0
"""Seconds until a further page may ask again."""

_RETRY = 0.2
_PAGE = 500


class Watcher(Protocol):
    """Somebody at this server who looks at a session: a customer's page or an agent's Workspace."""

    @property
    def is_customer(self) -> bool:
        """Whether this is the customer."""

    def changed(self, session: "HeldSession") -> None:
        """There is something new to show."""

    def signalled(self, signal: Signal) -> None:
        """Somebody else types."""


class HeldSession:
    """One session at this server."""

    def __init__(self, session: str) -> None:
        self.id = session
        self.transcript = HeldTranscript(session, self._tell)
        self.watchers: list[Watcher] = []
        self.lock = asyncio.Lock()
        self.loaded = False
        self.stale = False
        """Whether it must be read again even without a gap: its subscription may be at a server that is gone."""
        self.syncing: asyncio.Task[None] | None = None

    @property
    def has_customer(self) -> bool:
        """Whether the customer's page is connected to this server."""
        return any(watcher.is_customer for watcher in self.watchers)

    def _tell(self) -> None:
        for watcher in list(self.watchers):
            watcher.changed(self)

    def signal(self, signal: Signal, source: Watcher | None = None) -> None:
        """Pass a signal on to everybody here but its source."""
        for watcher in list(self.watchers):
            if watcher is not source:
                watcher.signalled(signal)


class Sessions:
    """All held sessions. ``contact`` is the link to the pair of Contact Servers."""

    def __init__(self, contact: PairLink) -> None:
        self._contact = contact
        self._held: dict[str, HeldSession] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def all(self) -> list[HeldSession]:
        """Every held session."""
        return list(self._held.values())

    def get(self, session: str) -> HeldSession | None:
        """A session, if it is held."""
        return self._held.get(session)

    # -- looking at a session ----------------------------------------------------------------------------------

    async def watch(self, session: str, watcher: Watcher) -> HeldSession:
        """Hold a session for somebody; loaded when this returns. Raises ``chat.unknown``, ``chat.too_many_pages``,
        LinkLostError."""
        held = self._held.get(session)
        if held is not None and watcher.is_customer:
            _check_pages(held)
        if held is None:
            held = self._held[session] = HeldSession(session)
        held.watchers.append(watcher)
        try:
            if not held.loaded:
                await self.sync(held)
        except BaseException:  # also when cancelled: else the session would be held for nobody
            self.leave(held, watcher)
            raise
        if watcher.is_customer:
            self._tell_presence(held)
        return held

    def leave(self, held: HeldSession, watcher: Watcher) -> None:
        """That one looks at it no longer; the last one lets it go."""
        if watcher not in held.watchers:
            return
        held.watchers.remove(watcher)
        if watcher.is_customer and not held.has_customer and held.loaded:
            self._tell_presence(held)
        if not held.watchers and self._held.get(held.id) is held:
            del self._held[held.id]
            primary = self._contact.primary
            if primary is not None:
                self._spawn(self._unsubscribe(held.id))

    async def _unsubscribe(self, session: str) -> None:
        primary = self._contact.primary
        if session in self._held or primary is None:
            return
        try:
            await primary.request("chat.unsubscribe", Unsubscribe(session), dict, timeout=5.0)
        except StaylineError as error:
            log.debug("chat.unsubscribe", session=session, why=error.refusal.reason)

    # -- staying complete --------------------------------------------------------------------------------------

    async def sync(self, held: HeldSession) -> None:
        """Subscribe and read what is missing. Raises what the Contact Server refuses."""
        async with held.lock:
            transcript = held.transcript
            ask = Subscribe(session=held.id, after=transcript.last)
            answer = await self._contact.request(
                "chat.subscribe", ask, Transcript, key="", timeout=APPEND_TIMEOUT
            )
            transcript.take(answer.entries)
            while answer.more:
                page = GetTranscript(session=held.id, after=transcript.last, limit=_PAGE)
                answer = await self._contact.request("transcript.get", page, Transcript, key="")
                transcript.take(answer.entries)
            transcript.state = answer.state
            held.loaded = True
            transcript.present(answer.customer_present or held.has_customer)
            if held.has_customer:
                self._tell_presence(held)

    async def continues(self, held: HeldSession, after: int, last: str) -> bool:
        """See :meth:`HeldTranscript.continues`; asks the Contact Server first when this copy is the shorter one."""
        if after > held.transcript.last:
            await self.sync(held)
        return held.transcript.continues(after, last)

    def resync(self) -> None:
        """A Contact Server became primary: renew every subscription there."""
        for held in self.all:
            held.stale = True
            self._complete(held)

    def _complete(self, held: HeldSession) -> None:
        """See that it becomes complete: one task for each session, however many entries come while there is a gap."""
        if held.syncing is None or held.syncing.done():
            held.syncing = self._spawn(self._sync_until_done(held))

    async def _sync_until_done(self, held: HeldSession) -> None:
        while self._held.get(held.id) is held and (held.stale or held.transcript.has_gap):
            held.stale = False
            try:
                await self.sync(held)
            except StaylineError as error:
                log.info("chat.sync", session=held.id, why=error.refusal.reason)
                if not (error.refusal.retryable or isinstance(error, LinkLostError)):
                    return
                held.stale = True
            if held.stale or held.transcript.has_gap:
                await asyncio.sleep(_RETRY * (1 + random.random()))

    # -- writing -----------------------------------------------------------------------------------------------

    async def append(self, session: str, entry: Entry, *, timeout: float = APPEND_TIMEOUT) -> Appended:
        """Store an entry; returns after the commit. Repeating it with the same id is harmless."""
        done = await self._contact.request(
            "chat.append",
            Append(session=session, entry=entry),
            Appended,
            key=f"{session}/{entry.id}",
            timeout=timeout,
        )
        held = self._held.get(session)
        if held is not None and held.loaded and not done.duplicate:
            stored = Entry(
                id=entry.id,
                kind=entry.kind,
                party=entry.party,
                name=entry.name,
                text=entry.text,
                user=entry.user,
                seq=done.seq,
                at=done.at,
            )
            self._take(held, stored)
        return done

    # -- what the Contact Server says --------------------------------------------------------------------------

    def added(self, event: EntryAdded) -> None:
        """An entry was committed."""
        held = self._held.get(event.session)
        if held is not None:
            self._take(held, event.entry)

    def _take(self, held: HeldSession, entry: Entry) -> None:
        held.transcript.take([entry])
        if held.loaded and held.transcript.has_gap:
            self._complete(held)

    def signalled(self, signal: Signal) -> None:
        """Somebody at another Chat Server types, or the customer came or went."""
        held = self._held.get(signal.session)
        if held is None:
            return
        if signal.kind in ("present", "away"):
            held.transcript.present(signal.kind == "present" or held.has_customer)
        else:
            held.signal(signal)

    def typing(self, held: HeldSession, source: Watcher, party: Party, name: str) -> None:
        """Somebody here types: tell everybody else, here and at other Chat Servers."""
        signal = Signal(session=held.id, party=party, kind="typing", name=name)
        held.signal(signal, source)
        self._send_signal(signal)

    def _tell_presence(self, held: HeldSession) -> None:
        present = held.has_customer
        if present:
            held.transcript.present(True)
        kind = "present" if present else "away"
        self._send_signal(Signal(session=held.id, party=Party.CUSTOMER, kind=kind))

    def _send_signal(self, signal: Signal) -> None:
        primary = self._contact.primary
        if primary is not None:
            primary.event("chat.signal", signal)

    # -- tasks -------------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Let everything go."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._held.clear()


def _check_pages(held: HeldSession) -> None:
    if sum(watcher.is_customer for watcher in held.watchers) >= MAX_PAGES:
        raise refuse(
            "chat.too_many_pages",
            f"This chat is open in {MAX_PAGES} windows already.",
            retryable=True,
            retry_after=PAGES_RETRY,
            fix="Close one of them.",
        )
