"""One agent's working day behind the engine: links, session, desk and file, tied together.

Everything that happens arrives here (from the core, the links, the configuration), changes the parts, is
written to the agent's file where it must survive, and is told to the pages.
"""

import asyncio
import uuid
from collections.abc import Callable

import msgspec
import structlog

from stayline.domain.errors import Refusal
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
from stayline.link.peer import Peer
from stayline.link.pool import Assignment
from stayline.link.transport import Endpoint
from stayline.workspace.assignment import assignment_of, wanted_site
from stayline.workspace.catalogue import catalogue_of
from stayline.workspace.chat_worker import ChatContext
from stayline.workspace.chats import Chats
from stayline.workspace.contacts import Contacts
from stayline.workspace.desk import Departure, Desk
from stayline.workspace.hub import Hub
from stayline.workspace.links import LinkUser, PoolLink
from stayline.workspace.protocol import Trace
from stayline.workspace.render import Parts, view_of
from stayline.workspace.requests import Requests
from stayline.workspace.saved import AgentFile, KeptRequest, OutMessage, SavedState
from stayline.workspace.session import FINAL, AgentSession
from stayline.workspace.settings import EngineSettings
from stayline.workspace.view import BannerKind, NoticeView, Phase

log = structlog.get_logger(__name__)

SAVE_SECONDS = 0.2
"""Changes that need not be kept at once are written together after this time."""

MAX_NOTICES = 50

LEAVING = frozenset({"interaction.done", "interaction.transfer", "interaction.reject"})
"""Actions by which the agent gives an interaction away."""

_CONFIG_ADDP = 2.0


