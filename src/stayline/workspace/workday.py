"""One agent's working day behind the engine: links, session, desk and file, tied together.

Everything that happens arrives here (from the core, the links, the configuration), changes the parts, is
written to the agent's file where it must survive, and is told to the pages.
"""

import asyncio
import uuid

import structlog

from stayline.domain.errors import Refusal, RefusedError
from stayline.domain.objects import ApplicationType, ConfigObject
from stayline.link.authority import TlsFiles
from stayline.link.configuration import ConfigurationClient, ConfigurationLink
from stayline.link.messages.configuration import LoggedIn
from stayline.link.messages.envelope import Hello
from stayline.link.messages.interaction import (
    Done,
    Gone,
    InteractionView,
    MediaState,
    SessionOpened,
)
from stayline.link.pool import Assignment
from stayline.link.transport import Endpoint
from stayline.workspace.assignment import assignment_of, wanted_site
from stayline.workspace.catalogue import catalogue_of
from stayline.workspace.chat_worker import ChatContext
from stayline.workspace.chats import Chats
from stayline.workspace.contacts import Contacts
from stayline.workspace.desk import Desk
from stayline.workspace.hub import Hub
from stayline.workspace.keeper import Keeper
from stayline.workspace.links import LinkUser, PoolLink
from stayline.workspace.partings import Partings
from stayline.workspace.protocol import Trace
from stayline.workspace.render import Parts, view_of
from stayline.workspace.requests import Requests
from stayline.workspace.saved import KeptRequest, SavedState
from stayline.workspace.session import FINAL, AgentSession
from stayline.workspace.settings import EngineSettings
from stayline.workspace.tap import Tap
from stayline.workspace.view import BannerKind, Phase

log = structlog.get_logger(__name__)

_CONFIG_ADDP = 2.0


