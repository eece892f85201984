"""Plays cases to the pure machines in virtual time, with chance turning out in several ways."""

import random as random_module
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from stayline.conformance import actions as do
from stayline.conformance import expectations as see
from stayline.conformance.actions import ConfigurationState, Link, SiteState
from stayline.conformance.case import Case, Step
from stayline.conformance.centre import WORKSPACE, Centre, CentreServer
from stayline.conformance.court import Court, Marks, Outcome, Scene, Verdict, connected_or_last
from stayline.conformance.record import Record, Seen
from stayline.conformance.verdict import judge
from stayline.conformance.virtual_client import VirtualClient
from stayline.conformance.virtual_configuration import ConfigurationServers
from stayline.conformance.virtual_core import VirtualCore
from stayline.conformance.world import HOP, WALL, Clock, Connection, EndlessError, World
from stayline.domain.errors import RefusedError, refuse
from stayline.domain.topology import SITE_OPTION
from stayline.link.messages.interaction import Leaving
from stayline.link.plan import WINDOW
from stayline.link.plan import Link as ClientLink
from stayline.link.pool import Random

AT_ITS_END = (see.Polled, see.Times, see.SetUps, see.Spread)
"""Expectations about a number: with ``for`` they are judged at the end of that time."""

SESSION_SECONDS = 10.0

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
        self.case = case
        self._chance_name = chance_name
        given = case.given
        self.clock = Clock()
        self.record = Record(lambda: self.clock.now)
        self.centre = Centre(given, lambda name: 1)
        self._epochs: dict[str, int] = dict.fromkeys(self.centre.servers, given.epoch)
        self.world = World(self.clock, self.record, lambda server: self._epochs[server.name])
        self.core = VirtualCore(self.world, lambda link: self._epochs[link.server.name])
        self.marks = Marks()
        self._names: dict[str, str] = {}
        self._doing = False
        self._config_links: dict[str, int] = {}
        self._config_number = -1
        listening = set(self.centre.initially_open())
        for info in self.centre.servers.values():
            self.world.add(info, info.name in listening)
        self.servers = ConfigurationServers(
            truth=lambda: self.centre.configuration,
            note=self._note_configuration,
            states={one.name: ConfigurationState.CURRENT for one in given.configuration},
        )
        self.client = VirtualClient(self.world, self.core, self.centre, self.servers, chance)
        self._first_statements()

    def _first_statements(self) -> None:
        given = self.case.given
        sites = [site for site in self.centre.sites if given.active is None or site in given.active]
        if given.statements and sites:
            self._state(sites[0], sites[0], given.epoch)

    def _state(self, at: str, site: str, epoch: int) -> None:
        for name in self.centre.expand(at):
            if self.centre.servers[name].link is Link.INTERACTION:
                self.world.state(name, site, epoch, do.StatementKind.VALID)

    def _note_configuration(self, kind: str, server: str) -> None:
        """The Configuration Servers' links: only what is needed to tell whether one stands."""
        if kind == "attempt":
            self.record.add(Seen.ATTEMPT, server)
        elif kind == "welcomed":
            self._config_number -= 1
            self._config_links[server] = self._config_number
            self.record.add(Seen.WELCOMED, server, self._config_number)
        else:
            by = "client" if kind == "closed" else "server"
            self.record.add(
                Seen.CLOSED, server, self._config_links.get(server, 0), by=by, polite=by == "client"
            )

    @property
    def scene(self) -> Scene:
        """Who is who by now."""
        servers = self.centre.servers.values()
        groups: dict[str, frozenset[str]] = {}
        for name in {*self.centre.clusters, *self.centre.sites}:
            groups[name] = frozenset(s.name for s in servers if name in (s.cluster, s.site))
        return Scene(links={s.name: s.link for s in servers}, groups=groups, names=self._names)

    # -- the story

    def play(self) -> PureFailure | None:
        """The whole story; None when every step was as it must be."""
        for step in self.case.story:
            self.record.add(Seen.DONE, step=step.words)
            try:
                why = self._do(step.do) if step.do is not None else self._see(step)
            except (RefusedError, EndlessError) as error:
                why = str(error)
            if why:
                return PureFailure(
                    case=self.case.id,
                    title=self.case.title,
                    chance=self._chance_name,
                    number=step.number,
                    step=step.words,
                    why=why,
                    timeline=tuple(self.record.timeline()),
                )
        return None

    def _do(self, action: do.AnyAction) -> str:
        if not self._doing:
            self._doing = True
            self.marks.block(self.record, self.scene, self.record.now)
        _DO[type(action)](self, action)
        if not isinstance(action, do.TimePasses):
            self.marks.done(self.record.now)
        return ""

    def _see(self, step: Step) -> str:
        self._doing = False
        if step.lasting:
            return self._lasts(step)
        deadline = self.clock.now + step.within
        while True:
            verdict = self._judge(step)
            if verdict.outcome is Outcome.MET:
                self.marks.met(verdict, self.record.now)
                return ""
            if verdict.outcome is Outcome.BROKEN or self.clock.now >= deadline:
                return verdict.seen
            self.clock.turn(deadline)

    def _lasts(self, step: Step) -> str:
        end = self.clock.now + step.lasting
        at_its_end = isinstance(step.see, AT_ITS_END)
        while True:
            verdict = self._judge(step)
            over = self.clock.now >= end
            if verdict.outcome is Outcome.BROKEN:
                return verdict.seen
            if verdict.outcome is Outcome.NOT_YET and (over or not at_its_end):
                return verdict.seen
            if over:
                return ""
            self.clock.turn(end)

    def _judge(self, step: Step) -> Verdict:
        assert step.see is not None
        court = Court(record=self.record, scene=self.scene, marks=self.marks, now=self.record.now, wall=WALL)
        return judge(step.see, court)

    # -- names

    def _servers(self, names: do.Names) -> list[str]:
        wanted = [names] if isinstance(names, str) else list(names)
        return self.centre.expand([self._bound(name) for name in wanted])

    def _bound(self, name: str) -> str:
        if not name.startswith("@"):
            return name
        known = self._names.get(name[1:])
        found = known or connected_or_last(self.record, self.scene, Link(name[1:]))
        if not found:
            raise refuse("conformance.story", f"There is no {name} yet.")
        return found

    def _standing(self, link: Link) -> Connection:
        attempt = self.client.attempts.get(_CLIENT_LINKS[link])
        if attempt is None or attempt.connection is None or not attempt.up:
            raise refuse("conformance.story", f"The {link} link stands nowhere.")
        return attempt.connection

    def _proxy_links(self) -> list[Connection]:
        return [
            link
            for server in self.world.servers.values()
            if server.info.link is Link.INTERACTION
            for link in server.links
            if link.welcomed
        ]

    # -- do: the client and the time

    def start(self, action: do.Start) -> None:
        """See the verb."""
        self.client.start()

    def stop(self, action: do.StopClient) -> None:
        """See the verb."""
        self.client.stop()

    def restart(self, action: do.Restart) -> None:
        """See the verb."""
        for _ in range(action.times):
            self.client.stop()
            self.client.start()
            self._until_session()

    def _until_session(self) -> None:
        deadline = self.clock.now + SESSION_SECONDS
        while not self.client.session.confirmed:
            if self.clock.now >= deadline:
                raise refuse("conformance.story", f"No session within {SESSION_SECONDS:g} s of a start.")
            self.clock.turn(deadline)

    def time_passes(self, action: do.TimePasses) -> None:
        """See the verb."""
        self.clock.run(self.clock.now + action.seconds)

    def wake_up(self, action: do.WakeUp) -> None:
        """See the verb."""
        self.client.wake_up()

    def owns(self, action: do.Owns) -> None:
        """See the verb."""
        self.core.own(action.interactions)

    def remember(self, action: do.Remember) -> None:
        """See the verb."""
        self._names[action.name] = self._bound(f"@{action.link}")

    # -- do: servers and the network

    def server(self, action: do.Server) -> None:
        """See the verb."""
        for name in self._servers(action.name):
            self.world.behave(name, action)

    def identity(self, action: do.IdentityOf) -> None:
        """See the verb."""
        for name in self._servers(action.server):
            self.world.servers[name].identity = action

    def statement(self, action: do.StatementAt) -> None:
        """See the verb."""
        for name in self._servers(action.at):
            if self.centre.servers[name].link is Link.INTERACTION:
                self.world.state(name, action.site, action.epoch, action.kind)

    def site(self, action: do.Site) -> None:
        """See the verb."""
        for name in self._servers(action.name):
            if action.epoch is not None:
                self._epochs[name] = action.epoch
            self.world.listen(name, action.becomes is SiteState.ACTIVE)

    def site_moves(self, action: do.SiteMoves) -> None:
        """See the verb."""
        target = set(self.centre.expand(action.to))
        for server in self.centre.servers.values():
            if server.cluster and server.name not in target:
                self.world.listen(server.name, False)
        for name in target:
            self._epochs[name] = action.epoch
            self.world.listen(name, True)
        if action.statement:
            self._state(action.to, action.to, action.epoch)
        if action.option:
            if action.window:
                self.centre.change(do.SetOption(on=WORKSPACE, key=WINDOW, value=action.window))
            self._change(do.SetOption(on=WORKSPACE, key=SITE_OPTION, value=action.to))

    def cut(self, action: do.Cut) -> None:
        """See the verb."""
        self.world.reset(self._standing(action.link), "reset by the network")

    def leaving(self, action: do.LeavingSays) -> None:
        """See the verb."""
        link = self._standing(action.link)
        told = Leaving(why="as the case says", retry_after=action.retry_after, slot=action.slot)
        self.world.say(link, "server.leaving", told)
        if not action.slot:
            self.clock.after(10 * HOP, lambda: self.world.reset(link, "the server has left"))

    def core_away(self, action: do.CoreGone) -> None:
        """See the verb."""
        self.core.go(self._proxy_links())

    def core_back(self, action: do.CoreReturns) -> None:
        """See the verb."""
        self.core.come(self._proxy_links(), restored=action.restored, code=action.code)

    def session_ended(self, action: do.SessionEnds) -> None:
        """See the verb."""
        self.core.end(action.code, action.why)

    def ticket_renewed(self, action: do.TicketRenews) -> None:
        """See the verb."""
        self.core.renew()

    def answer(self, action: do.Answer) -> None:
        """See the verb."""
        self.core.scripts[action.method] = action
        self.core.used.pop(action.method, None)

    # -- do: the configuration

    def _change(self, action: Any) -> None:
        self.centre.change(action)
        for info in self.centre.servers.values():
            self._know(info)
        self.servers.changed()

    def _know(self, info: CentreServer) -> None:
        if info.name not in self._epochs:
            self._epochs[info.name] = next(
                epoch
                for name, epoch in self._epochs.items()
                if self.centre.servers[name].cluster == info.cluster
            )
        self.world.add(info, True)

    def connections(self, action: do.Connections) -> None:
        """See the verb."""
        self._change(action)

    def configuration(self, action: do.ConfigurationBecomes) -> None:
        """See the verb."""
        names = [action.name] if isinstance(action.name, str) else action.name
        for name in names or list(self.servers.states):
            self.servers.become(name, action.becomes)


