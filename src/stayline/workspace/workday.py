"""One agent's working day behind the engine: links, session, desk and file, tied together.

Everything that happens arrives here (from the core, the links, the configuration), changes the parts, is
written to the agent's file where it must survive, and is told to the pages.
"""

import uuid

import structlog

from stayline.domain.errors import Refusal
from stayline.domain.objects import ApplicationType
from stayline.link.authority import TlsFiles
from stayline.link.configuration import ConfigurationClient, ConfigurationLink
from stayline.link.machine.plan import Link, Plan
from stayline.link.messages.configuration import LoggedIn
from stayline.link.messages.envelope import Hello
from stayline.link.standby_link import LinkUser
from stayline.link.wakeup import WakeUp
from stayline.workspace.catalogue import catalogue_of
from stayline.workspace.chat_worker import ChatContext
from stayline.workspace.chats import Chats
from stayline.workspace.conductor import Conductor
from stayline.workspace.configured import Configured
from stayline.workspace.contacts import Contacts
from stayline.workspace.desk import Desk
from stayline.workspace.hub import Hub
from stayline.workspace.installation import installation_of
from stayline.workspace.keeper import Keeper
from stayline.workspace.links import shown
from stayline.workspace.partings import Partings
from stayline.workspace.protocol import Trace
from stayline.workspace.render import Parts, view_of
from stayline.workspace.renewal import Renewal
from stayline.workspace.requests import Requests
from stayline.workspace.saved import SavedState
from stayline.workspace.session import AgentSession
from stayline.workspace.session_desk import SessionDesk
from stayline.workspace.settings import EngineSettings
from stayline.workspace.standing import Standing, engine_status
from stayline.workspace.statistics import Statistics
from stayline.workspace.status import EngineStatus
from stayline.workspace.tap import Tap
from stayline.workspace.view import BannerKind, Phase

log = structlog.get_logger(__name__)

WAVE_SHARE = 0.25
"""Contacts, histories and transcripts are read spread over this part of a site move's own spread."""

RESUMED = frozenset({Link.INTERACTION, Link.CONTACT})
"""Links on whose proxies a session is shown, so that they let its Workspace in before those who log in."""


