"""The steps of a switch-over. Each checks, acts and verifies, may be done twice, and returns what it saw.

Order, titles and the reason for each are data in ``domain/switchover.py``; here is only what is done.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from stayline.control.switch.run import CORE, FRONT, Run, answers, processes, status_or_none
from stayline.control.switch.spread import SPREAD_OPTION, drained, setup_seconds, spread_window
from stayline.domain.errors import StaylineError, refuse
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.domain.switchover import Step
from stayline.link.messages.configuration import Operation, OperationKind
from stayline.link.messages.control import DatabaseRole, DemotionToken, HostStatus, ProcessState, StepState

SECTION = "interaction-workspace"
KEY = "disaster-recovery.eservices-site"
_INTERACTION = frozenset({ApplicationType.INTERACTION_SERVER})

FENCED = "fenced"
"""The fact that the old site was told (or could not be told) to stop its database as well."""

SETUP_SECONDS = "setup_seconds"
"""The fact what the set-up of a client cost at the old site, while its proxies were there to say it."""

RESUME_SECONDS = 30.0
"""How long the plan waits for agents, beyond the time over which they were told to spread their move."""

log = structlog.get_logger(__name__)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a step saw, in words, and what later steps need to know. ``skipped``: there was nothing it could do."""

    evidence: str
    facts: dict[str, str] = {}
    skipped: bool = False


def _sessions(status: HostStatus) -> tuple[int, int]:
    """(live agent sessions, open interactions) as the Interaction Server primary of a host reports them."""
    for process in processes(status, _INTERACTION):
        report = process.report
        if process.state is ProcessState.RUNNING and report is not None and report.role == "primary":
            open_ = sum(count for state, count in report.interactions.items() if state != "stopped")
            return report.sessions - report.lost_sessions, open_
    return 0, 0


def _awaited(status: HostStatus) -> int:
    """Agent sessions, live or lost, that the Interaction Server primary of a host has found in its database."""
    for process in processes(status, _INTERACTION):
        report = process.report
        if process.state is ProcessState.RUNNING and report is not None and report.role == "primary":
            return report.sessions
    return 0


async def detect(run: Run) -> Outcome:
    """Count who and what is to be moved. (Whether the switch may begin at all was judged before the plan began.)"""
    run.say(StepState.CHECKING)
    new = await run.new.status()
    old, why = await status_or_none(run.old)
    known = [found.database.epoch for found in (new, old) if found is not None and found.database is not None]
    agents, interactions = _sessions(old) if old is not None else (0, 0)
    facts = {
        "epoch": str(max(known, default=0) + 1),
        "agents_before": str(agents),
        "interactions_before": str(interactions),
        SETUP_SECONDS: str(setup_seconds(old)),
    }
    if old is None:
        return Outcome(evidence=f"{run.source} does not answer ({why}); {run.target} is ready", facts=facts)
    lag = new.database.lag_bytes if new.database is not None else 0
    return Outcome(
        evidence=f"{agents} agents and {interactions} open interactions at {run.source}; replica {lag} bytes behind",
        facts=facts,
    )


async def decide(run: Run) -> Outcome:
    """The decision itself was journalled when the plan began; here it is repeated for the reader."""
    return Outcome(
        evidence=f"{run.request.by}: {run.request.mode.value} to {run.target}, because: {run.request.reason}"
    )


async def stop(run: Run) -> Outcome:
    """Stop core, proxies and Chat Servers of the old site; they say goodbye to their clients themselves."""
    run.say(StepState.ACTING)
    facts = {} if "stopped_at" in run.facts else {"stopped_at": str(time.time())}
    why = f"site switch to {run.target}: {run.request.reason}"
    if run.forced:
        await run.old.fence(why)
        facts[FENCED] = "yes"
        return Outcome(evidence=f"{run.source} is fenced: servers and database stopped", facts=facts)
    names = run.names(run.source, CORE | FRONT)
    await run.old.stop(names, why)
    return Outcome(evidence=f"{len(names)} servers of {run.source} stopped", facts=facts)


async def undo_stop(run: Run) -> str:
    """Take :func:`stop` back (only before the database step): the old site serves again."""
    await run.old.start(run.names(run.source, CORE | FRONT), f"the switch to {run.target} was given up")
    return f"{run.source} was started again"


async def suspend(run: Run) -> Outcome:
    """Probe every door of the old site: each must refuse, or the site must not answer at all."""
    run.say(StepState.VERIFYING)
    doors: list[tuple[str, tuple[str, int]]] = []
    for application in run.centre.applications(run.source, FRONT | CORE):
        doors += [
            (application.name, run.centre.address(application.name, port)) for port in application.ports
        ]

    async def open_doors() -> list[str]:
        probed = await asyncio.gather(*(answers(address) for _, address in doors))
        return [name for (name, _), is_open in zip(doors, probed, strict=True) if is_open]

    still: list[str] = []

    async def look() -> bool | None:
        still[:] = await open_doors()
        return None if still else True

    await run.until(
        look,
        5.0,
        lambda: f"{', '.join(still)} of {run.source} still accept connections.",
        fix="stop them by hand on their host, then run the same command again",
    )
    return Outcome(evidence=f"{len(doors)} ports of {run.source} refuse")


