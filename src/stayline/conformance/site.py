"""The fake site of one case: its servers on real sockets, and what the verbs of ``do`` make of them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stayline.conformance import actions
from stayline.conformance.actions import Becomes, Link
from stayline.conformance.case import Case
from stayline.conformance.centre import AGENT, WORKSPACE, Centre, CentreServer
from stayline.conformance.court import Scene
from stayline.conformance.credentials import Credentials
from stayline.conformance.fake_configuration import ConfigurationService
from stayline.conformance.fake_core import FakeCore
from stayline.conformance.fake_media import ContactService
from stayline.conformance.fake_port import FakePort
from stayline.conformance.fake_proxy import ProxyService
from stayline.conformance.fake_server import FakeServer, Script, Scripted, Service, Surroundings
from stayline.conformance.record import Record
from stayline.domain.errors import Refusal, refuse
from stayline.domain.topology import SITE_OPTION
from stayline.link.bootstrap import Bootstrap
from stayline.link.messages.envelope import Frame, Kind, Role
from stayline.link.messages.interaction import Leaving
from stayline.link.tokens import Statement

STATEMENT_SECONDS = 3_600.0
WINDOW_OPTION = "disaster-recovery.eservices-spread-window"


class FakeSite:
    """See the module. ``bound`` of a step: which server each link is connected to, or was last."""

    def __init__(self, case: Case, credentials: Credentials, record: Record) -> None:
        given = case.given
        self._case = case
        self._credentials = credentials
        self._ports: dict[str, FakePort] = {}
        self._around = Surroundings(record=record, script=Script(), identify=self._identify)
        self.record = record
        self.core = FakeCore(signer=credentials.signer, verifier=credentials.verifier, epoch=given.epoch)
        self.centre = Centre(given, self._port)
        self.servers: dict[str, FakeServer] = {}
        self.scene = Scene(links={}, groups={})
        self._statement = self._first_statement()
        self._add_servers()

    # -- making and ending

    def _port(self, name: str) -> int:
        port = self._ports.setdefault(name, FakePort())
        return port.number

    def _add_servers(self) -> list[FakeServer]:
        """Servers that the centre has and we have not yet."""
        new = [self._server(one) for name, one in self.centre.servers.items() if name not in self.servers]
        self.servers.update({server.name: server for server in new})
        self.scene.links = {one.name: one.link for one in self.centre.servers.values()}
        groups: dict[str, set[str]] = {}
        for one in self.centre.servers.values():
            for group in (one.cluster, one.site):
                if group:
                    groups.setdefault(group, set()).add(one.name)
        self.scene.groups = {group: frozenset(names) for group, names in groups.items()}
        return new

    def _server(self, one: CentreServer) -> FakeServer:
        self._port(one.name)
        return FakeServer(
            one.name,
            one.app_type,
            site=one.site,
            cluster=one.cluster,
            epoch=self.core.epoch if one.cluster else 0,
            role=Role.ACTIVE if one.cluster else Role.PASSIVE,
            tls=self._credentials.of(one.name, one.app_type),
            port=self._ports[one.name],
            service=self._service(one.link),
            around=self._around,
            site_statement=self._carried if one.link is Link.INTERACTION else _nothing,
        )

    def _service(self, link: Link) -> Service:
        if link is Link.INTERACTION:
            return ProxyService(self.core)
        if link is Link.CONTACT:
            return ContactService()
        if link is Link.CONFIGURATION:
            return ConfigurationService(lambda: self.centre.configuration, self._credentials.signer)
        return Service()

    def open(self) -> None:
        """The servers that listen when the story begins."""
        for name in self.centre.initially_open():
            self.servers[name].open()

    async def close(self) -> None:
        """Every port and link, for good."""
        for server in self.servers.values():
            await server.end()

    def bootstrap(self, path: Path) -> Bootstrap:
        """Write the client's bootstrap file."""
        servers = [one.name for one in self._case.given.configuration]
        return self._credentials.bootstrap(path, [(name, self._ports[name].number) for name in servers])

    # -- who is who

    def connections(self) -> int:
        """Connections of the client that live at the moment."""
        return sum(len(server.links) for server in self.servers.values())

    def named(self, names: actions.Names, bound: dict[str, str]) -> list[FakeServer]:
        """The servers that a step means. Raises RefusedError ``conformance.name``."""
        members = sorted(self.scene.members(names, bound))
        unknown = [name for name in members if name not in self.servers]
        if unknown or not members:
            what = ", ".join(unknown) or str(names)
            raise refuse("conformance.name", f"The case has no server, cluster or site '{what}'.")
        return [self.servers[name] for name in members]

    def _of_link(self, link: Link, bound: dict[str, str]) -> FakeServer:
        return self.named(f"@{link.value}", bound)[0]

    def _identify(self, token: str) -> str:
        return self._credentials.verifier.identity(token, time.time()).user

    def _services(self, names: actions.Names = "") -> list[tuple[FakeServer, ConfigurationService]]:
        wanted = ([names] if names else []) if isinstance(names, str) else names
        return [
            (server, server.service)
            for server in self.servers.values()
            if isinstance(server.service, ConfigurationService) and (not wanted or server.name in wanted)
        ]

    # -- statements

    def _carried(self) -> str:
        return self._statement

    def _first_statement(self) -> str:
        given = self._case.given
        if not given.statements:
            return ""
        active = given.active
        for cluster in given.clusters:
            if cluster.site and (active is None or cluster.site in active or cluster.name in active):
                return self._signed(cluster.site, given.epoch)
        return ""

    def _signed(
        self, site: str, epoch: int, kind: actions.StatementKind = actions.StatementKind.VALID
    ) -> str:
        if kind is actions.StatementKind.NONE:
            return ""
        now = time.time()
        life = -60.0 if kind is actions.StatementKind.EXPIRED else STATEMENT_SECONDS
        signer = self._credentials.signer
        if kind is actions.StatementKind.FORGED:
            signer = self._credentials.forger
        issued = now - STATEMENT_SECONDS if life < 0 else now
        return signer.sign_statement(Statement(site=site, epoch=epoch, issued=issued, expires=now + life))

    # -- the verbs

    def carry_out(self, action: actions.AnyAction, bound: dict[str, str]) -> None:
        """Do a step that concerns the centre. Raises RefusedError for names that the case does not have."""
        _VERBS[type(action)](self, action, bound)

    def _server_becomes(self, action: actions.Server, bound: dict[str, str]) -> None:
        for server in self.named(action.name, bound):
            self._behave(server, action)

    def _behave(self, server: FakeServer, action: actions.Server) -> None:
        if action.becomes is Becomes.CLOSED:
            server.behave(Becomes.OPEN)
            server.die("its process has died")
        elif action.becomes is Becomes.NOT_LISTENING:
            server.behave(Becomes.OPEN)
            server.port.close()
        else:
            special = action.becomes in (Becomes.FROZEN, Becomes.DEAF)
            server.behave(
                Becomes.OPEN if special else action.becomes,
                times=action.times,
                refusal=_refusal(action, retryable=True),
                seconds=action.seconds,
                ahead=action.ahead,
                frozen=action.becomes is Becomes.FROZEN,
                deaf=action.becomes is Becomes.DEAF,
            )
            server.port.open()

    def _identity(self, action: actions.IdentityOf, bound: dict[str, str]) -> None:
        fields = ("application", "cluster", "site", "epoch", "version")
        claims = {name: getattr(action, name) for name in fields if getattr(action, name) is not None}
        for server in self.named(action.server, bound):
            server.behaviour.claims = dict(claims)

    def _statement_at(self, action: actions.StatementAt, bound: dict[str, str]) -> None:
        proxies = (one for one in self.named(action.at, bound) if isinstance(one.service, ProxyService))
        for server in proxies:
            site, epoch = action.site or server.site, action.epoch or server.epoch
            server.behaviour.statement = self._signed(site, epoch, action.kind)

    def _site(self, action: actions.Site, bound: dict[str, str]) -> None:
        for server in self.named(action.name, bound):
            if action.epoch is not None:
                server.epoch = self.core.epoch = action.epoch
            if action.becomes is actions.SiteState.ACTIVE:
                server.open()
            else:
                server.die("its site became passive")

    def _site_moves(self, action: actions.SiteMoves, bound: dict[str, str]) -> None:
        proxies = [server for server in self.servers.values() if server.cluster]
        self.core.epoch = action.epoch
        if action.statement:
            self._statement = self._signed(action.to, action.epoch)
        for server in proxies:
            if server.site != action.to:
                server.die("its site became passive")
        for server in proxies:
            if server.site == action.to:
                server.epoch = action.epoch
                server.open()
        if action.option:
            if action.window:
                self._set(WINDOW_OPTION, action.window)
            self._set(SITE_OPTION, action.to)

    def _set(self, key: str, value: str | float) -> None:
        self._configure(actions.SetOption(on=WORKSPACE, key=key, value=value), {})

    def _cut(self, action: actions.Cut, bound: dict[str, str]) -> None:
        for link in self._of_link(action.link, bound).open_links:
            link.cut("cut by the network")

    def _leaving(self, action: actions.LeavingSays, bound: dict[str, str]) -> None:
        server = self._of_link(action.link, bound)
        why = f"{server.name} is stopped."
        for link in server.open_links:
            link.event("server.leaving", Leaving(why=why, retry_after=action.retry_after, slot=action.slot))
            if not action.slot:
                link.send(Frame(Kind.BYE, e=Refusal(code="server.stopping", reason=why, retryable=True)))
                link.end(why)

    def _core_gone(self, action: actions.CoreGone, bound: dict[str, str]) -> None:
        server = self._of_link(Link.INTERACTION, bound)
        assert isinstance(server.service, ProxyService)
        server.service.core_goes(server.open_links)

    def _core_returns(self, action: actions.CoreReturns, bound: dict[str, str]) -> None:
        proxies = [one for one in self.servers.values() if isinstance(one.service, ProxyService)]
        links = [link for server in proxies for link in server.open_links]
        service = proxies[0].service
        assert isinstance(service, ProxyService)
        service.core_returns(links, "" if action.restored else action.code)

    def _session_ends(self, action: actions.SessionEnds, bound: dict[str, str]) -> None:
        self.core.end(AGENT, action.code, action.why)

    def _ticket_renews(self, action: actions.TicketRenews, bound: dict[str, str]) -> None:
        self.core.renew(AGENT)

    def _owns(self, action: actions.Owns, bound: dict[str, str]) -> None:
        held = [number for number, view in self.core.interactions.items() if view.owner == AGENT]
        for number in held[action.interactions :]:
            self.core.take(number, "taken away by the case")
        for _ in range(action.interactions - len(held)):
            self.core.offer(AGENT, owned=True)

    def _answer(self, action: actions.Answer, bound: dict[str, str]) -> None:
        rule: Scripted | None = None
        if action.how is actions.AnswerHow.REFUSED:
            rule = Scripted(refusal=_refusal(action, action.retryable), times=action.times)
        elif action.how is actions.AnswerHow.NEVER:
            rule = Scripted(never=True, times=action.times)
        elif action.how is actions.AnswerHow.CUT:
            rule = Scripted(cut=True, times=action.times)
        self._around.script.put(action.method, rule)

    def _configure(self, action: Any, bound: dict[str, str]) -> None:
        self.centre.change(action)
        for server in self._add_servers():
            server.open()
        for _, service in self._services():
            service.changed()

    def _configuration_becomes(self, action: actions.ConfigurationBecomes, bound: dict[str, str]) -> None:
        for server, service in self._services(action.name):
            if action.becomes is actions.ConfigurationState.AWAY:
                server.die("its process has died")
                continue
            service.become(stale=action.becomes is actions.ConfigurationState.STALE)
            server.open()


