"""Runs a plan: judge, journal the intent, do the step, journal what was seen; again from there after any crash."""

import time
import uuid
from collections.abc import Callable, Mapping

from stayline.control.switch.journal import Event, Journal, Record
from stayline.control.switch.run import Centre, Host, Run, status_or_none
from stayline.control.switch.steps import FENCED, STEPS, undo_stop
from stayline.domain.errors import RefusedError, StaylineError, refuse
from stayline.domain.switchover import (
    PLAN,
    RULES,
    Mode,
    Request,
    SiteFacts,
    Step,
    judge,
    next_step,
    past_no_return,
)
from stayline.link.messages.control import (
    HostStatus,
    StepProgress,
    StepState,
    SwitchSummary,
)

NUMBERS = {rule.step: number for number, rule in enumerate(PLAN, 1)}


def facts_of(site: str, status: HostStatus | None) -> SiteFacts:
    """What the safety rules need to know of a site."""
    if status is None or status.database is None:
        return SiteFacts(site=site, reachable=status is not None, database="unknown")
    found = status.database
    return SiteFacts(
        site=site,
        reachable=True,
        database=found.role.value,
        streaming=found.streaming,
        synchronous=found.synchronous,
        lag_bytes=found.lag_bytes,
        epoch=found.epoch,
        age=max(0.0, time.time() - status.at),
    )