async def database(run: Run) -> Outcome:
    """Demote the old primary (planned), promote the replica, and see that it takes writes under the new epoch."""
    request = run.request
    run.say(StepState.ACTING)
    token: DemotionToken | None = None
    if run.forced:
        await _fence_late(run)
    elif not await _already_promoted(run):
        token = await run.old.demote(f"site switch to {run.target}: {request.reason}")
    await run.new.promote(
        run.epoch, run.target, token, forced=run.forced, reason=request.reason, by=request.by
    )
    run.say(StepState.VERIFYING)
    status = await run.new.status()
    found = status.database
    if found is None or found.role is not DatabaseRole.PRIMARY or found.epoch != run.epoch:
        raise refuse(
            "switch.not_promoted",
            f"The database of {run.target} does not report to be primary of epoch {run.epoch}.",
            retryable=True,
            retry_after=1.0,
            fix="run the same command again; if it repeats, see the host agent's log",
        )
    if token is None:
        proof = "no proof of completeness: forced" if run.forced else "promoted before the interruption"
        return Outcome(evidence=f"{run.target} is primary, epoch {run.epoch}; {proof}")
    return Outcome(
        evidence=f"{run.target} is primary, epoch {run.epoch}; replayed exactly to {token.lsn} of {run.source}",
        facts={"proof": token.lsn},
    )


async def _fence_late(run: Run) -> None:
    """A plan that began as a planned one has stopped the old site's servers, not its database: nobody may promote
    beside a primary that could still be stopped."""
    if FENCED in run.facts:
        return
    try:
        await run.old.fence(f"site switch to {run.target}: {run.request.reason}")
    except StaylineError as error:
        log.warning("switch.not_fenced", site=run.source, why=error.refusal.reason)


async def _already_promoted(run: Run) -> bool:
    found = (await run.new.status()).database
    return found is not None and found.role is DatabaseRole.PRIMARY and found.epoch == run.epoch


async def core(run: Run) -> Outcome:
    """Start both pairs and wait for a primary of each that acts under the new epoch."""
    run.say(StepState.ACTING)
    names = run.names(run.target, CORE)
    await run.new.start(names, f"site switch to {run.target}")
    run.say(StepState.VERIFYING)
    missing: list[str] = []

    async def look() -> list[str] | None:
        status = await run.new.status()
        primaries = {
            process.app_type: process.application
            for process in processes(status, CORE)
            if process.report is not None
            and process.report.role == "primary"
            and process.report.epoch == run.epoch
        }
        missing[:] = [kind.value for kind in CORE if kind.value not in primaries]
        return None if missing else sorted(primaries.values())

    primaries = await run.until(
        look,
        30.0,
        lambda: f"no primary {' and no primary '.join(missing)} at {run.target}.",
        fix=f"see the logs of {', '.join(names)}",
    )
    return Outcome(evidence=f"primary: {', '.join(primaries)}")


async def proxies(run: Run) -> Outcome:
    """Start what is not running, and knock at every door of the new site until it opens."""
    run.say(StepState.ACTING)
    applications = run.centre.applications(run.target, FRONT)
    await run.new.start([found.name for found in applications], f"site switch to {run.target}")
    run.say(StepState.VERIFYING)
    emptied = drained(await run.new.status())
    doors = [
        (found.name, run.centre.address(found.name, port))
        for found in applications
        if found.name not in emptied
        for port in found.ports
    ]
    _enough_doors([found for found in applications if found.name not in emptied], applications)
    closed: list[str] = []

    async def look() -> bool | None:
        probed = await asyncio.gather(*(answers(address) for _, address in doors))
        closed[:] = [name for (name, _), is_open in zip(doors, probed, strict=True) if not is_open]
        return None if closed else True

    await run.until(
        look,
        30.0,
        lambda: f"{', '.join(closed)} of {run.target} do not listen.",
        fix="see their logs; stayline site status says what each waits for",
    )
    note = f"; {', '.join(sorted(emptied))} stays closed (it is being emptied)" if emptied else ""
    return Outcome(evidence=f"{len(doors)} ports of {run.target} accept connections{note}")


def _enough_doors(taking: list[ConfigObject], all_: list[ConfigObject]) -> None:
    """Raises RefusedError when every server of a kind is being emptied: nobody could come."""
    closed = {found.app_type for found in all_} - {found.app_type for found in taking}
    for kind in closed:
        names = [found.name for found in all_ if found.app_type is kind]
        raise refuse(
            "switch.drained",
            f"{', '.join(names)}: every {kind} is being emptied.",
            retryable=True,
            retry_after=1.0,
            fix=f"stayline server undrain {names[0]}, then run the same command again",
        )


