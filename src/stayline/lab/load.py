"""What the parent of a drill and its load generators say to each other, and the frame that both kinds share.

A load generator is a process of its own, so that its event loop distorts nobody's figures. It reads orders (one word
a line) from standard input and writes a :class:`LoadState` as a JSON line several times a second.
"""

import asyncio
import contextlib
import enum
import signal
import sys
from typing import Protocol

import msgspec

TELL_EVERY = 0.2
"""Seconds between two lines about the state."""

MAX_LINE = 1_048_576


class Order(enum.StrEnum):
    """What the parent may ask for."""

    MARK = "mark"
    """Begin to count anew: who is answered, who loses controls."""
    LEAVE = "leave"
    """Some customers write once more and go when that was acknowledged: nobody can send it again for them."""
    QUIET = "quiet"
    """Send nothing more; let everything settle."""
    FINISH = "finish"
    """Write the history and end."""


class LoadState(msgspec.Struct, kw_only=True):
    """How a load generator stands.

    Agents: ``there`` logged in, ``whole`` with full controls, ``chats`` owned, ``noticed`` lost some control since
    the last mark, ``sites`` agents by the site they are at, ``servers`` link -> server -> agents connected to it.
    Customers: ``there`` told that their chat stands, ``whole`` connected, ``answered`` asked and heard an agent since
    the last mark, ``left`` gone for good. Both: ``settled`` those of ``whole`` with nothing on its way, ``sent``
    messages, ``held`` the sum of the last sequence numbers of all chats, ``marks`` obeyed, ``problem`` what ended the
    work.
    """

    there: int = 0
    whole: int = 0
    settled: int = 0
    chats: int = 0
    noticed: int = 0
    answered: int = 0
    left: int = 0
    sent: int = 0
    held: int = 0
    marks: int = 0
    sites: dict[str, int] = {}
    servers: dict[str, dict[str, int]] = {}
    problem: str = ""


class Load(Protocol):
    """One kind of load: agents, or customers."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...

    def order(self, order: Order) -> None:
        """Take an order other than FINISH."""
        ...

    def state(self) -> LoadState:
        """How it stands."""
        ...

    async def finish(self) -> None:
        """Stop and write the history."""
        ...


async def run_load(load: Load) -> None:
    """Run a load generator until it is told to finish, or its parent is gone."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    reader = asyncio.StreamReader(limit=MAX_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    work = asyncio.create_task(load.run())
    obey = asyncio.create_task(_obey(load, reader, stopping))
    encoder = msgspec.json.Encoder()
    try:
        while not stopping.is_set():
            told = load.state()
            if work.done() and not work.cancelled() and work.exception() is not None:
                told.problem = repr(work.exception())
            sys.stdout.write(encoder.encode(told).decode() + "\n")
            sys.stdout.flush()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL_EVERY):
                    await stopping.wait()
    finally:
        obey.cancel()
        work.cancel()
        await asyncio.gather(work, obey, return_exceptions=True)
        await load.finish()


async def _obey(load: Load, reader: asyncio.StreamReader, stopping: asyncio.Event) -> None:
    while line := await reader.readline():
        order = Order(line.decode().strip())
        if order is Order.FINISH:
            break
        load.order(order)
    stopping.set()
