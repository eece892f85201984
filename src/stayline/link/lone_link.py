"""A link with a machine of its own: ``link/machine/standby.py`` and its shell, for who keeps just one."""

from collections.abc import Callable

import structlog

from stayline.link.authority import TlsFiles
from stayline.link.machine.pool import Assignment
from stayline.link.machine.standby import Assigned, Event, StandbyView, State, Stop, Woke, step
from stayline.link.messages.envelope import Hello
from stayline.link.standby_link import LinkUser, Prepare, Report, StandbyLink
from stayline.link.turn import Turn
from stayline.link.wakeup import ANSWER_SECONDS

log = structlog.get_logger(__name__)


class LoneLink(StandbyLink):
    """See the module. Parameters as of :class:`~stayline.link.standby_link.StandbyLink`; ``random`` gives numbers in
    [0, 1)."""

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
        in_cluster: bool = True,
    ) -> None:
        self._machine = StandbyView()
        self._random = random
        self._apply = Turn(self._step)
        super().__init__(
            name,
            user,
            hello,
            tls,
            view=lambda: self._machine,
            tell=self._apply,
            clock=clock,
            report=report,
            prepare=prepare,
            in_cluster=in_cluster,
        )

    def assign(self, assignment: Assignment) -> None:
        """Use this pool from now on; at once, whatever it is waiting for."""
        self._apply(Assigned(assignment))

    def woke(self) -> None:
        """This machine was asleep: look at once whether the link lives, try at once what was waited for."""
        self.poll(ANSWER_SECONDS)
        self._apply(Woke())

    async def stop(self) -> None:
        """Close the link and end every task of it."""
        self._apply(Stop())
        await self.finished()

    def _step(self, event: Event) -> None:
        before = self._machine
        self._machine, actions = step(before, event, self._clock(), self._random)
        log_step(self.name, before, self._machine, self._clock())
        for action in actions:
            self.do(action)
        if self._machine is not before:
            self.changed()


def log_step(name: str, before: StandbyView, view: StandbyView, now: float) -> None:
    """One line for each decision of a link's machine."""
    if (view.state, view.generation, view.until) == (before.state, before.generation, before.until):
        return
    log.info(
        "link.machine",
        link=name,
        state=view.state,
        before=before.state,
        server=view.node_name,
        why=view.why,
        wait=round(view.until - now, 3) if view.until and view.state is not State.UP else 0,
    )
