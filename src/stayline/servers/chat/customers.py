"""A customer's page at this Chat Server: one WebSocket, one session.

Reading, working and showing are three tasks, so that a page that goes away is noticed while its message still waits
for the Contact Server, and a message that waits does not hold up what others write.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError, StaylineError, refuse
from stayline.link.messages.contact import Appended, ChatState, Entry, EntryKind, Party, Signal
from stayline.link.rate import TokenBucket
from stayline.servers.chat import protocol
from stayline.servers.chat.beginning import Beginning, customer_message
from stayline.servers.chat.parties import ended
from stayline.servers.chat.sessions import HeldSession, Sessions
from stayline.servers.chat.starts import StartLimit

log = structlog.get_logger(__name__)

WAITING_MESSAGES = 64
"""Requests of one page that wait for the one before; no more are read until there is room."""

MAX_MALFORMED = 5
"""Malformed messages after which a page is hung up on."""

APPEND_PAUSE = 0.5
"""Seconds until a message is tried again that could not be stored for now."""

HELLO_SECONDS = 10.0
"""How long a connection may stay without starting or resuming a chat."""


class Channel(Protocol):
    """The WebSocket, as far as it is needed here. ``receive`` gives None when the page is gone."""

    async def receive(self) -> str | None:
        """The next text message."""

    async def send(self, text: str) -> None:
        """Send a text message; without effect when the page is gone."""

    async def close(self, code: int, why: str) -> None:
        """Hang up."""


class Services(NamedTuple):
    """What the connections share. ``max_text``, ``rate`` (messages a second) and ``starts_per_minute`` are options,
    read when needed."""

    sessions: Sessions
    beginning: Beginning
    max_text: Callable[[], int]
    rate: Callable[[], float]
    delayed: Callable[[], bool]
    opened: Callable[[HeldSession], None]
    starts: StartLimit
    starts_per_minute: Callable[[], int]


class CustomerConnection:
    """One page."""

    is_customer = True

    def __init__(self, channel: Channel, services: Services, source: str) -> None:
        """``source``: the address that its start of a chat counts for (:func:`starts.source_of`)."""
        self._channel = channel
        self._services = services
        self._source = source
        self._counted = ""
        self._work: asyncio.Queue[protocol.FromCustomer] = asyncio.Queue(WAITING_MESSAGES)
        self._news = asyncio.Event()
        self._typing: str | None = None
        self._held: HeldSession | None = None
        self._opened = False
        self._name = ""
        self._shown = 0
        self._told: protocol.State | None = None
        self._malformed = 0
        self._hello: asyncio.Timeout | None = None
        rate = services.rate()
        self._bucket = TokenBucket(rate, max(20, int(4 * rate)), asyncio.get_running_loop().time())

    async def serve(self) -> None:
        """Until the page is gone."""
        tasks = [
            asyncio.create_task(self._read(), name="customer-read"),
            asyncio.create_task(self._do(), name="customer-work"),
            asyncio.create_task(self._show(), name="customer-show"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            if self._held is not None:
                self._services.sessions.leave(self._held, self)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def leave(self, why: str, retry_after: float) -> None:
        """This server is going: the page shall resume elsewhere."""
        await self._say(protocol.Leaving(why=why, retry_after=retry_after))
        await self._channel.close(1012, why)

    # -- as a watcher of the session ---------------------------------------------------------------------------

    def changed(self, session: HeldSession) -> None:
        """There is something new to show."""
        self._news.set()

    def signalled(self, signal: Signal) -> None:
        """An agent types. Only the last one counts."""
        if signal.party is Party.AGENT and signal.kind == "typing":
            self._typing = signal.name
            self._news.set()

    def refresh(self) -> None:
        """The state of the server's links changed."""
        self._news.set()

    # -- reading -----------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(HELLO_SECONDS) as self._hello:
                while (text := await self._channel.receive()) is not None:
                    if await self._take(text):
                        self._hello.reschedule(None)
        except TimeoutError:
            await self._channel.close(1008, "no chat was started or resumed")

    async def _take(self, text: str) -> bool:
        """One message of the page; whether it was a start or a resume."""
        # Who sends too fast is read more slowly. A refusal would let a later message overtake this one.
        wait = self._bucket.take(asyncio.get_running_loop().time())
        if wait > 0:
            await asyncio.sleep(wait)
        try:
            message = protocol.decode(text)
        except RefusedError as error:
            await self._refuse_malformed(error.refusal)
            return False
        if isinstance(message, protocol.Ping):
            await self._say(protocol.Pong())
        elif isinstance(message, protocol.Typing):
            if self._held is not None:
                self._services.sessions.typing(self._held, self, Party.CUSTOMER, self._name)
        else:
            await self._work.put(message)
        return isinstance(message, protocol.Start | protocol.Resume)

    async def _refuse_malformed(self, refusal: Refusal) -> None:
        await self._say(protocol.error_of(refusal, ""))
        self._malformed += 1
        if self._malformed >= MAX_MALFORMED:
            await self._channel.close(1008, "too many malformed messages")

    # -- working -----------------------------------------------------------------------------------------------

    async def _do(self) -> None:
        while True:
            message = await self._work.get()
            try:
                await self._handle(message)
            except StaylineError as error:
                retryable = error.refusal.retryable or isinstance(error, LinkLostError)
                refusal = error.refusal
                log.info("customer.refused", of=type(message).__name__, code=refusal.code, why=refusal.reason)
                await self._refuse(message, refusal, retryable=retryable)
                self._wait_for_hello(refusal.retry_after or 0.0)

    def _wait_for_hello(self, pause: float) -> None:
        """Without a chat after all: the page may try again after ``pause`` (it takes up to half as long again), but
        not stay for ever."""
        if self._held is None and self._hello is not None and not self._hello.expired():
            self._hello.reschedule(asyncio.get_running_loop().time() + HELLO_SECONDS + 2 * pause)

    async def _handle(self, message: protocol.FromCustomer) -> None:
        match message:
            case protocol.Start():
                await self._begin(message)
            case protocol.Resume():
                await self._resume(message)
            case protocol.Send():
                await self._send(message)
            case protocol.End():
                await self._end()

    async def _begin(self, start: protocol.Start) -> None:
        self._check_alone(start.session)
        self._check_length(start.text)
        state = await self._services.beginning.begin(start, lambda: self._count(start.session))
        await self._say(protocol.Started(session=start.session))
        await self._hold(state)
        self._open(state, start.after)

    def _count(self, session: str) -> None:
        """Count a new chat for its source, once however often this page repeats its start."""
        if self._counted == session:
            return
        now = asyncio.get_running_loop().time()
        self._services.starts.take(self._source, self._services.starts_per_minute(), now)
        self._counted = session

    async def _resume(self, resume: protocol.Resume) -> None:
        self._check_alone(resume.session)
        state = await self._services.beginning.resume(resume.session, resume.secret)
        if not state.submitted and not state.ended:
            # Begun, but never brought to the agents: the page must repeat its start.
            raise refuse("chat.not_started", "The chat was not started completely.", fix="Send start again.")
        await self._hold(state)
        goes_on = await self._services.sessions.continues(self._session(), resume.after, resume.last)
        await self._say(protocol.Resumed(session=resume.session, last=state.last_seq, again=not goes_on))
        self._open(state, resume.after if goes_on else 0)

    def _check_alone(self, session: str) -> None:
        if self._held is not None and self._held.id != session:
            raise refuse("chat.other", "This connection has another chat already.")

    async def _hold(self, state: ChatState) -> None:
        """Hold the session; nothing of it is shown before :meth:`_open` says from where on."""
        if self._held is None:
            self._opened = False
            self._held = await self._services.sessions.watch(state.session, self)
            self._services.opened(self._held)

    def _open(self, state: ChatState, after: int) -> None:
        self._name = state.customer
        self._opened = True
        self._shown = min(after, self._session().transcript.last)
        self._told = None
        self._news.set()

    async def _send(self, send: protocol.Send) -> None:
        held = self._session()
        self._check_length(send.text)
        entry = customer_message(send.id, send.text, self._name)
        stored = await self._append(held.id, entry)
        await self._say(protocol.Ack(id=send.id, seq=stored.seq, at=stored.at))

    async def _end(self) -> None:
        held = self._session()
        if not held.transcript.ended:
            await self._append(held.id, ended(Party.CUSTOMER, self._name))

    async def _append(self, session: str, entry: Entry) -> Appended:
        """Store an entry, however long the Contact Server is away: later ones of this page must not overtake it."""
        while True:
            try:
                return await self._services.sessions.append(session, entry)
            except StaylineError as error:
                if not (error.refusal.retryable or isinstance(error, LinkLostError)):
                    raise
                log.info("customer.waits", session=session, why=error.refusal.reason)
                await asyncio.sleep(error.refusal.retry_after or APPEND_PAUSE)

    def _session(self) -> HeldSession:
        if self._held is None:
            raise refuse(
                "chat.not_started", "There is no chat on this connection.", fix="Send start or resume."
            )
        return self._held

    def _check_length(self, text: str) -> None:
        limit = self._services.max_text()
        if len(text) > limit:
            raise refuse("chat.too_long", f"A message has at most {limit} characters.", field="text")

    # -- showing -----------------------------------------------------------------------------------------------

    async def _show(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            if self._held is not None and self._opened:
                await self._show_entries(self._held)
                await self._show_state(self._held)
            typing, self._typing = self._typing, None
            if typing is not None:
                await self._say(protocol.PartyTypes(name=typing))

    async def _show_entries(self, held: HeldSession) -> None:
        for entry in held.transcript.after(self._shown):
            await self._say(protocol.entry_seen(entry))
            self._shown = entry.seq
            if entry.kind is EntryKind.MESSAGE and entry.party is Party.AGENT:
                self._typing = None  # what was being typed is here

    async def _show_state(self, held: HeldSession) -> None:
        state = protocol.State(
            agents=held.transcript.parties.names,
            ended=held.transcript.ended,
            delayed=self._services.delayed(),
        )
        if state != self._told:
            self._told = state
            await self._say(state)

    async def _refuse(
        self, message: protocol.FromCustomer, refusal: Refusal, *, retryable: bool | None = None
    ) -> None:
        of = type(message).__name__.lower()
        error = protocol.error_of(refusal, of, message.id if isinstance(message, protocol.Send) else "")
        if retryable is not None:
            error.retryable = retryable
        await self._say(error)

    async def _say(self, message: protocol.ToCustomer) -> None:
        with contextlib.suppress(ConnectionError):
            await self._channel.send(protocol.encode(message))
