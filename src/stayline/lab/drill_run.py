"""One drill from an empty folder to the verdict."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from stayline.domain.errors import StaylineError
from stayline.lab.centre import Centre
from stayline.lab.checker import Findings, check
from stayline.lab.drill_cut import Cable
from stayline.lab.drill_database import Tables, open_database, read_tables
from stayline.lab.drill_load import LoadProcess
from stayline.lab.drill_report import Result, judge
from stayline.lab.drill_stage import Stage, Strike
from stayline.lab.drill_times import Outage, outage, server_of
from stayline.lab.drills import Drill
from stayline.lab.history import AgentFact, History, read_agents, read_customers
from stayline.lab.layout import Layout, lay_out, remove
from stayline.lab.load_customers import PAUSE
from stayline.link.bootstrap import load_bootstrap
from stayline.link.messages.control import ReplicationMode

READY_SECONDS = 120.0
HISTORY = "drill"
"""Folder of the load generators inside the state folder."""

log = structlog.get_logger("stayline.drill")


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """``agents`` and ``customers`` of the drill, each customer with a message every ``pause`` seconds; ``state`` None:
    a temporary folder, removed unless ``keep``."""

    drill: Drill
    agents: int
    customers: int
    pause: float = PAUSE
    state: Path | None = None
    keep: bool = False
    replication: ReplicationMode = ReplicationMode.FOLLOW


async def run_drill(wishes: Wishes, say: Callable[[str], None]) -> Result:
    """Run it; ``say`` gets a sentence at each step. A drill that cannot be done is a failed one."""
    folder = wishes.state or Path(tempfile.mkdtemp(prefix="stayline-drill-"))
    try:
        layout = lay_out(folder, agents=wishes.agents, replication=wishes.replication, fresh=True)
        (layout.state / HISTORY).mkdir(exist_ok=True)
        return await _Run(wishes, layout, say).run()
    except StaylineError as error:
        why = f"the drill could not be done: {error.refusal.reason}"
        return judge(wishes.drill.name, wishes.agents, Findings(0, 0, []), [], [], [why])
    finally:
        if wishes.state is None and not wishes.keep:
            remove(folder)
            shutil.rmtree(folder, ignore_errors=True)
        else:
            say(f"the state folder is {folder}")


class _Run:
    """The drill while it runs."""

    def __init__(self, wishes: Wishes, layout: Layout, say: Callable[[str], None]) -> None:
        self._wishes = wishes
        self._layout = layout
        self._say = say
        self._began = time.monotonic()
        self._folder = layout.state / HISTORY
        self._changed = asyncio.Event()
        self._cable = Cable(load_bootstrap(layout.sites[layout.first_site].folder).configuration)

    def _tell(self, sentence: str) -> None:
        self._say(f"{time.monotonic() - self._began:6.1f} s  {sentence}")

    async def run(self) -> Result:
        """See the module. Raises StaylineError when it cannot be done."""
        drill = self._wishes.drill
        stage = self._make_stage()
        async with stage.centre:
            try:
                await stage.centre.wait_ready(READY_SECONDS)
                self._tell("both sites are ready")
                await self._begin(stage)
                await drill.act(stage)
                await stage.talked()
                self._tell("every customer was answered again")
                if drill.after is not None:
                    await drill.after(stage)
                await stage.settle()
                self._tell("everything has settled")
                await asyncio.gather(stage.agents.finish(), stage.customers.finish())
                tables = await self._tables(stage)
            finally:
                await self._cable.cut()
                await asyncio.gather(stage.agents.kill(), stage.customers.kill())
        return self._judge(stage, tables)

    def _make_stage(self) -> Stage:
        wishes, output = self._wishes, self._folder / "load.out"
        common = ["--state", str(self._layout.state), "--folder", str(self._folder)]
        return Stage(
            centre=Centre(self._layout),
            agents=LoadProcess("agents", [*common, "--agents", str(wishes.agents)], output, self._changed),
            customers=LoadProcess(
                "customers",
                [*common, "--customers", str(wishes.customers), "--pause", str(wishes.pause)],
                output,
                self._changed,
            ),
            changed=self._changed,
            agent_count=wishes.agents,
            customer_count=wishes.customers,
            say=self._tell,
            cable=self._cable if wishes.drill.cable else None,
        )

    async def _begin(self, stage: Stage) -> None:
        """Agents log in, customers come, everybody talks. Raises RefusedError when that takes too long."""
        wishes = self._wishes
        if stage.cable is not None:
            await stage.cable.join()
            for address in stage.cable.addresses:
                stage.agents.add(f"--configuration={address.application}={address.host}:{address.port}")
        await stage.agents.start()
        await stage.until(
            lambda: stage.agents.state.there == wishes.agents,
            60.0 + wishes.agents * 0.5,
            "every agent logged in",
        )
        self._tell(f"{wishes.agents} agents are logged in")
        await stage.customers.start()
        await stage.until(
            lambda: stage.agents.state.chats == wishes.customers == stage.customers.state.whole,
            60.0 + wishes.customers * 0.3,
            "every chat is owned",
        )
        self._tell(f"{wishes.customers} chats are owned")
        await stage.talked()
        self._tell("every customer was answered")

    async def _tables(self, stage: Stage) -> Tables:
        site = await stage.centre.active()
        conn = await open_database(self._layout.sites[site].folder)
        try:
            return await read_tables(conn)
        finally:
            await conn.close()

    def _judge(self, stage: Stage, tables: Tables) -> Result:
        agents = read_agents(self._folder)
        history = History(
            agents=agents,
            customers=read_customers(self._folder),
            interactions=tables.interactions,
            journal=tables.journal,
            entries=tables.entries,
        )
        outages, problems = outages_of(stage.strikes, agents)
        rewound = sum(one.fact == "rewound" for facts in agents.values() for one in facts)
        rewound += sum(one.kind == "rewound" for facts in history.customers.values() for one in facts)
        if stage.fell_behind:
            self._tell(f"{rewound} times a transcript had lost its end; what was missing was sent again")
            if not rewound or not stage.reported:
                problems.append("the other site missed nothing, so this drill proved nothing")
        untrue = stage.reported & (
            {one.id for one in tables.entries} | {one.id for one in tables.interactions}
        )
        if untrue:
            problems.append(
                f"{len(untrue)} reported as lost that are there ({', '.join(sorted(untrue)[:3])})"
            )
        return judge(
            self._wishes.drill.name,
            self._wishes.agents,
            check(history),
            outages,
            self._wishes.drill.budgets,
            [*stage.problems, *problems],
            stage.reported,
        )


def outages_of(strikes: list[Strike], agents: dict[str, list[AgentFact]]) -> tuple[list[Outage], list[str]]:
    """What each strike did to each agent; and a sentence for each strike that touched nobody of whom it should."""
    found: list[Outage] = []
    problems: list[str] = []
    ends = [strike.at for strike in strikes[1:]] + [float("inf")]
    for strike, end in zip(strikes, ends, strict=True):
        touched = {
            agent
            for agent, facts in agents.items()
            if not strike.victim or server_of(facts, strike.link, strike.at) == strike.victim
        }
        seen = [
            one
            for agent, facts in agents.items()
            if (one := outage(agent, facts, strike.at, end, strike.watched)) is not None
        ]
        found += seen
        missed = touched - {one.agent for one in seen}
        if missed or not touched:
            named = ", ".join(sorted(missed)[:3]) or "nobody was there to notice"
            problems.append(f"{len(missed)} agents did not notice what was done ({named})")
    return found, problems