def _nothing() -> str:
    """Servers that carry no statement."""
    return ""


def _refusal(action: actions.Server | actions.Answer, retryable: bool) -> Refusal:
    code = action.code or "link.not_now"
    return Refusal(
        code=code,
        reason=action.reason or f"Refused with {code}, as the case says.",
        retryable=retryable,
        retry_after=action.retry_after,
    )


_Verb = Callable[[FakeSite, Any, dict[str, str]], None]

_VERBS: dict[type[actions.Action], _Verb] = {
    actions.Server: FakeSite._server_becomes,
    actions.IdentityOf: FakeSite._identity,
    actions.StatementAt: FakeSite._statement_at,
    actions.Site: FakeSite._site,
    actions.SiteMoves: FakeSite._site_moves,
    actions.Cut: FakeSite._cut,
    actions.LeavingSays: FakeSite._leaving,
    actions.CoreGone: FakeSite._core_gone,
    actions.CoreReturns: FakeSite._core_returns,
    actions.SessionEnds: FakeSite._session_ends,
    actions.TicketRenews: FakeSite._ticket_renews,
    actions.Owns: FakeSite._owns,
    actions.Answer: FakeSite._answer,
    actions.SetOption: FakeSite._configure,
    actions.DeleteOption: FakeSite._configure,
    actions.Nodes: FakeSite._configure,
    actions.Enable: FakeSite._configure,
    actions.Disable: FakeSite._configure,
    actions.Connections: FakeSite._configure,
    actions.ConfigurationBecomes: FakeSite._configuration_becomes,
}
