"""The agents of a drill: real Workspace engines in a process of their own."""

import asyncio
import random as random_module
from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec

from stayline.lab.agent import Behaviour, Fact, SyntheticAgent
from stayline.lab.crowd_objects import CROWD_PASSWORD, crowd_name, crowd_place
from stayline.lab.drill_times import Controls
from stayline.lab.history import AGENTS_FILE, AgentFact, write_facts
from stayline.lab.layout import WORKSPACE_FOLDER, read_layout
from stayline.lab.load import LoadState, Order
from stayline.link.bootstrap import load_bootstrap
from stayline.workspace.settings import EngineSettings, ServerAddress
from stayline.workspace.view import Phase

BEHAVIOUR = Behaviour(
    accept_after=(0.02, 0.1), answer_after=(0.2, 1.0), finish_after=None, finish_ended=False
)
"""Agents of a drill keep their chats open to the end: what is open is what can be lost."""

LOGINS_AT_ONCE = 8


class AgentLoad:
    """``count`` agents from number ``first`` on. ``configuration`` where their Configuration Servers are reached
    (empty: as the lab says); facts are written to ``folder`` at the end."""

    def __init__(
        self, state: Path, folder: Path, first: int, count: int, configuration: tuple[ServerAddress, ...] = ()
    ) -> None:
        layout = read_layout(state)
        bootstrap = load_bootstrap(layout.state / WORKSPACE_FOLDER)
        settings = EngineSettings.from_bootstrap(bootstrap, state_dir=folder / "agents")
        if configuration:
            settings = replace(settings, configuration=configuration)
        self._path = folder / f"{first:05d}-{AGENTS_FILE}"
        self._there = 0
        self._sent = 0
        self._obeyed = 0
        self._held: dict[tuple[str, str], int] = {}
        self._chats: dict[str, str] = {}
        self._controls: dict[str, Controls] = {}
        self._noticed: set[str] = set()
        self.agents = [
            SyntheticAgent(
                settings,
                crowd_name(number),
                CROWD_PASSWORD,
                place=crowd_place(number),
                behaviour=BEHAVIOUR,
                random=random_module.Random(number),
                on_fact=self._count,
            )
            for number in range(first, first + count)
        ]

    async def run(self) -> None:
        """Log everybody in; the agents then work by themselves."""
        gate = asyncio.Semaphore(LOGINS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for agent in self.agents:
                group.create_task(self._begin(agent, gate))

    async def _begin(self, agent: SyntheticAgent, gate: asyncio.Semaphore) -> None:
        async with gate:
            await agent.start()
        self._there += 1

    def _count(self, fact: Fact) -> None:
        known = msgspec.convert(fact, AgentFact)
        agent, kind = known.agent, known.fact
        controls = self._controls.setdefault(agent, Controls())
        controls.take(known)
        if not controls.full:
            self._noticed.add(agent)
        if kind == "sent":
            self._sent += 1
        elif kind == "seen":
            self._held[agent, known.session] = known.seq
        elif kind == "rewound":
            self._held[agent, known.session] = 0
        elif kind == "gone":
            self._held.pop((agent, self._chats.pop(known.interaction, "")), None)
        elif kind == "owned":
            self._chats[known.interaction] = known.chat_session

    def order(self, order: Order) -> None:
        """MARK and QUIET."""
        if order is Order.QUIET:
            for agent in self.agents:
                agent.quiet()
        elif order is Order.MARK:
            self._noticed.clear()
            self._obeyed += 1

    def state(self) -> LoadState:
        """See :class:`~stayline.lab.load.LoadState`."""
        sites: Counter[str] = Counter()
        servers: dict[str, Counter[str]] = {}
        for agent in self.agents:
            view = agent.view
            links = view.links
            if view.phase is Phase.READY:
                sites[links.interaction.site] += 1
            for link in (links.config, links.interaction, links.contact, *links.chats):
                if link.up:
                    servers.setdefault(link.name, Counter())[link.application] += 1
        return LoadState(
            there=self._there,
            whole=sum(controls.full for controls in self._controls.values()),
            settled=sum(agent.whole for agent in self.agents),
            chats=sum(len(agent.owned) for agent in self.agents),
            noticed=len(self._noticed),
            marks=self._obeyed,
            servers={link: dict(found) for link, found in servers.items()},
            sent=self._sent,
            held=sum(self._held.values()),
            sites=dict(sites),
        )

    async def finish(self) -> None:
        """Write the facts, then hang up without logging out: going home is no part of the history."""
        write_facts(self._path, (fact for agent in self.agents for fact in agent.facts))
        await asyncio.gather(*(agent.stop() for agent in self.agents))
