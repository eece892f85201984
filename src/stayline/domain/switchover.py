"""The site switch-over as data: its steps, what may come after what, and the rules that refuse it.

The steps are the seed's nine ("Administrator operations in case of data center failover") and a tenth that makes the
way back ready. Everything here is pure: facts come in, a step or a refusal comes out.
"""

import enum

import msgspec

from stayline.domain.errors import Refusal


class Mode(enum.StrEnum):
    """The two verbs. A planned switch needs both sites and loses nothing; a forced one needs only the target."""

    PLANNED = "planned"
    FORCED = "forced"


class Step(enum.StrEnum):
    """Names of the steps, in the journal for ever: never rename one."""

    DETECT = "detect"
    DECIDE = "decide"
    STOP = "stop"
    SUSPEND = "suspend"
    DATABASE = "database"
    CORE = "core"
    PROXIES = "proxies"
    OPTION = "option"
    RESUME = "resume"
    RETURN = "return"


class StepRule(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the plan. ``seed`` is the seed's own step number; ``undoable`` ends with the promotion, after which
    the only way is forward; ``optional_when_forced`` steps may fail in a forced switch without stopping it."""

    step: Step
    seed: str
    title: str
    why: str
    undoable: bool
    optional_when_forced: bool = False


PLAN: tuple[StepRule, ...] = (
    StepRule(
        step=Step.DETECT,
        seed="1",
        title="Look at both sites",
        why="a switch to a site that cannot serve would make the outage worse",
        undoable=True,
    ),
    StepRule(
        step=Step.DECIDE,
        seed="2",
        title="Record the decision",
        why="who moved everybody, when and why must be known afterwards",
        undoable=True,
    ),
    StepRule(
        step=Step.STOP,
        seed="3",
        title="Stop the active servers of the old site",
        why="two sites that serve at once would own an interaction twice",
        undoable=True,
        optional_when_forced=True,
    ),
    StepRule(
        step=Step.SUSPEND,
        seed="4",
        title="See that the old site serves nobody",
        why="belief is no proof: its ports must refuse, or nothing must answer at all",
        undoable=True,
    ),
    StepRule(
        step=Step.DATABASE,
        seed="5",
        title="Transfer the mastership of the database",
        why="the point of no return: from here the new site is the only one that may write",
        undoable=False,
    ),
    StepRule(
        step=Step.CORE,
        seed="6",
        title="Start the core pairs of the new site",
        why="proxies may only open in front of a primary",
        undoable=False,
    ),
    StepRule(
        step=Step.PROXIES,
        seed="7",
        title="Open the proxies and Chat Servers of the new site",
        why="agents must find open doors before they are told to come",
        undoable=False,
    ),
    StepRule(
        step=Step.OPTION,
        seed="8",
        title="Point disaster-recovery.eservices-site to the new site",
        why="Workspaces never change site by themselves",
        undoable=False,
    ),
    StepRule(
        step=Step.RESUME,
        seed="9",
        title="See the agents come back",
        why="the switch is over when people work again, not when servers run",
        undoable=False,
    ),
    StepRule(
        step=Step.RETURN,
        seed="-",
        title="Make the old site follow the new one",
        why="until the old site follows again there is no way back and no second copy",
        undoable=False,
        optional_when_forced=True,
    ),
)

RULES: dict[Step, StepRule] = {rule.step: rule for rule in PLAN}


def next_step(done: set[Step]) -> Step | None:
    """The first step of the plan not yet done; None when all are. A plan interrupted anywhere continues here."""
    return next((rule.step for rule in PLAN if rule.step not in done), None)


def past_no_return(done: set[Step]) -> bool:
    """Whether the mastership has moved, so that the plan can only be finished, not taken back."""
    return any(not RULES[step].undoable for step in done)


class SiteFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one site when a plan is judged. ``age`` is that of the evidence, in seconds."""

    site: str
    reachable: bool
    database: str
    streaming: bool = False
    synchronous: bool = False
    lag_bytes: int = 0
    epoch: int = 0
    age: float = 0.0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A switch as asked for."""

    target: str
    mode: Mode
    reason: str
    by: str


MAX_EVIDENCE_AGE = 60.0
"""Seconds. Older evidence does not count (safety rule SR12)."""

MAX_PLANNED_LAG_BYTES = 64 * 1024 * 1024
"""A planned switch waits for the replica to replay what is left; more than this would make agents wait too long."""


def judge(request: Request, source: SiteFacts, target: SiteFacts, unfinished: str) -> Refusal | None:
    """Apply the safety rules to a switch that is about to begin; None when it may.

    ``unfinished`` is the target of a plan that was begun and not ended (empty: none). The rule numbers are those of
    the documentation (explanation/switch-over), so that a refusal can be looked up.
    """
    if unfinished and unfinished != request.target:
        return Refusal(
            code="switch.unfinished",
            reason=f"SR8: a switch to {unfinished} was begun and not ended, so none to {request.target} may begin.",
            fix=f"finish it first: stayline site switch {unfinished} with the same mode",
        )
    if not request.reason.strip():
        return Refusal(
            code="switch.reason",
            reason="SR10: a switch needs a reason, which is kept with it.",
            field="reason",
            fix='give --reason "..."',
        )
    if target.age > MAX_EVIDENCE_AGE:
        return Refusal(
            code="switch.evidence",
            reason=f"SR12: what is known of {target.site} is {target.age:.0f} s old.",
            retryable=True,
            retry_after=2.0,
            fix=f"see that the host agent of {target.site} answers",
        )
    if not target.reachable:
        return Refusal(
            code="switch.target_unreachable",
            reason=f"The host agent of {target.site} does not answer, so nothing can be started there.",
            retryable=True,
            retry_after=5.0,
            fix=f"start the host of {target.site}",
        )
    if target.database == "primary":
        return Refusal(
            code="switch.already",
            reason=f"The database of {target.site} is already primary (epoch {target.epoch}).",
            fix="nothing to do; see stayline site status",
        )
    if target.database != "replica":
        return Refusal(
            code="switch.no_replica",
            reason=f"The database of {target.site} is {target.database}, not a replica that could be promoted.",
            retryable=True,
            retry_after=5.0,
            fix=f"bring the database of {target.site} back as a replica; stayline site status says what it waits for",
        )
    return _judge_planned(source, target) if request.mode is Mode.PLANNED else None


def _judge_planned(source: SiteFacts, target: SiteFacts) -> Refusal | None:
    if not source.reachable:
        return Refusal(
            code="switch.source_unreachable",
            reason=f"The host agent of {source.site} does not answer; a planned switch needs both sites.",
            retryable=True,
            retry_after=5.0,
            fix="if the site is lost, use --forced",
        )
    if source.database != "primary":
        return Refusal(
            code="switch.source_not_primary",
            reason=f"The database of {source.site} is {source.database}, so it has no mastership to hand over.",
            fix="if its database is lost, use --forced",
        )
    if not target.streaming:
        return Refusal(
            code="switch.not_streaming",
            reason=f"The replica of {target.site} does not follow at the moment; a planned switch would lose writes.",
            retryable=True,
            retry_after=2.0,
            fix="wait until stayline site status shows it streaming",
        )
    if target.lag_bytes > MAX_PLANNED_LAG_BYTES:
        return Refusal(
            code="switch.lag",
            reason=f"The replica of {target.site} is {target.lag_bytes} bytes behind.",
            retryable=True,
            retry_after=10.0,
            fix="wait until it has caught up",
        )
    return None
