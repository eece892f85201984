"""The drills as a table: what is done, what is expected, and what it may cost."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from signal import SIGKILL, SIGSTOP

from stayline.control.host.procinfo import descendants
from stayline.domain.objects import ApplicationType
from stayline.lab.drill_database import reported_loss
from stayline.lab.drill_report import Budget
from stayline.lab.drill_stage import Stage
from stayline.lab.drill_times import CHAT_LINK, CONFIGURATION_LINK
from stayline.lab.load import Order
from stayline.lab.load_customers import LEAVERS
from stayline.lab.readiness import missing
from stayline.link.messages.control import ReplicationMode
from stayline.link.messages.envelope import Role

INTERACTION_LINK = "Interaction Server"

ADDP_SECONDS = 4.0
"""A silent link of the sample centre's core tier is declared dead after this: 2 s without a word, then 2 s without an
answer to a poll."""

PATIENCE = 60.0
"""Longest wait for everybody to work again; the budgets are far below."""


@dataclass(frozen=True, kw_only=True)
class Drill:
    """``act`` does it and waits until everybody works again; ``after`` is done when the messages have flowed again.
    ``cable`` lets agents reach their Configuration Servers through a cable that can be cut."""

    name: str
    done: str
    expected: str
    act: Callable[[Stage], Awaitable[None]]
    budgets: tuple[Budget, ...]
    after: Callable[[Stage], Awaitable[None]] | None = None
    cable: bool = False


async def _proxy_kill(stage: Stage) -> None:
    victim = stage.busiest(INTERACTION_LINK)
    await stage.strike(lambda: stage.centre.kill(victim), link=INTERACTION_LINK, victim=victim)
    await stage.recovered(PATIENCE)


async def _chat_kill(stage: Stage) -> None:
    victim = stage.busiest(CHAT_LINK)
    await stage.strike(lambda: stage.centre.kill(victim), link=CHAT_LINK, victim=victim)
    await stage.recovered(PATIENCE)


async def _core_kill(stage: Stage) -> None:
    victim = await stage.primary(ApplicationType.INTERACTION_SERVER)
    await stage.strike(lambda: stage.centre.kill(victim, SIGKILL))
    await stage.recovered(PATIENCE)


async def _core_freeze(stage: Stage) -> None:
    victim = await stage.primary(ApplicationType.INTERACTION_SERVER)
    site = stage.centre.layout.site_of(victim)
    pid = stage.centre.pid(victim)
    await stage.strike(lambda: stage.centre.freeze(victim))
    await stage.recovered(PATIENCE)
    if stage.centre.pid(victim) == pid:
        stage.centre.thaw(victim)
        stage.say(f"{victim} was thawed")

    async def stepped_down() -> bool:
        status = await stage.centre.status(site)
        reports = {one.application: one.report for one in status.processes} if status is not None else {}
        thawed = reports.get(victim)
        primaries = [name for name, one in reports.items() if one is not None and _is_core_primary(one)]
        return thawed is not None and thawed.role == Role.BACKUP and len(primaries) == 1

    await stage.watch(stepped_down, 20.0, f"{victim} steps down after the thaw")


def _is_core_primary(report: object) -> bool:
    kind, role = getattr(report, "type", ""), getattr(report, "role", "")
    return bool(kind == ApplicationType.INTERACTION_SERVER and role == Role.PRIMARY)


async def _relocate(stage: Stage) -> None:
    first, second = stage.centre.layout.sites
    for target in (second, first):
        await stage.strike(lambda: None)
        await stage.switch(target)
        await stage.recovered(PATIENCE, target)
        if target == second:
            await stage.talked()


def _is_asynchronous(stage: Stage, site: str) -> bool:
    return stage.centre.layout.sites[site].plan.replication is ReplicationMode.ASYNC


def _walsenders(postmaster: int) -> list[int]:
    """Pids of the processes of a PostgreSQL server that send its log to replicas."""
    found: list[int] = []
    for pid in descendants(postmaster):
        with contextlib.suppress(OSError):
            if b"walsender" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


async def _fall_behind(stage: Stage, site: str) -> None:
    """Freeze what sends the write-ahead log, as a congested line would, until things were acknowledged that the other
    site does not have: on one machine the replica is never behind by itself."""
    for pid in _walsenders(stage.centre.database_pid(site)):
        os.kill(pid, SIGSTOP)
    stage.customers.order(Order.LEAVE)
    leavers = ceil(stage.customer_count / LEAVERS)
    await stage.until(lambda: stage.customers.state.left == leavers, 30.0, f"{leavers} customers left")
    stage.fell_behind = True
    stage.say(f"{leavers} customers wrote once more and left while the replica heard nothing")


async def _site_loss(stage: Stage) -> None:
    lost, left = stage.centre.layout.sites
    if _is_asynchronous(stage, lost):
        await _fall_behind(stage, lost)
    killing: list[asyncio.Task[int]] = []
    loop = asyncio.get_running_loop()
    await stage.strike(lambda: killing.append(loop.create_task(stage.centre.kill_site(lost))))
    stage.say(f"{await killing[0]} processes of {lost} were killed")
    await stage.switch(left, forced=True)
    await stage.recovered(PATIENCE, left)


async def _return_of_the_lost(stage: Stage) -> None:
    """The lost site comes back: its database is read, what only it had is counted, and it follows."""
    lost, _ = stage.centre.layout.sites
    await stage.centre.restart_host(lost)

    async def follows() -> bool:
        return not missing(await stage.centre.statuses()).all

    await stage.watch(follows, PATIENCE, f"{lost} follows")
    folder = stage.centre.layout.sites[lost].folder
    report = reported_loss(folder)
    if report is None:
        stage.problems.append(f"{lost} came back and said nothing about what was lost")
        return
    stage.say(f"{lost} had {report.lost_journal} steps and {report.lost_entries} chat entries alone")
    if _is_asynchronous(stage, lost):
        stage.reported = frozenset([*report.lost_messages, *report.lost_interactions])


async def _config_down(stage: Stage) -> None:
    """The option is changed while no Workspace can hear of it; when they can, all move."""
    cable = stage.cable
    assert cable is not None, "this drill is marked as one with a cable"
    _, second = stage.centre.layout.sites
    await stage.strike(lambda: None, watched=CONFIGURATION_LINK)
    await cable.cut()
    agents = stage.agents
    await stage.until(
        lambda: not agents.state.servers.get(CONFIGURATION_LINK), 30.0, "every Workspace noticed the cut"
    )
    switching = asyncio.create_task(stage.switch(second))
    try:
        # Step 9 of the plan waits for agents who cannot know yet: the cable is mended while it waits.
        await stage.until(lambda: not agents.state.sites, 30.0, "the old site let everybody go")
        await stage.option_is(second)
        await cable.join()
        stage.say("the cable is mended")
        await stage.recovered(PATIENCE, second)
        await switching
    finally:
        switching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await switching


DRILLS: dict[str, Drill] = {
    drill.name: drill
    for drill in (
        Drill(
            name="proxy-kill",
            done="SIGKILL to the Interaction Server Proxy with the most agents",
            expected="its agents are at another proxy, with their sessions and interactions, within 2 s",
            act=_proxy_kill,
            budgets=(Budget("restored", "p99", 2.0),),
        ),
        Drill(
            name="core-kill",
            done="SIGKILL to the primary Interaction Server",
            expected="the backup takes over and the proxies restore all sessions within 2 s",
            act=_core_kill,
            budgets=(Budget("restored", "p99", 2.0),),
        ),
        Drill(
            name="core-freeze",
            done="SIGSTOP to the primary Interaction Server, SIGCONT when the backup has taken over",
            expected="the silence is noticed by ADDP, the frozen one is fenced, thawed it steps down",
            act=_core_freeze,
            budgets=(Budget("restored", "p99", ADDP_SECONDS + 2.0),),
        ),
        Drill(
            name="chat-kill",
            done="SIGKILL to the Chat Server with the most agents",
            expected="agents and customers go on at the other one; every message is there once",
            act=_chat_kill,
            budgets=(Budget("restored", "p99", 2.0),),
        ),
        Drill(
            name="relocate",
            done="a planned switch to the other site, then one back",
            expected="everybody moves twice without a new login, 10 s of restricted mode at most each time",
            act=_relocate,
            budgets=(Budget("restricted", "max", 10.0),),
        ),
        Drill(
            name="site-loss",
            done="SIGKILL to everything of the active site at once, its database included, then a forced switch",
            expected="everybody works at the other site within 15 s; the lost site comes back as the passive one",
            act=_site_loss,
            after=_return_of_the_lost,
            budgets=(Budget("restored", "max", 15.0),),
        ),
        Drill(
            name="config-down",
            done="the Workspaces' link to both Configuration Servers is cut while a planned switch is made",
            expected="when the link returns, all Workspaces read the option and move",
            act=_config_down,
            cable=True,
            budgets=(Budget("restricted", "max", 15.0),),
        ),
    )
}
"""Every drill by name."""


def described(drill: Drill) -> str:
    """What is done and expected, in two sentences."""
    return f"{drill.done[0].upper()}{drill.done[1:]}. Expected: {drill.expected}."


def without_limits(drill: Drill) -> Drill:
    """The same drill, judged by its findings alone (for machines whose speed says nothing)."""
    return replace(drill, budgets=())
