"""Synthetic agents and customers for a lab that is looked at: they chat for as long as the lab runs.

(Drills use the same agents and customers with their own script and a checker; here nobody judges.)
"""

import asyncio
import contextlib
import random as random_module
import signal
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from stayline.domain.errors import StaylineError
from stayline.lab.agent import Behaviour, SyntheticAgent
from stayline.lab.crowd_objects import CROWD_PASSWORD, crowd_name, crowd_place
from stayline.lab.customer import Customer
from stayline.lab.layout import WORKSPACE_FOLDER, Layout, chat_addresses, read_layout
from stayline.link.bootstrap import load_bootstrap
from stayline.workspace.settings import EngineSettings
from stayline.workspace.view import Phase

QUEUES = ("chat.support", "chat.sales")

SAID = (
    "Hello, my parcel has not arrived yet.",
    "It was order 4711, from last Monday.",
    "Can I change the delivery address?",
    "The left strap is longer than the right one.",
    "Do you have it in green as well?",
    "Thank you. And what about the invoice?",
    "I will try that and write again if it does not work.",
)
"""What synthetic customers write."""

AGENT = Behaviour(accept_after=(0.5, 2.0), answer_after=(1.0, 4.0), finish_after=(40.0, 90.0))
"""Agents of a lab work at the pace of people."""

_LOGINS_AT_ONCE = 8
_TELL_EVERY = 2.0
_FORGET_EVERY = 60.0
_ANSWER_SECONDS = 120.0

log = structlog.get_logger("stayline.lab.crowd")


class Crowd:
    """``agents`` synthetic agents at work and ``customers`` who come, chat, leave and come again."""

    def __init__(
        self,
        layout: Layout,
        agents: int,
        customers: int,
        random: random_module.Random,
        tell: Callable[[str], None],
    ) -> None:
        """``tell`` gets a line about the crowd every two seconds."""
        bootstrap = load_bootstrap(layout.state / WORKSPACE_FOLDER)
        settings = EngineSettings.from_bootstrap(bootstrap, state_dir=layout.state / "crowd")
        self._random = random
        self._tell = tell
        self._servers = chat_addresses(layout)
        self._customers = customers
        self._talking: dict[int, Customer] = {}
        self._chats = 0
        self._agents = [
            SyntheticAgent(
                settings,
                crowd_name(number),
                CROWD_PASSWORD,
                place=crowd_place(number),
                behaviour=AGENT,
                random=random_module.Random(random.random()),
            )
            for number in range(1, agents + 1)
        ]

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until ``stopping`` is set; agents log out then, so that their chats go back to the queues."""
        gate = asyncio.Semaphore(_LOGINS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            work = [group.create_task(self._log_in(agent, gate)) for agent in self._agents]
            work += [group.create_task(self._customer(number)) for number in range(self._customers)]
            work += [group.create_task(self._tell_for_ever()), group.create_task(self._forget_for_ever())]
            await stopping.wait()
            for task in work:
                task.cancel()
        await asyncio.gather(*(customer.close() for customer in self._talking.values()))
        await asyncio.gather(*(self._log_out(agent) for agent in self._agents))

    async def _log_in(self, agent: SyntheticAgent, gate: asyncio.Semaphore) -> None:
        while True:
            try:
                async with gate:
                    await agent.start()
            except StaylineError as error:
                log.warning("agent not at work", agent=agent.user, why=error.refusal.reason)
                await asyncio.sleep(5.0)
            else:
                return

    async def _log_out(self, agent: SyntheticAgent) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3.0):
                await agent.stop(logout=True)

    async def _customer(self, number: int) -> None:
        """One customer after the other, for ever."""
        while True:
            await asyncio.sleep(self._random.uniform(0.5, 8.0))
            customer = self._new_customer(number)
            self._talking[number] = customer
            self._chats += 1
            await customer.open()
            try:
                await self._talk(customer)
            except TimeoutError:
                log.info("customer gave up", why=f"no answer within {_ANSWER_SECONDS:.0f} s")
            finally:
                await customer.close()
                del self._talking[number]

    def _new_customer(self, number: int) -> Customer:
        return Customer(
            self._servers,
            queue=QUEUES[number % len(QUEUES)],
            name=f"Customer {number + 1}",
            email=f"customer{number + 1}@example.org",
            subject="A question",
            text=SAID[0],
            random=random_module.Random(self._random.random()),
        )

    async def _talk(self, customer: Customer) -> None:
        for said in self._random.sample(SAID[1:], k=self._random.randint(1, len(SAID) - 1)):
            await customer.until(_answered(_answers(customer)), _ANSWER_SECONDS)
            if customer.ended:
                return
            await asyncio.sleep(self._random.uniform(2.0, 8.0))
            await customer.send(said)
        await asyncio.sleep(self._random.uniform(2.0, 8.0))
        await customer.end()
        await customer.until(lambda one: one.ended, _ANSWER_SECONDS)

    async def _tell_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY)
            at_work = sum(agent.view.phase is Phase.READY for agent in self._agents)
            owned = sum(len(agent.owned) for agent in self._agents)
            self._tell(
                f"{at_work} of {len(self._agents)} synthetic agents at work with {owned} chats, "
                f"{len(self._talking)} customers talking, {self._chats} chats begun"
            )

    async def _forget_for_ever(self) -> None:
        """The agents' histories are for checkers; a lab that runs for days must not keep them."""
        while True:
            await asyncio.sleep(_FORGET_EVERY)
            for agent in self._agents:
                agent.facts.clear()


def _answers(customer: Customer) -> int:
    return sum(entry.kind == "message" and entry.party == "agent" for entry in customer.entries)


def _answered(heard: int) -> Callable[[Customer], bool]:
    """Whether an agent has written again, or the chat is over."""
    return lambda customer: customer.ended or _answers(customer) > heard


async def run_crowd(state: Path, agents: int, customers: int) -> None:
    """Run a crowd against the lab in ``state`` until SIGTERM or SIGINT; a line about it goes to standard
    output."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    def tell(line: str) -> None:
        print(line, flush=True)

    crowd = Crowd(read_layout(state), agents, customers, random_module.Random(time.time_ns()), tell)
    await crowd.run(stopping)
