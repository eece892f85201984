"""A link to a primary/backup pair, or to preferred and peer servers: ``machine/preferred.py`` and
``machine/standby.py`` with their shell."""

import asyncio
from collections.abc import Callable

import structlog

from stayline.link.authority import TlsFiles
from stayline.link.lone_link import LoneLink
from stayline.link.machine.plan import PairPlan
from stayline.link.machine.pool import Node
from stayline.link.machine.preferred import (
    PairAction,
    PairDown,
    PairDue,
    PairEvent,
    PairPlanned,
    PairUp,
    PairWait,
    PreferredView,
    Use,
)
from stayline.link.machine.preferred import step as pair_step
from stayline.link.machine.standby import Event, State, Stop
from stayline.link.messages.envelope import Hello
from stayline.link.standby_link import LinkUser, Prepare, Report
from stayline.link.turn import Turn

log = structlog.get_logger(__name__)


class PairedLink(LoneLink):
    """As :class:`~stayline.link.lone_link.LoneLink`, for servers that are no pool. ``group`` says which of them are
    current, and why."""

    def __init__(
        self,
        name: str,
        user: LinkUser,
        hello: Callable[[], Hello],
        tls: TlsFiles,
        *,
        random: Callable[[], float],
        clock: Callable[[], float],
        report: Report,
        prepare: Prepare | None = None,
    ) -> None:
        super().__init__(
            name,
            user,
            hello,
            tls,
            random=random,
            clock=clock,
            report=report,
            prepare=prepare,
            in_cluster=False,
        )
        self.group = PreferredView()
        self._pair = Turn(self._pair_step)
        self._group_timer: asyncio.TimerHandle | None = None

    def plan(self, plan: PairPlan) -> None:
        """Use these servers from now on."""
        self._pair(PairPlanned(plan))

    def others(self) -> list[Node]:
        """The servers that may be used now."""
        return list(self.view.assignment.nodes)

    async def stop(self) -> None:
        """Close the link and end every task of it."""
        self._pair(Stop())
        self._cancel_group_timer()
        await super().stop()

    def _step(self, event: Event) -> None:
        was_up = self.view.state is State.UP
        super()._step(event)
        is_up = self.view.state is State.UP
        if is_up != was_up:
            self._pair(PairUp() if is_up else PairDown())

    def _pair_step(self, event: PairEvent) -> None:
        before = self.group
        self.group, actions = pair_step(before, event, self._clock(), self._random)
        if (self.group.group, self.group.refusal) != (before.group, before.refusal):
            log.info("link.group", link=self.name, group=self.group.group, why=self.group.why)
        for action in actions:
            self._do_pair(action)

    def _do_pair(self, action: PairAction) -> None:
        if isinstance(action, Use):
            self.assign(action.assignment)
        elif isinstance(action, PairWait):
            self._cancel_group_timer()
            delay = max(0.0, action.at - self._clock())
            due = PairDue(action.number)
            self._group_timer = asyncio.get_running_loop().call_later(delay, self._pair, due)

    def _cancel_group_timer(self) -> None:
        if self._group_timer is not None:
            self._group_timer.cancel()
            self._group_timer = None