class Workday:
    """See the module. The engine calls :meth:`begin` once and :meth:`stop` at the end."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.trace: Trace | None = None
        self.token = ""
        self.expires = 0.0
        self.opened = asyncio.Event()
        self.requests = Requests(self._answered, self.save_now, settings.clock)
        self._instance = uuid.uuid4().hex
        self._tls = TlsFiles(ca=settings.authority)
        self._file = AgentFile(None, "")
        self._read: dict[str, int] = {}
        self._assigned: dict[str, Assignment] = {}
        self._given_away: set[str] = set()
        self._save_timer: asyncio.TimerHandle | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._ended = False
        self.parts = self._make_parts()
        self.hub = Hub(lambda: view_of(self.parts))
        self.configuration = self._make_client()

    # -- making

    def _make_parts(self) -> Parts:
        clock, random = self.settings.clock, self.settings.random
        session = AgentSession(self, clock)
        context = ChatContext(
            changed=self.card_changed, saved=self.save_now, report=self.report, proven=self._chat_proven
        )
        chats = Chats(context, clock)
        contacts = Contacts(self._contact_changed, random)

        def pool(name: str, user: LinkUser) -> PoolLink:
            tap = _Tap(user, self._links_changed)
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
            endpoints, self._hello, self._tls, cache, lambda: self.token, clock=settings.clock
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
            token=self.token,
        )

    # -- life

    def identify(self, logged_in: LoggedIn) -> None:
        """The password was right: this is who works here."""
        identity = logged_in.identity
        self.token, self.expires = logged_in.token, identity.expires
        self._name(identity.user, identity.display_name, identity.tenant)

    def _name(self, user: str, display_name: str, tenant: str) -> None:
        parts = self.parts
        parts.user, parts.tenant = user, tenant
        parts.display_name = display_name or user
        parts.chats.user = user
        parts.chats.context.name = parts.display_name

    def load(self, user: str) -> SavedState | None:
        """The agent's file, opened for writing from now on."""
        self._file = AgentFile(self.settings.state_dir, user, self.settings.durable)
        return self._file.load()

    def recall(self, saved: SavedState, *, identity: bool) -> None:
        """Continue from the file: session, desk, drafts, what was sent and done but not answered."""
        parts = self.parts
        if identity:
            self.token, self.expires = saved.token, saved.expires
            self._name(saved.user, saved.display_name, saved.tenant)
        session = parts.session
        session.session, session.ticket, session.last_seq = saved.session, saved.ticket, saved.last_seq
        session.epoch, session.place, session.wanted = saved.epoch, saved.place, saved.media
        parts.media = saved.media
        parts.drafts = dict(saved.drafts)
        self._read = dict(saved.read)
        parts.chats.restore(saved.outbox)
        self.requests.restore(saved.requests)
        if saved.ticket:
            for view in saved.interactions:
                parts.desk.put(view)
            parts.desk.doubt()
            parts.chats.follow(parts.desk.owned(), self._read)

    def begin(self) -> None:
        """Connect: the configuration is known, the agent too."""
        self.parts.started_at = self.settings.clock()
        self._set_phase()
        self.report("begun", instance=self._instance)
        self._configured([])
        self.save_now()

    async def stop(self) -> None:
        """End every link and task; the session stays in the core, everything kept stays in the file."""
        if self._save_timer is not None:
            self._save_timer.cancel()
            self._save_timer = None
        if self.parts.user and not self._ended:
            self.save_now()
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
        self._file.remove()
        self.parts.phase = Phase.OFFLINE
        self.hub.touch("status", "banner", "list", "links")

    # -- the configuration

    def _configured(self, changed: list[ConfigObject]) -> None:
        """Read again what may be used; a move of site starts here, whatever the links are waiting for."""
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
            self._departed(departure)
        parts.chats.follow(parts.desk.owned(), self._read)
        for message in parts.chats.orphans():
            self._unsent([message], "The interaction is no longer yours.")
        self._want_contacts()
        self._set_phase()
        self.all_changed()
        self.hub.touch("list", "status", "banner")
        self.save_now()
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
        self._notice(
            BannerKind.WARNING,
            f"Your session was closed by the Interaction Server: {why} You are logged in anew.",
        )
        self.save_soon()

    def session_over(self, refusal: Refusal) -> None:
        """Over for good: stop the links (not from inside one of their own callbacks)."""
        parts = self.parts
        parts.phase = Phase.ENDED
        parts.started_at = self.settings.clock()
        if refusal.code in FINAL and not refusal.code.startswith("token."):
            parts.session.session = parts.session.ticket = ""
        self.report("ended", code=refusal.code, why=refusal.reason)
        self.save_now()
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
            parts.chats.follow([view], self._read)
        if not known:
            self.hub.touch("list")
        self._want_contacts()
        self.card_changed(view.id)
        self.save_soon()

    def interaction_gone(self, gone: Gone) -> None:
        """An interaction is not ours any more."""
        departure = self.parts.desk.remove(gone.interaction, gone.version, gone.event, gone.why)
        if departure is not None:
            self._departed(departure)

    def media(self, states: list[MediaState]) -> None:
        """Readiness as the core has it."""
        self.parts.media = self.parts.session.wanted = states
        self.hub.touch("status")
        self.save_soon()

    # -- interactions leaving, actions answered

    def _departed(self, departure: Departure) -> None:
        view = departure.interaction
        own = view.id in self._given_away
        self._given_away.discard(view.id)
        unsent = self.parts.chats.drop(view.id)
        draft = self.parts.drafts.pop(view.id, "")
        if draft.strip():
            unsent.append(
                OutMessage(
                    id="",
                    session=view.chat_session,
                    interaction=view.id,
                    text=draft,
                    at=self.settings.clock(),
                )
            )
        who = view.customer or view.subject or view.id
        if not own:
            self._notice(BannerKind.WARNING, f"{who} is no longer on your desk: {departure.why}", view.id)
        if unsent:
            self._unsent(unsent, f"{who} is no longer on your desk.")
        self.hub.touch("list", f"card:{view.id}")
        self.save_now()

    def _unsent(self, messages: list[OutMessage], why: str) -> None:
        text = "\n".join(message.text for message in messages)
        self._notice(
            BannerKind.WARNING, f"What you had typed was not delivered: {why}", messages[0].interaction, text
        )

    def _notice(self, kind: BannerKind, text: str, interaction: str = "", kept_text: str = "") -> None:
        notice = NoticeView(
            id=uuid.uuid4().hex,
            kind=kind,
            text=text,
            at=self.settings.clock(),
            interaction=interaction,
            kept_text=kept_text,
        )
        self.parts.notices = [*self.parts.notices, notice][-MAX_NOTICES:]
        self.hub.touch("notices")

    def gives_away(self, interaction: str) -> None:
        """The agent is about to part with it on purpose: its leaving is no news."""
        self._given_away.add(interaction)

    def _answered(
        self,
        request: KeptRequest,
        result: InteractionView | Done | None,
        refusal: Refusal | None,
        waited: bool,
    ) -> None:
        case = self.parts.desk.cases.get(request.interaction)
        if case is not None and case.busy == request.label:
            case.busy = ""
        if refusal is not None:
            self._given_away.discard(request.interaction)
            if not waited:
                self._notice(
                    BannerKind.WARNING, f"{request.label}: refused. {refusal.reason}", request.interaction
                )
        elif isinstance(result, InteractionView):
            self.interaction(result)
        elif isinstance(result, Done) and request.method in LEAVING and case is not None:
            version = max(result.version, case.interaction.version)
            event = request.method.rpartition(".")[2]
            departure = self.parts.desk.remove(request.interaction, version, event, "by this agent")
            if departure is not None:
                self._given_away.add(request.interaction)
                self._departed(departure)
        self.card_changed(request.interaction)

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
            self.report("restricted", why=why or parts.interaction.view.why)
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

    def mark_read(self, session: str, seq: int) -> None:
        """How far a transcript has been read."""
        self._read[session] = seq
        self.save_soon()

    def save_soon(self) -> None:
        """Write the file within :data:`SAVE_SECONDS`."""
        if self._save_timer is None and not self._ended:
            self._save_timer = asyncio.get_running_loop().call_later(SAVE_SECONDS, self.save_now)

    def save_now(self) -> None:
        """Write the file. Raises OSError when the disk refuses."""
        if self._save_timer is not None:
            self._save_timer.cancel()
            self._save_timer = None
        parts = self.parts
        if self._ended or not parts.user:
            return
        live = {view.chat_session for view in parts.desk.owned()}
        self._read = {session: seq for session, seq in self._read.items() if session in live}
        self._file.save(
            SavedState(
                user=parts.user,
                token=self.token,
                expires=self.expires,
                display_name=parts.display_name,
                tenant=parts.tenant,
                place=parts.session.place,
                session=parts.session.session,
                ticket=parts.session.ticket,
                last_seq=parts.session.last_seq,
                epoch=parts.session.epoch,
                media=parts.session.wanted,
                interactions=[case.interaction for case in parts.desk.cases.values()],
                drafts=parts.drafts,
                outbox=parts.chats.outbox,
                requests=self.requests.kept,
                read=self._read,
            )
        )


class _Tap:
    """Passes a link's news on to its user, then to the pages."""

    def __init__(self, user: LinkUser, changed: Callable[[], None]) -> None:
        self._user = user
        self._changed = changed

    def link_up(self, peer: Peer) -> None:
        self._user.link_up(peer)
        self._changed()

    def link_down(self, why: str) -> None:
        self._user.link_down(why)
        self._changed()

    def link_event(self, name: str, payload: msgspec.Raw, seq: int) -> None:
        self._user.link_event(name, payload, seq)

    def link_changed(self) -> None:
        self._user.link_changed()
        self._changed()
