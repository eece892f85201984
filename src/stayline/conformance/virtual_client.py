"""A whole Workspace in virtual time: the pure machines of ``link/`` with a case's world around them.

What a real one does with sockets and timers is done here with the events of :class:`~stayline.conformance.world.World`;
every decision is the machines'.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from stayline.conformance.actions import StatementKind
from stayline.conformance.centre import PLACE, WORKSPACE, Centre
from stayline.conformance.record import Seen
from stayline.conformance.status import ClientStatus
from stayline.conformance.virtual_attempt import Attempt
from stayline.conformance.virtual_configuration import ConfigurationKeeper, ConfigurationServers, Disk
from stayline.conformance.virtual_core import VirtualCore
from stayline.conformance.virtual_search import Search
from stayline.conformance.virtual_status import status_of
from stayline.conformance.world import HOP, SignedStatement, World
from stayline.domain.errors import Refusal
from stayline.domain.topology import Configuration
from stayline.link.machine import logic, session, standby
from stayline.link.machine.logic_view import Bad, LinkDo, LogicView, OnLink, StatementBad, TimerAt, TimerDue
from stayline.link.machine.plan import AtStart, Link, plan_of, read_at_start
from stayline.link.machine.pool import Node, Random
from stayline.link.machine.session_events import (
    AskLogin,
    AskResume,
    Away,
    Back,
    Confirmed,
    Due,
    Ended,
    GiveUpLink,
    LinkDown,
    LinkUp,
    NoAnswer,
    Opened,
    Refused,
    Renewed,
    SessionLost,
    TokenRefused,
    WaitUntil,
)
from stayline.link.machine.session_events import Stop as StopSession
from stayline.link.machine.site_events import Ask, Asked, ConfigurationAway, Planned, Probe, StatementHeard
from stayline.link.machine.standby_events import (
    Connect,
    Disconnect,
    Idle,
    Lame,
    Lost,
    Proven,
    Stop,
    Wait,
    Woke,
)
from stayline.link.machine.standby_events import Due as LinkDue
from stayline.link.messages.envelope import Hello
from stayline.link.messages.interaction import MediaState, SessionOpened

ANSWER_SECONDS = 10.0
"""How long an opening request waits for its answer."""

WAKE_SECONDS = 2.0
"""How long a link has to answer after this machine woke up."""

ASK_SECONDS = 5.0


@dataclass
class _Life:
    """One run of the client, from start to stop: what belongs to an earlier one is not heard any more."""

    over: bool = False


class VirtualClient:
    """See the module. ``chance`` gives numbers in [0, 1). ``disk`` is kept from start to start."""

    def __init__(
        self,
        world: World,
        core: VirtualCore,
        centre: Centre,
        servers: ConfigurationServers,
        chance: Random,
    ) -> None:
        self.world = world
        self.core = core
        self.centre = centre
        self.chance = chance
        self.configuration_servers = servers
        self.restore_media: list[str] = []
        self.disk = Disk()
        self.logic = LogicView()
        self.session = session.SessionView(seed="none")
        self.attempts: dict[Link, Attempt] = {}
        self.owned = 0
        self.as_of = 0.0
        self.lost_why = ""
        self._starts = 0
        self._life = _Life(over=True)
        self._at_start: AtStart | None = None
        self._keeper: ConfigurationKeeper | None = None
        self._asking: dict[int, Search] = {}
        self._last: ClientStatus | None = None

    # -- life

    def start(self) -> None:
        """The agent starts the client."""
        self._life = _Life()
        self._starts += 1
        self.logic = LogicView()
        self.session = session.SessionView(seed=f"start-{self._starts}", place=PLACE)
        self.attempts, self._asking, self._at_start, self.owned = {}, {}, None, 0
        self._keeper = ConfigurationKeeper(self)
        if self.disk.configuration is not None:
            self.as_of = self.disk.as_of
            self.planned(self.disk.configuration, current=False)
        self._keeper.start()
        self.publish()

    def stop(self) -> None:
        """The agent ends it."""
        if self._life.over:
            return
        self._tell_session(StopSession())
        self.tell(Stop())
        if self._keeper is not None:
            self._keeper.stop()
        for attempt in self.attempts.values():
            attempt.hang_up()
        for search in self._asking.values():
            search.hang_up()
        self._life.over = True
        self.publish()

    @property
    def running(self) -> bool:
        """Whether it is started."""
        return not self._life.over

    def wake_up(self) -> None:
        """Its machine has slept."""
        for attempt in list(self.attempts.values()):
            attempt.poll_now(WAKE_SECONDS)
        if self._keeper is not None:
            self._keeper.wake_up(WAKE_SECONDS)
        self.tell(Woke())

    def later(self, at: float, callback: Callable[[], None]) -> None:
        """Call at a time, if this run of the client still goes on then."""
        life = self._life
        self.world.clock.at(at, lambda: None if life.over else callback())

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.world.clock.now

    def publish(self) -> None:
        """Tell the status, if it has changed."""
        status = status_of(self)
        if status != self._last:
            self._last = status
            self.world.record.add(Seen.STATUS, status=status)

    # -- the configuration

    def planned(self, configuration: Configuration, *, current: bool) -> None:
        """The configuration was read."""
        if self._at_start is None:
            self._at_start = read_at_start(configuration, WORKSPACE, self.centre_agent)
        plan = plan_of(configuration, WORKSPACE, self.centre_agent, self._at_start)
        if current:
            self.disk.configuration, self.disk.as_of = configuration, self.now
            self.as_of = self.now
        self._restored(plan.restore_timeout, plan.restore_media, configuration)
        self.tell(Planned(plan, current, 0 if current else self.disk.epoch))
        if current:
            self.disk.epoch = self.logic.site.read_epoch

    @property
    def centre_agent(self) -> str:
        """The agent's user name."""
        return "jane"

    @property
    def at_start(self) -> AtStart | None:
        """What was read when this run began."""
        return self._at_start

    def _restored(self, timeout: float, media: tuple[str, ...], configuration: Configuration) -> None:
        wanted = configuration.effective_option(
            WORKSPACE, self.centre_agent, "interaction-workspace", "login.media"
        ).value
        states = tuple(MediaState(one.strip(), True) for one in wanted.split(",") if one.strip())
        self.session = replace(self.session, restore_timeout=timeout, media=self.session.media or states)
        self.restore_media = list(media)

    def configuration_away(self, why: str) -> None:
        """No current Configuration Server is linked."""
        self.tell(ConfigurationAway(why))

    # -- the machines

    def tell(self, event: logic.Event) -> None:
        """Tell the connection logic, and do what it says."""
        self.logic, actions = logic.step(self.logic, event, self.now, self.chance)
        for action in actions:
            self._do(action)
        self.publish()

    def _do(self, action: logic.Action) -> None:
        match action:
            case TimerAt(timer, number, at):
                self.later(at, lambda: self.tell(TimerDue(timer, number)))
            case Probe():
                Search(self, action).probe()
            case Ask():
                self._asking[action.number] = Search(self, action)
                self._asking[action.number].ask()
            case LinkDo(link, did):
                self._do_link(link, did)

    def _do_link(self, link: Link, action: standby.Action) -> None:
        match action:
            case Connect(generation, node):
                self.attempts[link] = Attempt(self, link, generation, node)
                self.attempts[link].open()
            case Disconnect(why):
                attempt = self.attempts.pop(link, None)
                if attempt is not None:
                    attempt.hang_up()
                    self._down(link, attempt, why)
            case Wait(generation, at):
                self.later(at, lambda: self.tell(OnLink(link, LinkDue(generation))))

    # -- what links tell

    def hello(self, node: Node, link: Link | None) -> Hello:
        """What the client says of itself to a server."""
        pooled = link in (Link.INTERACTION, Link.CONTACT)
        return Hello(
            application=WORKSPACE,
            type="Workspace",
            instance=f"start-{self._starts}",
            epoch=self.logic.epoch,
            expect=node.application,
            expect_cluster=node.cluster if pooled else "",
            expect_site=node.site if pooled else "",
            local=node.local,
            remote=node.remote,
            token="token",
            ticket=self.session.ticket if link in (Link.INTERACTION, Link.CONTACT) else "",
        )

    def link_up(self, attempt: Attempt) -> None:
        """A welcome was accepted by the machine."""
        if attempt.link is Link.INTERACTION:
            self._tell_session(LinkUp(attempt.generation, attempt.epoch))
        else:
            self.later(
                self.now + 5 * HOP, lambda: self.tell(OnLink(attempt.link, Proven(attempt.generation)))
            )

    def link_over(self, attempt: Attempt, event: standby.Event, refusal: Refusal | None = None) -> None:
        """An attempt failed or a link was lost: the machine is told what."""
        if self.attempts.get(attempt.link) is attempt:
            del self.attempts[attempt.link]
            self._down(attempt.link, attempt, getattr(event, "why", ""))
        if refusal is not None and refusal.code in ("token.expired", "token.invalid", "auth.disabled"):
            self._tell_session(TokenRefused(refusal))
        self.tell(OnLink(attempt.link, event))

    def _down(self, link: Link, attempt: Attempt, why: str) -> None:
        if link is Link.INTERACTION and attempt.up:
            self._tell_session(LinkDown(why))

    def heard_statement(self, statement: SignedStatement) -> None:
        """A server carried a statement."""
        if statement.kind is StatementKind.FORGED:
            self.tell(StatementBad(Bad.FORGED))
        elif statement.kind is StatementKind.EXPIRED:
            self.tell(StatementBad(Bad.EXPIRED))
        else:
            self.tell(StatementHeard(statement.site, statement.epoch))

    def link_event(self, attempt: Attempt, name: str, payload: Any) -> None:
        """An event of a server."""
        if name == "server.leaving":
            self._leaving(attempt, payload)
        elif name == "core.away":
            self._tell_session(Away(payload))
        elif name == "core.back":
            opened, code = payload
            self._tell_session(Back(self.logic.epoch, opened, code, code))
        elif name == "session.ended":
            self._tell_session(Ended(payload.session, payload.code, payload.why))
        elif name == "session.ticket":
            self._tell_session(Renewed(payload.session, payload.ticket))
        elif name == "owned":
            self.owned = payload
            self.tell(Idle(payload == 0))

    def _leaving(self, attempt: Attempt, payload: Any) -> None:
        why = f"{attempt.node.application} leaves."
        if payload.slot > 0:
            at = self.now + payload.slot
            self.tell(OnLink(attempt.link, Lame(attempt.generation, at, why, payload.retry_after)))
            return
        attempt.hang_up()
        self.link_over(attempt, Lost(attempt.generation, why, payload.retry_after))

    def probe(self, server: str, answer: Callable[[bool], None]) -> None:
        """Does the server's port accept a connection?"""
        life = self._life
        self.world.probe(server, lambda accepted: None if life.over else answer(accepted))

    def answered(self, number: int, answer: Asked) -> None:
        """A question to another cluster is over."""
        self._asking.pop(number, None)
        self.tell(answer)

    # -- the session

    def _tell_session(self, event: Any) -> None:
        self.session, actions = session.step(self.session, event, self.now, self.chance)
        for action in actions:
            self._do_session(action)
        self.publish()

    def _do_session(self, action: Any) -> None:
        match action:
            case AskLogin(generation, key):
                login: dict[str, Any] = {
                    "place": self.session.place,
                    "media": list(self.session.media),
                    "workspace": self.disk.workspace,
                    "restore": self.restore_media,
                }
                self._ask_core("agent.login", generation, key, login)
            case AskResume(generation, ticket, last_seq):
                resume = {"ticket": ticket, "last_seq": last_seq, "restore": self.restore_media}
                key = f"resume-{self._starts}-{generation}"
                self._ask_core("agent.resume", generation, key, resume)
            case WaitUntil(generation, at):
                self.later(at, lambda: self._tell_session(Due(generation)))
            case GiveUpLink(why, retry_after):
                attempt = self.attempts.get(Link.INTERACTION)
                if attempt is not None:
                    attempt.hang_up()
                    self.link_over(attempt, Lost(attempt.generation, why, retry_after))
            case Confirmed():
                self._confirmed()
            case SessionLost(why, _):
                self.lost_why = why

    def _confirmed(self) -> None:
        attempt = self.attempts.get(Link.INTERACTION)
        self.lost_why = ""
        self.owned = self.core.owned
        if attempt is not None:
            self.tell(OnLink(Link.INTERACTION, Proven(attempt.generation)))
        self.tell(Idle(self.owned == 0))

    def _ask_core(self, method: str, generation: int, key: str, payload: dict[str, Any]) -> None:
        attempt = self.attempts.get(Link.INTERACTION)
        if attempt is None or attempt.connection is None:
            return
        connection, life = attempt.connection, self._life

        def replied(answer: SessionOpened | Refusal) -> None:
            if life.over or self._life is not life:
                return
            attempt.heard()
            if isinstance(answer, Refusal):
                self._tell_session(Refused(answer, generation))
            else:
                self._tell_session(Opened(answer, generation))

        def arrive() -> None:
            if not connection.gone:
                self.core.ask(connection, method, key, payload, replied)

        self.world.clock.after(HOP, arrive)
        no_answer = NoAnswer(f"{method} was not answered within {ANSWER_SECONDS:g} s.", generation)
        self.later(self.now + ANSWER_SECONDS, lambda: self._tell_session(no_answer))
