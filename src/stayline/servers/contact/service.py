"""The Contact Server's work while it is primary: contacts, history, transcripts, and who follows which chat.

Nothing is told to anybody before it is committed: answers and events come after the batch that holds them.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

import asyncpg
import msgspec

from stayline.domain.errors import Refusal, RefusedError, StaylineError, refuse
from stayline.domain.objects import ApplicationType
from stayline.link.messages import contact as messages
from stayline.link.messages.contact import ChatState, Entry, EntryKind, Party, Signal
from stayline.link.messages.control import Report
from stayline.link.messages.envelope import Identity
from stayline.link.messages.interaction import ChannelOpen, RestoreChannels, RestoredChannel, RestoredChannels
from stayline.link.peer import Peer, Request, read, unknown_method
from stayline.servers.contact.batch import Outcome, Settled, Submitted, Work, check_append, store_batch
from stayline.servers.contact.presence import Presence
from stayline.servers.contact.settlement import Settlement
from stayline.servers.contact.subscriptions import Subscriptions
from stayline.servers.core import CoreServer
from stayline.store.contact import Change, candidate, find_contact, read_contact
from stayline.store.contact_history import read_history
from stayline.store.database import open_pool
from stayline.store.election import Term
from stayline.store.transcript import Connection, Stamp, Stored, read_entries
from stayline.store.transcript_session import open_sessions, read_session, resume_session, unsettled_sessions
from stayline.store.writer import GroupWriter

MAX_TEXT = 4_000
"""Characters of one message."""

ENDED_ID = "ended"
"""Id of the entry that ends a session: whoever writes it first has ended it, a second one is a duplicate."""

READERS = 4
"""Database connections for reading; writing has its own."""

TICK = 0.25
"""Seconds between two looks at absences and unsettled ends."""

T = TypeVar("T")


class Caller(NamedTuple):
    """Who asks: a server (``identity`` None) or a person behind a proxy. ``tenant`` "" is any."""

    peer: Peer
    identity: Identity | None
    key: str

    @property
    def tenant(self) -> str:
        """The tenant that this caller is limited to."""
        return self.identity.tenant if self.identity else ""


class Method(NamedTuple):
    """One request: its parameters, what does it, and whether persons may call it."""

    parameters: type[Any]
    call: Callable[[Any, Caller], Awaitable[object]]
    persons: bool


class ContactService:
    """See :class:`stayline.servers.core.CoreService`."""

    def __init__(self, core: CoreServer) -> None:
        self._core = core
        self._log = core.log
        self._follow = Subscriptions()
        self._presence = Presence()
        self._settlement = Settlement()
        self._identities: dict[tuple[Peer, int], Identity] = {}
        self._chat_servers: dict[Peer, None] = {}
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._writer: GroupWriter[Work, Outcome] | None = None
        self._tick: asyncio.Task[None] | None = None
        self._fence_watch: asyncio.Task[None] | None = None
        self._methods = self._method_table()

    def _method_table(self) -> dict[str, Method]:
        return {
            "contact.identify": Method(messages.Identify, self._identify, True),
            "contact.get": Method(messages.GetContact, self._get_contact, True),
            "contact.update": Method(messages.UpdateContact, self._update_contact, True),
            "history.list": Method(messages.GetHistory, self._history, True),
            "transcript.get": Method(messages.GetTranscript, self._transcript, True),
            "chat.create": Method(messages.CreateChat, self._create, False),
            "chat.submitted": Method(messages.ChatSubmitted, self._submitted, False),
            "chat.settled": Method(messages.ChatSettled, self._settled, False),
            "chat.resume": Method(messages.ResumeChat, self._resume, False),
            "chat.append": Method(messages.Append, self._append, False),
            "chat.subscribe": Method(messages.Subscribe, self._subscribe, False),
            "chat.unsubscribe": Method(messages.Unsubscribe, self._unsubscribe, False),
            "channels.restore": Method(RestoreChannels, self._restore_channels, False),
        }

    # -- the role --------------------------------------------------------------------------------------------

    async def begin(self, term: Term) -> None:
        """Load what must be watched; open the writer."""
        process = self._core.process
        dsn = process.bootstrap.database_dsn
        self._pool = await open_pool(dsn, process.instance, READERS)
        self._writer = await self._open_writer(dsn, term)
        async with self._pool.acquire() as connection:
            alive = await open_sessions(connection)
            owed = await unsettled_sessions(connection)
        now = time.monotonic()
        self._presence.open(alive, now)
        self._settlement.owe(owed, now)
        self._log.info("contact.loaded", open=len(alive), unsettled=len(owed), why="takeover")
        self._tick = asyncio.create_task(self._run_ticks(), name="contact-ticks")

    async def end(self, why: str) -> None:
        """Stop at once; what waits stays unanswered and is asked again elsewhere."""
        tasks = [task for task in (self._tick, self._fence_watch) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._writer is not None:
            await self._writer.close()
        if self._pool is not None:
            self._pool.terminate()

    def describe(self, report: Report) -> Report:
        """Open chats, and ends that the Interaction Server was not told yet."""
        counts = {"chats": self._presence.open_count, "unsettled": len(self._settlement)}
        return msgspec.structs.replace(report, interactions=counts)

    # -- links -----------------------------------------------------------------------------------------------

    def on_open(self, peer: Peer) -> None:
        """Remember which links are Chat Servers: they settle ends."""
        if peer.hello.type == ApplicationType.CHAT_SERVER:
            self._chat_servers[peer] = None

    def on_closed(self, peer: Peer, why: str) -> None:
        """Its customers are not here any more, as far as we know."""
        self._follow.lost(peer)
        self._chat_servers.pop(peer, None)
        for key in [key for key in self._identities if key[0] is peer]:
            del self._identities[key]
        for session in self._presence.lost(peer, time.monotonic()):
            self._tell_presence(session, present=False)

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        """Signals of Chat Servers; channels of proxies."""
        if name == "channel.open":
            self._identities[peer, channel] = read(payload, ChannelOpen, name).identity
        elif name == "channel.close":
            self._identities.pop((peer, channel), None)
        elif name == "chat.signal" and peer in self._chat_servers:
            self._signal(peer, read(payload, Signal, name))

    async def on_request(self, peer: Peer, request: Request) -> object:
        """Check who asks, decode, do."""
        method = self._methods.get(request.method)
        if method is None:
            raise unknown_method(request.method)
        caller = Caller(peer, self._identity(peer, request.channel), request.key)
        if caller.identity is not None and not method.persons:
            raise refuse("method.forbidden", f"{request.method} is for servers, not for persons.")
        return await method.call(request.read(method.parameters), caller)

    def _identity(self, peer: Peer, channel: int) -> Identity | None:
        if channel == 0:
            return None
        identity = self._identities.get((peer, channel))
        if identity is None:
            raise refuse("channel.unknown", f"Channel {channel} was not opened on this link.", retryable=True)
        return identity

    async def _restore_channels(self, request: RestoreChannels, caller: Caller) -> RestoredChannels:
        """A proxy that kept its clients through a takeover names them again."""
        for channel in request.channels:
            self._identities[caller.peer, channel.channel] = channel.identity
        return RestoredChannels(channels=[RestoredChannel(channel=item.channel) for item in request.channels])

    # -- contacts --------------------------------------------------------------------------------------------

    async def _identify(self, request: messages.Identify, caller: Caller) -> messages.Identified:
        if caller.tenant and caller.tenant != request.tenant:
            raise refuse("tenant.foreign", f"You belong to tenant {caller.tenant}.", field="tenant")
        one = candidate(request, uuid.uuid4().hex)
        async with self._reader() as connection:
            found = await find_contact(connection, one)
        if found is not None:
            return found
        if not request.create:
            return messages.Identified(contact=None)
        return await self._write(one, messages.Identified)

    async def _get_contact(self, request: messages.GetContact, caller: Caller) -> messages.Contact:
        async with self._reader() as connection:
            return _granted(await read_contact(connection, request.contact, caller.tenant))

    async def _update_contact(self, request: messages.UpdateContact, caller: Caller) -> messages.Contact:
        return await self._write(Change(request, caller.key, caller.tenant), messages.Contact)

    async def _history(self, request: messages.GetHistory, caller: Caller) -> messages.History:
        async with self._reader() as connection:
            return await read_history(connection, request, caller.tenant)

    # -- chats -----------------------------------------------------------------------------------------------

    async def _transcript(self, request: messages.GetTranscript, caller: Caller) -> messages.Transcript:
        async with self._reader() as connection:
            # Entries first: what is committed between the two reads makes last_seq larger, never smaller.
            entries, more = await read_entries(connection, request)
            state = _granted(await read_session(connection, request.session))
        if caller.tenant and state.tenant != caller.tenant:
            raise refuse("chat.unknown", f"There is no chat session {request.session}.")
        present = self._presence.is_present(request.session)
        return messages.Transcript(state=state, entries=entries, more=more, customer_present=present)

    async def _create(self, request: messages.CreateChat, caller: Caller) -> ChatState:
        state = await self._write(request, ChatState)
        if not state.ended:
            self._presence.open([state.session], time.monotonic())
        return state

    async def _submitted(self, request: messages.ChatSubmitted, caller: Caller) -> ChatState:
        state = await self._write(Submitted(request.session), ChatState)
        if state.ended:
            self._settlement.owe([state], time.monotonic())
        return state

    async def _settled(self, request: messages.ChatSettled, caller: Caller) -> ChatState:
        state = await self._write(Settled(request.session), ChatState)
        self._settlement.settled(request.session)
        return state

    async def _resume(self, request: messages.ResumeChat, caller: Caller) -> ChatState:
        async with self._reader() as connection:
            return _granted(await resume_session(connection, request.session, request.secret_hash))

    async def _append(self, request: messages.Append, caller: Caller) -> messages.Appended:
        refusal = check_append(request, MAX_TEXT)
        if refusal is not None:
            raise RefusedError(refusal)
        stored = await self._store(request)
        if stored.ended:
            await self._ask_to_settle(request.session, caller.peer)
        return stored.answer

    async def _subscribe(self, request: messages.Subscribe, caller: Caller) -> messages.Transcript:
        # Before reading: what is committed from here on is sent as an event, so nothing falls between.
        self._follow.add(request.session, caller.peer)
        try:
            read = messages.GetTranscript(session=request.session, after=request.after)
            return await self._transcript(read, caller)
        except StaylineError:
            self._follow.remove(request.session, caller.peer)
            raise

    async def _unsubscribe(self, request: messages.Unsubscribe, caller: Caller) -> None:
        self._follow.remove(request.session, caller.peer)

    async def _store(self, append: messages.Append) -> Stored:
        stored = await self._write(append, Stored)
        if not stored.answer.duplicate:
            self._follow.publish(append.session, stored.entry)
        if stored.ended:
            self._presence.ended(append.session)
        return stored

    def _signal(self, peer: Peer, signal: Signal) -> None:
        if signal.party is Party.CUSTOMER and signal.kind in ("present", "away"):
            present = signal.kind == "present"
            if self._presence.signal(signal.session, peer, present, time.monotonic()):
                self._tell_presence(signal.session, present=present)
        else:
            self._follow.signal(signal, peer)

    def _tell_presence(self, session: str, *, present: bool) -> None:
        kind = "present" if present else "away"
        self._follow.signal(Signal(session=session, party=Party.CUSTOMER, kind=kind))

    # -- what happens by itself ------------------------------------------------------------------------------

    async def _run_ticks(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            try:
                await self._end_absent()
            except StaylineError as error:
                self._log.warning("contact.tick", why=error.refusal.reason)
            self._settle_due()

    async def _end_absent(self) -> None:
        timeout = self._disconnect_timeout()
        for session in self._presence.due(timeout, time.monotonic())[:200]:
            entry = Entry(
                id=ENDED_ID,
                kind=EntryKind.ENDED,
                party=Party.SYSTEM,
                name="",
                text="The customer has been away for too long.",
            )
            self._log.info("chat.end", session=session, why=f"customer absent for {timeout:g} s")
            stored = await self._store(messages.Append(session=session, entry=entry))
            self._presence.ended(session)
            if stored.ended:
                await self._ask_to_settle(session, None)

    def _disconnect_timeout(self) -> float:
        own = self._core.process.configuration.snapshot.application(self._core.process.name)
        return float(own.option("settings", "flex-disconnect-timeout", "45"))

    async def _ask_to_settle(self, session: str, prefer: Peer | None) -> None:
        """Prefer the Chat Server that ended it: it has the session at hand."""
        async with self._reader() as connection:
            state = _granted(await read_session(connection, session))
        now = time.monotonic()
        self._settlement.owe([state], now)
        if prefer is not None and prefer in self._chat_servers:
            self._settlement.asked(session, now)
            prefer.event("chat.settle", messages.Settle(state=state))

    def _settle_due(self) -> None:
        now = time.monotonic()
        for state in self._settlement.due(now):
            if not self._chat_servers:
                return
            peer = next(iter(self._chat_servers))
            # To the end of the order: the next one is asked next.
            del self._chat_servers[peer]
            self._chat_servers[peer] = None
            self._settlement.asked(state.session, now)
            peer.event("chat.settle", messages.Settle(state=state))

    # -- the database ----------------------------------------------------------------------------------------

    async def _open_writer(self, dsn: str, term: Term) -> GroupWriter[Work, Outcome]:
        async def apply(connection: Connection, work: list[Work]) -> list[Outcome | Refusal]:
            return await store_batch(connection, work, Stamp(term.epoch, term.term, time.time()))

        writer = GroupWriter[Work, Outcome](dsn, term, apply, instance=self._core.process.instance)
        await writer.open()
        self._fence_watch = asyncio.create_task(self._watch_fence(writer), name="contact-fence")
        return writer

    async def _watch_fence(self, writer: GroupWriter[Work, Outcome]) -> None:
        await writer.fenced.wait()
        self._core.step_down(f"it cannot write any more: {writer.why}")

    def _reader(self) -> Any:
        if self._pool is None:
            raise refuse("core.not_primary", "This Contact Server is not primary.", retryable=True)
        return self._pool.acquire(timeout=5.0)

    async def _write(self, work: Work, result: type[T]) -> T:
        if self._writer is None:
            raise refuse("core.not_primary", "This Contact Server is not primary.", retryable=True)
        outcome = await self._writer.submit(work)
        if not isinstance(outcome, result):
            raise TypeError(f"expected {result.__name__}, stored {type(outcome).__name__}")
        return outcome


def _granted(outcome: T | Refusal) -> T:
    if isinstance(outcome, Refusal):
        raise RefusedError(outcome)
    return outcome
