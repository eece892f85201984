"""A synthetic customer: speaks the customer protocol over a real WebSocket, with the widget's logic.

It keeps what it typed until a Chat Server has acknowledged it, resumes at any of the servers, shows entries in order,
and notes every fact that a checker needs to judge whether anything was lost, doubled or out of order.
"""

import asyncio
import random as random_module
import secrets
import time
from collections.abc import Callable, Sequence

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from stayline.servers.chat import protocol
from stayline.servers.chat.protocol import MAX_FRAME_BYTES

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 3.0
CONNECT_TIMEOUT = 4.0
PING_EVERY = 5.0
SILENCE = 5.0
"""Seconds, as in ``widget.js``."""


class Fact(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happened at this customer. ``kind``: typed, acked, shown, refused, connected, lost, started, resumed,
    reloaded, rewound, left, ended, gap. ``at`` is Unix seconds; ``seq`` and ``id`` as in the protocol."""

    kind: str
    at: float
    session: str
    id: str = ""
    seq: int = 0
    party: str = ""
    text: str = ""
    server: str = ""
    why: str = ""


class _Lost(Exception):
    """This connection is of no use any more. ``wait``: do not come back before (seconds)."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.why = why
        self.wait = wait


class Customer:
    """One customer with one chat. ``servers``: base addresses (``http://host:port``) of all Chat Servers."""

    def __init__(
        self,
        servers: Sequence[str],
        *,
        queue: str,
        name: str,
        email: str,
        subject: str = "",
        text: str = "",
        random: random_module.Random | None = None,
        trace: Callable[[Fact], None] | None = None,
    ) -> None:
        self.servers = list(servers)
        self.session = secrets.token_urlsafe(24)
        self.server = ""
        self.entries: list[protocol.EntrySeen] = []
        self.outbox: dict[str, str] = {}
        self.facts: list[Fact] = []
        self.refusals: list[protocol.Error] = []
        self.state: protocol.State | None = None
        self._secret = secrets.token_urlsafe(24)
        self._start = protocol.Start(
            session=self.session,
            secret=self._secret,
            queue=queue,
            name=name,
            email=email,
            subject=subject,
            id=secrets.token_urlsafe(12) if text else "",
            text=text,
        )
        self._random = random or random_module.Random()
        self._trace = trace
        self._started = False
        self._ready = False
        self._ending = False
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._lost_server = ""

    # -- what a customer does ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Begin the chat; does not wait for it."""
        if self._start.text:
            self.outbox[self._start.id] = self._start.text
            self._note("typed", id=self._start.id, text=self._start.text)
        self._task = asyncio.create_task(self._run(), name=f"customer-{self.session[:6]}")

    async def send(self, text: str) -> str:
        """Type a message and press Send; its id."""
        id_ = secrets.token_urlsafe(12)
        self.outbox[id_] = text
        self._note("typed", id=id_, text=text)
        if self._ready:
            await self._say(protocol.Send(id=id_, text=text))
        return id_

    async def typing(self) -> None:
        """Let the agent see that something is coming."""
        if self._ready:
            await self._say(protocol.Typing())

    async def end(self) -> None:
        """End the chat: as soon as there is a connection."""
        self._ending = True
        if self._ready:
            await self._say(protocol.End())

    async def close(self) -> None:
        """Close the page."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def leave(self) -> None:
        """Close the page and never come back."""
        await self.close()
        self._note("left")

    async def reload(self) -> None:
        """Reload the page: what is on the screen is gone, what storage keeps (ids, outbox) is not."""
        await self.close()
        self.entries.clear()
        self._note("reloaded")
        self._task = asyncio.create_task(self._run(), name=f"customer-{self.session[:6]}")

    # -- what can be waited for --------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether the chat stands and a Chat Server follows it."""
        return self._ready

    @property
    def started(self) -> bool:
        """Whether this customer was ever told that the chat stands."""
        return self._started

    @property
    def ended(self) -> bool:
        """Whether the end was shown."""
        return bool(self.entries) and self.entries[-1].kind == "ended"

    @property
    def texts(self) -> list[str]:
        """Messages shown, in order."""
        return [entry.text for entry in self.entries if entry.kind == "message"]

    async def until(self, condition: Callable[["Customer"], bool], timeout: float = 15.0) -> None:
        """Wait until ``condition`` holds; raises TimeoutError after ``timeout`` seconds."""
        async with asyncio.timeout(timeout), self._changed:
            await self._changed.wait_for(lambda: condition(self))

    async def acked(self, id_: str, timeout: float = 15.0) -> None:
        """Wait until a message is durable."""
        await self.until(lambda customer: id_ not in customer.outbox, timeout)

    # -- the connection: any server, for ever ------------------------------------------------------------------

    async def _run(self) -> None:
        rounds = 0
        wait = 0.0
        while not self.ended:
            if rounds or wait:
                longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** max(0, rounds - 1))
                await asyncio.sleep(max(wait, longest * self._random.uniform(0.5, 1.0)))
            wait = 0.0
            rounds += 1
            for server in self._order():
                was_ready = await self._visit(server)
                if self._over():
                    return
                if was_ready:
                    rounds, wait = 0, self._wait
                    break

    def _over(self) -> bool:
        return self.ended  # asked anew: it changed while we were at a server

    def _order(self) -> list[str]:
        servers = self._random.sample(self.servers, len(self.servers))
        if self._lost_server in servers:
            servers.remove(self._lost_server)
            servers.append(self._lost_server)
        return servers

    async def _visit(self, server: str) -> bool:
        """Stay at a server as long as it goes; whether the chat was served there."""
        self._wait = 0.0
        served = False
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT) as limit:
                async with connect(
                    server.replace("http", "ws", 1) + "/chat",
                    compression=None,
                    max_size=MAX_FRAME_BYTES * 4,
                    open_timeout=CONNECT_TIMEOUT,
                    close_timeout=0.5,
                    ping_interval=None,
                ) as socket:
                    limit.reschedule(None)
                    self._socket, self.server = socket, server
                    self._note("connected", server=server)
                    await self._talk(socket)
        except _Lost as error:
            self._wait = error.wait
            why = error.why
        except (OSError, TimeoutError, InvalidHandshake, InvalidMessage, ConnectionClosed) as error:
            why = f"{type(error).__name__}: {error}"
        else:
            why = "closed"
        finally:
            served = self._ready
            self._ready, self._socket = False, None
        if self.server == server:
            self._note("lost", server=server, why=why)
            self._lost_server, self.server = server, ""
        await self._tell()
        return served

    async def _talk(self, socket: ClientConnection) -> None:
        await self._introduce()
        while not self.ended:
            # Not asyncio.wait_for: in Python 3.11 it swallows a cancellation that comes together with a message.
            try:
                async with asyncio.timeout(PING_EVERY):
                    text = await socket.recv()
            except TimeoutError:
                await self._say(protocol.Ping())
                async with asyncio.timeout(SILENCE):
                    text = await socket.recv()
            await self._take(protocol.decode_answer(text))
            await self._tell()

    async def _introduce(self) -> None:
        if self._started:
            after, last = len(self.entries), self.entries[-1].id if self.entries else ""
            await self._say(
                protocol.Resume(session=self.session, secret=self._secret, after=after, last=last)
            )
        else:
            await self._say(msgspec.structs.replace(self._start, after=len(self.entries)))

    async def _say(self, message: protocol.FromCustomer) -> None:
        socket = self._socket
        if socket is None:
            return
        try:
            await socket.send(protocol.encode(message))
        except ConnectionClosed:
            return  # the reading side notices and reconnects

    # -- what the server says ----------------------------------------------------------------------------------

    async def _take(self, message: protocol.ToCustomer) -> None:
        match message:
            case protocol.Started() | protocol.Resumed():
                await self._served(message)
            case protocol.Ack():
                self._acked(message.id, message.seq)
            case protocol.EntrySeen():
                await self._show(message)
            case protocol.State():
                self.state = message
            case protocol.Error():
                await self._refused(message)
            case protocol.Leaving():
                raise _Lost(f"leaving: {message.why}", message.retry_after)
            case protocol.PartyTypes() | protocol.Pong():
                pass

    async def _served(self, message: protocol.Started | protocol.Resumed) -> None:
        self._note("resumed" if isinstance(message, protocol.Resumed) else "started", server=self.server)
        if isinstance(message, protocol.Resumed) and message.again:
            self._rewind()
        self._started = self._ready = True
        for id_, text in list(self.outbox.items()):
            await self._say(protocol.Send(id=id_, text=text))
        if self._ending:
            await self._say(protocol.End())

    def _rewind(self) -> None:
        """What is shown is not the transcript any more: all of it follows, and what was typed here is sent again."""
        own = {one.id: one.text for one in self.entries if one.party == "customer" and one.kind == "message"}
        self.outbox = own | self.outbox
        self.entries.clear()
        self._note("rewound")

    def _acked(self, id_: str, seq: int) -> None:
        if self.outbox.pop(id_, None) is not None:
            self._note("acked", id=id_, seq=seq)

    async def _show(self, entry: protocol.EntrySeen) -> None:
        held = len(self.entries)
        if entry.seq <= held:
            return
        if entry.seq > held + 1:
            self._note("gap", seq=entry.seq, why=f"{held + 1} was expected")
            await self._introduce()
            return
        self.entries.append(entry)
        self._note("shown", id=entry.id, seq=entry.seq, party=entry.party, text=entry.text)
        if entry.party == "customer":
            self._acked(entry.id, entry.seq)
        if entry.kind == "ended":
            self._note("ended", seq=entry.seq, why=entry.party)

    async def _refused(self, error: protocol.Error) -> None:
        self._note("refused", id=error.id, why=f"{error.code}: {error.reason}")
        self.refusals.append(error)
        if error.of == "send" and error.id in self.outbox and not error.retryable:
            del self.outbox[error.id]
        elif error.retryable:
            # The same again, here: after the time asked for, with everything that is still unacknowledged.
            await asyncio.sleep(max(error.retry_after, 0.3) * self._random.uniform(1.0, 1.5))
            if error.of == "send" and error.id in self.outbox:
                await self._say(protocol.Send(id=error.id, text=self.outbox[error.id]))
            elif not self._ready:
                await self._introduce()
        elif error.code == "chat.not_started" and error.of == "resume":
            self._started = False
            await self._introduce()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _note(
        self,
        kind: str,
        *,
        id: str = "",
        seq: int = 0,
        party: str = "",
        text: str = "",
        server: str = "",
        why: str = "",
    ) -> None:
        fact = Fact(kind, time.time(), self.session, id, seq, party, text, server, why)
        self.facts.append(fact)
        if self._trace is not None:
            self._trace(fact)