class Workday:
    """See the module. The engine calls :meth:`begin` once and :meth:`stop` at the end."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.trace: Trace | None = None
        self.keeper = Keeper(settings, self._not_kept)
        self.opened = asyncio.Event()
        self.requests = Requests(self._answered, self.keeper.now, settings.clock)
        self._instance = uuid.uuid4().hex
        self._tls = TlsFiles(ca=settings.authority)
        self._assigned: dict[str, Assignment] = {}
        self._stopping: asyncio.Task[None] | None = None
        self._ended = False
        self.parts = self._make_parts()
        self.hub = Hub(lambda: view_of(self.parts))
        self.partings = Partings(self.parts, self.hub)
        self.keeper.watch(self.parts, self.requests)
        self.configuration = self._make_client()

    # -- making

    def _make_parts(self) -> Parts:
        clock, random = self.settings.clock, self.settings.random
        session = AgentSession(self, clock)
        context = ChatContext(
            changed=self.card_changed, saved=self.keeper.now, report=self.report, proven=self._chat_proven
        )
        chats = Chats(context, clock)
        contacts = Contacts(self._contact_changed, random)

        def pool(name: str, user: LinkUser) -> PoolLink:
            tap = Tap(user, self._links_changed, self._seen_epoch)
            return PoolLink(name, tap, self._hello, self._tls, random=random, clock=clock, report=self.report)

        parts = Parts(
            clock=clock,
            session=session,
            desk=Desk(clock, self.report),
            chats=chats,
            contacts=contacts,
            interaction=pool("Interaction Server", session),
            contact=pool("Contact Server", contacts),
            chat=pool("Chat Server", chats),
        )
        session.link, contacts.link = parts.interaction, parts.contact
        return parts

    def _make_client(self) -> ConfigurationClient:
        settings = self.settings
        endpoints = [
            Endpoint(
                host=address.host,
                port=address.port,
                application=address.application,
                local=_CONFIG_ADDP,
                remote=_CONFIG_ADDP,
            )
            for address in settings.configuration
        ]
        cache = None
        if settings.state_dir is not None and settings.user:
            cache = (
                settings.state_dir / f"configuration-{uuid.uuid5(uuid.NAMESPACE_OID, settings.user).hex}.json"
            )
        client = ConfigurationClient(
            endpoints, self._hello, self._tls, cache, lambda: self.keeper.token, clock=settings.clock
        )
        client.changed.append(self._configured)
        client.on_link.append(self._configuration_link)
        return client

    def _hello(self) -> Hello:
        return Hello(
            application=self.settings.application,
            type=ApplicationType.WORKSPACE,
            instance=self._instance,
            site=self.settings.site,
            epoch=self.parts.session.epoch,
            token=self.keeper.token,
        )

    # -- life

    def identify(self, logged_in: LoggedIn) -> None:
        """The password was right: this is who works here."""
        identity = logged_in.identity
        self.keeper.token, self.keeper.expires = logged_in.token, identity.expires
        self._name(identity.user, identity.display_name, identity.tenant)

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
            self._name(saved.user, saved.display_name, saved.tenant)
        self.keeper.recall(saved)

    def begin(self) -> None:
        """Connect: the configuration is known, the agent too. Raises RefusedError when there is no
        configuration for this Workspace application."""
        self.parts.started_at = self.settings.clock()
        self._set_phase()
        self.report("begun", instance=self._instance)
        self._read_configuration()
        self.keeper.now()

    async def stop(self) -> None:
        """End every link and task; the session stays in the core, everything kept stays in the file."""
        self.keeper.stop()
        await self._stop_links()
        await self.configuration.stop()
        if self._stopping is not None:
            await asyncio.wait([self._stopping])

    async def _stop_links(self) -> None:
        parts = self.parts
        parts.session.stop()
        self.requests.stop()
        await parts.chats.stop()
        await parts.contacts.stop()
        for link in (parts.interaction, parts.contact, parts.chat):
            await link.stop()

    def end(self) -> None:
        """The agent logged out: nothing is kept."""
        self._ended = True
        self.requests.forget()
        self.keeper.forget()
        self.parts.phase = Phase.OFFLINE
        self.hub.touch("status", "banner", "list", "links")

    # -- the configuration

    def _configured(self, changed: list[ConfigObject]) -> None:
        """The configuration changed. What cannot be used (this very application is gone) leaves everything as
        it is: agents go on with what they had."""
        try:
            self._read_configuration()
        except RefusedError as error:
            log.error("workspace.configuration", agent=self.parts.user, why=error.refusal.reason)

    def _read_configuration(self) -> None:
        """Read again what may be used; a move of site starts here, whatever the links are waiting for. Raises
        RefusedError when this Workspace application is not configured."""
        parts, configuration = self.parts, self.configuration.snapshot
        if not parts.started_at or parts.phase in (Phase.ENDED, Phase.OFFLINE):
            return
        application = self.settings.application
        parts.catalogue = catalogue_of(configuration, parts.tenant)
        parts.wanted_site = wanted_site(configuration, application, parts.user)
        for link, app_type in (
            (parts.interaction, ApplicationType.INTERACTION_SERVER_PROXY),
            (parts.contact, ApplicationType.CONTACT_SERVER_PROXY),
            (parts.chat, ApplicationType.CHAT_SERVER),
        ):
            assignment = assignment_of(configuration, application, parts.user, app_type)
            if self._assigned.get(link.name) != assignment:
                self._assigned[link.name] = assignment
                link.assign(assignment)
        self.hub.touch("catalogue", "status")

    def _configuration_link(self, link: ConfigurationLink) -> None:
        if link.up != self.parts.config.up:
            name = "Configuration Server"
            self.report(
                "link.up" if link.up else "link.down", link=name, application=link.application, why=link.why
            )
        self.parts.config = link
        self.hub.touch("links")

    # -- the links

    def _links_changed(self) -> None:
        self._set_phase()
        self.all_changed()
        self.hub.touch("links", "banner", "status")

    def _seen_epoch(self, epoch: int) -> None:
        """All links follow one epoch: from the next hello on, servers of a lower one are refused."""
        self.parts.session.epoch = max(self.parts.session.epoch, epoch)

    def _chat_proven(self) -> None:
        self.parts.chat.proven()

    def _contact_changed(self, contact: str) -> None:
        for case in self.parts.desk.cases.values():
            if case.interaction.contact == contact:
                self.card_changed(case.interaction.id)

    # -- the session (SessionUser)

    def session_opened(self, opened: SessionOpened) -> None:
        """The core has said what is ours: restricted mode ends here and nowhere else."""
        parts = self.parts
        departures = parts.desk.replace(opened.snapshot, opened.missed)
        parts.media = opened.snapshot.media
        for departure in departures:
            self.partings.departed(departure)
        parts.chats.follow(parts.desk.owned(), self.keeper.read)
        for message in parts.chats.orphans():
            self.partings.undelivered([message], "The interaction is no longer yours.")
        self._want_contacts()
        self._set_phase()
        self.all_changed()
        self.hub.touch("list", "status", "banner")
        self.keeper.now()
        self.opened.set()
        peer = parts.interaction.peer
        if peer is not None:
            self.requests.open(peer)

    def session_away(self, why: str) -> None:
        """Restricted from here on."""
        self.requests.close()
        self.parts.desk.doubt()
        self._set_phase(why)
        self.all_changed()
        self.hub.touch("status", "banner")

    def session_lost(self, why: str) -> None:
        """The core closed the session while we were away; what was on the desk is in its queues again."""
        self.partings.notice(
            BannerKind.WARNING,
            f"Your session was closed by the Interaction Server: {why} You are logged in anew.",
        )
        self.keeper.soon()

    def session_over(self, refusal: Refusal) -> None:
        """Over for good: stop the links (not from inside one of their own callbacks)."""
        parts = self.parts
        parts.phase = Phase.ENDED
        parts.started_at = self.settings.clock()
        if refusal.code in FINAL and not refusal.code.startswith("token."):
            parts.session.session = parts.session.ticket = ""
        self.report("ended", code=refusal.code, why=refusal.reason)
        self.keeper.now()
        self.all_changed()
        self.hub.touch("status", "banner", "list", "links")
        self.opened.set()
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop_links(), name="session over")

    def interaction(self, view: InteractionView) -> None:
        """An interaction as it is now."""
        parts = self.parts
        known = view.id in parts.desk.cases
        case = parts.desk.put(view)
        if case is None:
            return
        if case.owned:
            parts.chats.follow([view], self.keeper.read)
        if not known:
            self.hub.touch("list")
        self._want_contacts()
        self.card_changed(view.id)
        self.keeper.soon()

    def interaction_gone(self, gone: Gone) -> None:
        """An interaction is not ours any more."""
        departure = self.parts.desk.remove(gone.interaction, gone.version, gone.event, gone.why)
        if departure is not None:
            self.partings.departed(departure)

    def media(self, states: list[MediaState]) -> None:
        """Readiness as the core has it."""
        self.parts.media = self.parts.session.wanted = states
        self.hub.touch("status")
        self.keeper.soon()

    def _not_kept(self, why: str) -> None:
        told = f"Drafts and unsent messages cannot be kept on this machine ({why}); they last until it is closed."
        self.partings.notice(BannerKind.ERROR, told)

    def _answered(
        self,
        request: KeptRequest,
        result: InteractionView | Done | None,
        refusal: Refusal | None,
        waited: bool,
    ) -> None:
        self.partings.answered(request, result, refusal, waited)
        if isinstance(result, InteractionView):
            self.interaction(result)
        self.card_changed(request.interaction)
        self.keeper.soon()

    def _want_contacts(self) -> None:
        self.parts.contacts.want([case.interaction.contact for case in self.parts.desk.cases.values()])

    # -- the phase

    def _set_phase(self, why: str = "") -> None:
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
            self.report("restricted", why=why or parts.interaction.shown().why)
        elif parts.phase is Phase.READY:
            since = parts.restricted_since or parts.started_at
            node, site = parts.interaction.view.node_name, parts.interaction.site
            self.report(
                "restored", seconds=now - since, application=node, site=site, epoch=parts.session.epoch
            )
            parts.restricted_since = 0.0
        log.info("workspace.phase", agent=parts.user, phase=parts.phase, before=before, why=why)

    # -- telling and keeping

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