_CLIENT_LINKS = {
    Link.INTERACTION: ClientLink.INTERACTION,
    Link.CONTACT: ClientLink.CONTACT,
    Link.STATISTICS: ClientLink.STATISTICS,
}

_DO: dict[type[do.Action], Callable[[PurePlayer, Any], None]] = {
    do.Start: PurePlayer.start,
    do.StopClient: PurePlayer.stop,
    do.Restart: PurePlayer.restart,
    do.TimePasses: PurePlayer.time_passes,
    do.WakeUp: PurePlayer.wake_up,
    do.Owns: PurePlayer.owns,
    do.Remember: PurePlayer.remember,
    do.Server: PurePlayer.server,
    do.IdentityOf: PurePlayer.identity,
    do.StatementAt: PurePlayer.statement,
    do.Site: PurePlayer.site,
    do.SiteMoves: PurePlayer.site_moves,
    do.Cut: PurePlayer.cut,
    do.LeavingSays: PurePlayer.leaving,
    do.CoreGone: PurePlayer.core_away,
    do.CoreReturns: PurePlayer.core_back,
    do.SessionEnds: PurePlayer.session_ended,
    do.TicketRenews: PurePlayer.ticket_renewed,
    do.Answer: PurePlayer.answer,
    do.SetOption: PurePlayer._change,
    do.DeleteOption: PurePlayer._change,
    do.Nodes: PurePlayer._change,
    do.Enable: PurePlayer._change,
    do.Disable: PurePlayer._change,
    do.Connections: PurePlayer.connections,
    do.ConfigurationBecomes: PurePlayer.configuration,
}