class Workday:
    """See the module. The engine calls :meth:`begin` once and :meth:`stop` at the end."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.trace: Trace | None = None
        self.keeper = Keeper(settings, self._not_kept)
        self.told = SessionDesk(self)
        self.requests = Requests(self.told.answered, self.keeper.now, settings.clock)
        self._instance = uuid.uuid4().hex
        self._ended = False
        self._read_epoch = 0
        self._cluster = ""
        self._config_server = ""
        self.parts = self._make_parts()
        self.hub = Hub(lambda: view_of(self.parts))
        self.partings = Partings(self.parts, self.hub)
        self.keeper.watch(self.parts, self.requests)
        self.standing = Standing(self.status, self.report)
        self.wakeup = WakeUp(self._woke, wall=settings.clock, monotonic=settings.monotonic)
        self.renewal = Renewal(
            self.parts.client.renew,
            self._renewed,
            self._not_renewed,
            clock=settings.clock,
            random=settings.random,
        )

    # -- making

    def _make_parts(self) -> Parts:
        settings, clock, random = self.settings, self.settings.clock, self.settings.random
        installation = settings.workspace_id or installation_of(settings.state_dir)
        session = AgentSession(self.told, clock, random=random, installation=installation)
        context = ChatContext(
            changed=self.card_changed, saved=self.keeper.now, report=self.report, proven=self._chat_proven
        )
        chats = Chats(context, clock, random)
        contacts = Contacts(self._contact_changed, random)
        users: dict[Link, LinkUser] = {
            Link.INTERACTION: Tap(session, self._links_changed),
            Link.CONTACT: Tap(contacts, self._links_changed),
            Link.CHAT: Tap(chats, self._links_changed),
            Link.STATISTICS: Tap(Statistics(self._statistics_proven), self._links_changed),
        }
        self.conductor = Conductor(
            users,
            self._hello,
            TlsFiles(ca=settings.authority),
            verifier=settings.verifier(),
            setups=settings.setups,
            random=random,
            clock=clock,
            report=self.report,
            changed=self._conducted,
        )
        self.configured = Configured(
            settings,
            lambda: self._hello(Link.STATISTICS),
            lambda: self.keeper.token,
            lambda: self.parts.user,
            planned=self._planned,
            away=self.conductor.configuration_away,
        )
        self.configured.client.on_link.append(self._configuration_link)
        session.link = self.conductor.links[Link.INTERACTION]
        contacts.link = self.conductor.links[Link.CONTACT]
        return Parts(
            clock=clock,
            session=session,
            desk=Desk(clock, self.report),
            chats=chats,
            contacts=contacts,
            conductor=self.conductor,
            client=self.configured.client,
        )

    def _hello(self, link: Link) -> Hello:
        return Hello(
            application=self.settings.application,
            type=ApplicationType.WORKSPACE,
            instance=self._instance,
            site=self.settings.site,
            epoch=self.parts.epoch,
            token=self.keeper.token,
            ticket=self.parts.session.ticket if link in RESUMED else "",
        )

    @property
    def configuration(self) -> ConfigurationClient:
        """Follows the Configuration Servers."""
        return self.configured.client

    # -- life

    def identify(self, logged_in: LoggedIn) -> None:
        """The password was right: this is who works here."""
        self._take_token(logged_in)
        identity = logged_in.identity
        self._name(identity.user, identity.display_name, identity.tenant)

    def _take_token(self, logged_in: LoggedIn) -> None:
        self.keeper.token, self.keeper.expires = logged_in.token, logged_in.identity.expires
        self.keeper.issued = self.settings.clock()

    def _name(self, user: str, display_name: str, tenant: str) -> None:
        parts = self.parts
        parts.user, parts.tenant = user, tenant
        parts.display_name = display_name or user
        parts.chats.user = user
        parts.chats.context.name = parts.display_name

    def recall(self, saved: SavedState, *, identity: bool) -> None:
        """Continue from the file; ``identity``: also as whom the file says."""
        if identity:
            self.keeper.token, self.keeper.expires = saved.token, saved.expires
            self.keeper.issued = saved.issued or self.settings.clock()
            self._name(saved.user, saved.display_name, saved.tenant)
        self._read_epoch = saved.read_epoch
        if saved.stated_epoch:
            self.conductor.recall_statement(saved.stated_site, saved.stated_epoch)
        self.conductor.heard_epoch(saved.epoch)
        self.keeper.recall(saved)

    def begin(self) -> None:
        """Connect: the configuration is known, the agent too. Raises RefusedError when there is no
        configuration for this Workspace application."""
        self.parts.started_at = self.settings.clock()
        self.set_phase()
        self.report("begun", instance=self._instance)
        self.note_idle()
        self.configured.begin()
        self.wakeup.start()
        self.renewal.start(self.keeper.issued, self.keeper.expires)
        self.keeper.now()

    async def stop(self) -> None:
        """End every link and task; the session stays in the core, everything kept stays in the file."""
        self.keeper.stop()
        self.wakeup.stop()
        await self.renewal.stop()
        await self.stop_links()
        await self.configured.stop()
        await self.told.finished()

    async def stop_links(self) -> None:
        """The session is over, or the engine stops."""
        parts = self.parts
        parts.session.stop()
        self.requests.stop()
        await parts.chats.stop()
        await parts.contacts.stop()
        await self.conductor.stop()
        await parts.session.finished()

    def end(self) -> None:
        """The agent logged out: nothing is kept."""
        self._ended = True
        self.requests.forget()
        self.keeper.forget()
        self.parts.phase = Phase.OFFLINE
        self.hub.touch("status", "banner", "list", "links")

    # -- the configuration

    def _planned(self, plan: Plan, current: bool) -> None:
        """What may be used, read again; a move of site starts here, whatever the links are waiting for."""
        parts = self.parts
        if not parts.started_at or parts.phase in (Phase.ENDED, Phase.OFFLINE):
            return
        parts.catalogue = catalogue_of(self.configured.client.snapshot, parts.tenant)
        parts.session.restore = list(plan.restore_media)
        parts.session.limit(plan.restore_timeout)
        self.conductor.plan(plan, current=current, epoch=self._read_epoch)
        self.hub.touch("catalogue", "status")

    def _configuration_link(self, link: ConfigurationLink) -> None:
        if bool(link.application) is not bool(self._config_server):
            fact, server = ("link.up" if link.up else "link.down"), link.application or self._config_server
            self.report(fact, link="Configuration Server", application=server, why=link.why)
        self._config_server = link.application
        self.standing.look()
        self.hub.touch("links")

    def _renewed(self, logged_in: LoggedIn) -> None:
        """The next hello shows the new token."""
        self._take_token(logged_in)
        self.keeper.now()

    def _not_renewed(self, refusal: Refusal) -> None:
        self.partings.notice(
            BannerKind.WARNING, f"Your login will not be prolonged: {refusal.reason} Log in again in time."
        )

    # -- the links

    def _conducted(self) -> None:
        """The connection logic knows something new."""
        site = self.conductor.view.site
        if site.cluster and site.cluster != self._cluster:
            if self._cluster:
                wave = site.plan.spread * WAVE_SHARE
                self.parts.contacts.spread(wave)
                self.parts.chats.spread(wave)
            self._cluster = site.cluster
        self._read_epoch = max(self._read_epoch, site.read_epoch)
        self._links_changed()

    def _links_changed(self) -> None:
        self.set_phase()
        self.all_changed()
        self.standing.look()
        self.hub.touch("links", "banner", "status")

    def _woke(self, slept: float) -> None:
        self.report("woke", slept=slept)
        self.configured.client.woke()
        self.conductor.woke()

    def status(self) -> EngineStatus:
        """What the connection logic does, and why."""
        parts = self.parts
        return engine_status(self.conductor.view, self.conductor.links, parts.session.view, parts.client)

    def _chat_proven(self) -> None:
        self.parts.chat.proven()

    def _statistics_proven(self) -> None:
        self.conductor.links[Link.STATISTICS].proven()

    def _contact_changed(self, contact: str) -> None:
        for case in self.parts.desk.cases.values():
            if case.interaction.contact == contact:
                self.card_changed(case.interaction.id)

    def note_idle(self) -> None:
        """A server that was taken out of the configuration is left when the desk is empty."""
        self.conductor.idle(not self.parts.desk.cases)

    # -- the phase

    def set_phase(self, why: str = "") -> None:
        """The phase, after anything that it depends on has changed."""
        parts = self.parts
        before = parts.phase
        if before is Phase.ENDED or (before is Phase.OFFLINE and not parts.started_at) or self._ended:
            return
        if parts.session.confirmed and parts.interaction.up:
            parts.phase = Phase.READY
        elif parts.session.session or before in (Phase.READY, Phase.RESTRICTED):
            parts.phase = Phase.RESTRICTED
        else:
            parts.phase = Phase.CONNECTING
        if parts.phase is before:
            return
        now = self.settings.clock()
        if parts.phase is Phase.RESTRICTED:
            parts.restricted_since = now
            self.report("restricted", why=why or shown(parts.interaction).why)
        elif parts.phase is Phase.READY:
            since = parts.restricted_since or parts.started_at
            node, site = parts.interaction.view.node_name, parts.interaction.site
            self.report("restored", seconds=now - since, application=node, site=site, epoch=parts.epoch)
            parts.restricted_since = 0.0
        log.info("workspace.phase", agent=parts.user, phase=parts.phase, before=before, why=why)

    # -- telling and keeping

    def _not_kept(self, why: str) -> None:
        told = f"Drafts and unsent messages cannot be kept on this machine ({why}); they last until it is closed."
        self.partings.notice(BannerKind.ERROR, told)

    def report(self, fact: str, **details: object) -> None:
        """One fact for the trace."""
        if self.trace is not None:
            self.trace({"fact": fact, "at": self.settings.clock(), "agent": self.parts.user, **details})

    def card_changed(self, interaction: str) -> None:
        """A card must be made anew."""
        if interaction:
            self.parts.dirty.add(interaction)
            self.hub.touch(f"card:{interaction}")

    def all_changed(self) -> None:
        """All cards must be made anew (their controls depend on links and session)."""
        for interaction in self.parts.desk.cases:
            self.card_changed(interaction)
