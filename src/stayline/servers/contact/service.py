"""The Contact Server's work while it is primary: contacts, history, transcripts, and who follows which chat.

Nothing is told to anybody before it is committed: answers and events come after the batch that holds them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from stayline.domain.errors import RefusedError, StaylineError, refuse
from stayline.domain.objects import ApplicationType
from stayline.link.messages import contact as messages
from stayline.link.messages.contact import ChatState, Entry, EntryKind, Party, Signal
from stayline.link.messages.control import Report
from stayline.link.messages.envelope import Identity
from stayline.link.messages.interaction import ChannelOpen, RestoreChannels, RestoredChannel, RestoredChannels
from stayline.link.peer import Peer, Request, read, unknown_method
from stayline.servers.contact.batch import Prune, Pruned, Settled, Submitted, check_append
from stayline.servers.contact.books import Books, granted
from stayline.servers.contact.contacts import Caller, Contacts
from stayline.servers.contact.permission import PROXY, may_call
from stayline.servers.contact.presence import Presence
from stayline.servers.contact.settlement import Settlement
from stayline.servers.contact.subscriptions import Subscriptions
from stayline.servers.core import CoreServer
from stayline.store.contact_result import PRUNE_ROWS, RESULT_SECONDS
from stayline.store.election import Term
from stayline.store.transcript import Stored, read_entries
from stayline.store.transcript_session import open_sessions, read_session, resume_session, unsettled_sessions

MAX_TEXT = 16_000
"""Characters of one message, whatever limit a Chat Server is configured with (``max-message-length``)."""

ENDED_ID = "ended"
"""Id of the entry that ends a session: whoever writes it first has ended it, a second one is a duplicate."""

PRUNE_SECONDS = 60.0
"""Seconds between two removals of recorded answers that are too old to be asked for."""

TICK = 0.25
"""Seconds between two looks at absences and unsettled ends."""


class Method(NamedTuple):
    """One request: its parameters, and what does it."""

    parameters: type[Any]
    call: Callable[[Any, Caller], Awaitable[object]]


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
        process = core.process
        self._books = Books(process.bootstrap.database_dsn, process.instance, core.step_down)
        self._contacts = Contacts(self._books)
        self._running: list[asyncio.Task[None]] = []
        self._methods = self._method_table()

    def _method_table(self) -> dict[str, Method]:
        return {
            "contact.identify": Method(messages.Identify, self._contacts.identify),
            "contact.get": Method(messages.GetContact, self._contacts.get),
            "contact.update": Method(messages.UpdateContact, self._contacts.update),
            "history.list": Method(messages.GetHistory, self._contacts.history),
            "transcript.get": Method(messages.GetTranscript, self._transcript),
            "chat.create": Method(messages.CreateChat, self._create),
            "chat.submitted": Method(messages.ChatSubmitted, self._submitted),
            "chat.settled": Method(messages.ChatSettled, self._settled),
            "chat.resume": Method(messages.ResumeChat, self._resume),
            "chat.append": Method(messages.Append, self._append),
            "chat.subscribe": Method(messages.Subscribe, self._subscribe),
            "chat.unsubscribe": Method(messages.Unsubscribe, self._unsubscribe),
            "channels.restore": Method(RestoreChannels, self._restore_channels),
        }

    # -- the role --------------------------------------------------------------------------------------------

    async def begin(self, term: Term) -> None:
        """Load what must be watched; open the writer."""
        await self._books.open(term)
        async with self._books.reader() as connection:
            alive = await open_sessions(connection)
            owed = await unsettled_sessions(connection)
        now = time.monotonic()
        self._presence.open(alive, now)
        self._settlement.owe(owed, now)
        self._log.info("contact.loaded", open=len(alive), unsettled=len(owed), why="takeover")
        self._running = [
            self._core.guard(asyncio.create_task(self._run_ticks(), name="contact-ticks")),
            self._core.guard(asyncio.create_task(self._prune_for_ever(), name="contact-prune")),
        ]

    async def end(self, why: str) -> None:
        """Stop at once; what waits stays unanswered and is asked again elsewhere."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._books.close()

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
        if name == "channel.open" and peer.hello.type == PROXY:
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
        refusal = may_call(request.method, peer.hello.type, caller.identity)
        if refusal is not None:
            raise RefusedError(refusal)
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

    # -- chats -----------------------------------------------------------------------------------------------

    async def _transcript(self, request: messages.GetTranscript, caller: Caller) -> messages.Transcript:
        async with self._books.reader() as connection:
            # Entries first: what is committed between the two reads makes last_seq larger, never smaller.
            entries, more = await read_entries(connection, request)
            state = granted(await read_session(connection, request.session))
        if caller.tenant and state.tenant != caller.tenant:
            raise refuse("chat.unknown", f"There is no chat session {request.session}.")
        present = self._presence.is_present(request.session)
        return messages.Transcript(state=state, entries=entries, more=more, customer_present=present)

    async def _create(self, request: messages.CreateChat, caller: Caller) -> ChatState:
        state = await self._books.write(request, ChatState)
        if not state.ended:
            self._presence.open([state.session], time.monotonic())
        return state

    async def _submitted(self, request: messages.ChatSubmitted, caller: Caller) -> ChatState:
        state = await self._books.write(Submitted(request.session), ChatState)
        if state.ended:
            self._settlement.owe([state], time.monotonic())
        return state

    async def _settled(self, request: messages.ChatSettled, caller: Caller) -> ChatState:
        state = await self._books.write(Settled(request.session), ChatState)
        self._settlement.settled(request.session)
        return state

    async def _resume(self, request: messages.ResumeChat, caller: Caller) -> ChatState:
        async with self._books.reader() as connection:
            return granted(await resume_session(connection, request.session, request.secret_hash))

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
        stored = await self._books.write(append, Stored)
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

    async def _prune_for_ever(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_SECONDS)
            try:
                await self._prune(Prune(time.time() - RESULT_SECONDS))
            except RefusedError as error:
                # Busy: the next round prunes them. Fenced: the term is over.
                self._log.info("contact.not_pruned", why=error.refusal.reason)

    async def _prune(self, item: Prune) -> None:
        """All that is old, a little at a time."""
        while (await self._books.write(item, Pruned)).rows == PRUNE_ROWS:
            continue

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
        async with self._books.reader() as connection:
            state = granted(await read_session(connection, session))
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
