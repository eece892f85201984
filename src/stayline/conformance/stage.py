"""The stage on which a case is played in virtual time: what each ``do`` step does to it."""

from collections.abc import Callable
from typing import Any

from stayline.conformance import actions as do
from stayline.conformance.actions import ConfigurationState, Link, SiteState
from stayline.conformance.case import Case, Given
from stayline.conformance.centre import WORKSPACE, Centre, CentreServer
from stayline.conformance.court import Scene, connected_or_last
from stayline.conformance.record import Record, Seen
from stayline.conformance.virtual_client import VirtualClient
from stayline.conformance.virtual_configuration import ConfigurationServers
from stayline.conformance.virtual_core import VirtualCore
from stayline.conformance.world import HOP, Clock, Connection, World
from stayline.domain.errors import refuse
from stayline.domain.topology import SITE_OPTION
from stayline.link.machine.plan import WINDOW
from stayline.link.machine.plan import Link as ClientLink
from stayline.link.machine.pool import Random
from stayline.link.messages.interaction import Leaving

SESSION_SECONDS = 10.0
"""Within which a restarted client must get a session."""


class Stage:
    """The centre, its servers and the client of one case in virtual time; chance turns out one way."""

    def __init__(self, case: Case, chance: Random) -> None:
        given = case.given
        self.clock = Clock()
        self.record = Record(lambda: self.clock.now)
        self.centre = Centre(given, lambda name: 1)
        self._epochs: dict[str, int] = dict.fromkeys(self.centre.servers, given.epoch)
        self.world = World(self.clock, self.record, lambda server: self._epochs[server.name])
        self.core = VirtualCore(self.world, lambda link: self._epochs[link.server.name])
        self._names: dict[str, str] = {}
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
        self._first_statements(given)

    def carry_out(self, action: do.AnyAction) -> None:
        """Carry a step out. Raises RefusedError when the story makes no sense."""
        _DO[type(action)](self, action)

    def _first_statements(self, given: Given) -> None:
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

_DO: dict[type[do.Action], Callable[[Stage, Any], None]] = {
    do.Start: Stage.start,
    do.StopClient: Stage.stop,
    do.Restart: Stage.restart,
    do.TimePasses: Stage.time_passes,
    do.WakeUp: Stage.wake_up,
    do.Owns: Stage.owns,
    do.Remember: Stage.remember,
    do.Server: Stage.server,
    do.IdentityOf: Stage.identity,
    do.StatementAt: Stage.statement,
    do.Site: Stage.site,
    do.SiteMoves: Stage.site_moves,
    do.Cut: Stage.cut,
    do.LeavingSays: Stage.leaving,
    do.CoreGone: Stage.core_away,
    do.CoreReturns: Stage.core_back,
    do.SessionEnds: Stage.session_ended,
    do.TicketRenews: Stage.ticket_renewed,
    do.Answer: Stage.answer,
    do.SetOption: Stage._change,
    do.DeleteOption: Stage._change,
    do.Nodes: Stage._change,
    do.Enable: Stage._change,
    do.Disable: Stage._change,
    do.Connections: Stage.connections,
    do.ConfigurationBecomes: Stage.configuration,
}