async def option(run: Run) -> Outcome:
    """Change the option wherever it names another site (application, tenant, group or person), with the time over which
    Workspaces spread their move beside it: all at once."""
    run.say(StepState.ACTING)
    holders = [(found, value) for found, value in run.centre.objects_with_site_option() if value]
    moved = [found for found, value in holders if value != run.target]
    if not moved:
        where = "is not set anywhere, so Workspaces take the first available cluster"
        if holders:
            where = f"names {run.target} already"
        # After a crash behind the commit the step comes here: what it wrote says how long agents may take.
        written_before = [found.option(SECTION, SPREAD_OPTION, "0") for found, _ in holders]
        facts = {"option_at": str(time.time()), "spread": max(written_before, key=float, default="0")}
        return Outcome(evidence=f"the option {where}", facts=facts)
    agents, cost = int(run.facts.get("agents_before", "0")), float(run.facts.get(SETUP_SECONDS, "0"))
    status = await run.new.status()
    # A site that is lost has told nobody how many come: the core that took over knows whose sessions it has.
    spread = spread_window(max(agents, _awaited(status)), cost, status)
    values = {KEY: run.target, SPREAD_OPTION: spread.value}
    written = await run.centre.change(
        [_set(found, key, value) for found in moved for key, value in values.items()],
        f"site switch to {run.target}: {run.request.reason}",
        f"switch:{run.plan}:option",
    )
    names = ", ".join(found.name for found in moved)
    how = f"; {written.how}" if written.how else ""
    return Outcome(
        evidence=f"{names}: {run.target} (revision {written.revision}{how}); {spread.arithmetic}",
        facts={"option_at": str(time.time()), "spread": spread.value},
    )


def _set(holder: ConfigObject, key: str, value: str) -> Operation:
    return Operation(
        op=OperationKind.SET_OPTION,
        type=ObjectType(holder.type).value,
        name=holder.name,
        section=SECTION,
        key=key,
        value=value,
    )


async def resume(run: Run) -> Outcome:
    """Wait until as many agent sessions are live as before; agents who went home do not hold the plan up for ever."""
    run.say(StepState.VERIFYING)
    before = int(run.facts.get("agents_before", "0"))
    seen = [0, 0]

    async def look() -> bool | None:
        seen[:] = _sessions(await run.new.status())
        return True if seen[0] >= before else None

    note = ""
    patience = RESUME_SECONDS + float(run.facts.get("spread", "0"))
    try:
        await run.until(look, patience, lambda: "", fix="")
    except StaylineError:
        note = f"; the others have not come back within {patience:g} s"
    return Outcome(
        evidence=f"{seen[0]} of {before} agents are back, {seen[1]} open interactions{note}",
        facts={
            "agents_after": str(seen[0]),
            "interactions_after": str(seen[1]),
            "resumed_at": str(time.time()),
        },
    )


async def prepare_return(run: Run) -> Outcome:
    """The old site becomes the replica; what it alone had is counted; its proxies wait with closed doors."""
    run.say(StepState.ACTING)
    old, why = await status_or_none(run.old)
    if old is None:
        return Outcome(
            evidence=f"{run.source} does not answer ({why}); it will follow when its host comes back",
            skipped=True,
        )
    report = await run.old.follow(run.new.name)
    await run.old.start(run.names(run.source, FRONT), f"{run.source} is passive now")
    run.say(StepState.VERIFYING)

    async def look() -> bool | None:
        found = (await run.new.status()).database
        return True if found is not None and found.replica == "streaming" else None

    await run.until(
        look, 30.0, lambda: f"{run.source} does not stream.", fix="see the host agent's log there"
    )
    lost = report.lost_journal + report.lost_entries
    how = "rebuilt" if report.rebuilt else "rewound" if report.rewound else "not diverged"
    return Outcome(
        evidence=f"{run.source} follows ({how}); {lost} writes were there only",
        facts={
            "lost": str(lost),
            "lost_interactions": ",".join(report.lost_interactions),
            "lost_messages": ",".join(report.lost_messages),
        },
    )


STEPS: dict[Step, Callable[[Run], Awaitable[Outcome]]] = {
    Step.DETECT: detect,
    Step.DECIDE: decide,
    Step.STOP: stop,
    Step.SUSPEND: suspend,
    Step.DATABASE: database,
    Step.CORE: core,
    Step.PROXIES: proxies,
    Step.OPTION: option,
    Step.RESUME: resume,
    Step.RETURN: prepare_return,
}
"""Every step of the plan, and no other (a test holds this table against ``domain/switchover.PLAN``)."""
