"""The customers of a drill: each has one chat over a real WebSocket and writes every few seconds."""

import asyncio
import random as random_module
from pathlib import Path

from stayline.lab.crowd import QUEUES
from stayline.lab.customer import Customer
from stayline.lab.history import CUSTOMERS_FILE, write_facts
from stayline.lab.layout import chat_addresses, read_layout
from stayline.lab.load import LoadState, Order

LEAVERS = 6
"""One in so many customers leaves when told to."""

PAUSE = 5.0
"""Seconds between two messages of a customer, on average."""

_SPREAD = 0.2
"""A pause is longer or shorter by at most this share."""

STARTS_PER_SECOND = 25.0


class CustomerLoad:
    """``count`` customers who write every ``pause`` seconds; facts are written to ``folder`` at the end."""

    def __init__(self, state: Path, folder: Path, count: int, pause: float = PAUSE) -> None:
        layout = read_layout(state)
        self._path = folder / CUSTOMERS_FILE
        self._quiet = asyncio.Event()
        self._leave = asyncio.Event()
        self._left: set[int] = set()
        self._pause = (pause * (1 - _SPREAD), pause * (1 + _SPREAD))
        self._random = random_module.Random(count)
        self._sent = 0
        servers = chat_addresses(layout)
        self.customers = [
            Customer(
                servers,
                queue=QUEUES[number % len(QUEUES)],
                name=f"Customer {number + 1}",
                email=f"drill{number + 1}@example.org",
                subject="A drill",
                text=f"customer {number + 1} asks #0",
                random=random_module.Random(number),
            )
            for number in range(count)
        ]
        self._marks = [0] * count
        self._obeyed = 0

    async def run(self) -> None:
        """Everybody comes, one after the other, and goes on writing."""
        async with asyncio.TaskGroup() as group:
            for number, customer in enumerate(self.customers):
                await customer.open()
                self._sent += 1
                work = group.create_task(self._talk(number, customer))
                if number % LEAVERS == 0:
                    group.create_task(self._go(number, customer, work))
                await asyncio.sleep(1.0 / STARTS_PER_SECOND)

    async def _talk(self, number: int, customer: Customer) -> None:
        said = 0
        while not customer.ended:
            try:
                async with asyncio.timeout(self._random.uniform(*self._pause)):
                    await self._quiet.wait()
            except TimeoutError:
                said += 1
                self._sent += 1
                await customer.send(f"customer {number + 1} asks #{said}")
            else:
                return

    async def _go(self, number: int, customer: Customer, work: asyncio.Task[None]) -> None:
        """Leave when told to."""
        await self._leave.wait()
        work.cancel()
        self._sent += 1
        last = await customer.send(f"customer {number + 1} says goodbye")
        await customer.acked(last)
        await customer.leave()
        self._left.add(number)

    def order(self, order: Order) -> None:
        """MARK, LEAVE and QUIET."""
        if order is Order.QUIET:
            self._quiet.set()
        elif order is Order.LEAVE:
            self._leave.set()
        elif order is Order.MARK:
            self._marks = [len(customer.entries) for customer in self.customers]
            self._obeyed += 1

    def state(self) -> LoadState:
        """See :class:`~stayline.lab.load.LoadState`."""
        return LoadState(
            there=sum(customer.started for customer in self.customers),
            whole=sum(customer.is_ready for customer in self.customers),
            settled=sum(customer.is_ready and not customer.outbox for customer in self.customers),
            marks=self._obeyed,
            left=len(self._left),
            answered=sum(map(self._answered, range(len(self.customers)))),
            sent=self._sent,
            held=sum(len(customer.entries) for customer in self.customers),
        )

    def _answered(self, number: int) -> bool:
        """Whether the customer asked and was answered since the mark."""
        new = self.customers[number].entries[self._marks[number] :]
        asked = next((place for place, entry in enumerate(new) if entry.party == "customer"), len(new))
        return any(entry.party == "agent" and entry.kind == "message" for entry in new[asked:])

    async def finish(self) -> None:
        """Write the facts and close the pages; the chats stay."""
        write_facts(self._path, (fact for customer in self.customers for fact in customer.facts))
        await asyncio.gather(*(customer.close() for customer in self.customers))