class SwitchEngine:
    """The plan engine of one Solution Control Server. At most one plan runs at a time."""

    def __init__(self, journal: Journal, hosts: Mapping[str, Host], centre: Centre) -> None:
        self._journal = journal
        self._hosts = hosts
        self._centre = centre
        self._running = False

    async def switch(self, request: Request, progress: Callable[[StepProgress], None]) -> SwitchSummary:
        """Run the plan to its end, or continue the one that was interrupted.

        Raises:
            RefusedError: a safety rule or a step refused; the journal says how far it came. Before the database
                step of a planned switch the old site is started again; after it, the same command continues.
        """
        if self._running:
            raise refuse(
                "switch.running",
                "A switch is running here already.",
                retryable=True,
                retry_after=5.0,
                fix="wait for it; stayline site status shows how far it is",
            )
        self._running = True
        try:
            return await self._switch(request, progress)
        finally:
            self._running = False

    async def _switch(self, request: Request, progress: Callable[[StepProgress], None]) -> SwitchSummary:
        begun = self._journal.unfinished()
        if begun is not None and begun.target == request.target and begun.mode is not None:
            if begun.mode is Mode.PLANNED and request.mode is Mode.FORCED:
                # The source was lost while the plan ran: what is done stays done, the rest is forced.
                begun = self._journal.append(
                    Record(plan=begun.plan, event=Event.BEGUN, at=time.time(), source=begun.source,
                           target=begun.target, mode=Mode.FORCED, by=request.by, reason=request.reason)
                )  # fmt: skip
            request = Request(
                target=begun.target, mode=begun.mode or request.mode, reason=begun.reason, by=begun.by
            )
        else:
            begun = await self._begin(request, begun)
        run = Run(begun.plan, request, begun.source, self._hosts, self._centre, say=lambda _: None)
        return await self._steps(run, progress)

    async def _begin(self, request: Request, unfinished: Record | None) -> Record:
        sites = self._centre.sites()
        if request.target not in sites:
            raise refuse(
                "switch.site_unknown",
                f"There is no site {request.target!r}.",
                field="target",
                fix=f"use one of {', '.join(sites)}",
            )
        source = next(site for site in sites if site != request.target)
        seen = {
            site: facts_of(site, (await status_or_none(self._hosts[site]))[0])
            for site in (source, request.target)
        }
        target = unfinished.target if unfinished is not None else ""
        refusal = judge(request, seen[source], seen[request.target], target)
        if refusal is not None:
            raise RefusedError(refusal)
        return self._journal.append(
            Record(
                plan=uuid.uuid4().hex[:12],
                event=Event.BEGUN,
                at=time.time(),
                source=source,
                target=request.target,
                mode=request.mode,
                by=request.by,
                reason=request.reason,
            )
        )

    async def _steps(self, run: Run, progress: Callable[[StepProgress], None]) -> SwitchSummary:
        seen: list[StepProgress] = []
        for record in self._journal.plan(run.plan):
            if record.event in (Event.DONE, Event.SKIPPED) and record.step is not None:
                state = StepState.DONE if record.event is Event.DONE else StepState.SKIPPED
                seen.append(self._progress(run, record.step, state, record.seconds, record.evidence))
                progress(seen[-1])
        while (step := next_step(self._journal.done(run.plan))) is not None:
            run.facts = self._journal.facts(run.plan)
            seen.append(await self._step(run, step, progress))
        self._journal.append(Record(plan=run.plan, event=Event.ENDED, at=time.time()))
        return self._summary(run, seen)

    async def _step(self, run: Run, step: Step, progress: Callable[[StepProgress], None]) -> StepProgress:
        began = time.monotonic()

        def say(state: StepState, evidence: str = "") -> StepProgress:
            report = self._progress(run, step, state, time.monotonic() - began, evidence)
            progress(report)
            return report

        def tell(state: StepState) -> None:
            say(state)

        run.say = tell
        say(StepState.CHECKING)
        self._journal.append(Record(plan=run.plan, event=Event.INTENT, at=time.time(), step=step))
        try:
            outcome = await STEPS[step](run)
        except StaylineError as error:
            if run.forced and RULES[step].optional_when_forced:
                evidence = f"not possible: {error.refusal.reason}"
                stopped = {"stopped_at": str(time.time()), FENCED: "not possible"}
                facts = stopped if step is Step.STOP else {}
                self._record(run, step, Event.SKIPPED, began, evidence, facts)
                return say(StepState.SKIPPED, evidence)
            await self._failed(run, step, began, error)
            say(StepState.FAILED, error.refusal.reason)
            raise
        event = Event.SKIPPED if outcome.skipped else Event.DONE
        self._record(run, step, event, began, outcome.evidence, outcome.facts)
        return say(StepState.SKIPPED if outcome.skipped else StepState.DONE, outcome.evidence)

    async def _failed(self, run: Run, step: Step, began: float, error: StaylineError) -> None:
        """Journal the failure; before the database step of a planned switch, take everything back."""
        self._record(run, step, Event.FAILED, began, error.refusal.reason, {})
        done = self._journal.done(run.plan)
        if run.forced or step is Step.DATABASE or past_no_return(done):
            return
        evidence = "nothing was changed"
        if step in (Step.STOP, Step.SUSPEND):
            try:
                evidence = await undo_stop(run)
            except StaylineError as failure:
                # Left unfinished on purpose: the operator runs the same command again.
                self._record(
                    run, step, Event.FAILED, began, f"could not be undone: {failure.refusal.reason}", {}
                )
                return
        self._journal.append(
            Record(
                plan=run.plan,
                event=Event.ABANDONED,
                at=time.time(),
                evidence=f"{evidence}: {error.refusal.reason}",
            )
        )

    def _record(
        self, run: Run, step: Step, event: Event, began: float, evidence: str, facts: dict[str, str]
    ) -> None:
        self._journal.append(
            Record(
                plan=run.plan,
                event=event,
                at=time.time(),
                step=step,
                evidence=evidence,
                seconds=round(time.monotonic() - began, 3),
                facts=facts,
            )
        )

    def _progress(
        self, run: Run, step: Step, state: StepState, seconds: float, evidence: str
    ) -> StepProgress:
        return StepProgress(
            plan=run.plan,
            number=NUMBERS[step],
            total=len(PLAN),
            step=step.value,
            title=RULES[step].title,
            state=state,
            seconds=round(seconds, 3),
            evidence=evidence,
        )

    def _summary(self, run: Run, steps: list[StepProgress]) -> SwitchSummary:
        facts = self._journal.facts(run.plan)
        lost = int(facts["lost"]) if "lost" in facts else (0 if "proof" in facts else -1)
        why = "the new primary replayed exactly to where the old one ended" if "proof" in facts else ""
        if lost < 0:
            why = "unknown until the old site's database can be read; stayline site status will say"
        return SwitchSummary(
            plan=run.plan,
            target=run.target,
            mode=run.request.mode,
            epoch=int(facts["epoch"]),
            done=True,
            steps=steps,
            agents_before=int(facts.get("agents_before", "0")),
            agents_after=int(facts.get("agents_after", "0")),
            seconds_without_service=max(
                0.0, float(facts.get("resumed_at", "0")) - float(facts.get("stopped_at", "0"))
            ),
            interactions_before=int(facts.get("interactions_before", "0")),
            interactions_after=int(facts.get("interactions_after", "0")),
            interactions_lost=lost,
            why=why,
        )
