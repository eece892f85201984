"""The shell around ``machine/logic.py``: one Workspace's links, timers, probes and questions, and what it counts."""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from stayline.domain.errors import RefusedError
from stayline.link.authority import TlsFiles
from stayline.link.lone_link import log_step
from stayline.link.machine import standby
from stayline.link.machine.logic import (
    Action,
    Ask,
    Asked,
    Bad,
    ConfigurationAway,
    EpochHeard,
    Event,
    Idle,
    LinkDo,
    LogicView,
    OnLink,
    Planned,
    Probe,
    Probed,
    StatementBad,
    StatementHeard,
    Stop,
    Timer,
    TimerAt,
    TimerDue,
    Woke,
    step,
)
from stayline.link.machine.plan import Link, Plan
from stayline.link.machine.setups import Setups
from stayline.link.messages.envelope import Hello
from stayline.link.standby_link import LinkUser, Report, StandbyLink
from stayline.link.tokens import TokenVerifier
from stayline.link.turn import Turn
from stayline.link.wakeup import ANSWER_SECONDS
from stayline.workspace.lookout import Lookout

log = structlog.get_logger(__name__)

NAMES: Mapping[Link, str] = {
    Link.INTERACTION: "Interaction Server",
    Link.CONTACT: "Contact Server",
    Link.CHAT: "Chat Server",
    Link.STATISTICS: "Stat Server",
}
"""The most urgent one first."""


