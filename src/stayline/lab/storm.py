"""A storm from an empty folder to its figures: thousands of agents move to the other site at once.

Phases: everybody logs in; a sample hangs up and resumes under a constant load, which gives what a set-up costs here;
the site is switched, and everybody moves as the Workspace does; the site is switched back, and everybody moves with the
original's constant delays. All of it over real sockets, with the servers of a lab.
"""

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import structlog

from stayline.lab.centre import Centre
from stayline.lab.layout import Layout, lay_out, remove
from stayline.lab.storm_centre import ProxyFigures, for_storm, proxy_figures
from stayline.lab.storm_curve import Curve, curve, ideal_curve, rate_of
from stayline.lab.storm_figures import Move, StormDetail, StormFigures, judged
from stayline.lab.storm_model import ORIGINAL, simulate
from stayline.lab.storm_orders import Do
from stayline.lab.storm_process import StormClients
from stayline.lab.storm_watch import OptionWatch
from stayline.lab.switch_order import switch_site

READY_SECONDS = 180.0
SWITCH_SECONDS = 240.0

SAMPLE = 500
"""Agents of a calibration, at most a fifth of all; with few agents all of them."""

ROUNDS = 5
"""Rounds of the calibration, at most."""

CALIBRATION_SECONDS = 6.0
"""Rounds are played until this much was measured."""

AT_ONCE = 48
"""Agents that resume at a time while the cost of a set-up is measured."""

_REPORT_SECONDS = 6.0

log = structlog.get_logger("stayline.storm")

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """``agents`` in ``processes`` client processes; ``cap``: seconds for which the original's constants are played (0:
    not at all); ``move_cap`` those after which the move itself is given up; ``state`` None: a temporary folder, removed
    unless ``keep``."""

    agents: int
    processes: int
    cap: float = 180.0
    move_cap: float = 300.0
    state: Path | None = None
    keep: bool = False


@dataclass(frozen=True, kw_only=True)
class Storm:
    """What was played."""

    figures: StormFigures
    detail: StormDetail
    curves: tuple[Curve, ...]
    passed: bool


async def run_storm(wishes: Wishes, say: Say) -> Storm:
    """Play it; ``say`` gets a sentence at each step. Raises StaylineError when it cannot be played."""
    folder = wishes.state or Path(tempfile.mkdtemp(prefix="stayline-storm-"))
    try:
        layout = lay_out(folder, agents=wishes.agents, fresh=True, adjust=for_storm)
        return await _Run(wishes, layout, say).run()
    finally:
        if wishes.state is None and not wishes.keep:
            remove(folder)
            shutil.rmtree(folder, ignore_errors=True)
        else:
            say(f"the state folder is {folder}")


