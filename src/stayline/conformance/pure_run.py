"""Plays cases to the pure machines in virtual time, with chance turning out in several ways."""

import random as random_module
from collections.abc import Iterable
from dataclasses import dataclass

from stayline.conformance import actions as do
from stayline.conformance import expectations as see
from stayline.conformance.case import Case, Step
from stayline.conformance.court import Court, Marks, Outcome, Verdict
from stayline.conformance.record import Seen
from stayline.conformance.stage import Stage
from stayline.conformance.verdict import judge
from stayline.conformance.world import WALL, EndlessError
from stayline.domain.errors import RefusedError
from stayline.link.machine.pool import Random

AT_ITS_END = (see.Polled, see.Times, see.SetUps, see.Spread)
"""Expectations about a number: with ``for`` they are judged at the end of that time."""

SEEDS = (1, 2, 3, 4, 5)


def chances(case: Case) -> dict[str, Random]:
    """How chance may turn out: always 0, always almost 1, and by some seeds. About a distribution only the seeds say
    anything."""
    seeds: dict[str, Random] = {f"seed {seed}": random_module.Random(seed).random for seed in SEEDS}
    if any(isinstance(step.see, see.Spread) for step in case.story):
        return seeds
    return {"chance 0": lambda: 0.0, "chance almost 1": lambda: 1.0 - 2**-53, **seeds}


@dataclass(frozen=True)
class PureFailure:
    """A step that went wrong. ``step`` as the case writes it; ``timeline``: what was seen up to then."""

    case: str
    title: str
    chance: str
    number: int
    step: str
    why: str
    timeline: tuple[str, ...]

    def __str__(self) -> str:
        head = (
            f"{self.case} ({self.title}), {self.chance}, step {self.number}: {self.step}\n  seen: {self.why}"
        )
        return "\n".join([head, *(f"    {line}" for line in self.timeline)])


def run_pure(case: Case) -> list[PureFailure]:
    """Play a case with every chance: its failures, none when it passed."""
    played = (PurePlayer(case, name, chance).play() for name, chance in chances(case).items())
    return [failure for failure in played if failure is not None]


def run_all(cases: Iterable[Case]) -> dict[str, list[PureFailure]]:
    """Case id -> its failures."""
    return {case.id: run_pure(case) for case in cases}


class PurePlayer:
    """One case, with chance turning out one way."""

    def __init__(self, case: Case, chance_name: str, chance: Random) -> None:
        self._case = case
        self._chance_name = chance_name
        self._stage = Stage(case, chance)
        self._marks = Marks()
        self._doing = False

    # -- the story

    def play(self) -> PureFailure | None:
        """The whole story; None when every step was as it must be."""
        for step in self._case.story:
            self._stage.record.add(Seen.DONE, step=step.words)
            try:
                why = self._do(step.do) if step.do is not None else self._see(step)
            except (RefusedError, EndlessError) as error:
                why = str(error)
            if why:
                return PureFailure(
                    case=self._case.id,
                    title=self._case.title,
                    chance=self._chance_name,
                    number=step.number,
                    step=step.words,
                    why=why,
                    timeline=tuple(self.timeline()),
                )
        return None

    def timeline(self) -> list[str]:
        """What was seen, the last of it, as lines."""
        return self._stage.record.timeline()

    def _do(self, action: do.AnyAction) -> str:
        if not self._doing:
            self._doing = True
            self._marks.block(self._stage.record, self._stage.scene, self._stage.record.now)
        self._stage.carry_out(action)
        if not isinstance(action, do.TimePasses):
            self._marks.done(self._stage.record.now)
        return ""

    def _see(self, step: Step) -> str:
        self._doing = False
        if step.lasting:
            return self._lasts(step)
        deadline = self._stage.clock.now + step.within
        while True:
            verdict = self._judge(step)
            if verdict.outcome is Outcome.MET:
                self._marks.met(verdict, self._stage.record.now)
                return ""
            if verdict.outcome is Outcome.BROKEN or self._stage.clock.now >= deadline:
                return verdict.seen
            self._stage.clock.turn(deadline)

    def _lasts(self, step: Step) -> str:
        end = self._stage.clock.now + step.lasting
        at_its_end = isinstance(step.see, AT_ITS_END)
        while True:
            verdict = self._judge(step)
            over = self._stage.clock.now >= end
            if verdict.outcome is Outcome.BROKEN:
                return verdict.seen
            if verdict.outcome is Outcome.NOT_YET and (over or not at_its_end):
                return verdict.seen
            if over:
                return ""
            self._stage.clock.turn(end)

    def _judge(self, step: Step) -> Verdict:
        assert step.see is not None
        court = Court(
            record=self._stage.record,
            scene=self._stage.scene,
            marks=self._marks,
            now=self._stage.record.now,
            wall=WALL,
        )
        return judge(step.see, court)