class Conductor:
    """See the module. ``users`` work on the links, ``hello`` makes the first frame of each; ``verifier`` checks
    statements of mastership (None: none is believed); ``changed`` is called whenever the view is another one.

    ``random`` gives numbers in [0, 1), ``clock`` Unix seconds; at most ``setups`` links are set up at a time.
    """

    def __init__(
        self,
        users: Mapping[Link, LinkUser],
        hello: Callable[[Link], Hello],
        tls: TlsFiles,
        *,
        verifier: TokenVerifier | None,
        setups: int,
        random: Callable[[], float],
        clock: Callable[[], float],
        report: Report,
        changed: Callable[[], None],
    ) -> None:
        self.view = LogicView(setups=Setups(limit=setups))
        self._random = random
        self._clock = clock
        self._changed = changed
        self._verifier = verifier
        self._tell = Turn(self._step)
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._lookout = Lookout(lambda: hello(Link.INTERACTION), tls)
        self.links: dict[Link, StandbyLink] = {
            link: self._make(link, user, hello, tls, report) for link, user in users.items()
        }

    def _make(
        self, link: Link, user: LinkUser, hello: Callable[[Link], Hello], tls: TlsFiles, report: Report
    ) -> StandbyLink:
        return StandbyLink(
            NAMES[link],
            user,
            lambda: hello(link),
            tls,
            view=lambda: self.view.links[link],
            tell=lambda event: self._tell(OnLink(link, event)),
            clock=self._clock,
            report=report,
            on_statement=self.heard_statement,
            in_cluster=link is not Link.STATISTICS,
            rank=list(NAMES).index(link),
        )

    # -- what it is told

    def plan(self, plan: Plan, *, current: bool, epoch: int = 0) -> None:
        """What the configuration says; ``epoch`` as of :class:`~stayline.link.machine.site_events.Planned`."""
        self._tell(Planned(plan, current, epoch))

    def configuration_away(self, why: str) -> None:
        """No current Configuration Server is linked any more."""
        self._tell(ConfigurationAway(why))

    def heard_epoch(self, epoch: int) -> None:
        """Something was said under this epoch: from the next hello on, servers of a lower one are refused."""
        if epoch > self.view.epoch:
            self._tell(EpochHeard(epoch))

    def heard_statement(self, statement: str) -> None:
        """A proxy carries this signed statement."""
        found = self._read_statement(statement)
        if isinstance(found, Bad):
            self._tell(StatementBad(found))
        elif found is not None:
            self._tell(StatementHeard(*found))

    def recall_statement(self, site: str, epoch: int) -> None:
        """An earlier process heard this in a good statement."""
        self._tell(StatementHeard(site, epoch))

    def idle(self, idle: bool) -> None:
        """The agent owns nothing, or something again."""
        if any(view.idle is not idle for view in self.view.links.values()):
            self._tell(Idle(idle))

    def woke(self) -> None:
        """This machine was asleep: look at every link, try at once what is waited for."""
        for link in self.links.values():
            link.poll(ANSWER_SECONDS)
        self._tell(Woke())

    async def stop(self) -> None:
        """Close every link, end every timer and task."""
        self._tell(Stop())
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        await self._lookout.finished()
        for link in self.links.values():
            await link.finished()

    # -- the machine

    def _step(self, event: Event) -> None:
        before = self.view
        now = self._clock()
        self.view, actions = step(before, event, now, self._random)
        self._log(before, now)
        if not (self.view.site.probe or self.view.site.ask):
            self._lookout.end()
        for action in actions:
            self._do(action)
        for link, shell in self.links.items():
            if self.view.links[link] is not before.links[link]:
                shell.changed()
        if self.view is not before:
            self._changed()

    def _log(self, before: LogicView, now: float) -> None:
        old, new = before.site, self.view.site
        if (old.phase, old.cluster, old.refusal) != (new.phase, new.cluster, new.refusal):
            why = new.refusal.reason if new.refusal is not None else new.why
            log.info("workspace.site", choice=new.phase, cluster=new.cluster, site=new.site, why=why)
        for link, view in self.view.links.items():
            if view is not before.links[link]:
                log_step(NAMES[link], before.links[link], view, now)

    def _do(self, action: Action) -> None:
        if isinstance(action, LinkDo):
            self._on_link(action)
        elif isinstance(action, TimerAt):
            self._wait(action)
        elif isinstance(action, Probe):
            self._probe(action)
        else:
            self._ask(action)

    def _on_link(self, action: LinkDo) -> None:
        shell = self.links.get(action.link)
        if shell is not None:
            shell.do(action.action)
        elif isinstance(action.action, standby.Connect):
            raise RuntimeError(f"a link without a user is to be opened: {action.link}")

    def _wait(self, action: TimerAt) -> None:
        earlier = self._timers.pop(action.timer, None)
        if earlier is not None:
            earlier.cancel()
        delay = max(0.0, action.at - self._clock())
        due = TimerDue(action.timer, action.number)
        self._timers[action.timer] = asyncio.get_running_loop().call_later(delay, self._tell, due)

    def _probe(self, action: Probe) -> None:
        def told(available: bool) -> None:
            self._tell(Probed(action.number, action.cluster, available))

        self._lookout.probe(action.cluster, action.nodes, action.timeout, told)

    def _ask(self, action: Ask) -> None:
        """The first good statement of a cluster is the answer; bad ones are counted, and the next server is asked."""

        def good(statement: str) -> bool:
            found = self._read_statement(statement)
            if isinstance(found, Bad):
                self._tell(StatementBad(found))
            return isinstance(found, tuple)

        def told(statement: str) -> None:
            found = self._read_statement(statement) if statement else None
            self._tell(Asked(action.number, action.cluster, found if isinstance(found, tuple) else None))

        self._lookout.ask(action.cluster, action.nodes, good, told)

    def _read_statement(self, statement: str) -> tuple[str, int] | Bad | None:
        """Site and epoch of a statement, or what is wrong with it; None without a key to check it."""
        if self._verifier is None:
            return None
        try:
            found = self._verifier.statement(statement, self._clock())
        except RefusedError as error:
            log.warning("workspace.statement", code=error.refusal.code, why=error.refusal.reason)
            return Bad.EXPIRED if error.refusal.code == "token.expired" else Bad.FORGED
        return found.site, found.epoch