class _Run:
    """See :func:`run_storm`."""

    def __init__(self, wishes: Wishes, layout: Layout, say: Say) -> None:
        self._wishes = wishes
        self._layout = layout
        self._say = say
        self._began = time.monotonic()
        self._centre = Centre(layout)
        self._clients = StormClients(
            layout.state, wishes.agents, wishes.processes, layout.state / "storm-clients.out"
        )
        self._option = OptionWatch(layout)
        self.logins_per_second = 0.0
        self.rounds: list[float] = []

    def _tell(self, sentence: str) -> None:
        self._say(f"{time.monotonic() - self._began:6.1f} s  {sentence}")

    async def run(self) -> Storm:
        """All phases."""
        first, second = self._layout.sites
        async with self._centre:
            try:
                await self._begin()
                await self._log_in(first)
                await self._calibrate()
                before = await self._figures(first)
                moved = await self._move(second, self._wishes.move_cap)
                after = await self._figures(second, fresh=True)
                window = self._option.window
                original = await self._original(first) if moved.complete and self._wishes.cap else None
            finally:
                await self._option.stop()
                await self._clients.stop()
        return self._result(before, after, window, moved, original)

    # -- phases

    async def _begin(self) -> None:
        await self._centre.wait_ready(READY_SECONDS)
        self._tell("both sites are ready")
        await asyncio.gather(self._clients.start(), self._option.start())
        self._tell(f"{self._wishes.processes} client processes are ready")

    async def _log_in(self, site: str) -> None:
        agents = self._wishes.agents
        await self._clients.order(Do.LOGIN)
        await self._clients.until(
            lambda: len(self._clients.at(site)) == agents, 120.0 + agents * 0.5, "everybody is logged in"
        )
        self.logins_per_second = rate_of([one.at for one in self._clients.at(site)])
        self._tell(f"{agents} agents are logged in: {self.logins_per_second:.1f} logins a second")

    async def _calibrate(self) -> None:
        """A sample hangs up, and resumes with as many at a time as keep every server busy."""
        agents = self._wishes.agents
        sample = min(agents, max(SAMPLE, agents // 5)) if agents > SAMPLE else agents
        spent, rates = 0.0, list[float]()
        while len(rates) < ROUNDS and spent < CALIBRATION_SECONDS:
            await self._clients.order(Do.HANG_UP, count=sample)
            await self._clients.until(
                lambda: self._clients.whole <= agents - sample, 60.0, "the sample has hung up"
            )
            began = time.time()
            await self._clients.order(Do.RESUME, count=sample, at_once=AT_ONCE)
            await self._clients.until(
                lambda: self._clients.whole == agents, 60.0 + sample * 0.2, "the sample has resumed"
            )
            times = [one.at for one in self._clients.turned.values() if one.at >= began]
            spent += max(times) - min(times)
            rates.append(rate_of(times))
        self.rounds = rates
        told = ", ".join(f"{rate:.0f}" for rate in rates)
        self._tell(f"{sample} agents resumed, {AT_ONCE} at a time: {told} resumes a second")

    async def _move(self, target: str, cap: float) -> Move:
        """Switch the site and wait until everybody is back there."""
        agents, sessions = self._wishes.agents, self._clients.sessions()
        wasted = (await self._figures(target)).wasted
        await self._clients.order(Do.MARK)
        self._option.expect(target)
        switching = asyncio.create_task(
            switch_site(self._layout.state, target, reason="storm", seconds=SWITCH_SECONDS)
        )
        showing = asyncio.create_task(self._show(target))
        move = Move()
        try:
            done, _ = await asyncio.wait(
                {switching, asyncio.ensure_future(self._option.changed.wait())},
                return_when=asyncio.FIRST_COMPLETED,
            )
            if switching in done:
                switching.result()  # it failed, or the option was told late: say which
            move.told_at = self._option.told_at or time.time()
            move.complete = await self._clients.within(lambda: len(self._clients.at(target)) == agents, cap)
            move.seconds = time.time() - move.told_at
            there = self._clients.at(target)
            move.times = [one.at for one in there]
            move.sessions_kept = sum(sessions.get(one.agent) == one.session for one in there)
            move.counts = self._clients.counts
            summary = await switching
            self._tell(f"the switch: {summary.why or 'nothing lost'}")
        finally:
            for task in (switching, showing):
                task.cancel()
            await asyncio.gather(switching, showing, return_exceptions=True)
        move.wasted = (await self._figures(target, fresh=True)).wasted - wasted
        return move

    async def _show(self, target: str) -> None:
        while True:
            await asyncio.sleep(1.0)
            there = len(self._clients.at(target))
            self._tell(f"{there} of {self._wishes.agents} agents are back at {target}")

    async def _original(self, target: str) -> Move:
        """The same agents with the original's constants, back to where they came from."""
        agents = self._wishes.agents
        await self._centre.wait_ready(READY_SECONDS)
        self._tell("the other site follows again; now with the original's constants")
        began = time.time()
        await self._clients.order(Do.ORIGINAL, at_once=AT_ONCE)
        await self._clients.until(
            lambda: (
                sum(one.at >= began and bool(one.site) for one in self._clients.turned.values()) == agents
            ),
            120.0 + agents * 0.2,
            "everybody keeps his links as the original does",
        )
        return await self._move(target, self._wishes.cap)

    # -- figures

    async def _figures(self, site: str, *, fresh: bool = False) -> ProxyFigures:
        """What a site's proxies say; ``fresh``: in a report made after this moment."""
        now = time.time()
        while True:
            status = await self._centre.status(site)
            reports = [one.report for one in status.processes if one.report is not None] if status else []
            if not fresh or all(report.at >= now for report in reports):
                return proxy_figures(status)
            if time.time() > now + _REPORT_SECONDS:
                log.warning("reports are old", site=site, why=f"none newer after {_REPORT_SECONDS:g} s")
                return proxy_figures(status)
            await asyncio.sleep(0.1)

    def _result(
        self, before: ProxyFigures, after: ProxyFigures, window: float, moved: Move, original: Move | None
    ) -> Storm:
        agents = self._wishes.agents
        proxies = max(1, after.proxies or before.proxies)
        resumes = statistics.median(self.rounds)
        cost = proxies / resumes if resumes else 0.0
        ours = moved.curve("Stayline", agents)
        modelled = simulate(
            ORIGINAL, agents=agents, cost=cost, proxies=proxies, random=Random(1).random, cap=600.0
        )
        curves = [ours, ideal_curve(agents, cost, proxies)]
        if original is not None:
            curves.insert(1, original.curve("original constants", agents))
        curves.append(curve(ORIGINAL.name, agents, modelled.back, modelled=True))
        figures, detail, passed = judged(
            agents=agents,
            proxies=proxies,
            cost=cost,
            reported_cost=after.cost or before.cost,
            window=window,
            logins=self.logins_per_second,
            rounds=self.rounds,
            moved=moved,
            original=original,
        )
        return Storm(figures=figures, detail=detail, curves=tuple(curves), passed=passed)
