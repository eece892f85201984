"""The Workspace without a user interface: one agent's desk over real links (see ``protocol.Workspace``).

Whatever a page asks is checked here against the one table of controls before anything is sent, so that a page
cannot do what the table forbids.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence

from stayline.domain.controls import Control
from stayline.domain.errors import RefusedError, StaylineError, refuse
from stayline.link.authority import TlsFiles
from stayline.link.configuration import ConfigurationClient
from stayline.link.messages.envelope import Hello
from stayline.link.messages.interaction import (
    Accept,
    AgentLogout,
    ChangeProperties,
    Done,
    InteractionView,
    MarkDone,
    MediaState,
    Reject,
    SetMedia,
    Transfer,
)
from stayline.link.transport import Endpoint
from stayline.workspace.catalogue import default_place
from stayline.workspace.chat_session import ChatSession
from stayline.workspace.desk import Case
from stayline.workspace.protocol import Subscriber, Trace
from stayline.workspace.render import agent_controls, controls_of
from stayline.workspace.saved import OutMessage
from stayline.workspace.settings import EngineSettings
from stayline.workspace.status import EngineStatus
from stayline.workspace.view import Phase, WorkspaceView
from stayline.workspace.workday import Workday

TYPING_SECONDS = 2.0
"""The typing notice is sent at most this often per interaction."""

MAX_DRAFT_CHARACTERS = 16_000


class WorkspaceEngine:
    """One agent's engine, for one login: after ``logout`` or ``close`` make a new one."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._day = Workday(settings)
        self._typed_at: dict[str, float] = {}

    # -- looking

    @property
    def trace(self) -> Trace | None:
        """Receiver of facts (see ``protocol.Trace``)."""
        return self._day.trace

    @trace.setter
    def trace(self, trace: Trace | None) -> None:
        self._day.trace = trace

    @property
    def view(self) -> WorkspaceView:
        """The desk as it is now."""
        return self._day.hub.view

    @property
    def revision(self) -> int:
        """Grows with each change of the view."""
        return self._day.hub.revision

    def status(self) -> EngineStatus:
        """What the connection logic of this Workspace does, and why. Each change of it is also a fact of the trace."""
        return self._day.status()

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Be told about changes until the returned function is called."""
        return self._day.hub.subscribe(callback)

    # -- beginning and ending

    async def login(
        self,
        user: str,
        password: str,
        place: str = "",
        media: Sequence[str] = ("chat",),
        source: str = "",
    ) -> None:
        """See :class:`~stayline.workspace.protocol.Workspace`. Raises RefusedError (wrong password, place
        unknown, ...) or LinkLostError when no Configuration Server answers."""
        day = self._day
        if day.parts.phase is not Phase.OFFLINE:
            raise refuse("workspace.busy", f"{day.parts.user} is logged in here already.")
        logged_in = await day.configured.login(user, password, source)
        day.identify(logged_in)
        await day.configured.start()
        saved = day.keeper.load(day.parts.user)
        if saved is not None and saved.user == day.parts.user:
            # The process died without a logout: what was on the desk is still there, and so is the session.
            day.recall(saved, identity=False)
        session = day.parts.session
        if not session.ticket:
            place = place or default_place(day.configuration.snapshot, day.parts.user)
            session.begin_as(place, [MediaState(media=one, ready=False) for one in media])
            if not place:
                raise refuse(
                    "place.missing", f"{user} has no default place.", field="place", fix="Give a place."
                )
        day.begin()
        await self._wait_for_session()

    async def _wait_for_session(self) -> None:
        try:
            async with asyncio.timeout(self._settings.login_timeout):
                await self._day.told.opened.wait()
        except TimeoutError:
            # Nothing refuses: it goes on trying, and the banner says what.
            return
        over = self._day.parts.session.over
        if over is not None:
            raise RefusedError(over)

    async def restore(self) -> bool:
        """Continue from the file of ``settings.user``. Returns at once; the phase shows when the core
        confirmed."""
        day = self._day
        saved = day.keeper.load(self._settings.user) if self._settings.user else None
        if saved is None or not saved.token or saved.expires <= self._settings.clock():
            return False
        day.recall(saved, identity=True)
        try:
            await day.configured.start()
        except StaylineError:
            await day.configured.stop()
            raise
        day.begin()
        return True

    async def logout(self, requeue: bool = False) -> None:
        """End the session; refused while interactions are owned, unless ``requeue``."""
        day = self._day
        if day.parts.phase is Phase.OFFLINE:
            return
        if day.parts.phase is not Phase.ENDED:
            self._check_agent("logout")
            if not requeue and any(case.owned for case in day.parts.desk.cases.values()):
                raise refuse(
                    "logout.owned",
                    "You still have interactions.",
                    fix="Finish or transfer them, or log out and give them back to their queues.",
                )
            peer = day.parts.interaction.peer
            assert peer is not None
            request = AgentLogout(reason="logout", requeue=requeue)
            await peer.request("agent.logout", request, Done, key=uuid.uuid4().hex)
        day.end()
        await day.stop()

    async def close(self) -> None:
        """Stop without ending the session (the process stops)."""
        await self._day.stop()

    # -- the agent

    async def set_ready(self, ready: bool, reason: str = "", media: Sequence[str] = ()) -> None:
        """Ready or not ready."""
        self._check_agent("ready" if ready else "not-ready")
        request = SetMedia(ready=ready, media=list(media), reason=reason)
        await self._act("agent.media", request, "", "ready" if ready else "not ready")
        day = self._day
        chosen = set(media) or {state.media for state in day.parts.media}
        day.told.media(
            [
                MediaState(media=state.media, ready=ready, reason="" if ready else reason)
                if state.media in chosen
                else state
                for state in day.parts.media
            ]
        )

    # -- interactions

    async def accept(self, interaction: str) -> None:
        """Accept an offer."""
        case = self._allowed(interaction, Control.ACCEPT)
        request = Accept(interaction=interaction, version=case.interaction.version)
        await self._act("interaction.accept", request, interaction, "accepting")

    async def reject(self, interaction: str, reason: str = "") -> None:
        """Reject an offer."""
        case = self._allowed(interaction, Control.REJECT)
        request = Reject(interaction=interaction, version=case.interaction.version, reason=reason)
        self._day.partings.intend(interaction)
        await self._act("interaction.reject", request, interaction, "rejecting")

    async def transfer(self, interaction: str, queue: str, reason: str = "") -> None:
        """Give the interaction to a queue."""
        self._allowed(interaction, Control.TRANSFER)
        request = Transfer(interaction=interaction, queue=queue, reason=reason)
        self._day.partings.intend(interaction)
        await self._act("interaction.transfer", request, interaction, "transferring")

    async def done(self, interaction: str, disposition: str = "") -> None:
        """Finish the interaction."""
        case = self._allowed(interaction, Control.DONE)
        request = MarkDone(interaction=interaction, disposition=disposition or case.interaction.disposition)
        self._day.partings.intend(interaction)
        await self._act("interaction.done", request, interaction, "marking done")

    async def change(
        self,
        interaction: str,
        set: Mapping[str, str] = {},
        delete: Sequence[str] = (),
        *,
        disposition: str | None = None,
    ) -> None:
        """Change case information and, if given, the disposition code."""
        if set or delete:
            self._allowed(interaction, Control.CASE_INFORMATION)
        if disposition is not None:
            self._allowed(interaction, Control.DISPOSITION)
        if not set and not delete and disposition is None:
            return
        request = ChangeProperties(
            interaction=interaction, set=dict(set), delete=list(delete), disposition=disposition
        )
        await self._act("interaction.change", request, interaction, "saving")

    # -- chat

    async def send(self, interaction: str, text: str) -> str:
        """Send a message; its id is made here and now, so that it can never become two."""
        self._allowed(interaction, Control.SEND)
        if not text.strip():
            raise refuse("message.empty", "There is nothing to send.", field="text")
        chat = self._chat(interaction)
        message = OutMessage(
            id=uuid.uuid4().hex,
            session=chat.id,
            interaction=interaction,
            text=text,
            at=self._settings.clock(),
        )
        drafts = self._day.parts.drafts
        draft = drafts.pop(interaction, "")
        try:
            self._day.parts.chats.send(chat, message)
        except RefusedError:
            if draft:
                drafts[interaction] = draft
            raise
        return message.id

    def typing(self, interaction: str) -> None:
        """The agent is typing."""
        chat = self._day.parts.chats.session_of(interaction)
        now = self._settings.clock()
        if chat is None or now - self._typed_at.get(interaction, 0.0) < TYPING_SECONDS:
            return
        self._typed_at = {key: at for key, at in self._typed_at.items() if now - at < TYPING_SECONDS}
        self._typed_at[interaction] = now
        self._day.parts.chats.typing(chat)

    async def end_chat(self, interaction: str) -> None:
        """End the chat session; the interaction stays."""
        self._allowed(interaction, Control.END)
        chat = self._chat(interaction)
        case = self._day.parts.desk.cases[interaction]
        case.busy = "ending"
        self._day.card_changed(interaction)
        try:
            await self._day.parts.chats.end(chat, self._settings.request_timeout)
        finally:
            case.busy = ""
            self._day.card_changed(interaction)

    def save_draft(self, interaction: str, text: str) -> None:
        """Keep what is typed but not sent."""
        drafts = self._day.parts.drafts
        if text:
            drafts[interaction] = text[:MAX_DRAFT_CHARACTERS]
        else:
            drafts.pop(interaction, None)
        self._day.card_changed(interaction)
        self._day.keeper.soon()

    def mark_read(self, interaction: str) -> None:
        """The agent has seen the transcript."""
        chat = self._day.parts.chats.session_of(interaction)
        if chat is not None and chat.read < chat.last_seq:
            chat.read = chat.last_seq
            self._day.keeper.read[chat.id] = chat.read
            self._day.keeper.soon()
            self._day.card_changed(interaction)

    # -- contacts

    async def update_contact(
        self, interaction: str, set: Mapping[str, str], delete: Sequence[str] = ()
    ) -> None:
        """Change attributes of the interaction's contact."""
        case = self._allowed(interaction, Control.EDIT_CONTACT)
        await self._day.parts.contacts.update(self._contact(case), set, delete)

    async def load_history(self, interaction: str) -> None:
        """Load contact and history into the card."""
        case = self._allowed(interaction, Control.HISTORY)
        await self._day.parts.contacts.load(self._contact(case), history=True)

    def dismiss_notice(self, notice: str) -> None:
        """Remove a notice."""
        parts = self._day.parts
        parts.notices = [one for one in parts.notices if one.id != notice]
        self._day.keeper.soon()
        self._day.hub.touch("notices")

    # -- checks

    def _case(self, interaction: str) -> Case:
        case = self._day.parts.desk.cases.get(interaction)
        if case is None:
            raise refuse("interaction.unknown", "This interaction is not on your desk (any more).")
        return case

    def _allowed(self, interaction: str, control: Control) -> Case:
        """The case, if the table of controls allows it now. Raises RefusedError with the table's reason."""
        case = self._case(interaction)
        state = controls_of(self._day.parts, case).get(control.value)
        if state is None or not state.enabled:
            why = state.why if state is not None else "Not available for this medium."
            raise refuse("control.disabled", why, field=control.value, retryable=True)
        if case.busy and control is not Control.SEND:
            reason = f"Wait: this interaction is {case.busy}."
            raise refuse("control.busy", reason, field=control.value, retryable=True)
        return case

    def _check_agent(self, control: str) -> None:
        state = agent_controls(self._day.parts)[control]
        if not state.enabled:
            raise refuse("control.disabled", state.why, field=control, retryable=True)

    def _chat(self, interaction: str) -> ChatSession:
        chat = self._day.parts.chats.session_of(interaction)
        if chat is None:
            raise refuse("chat.none", "This interaction has no chat session.")
        return chat

    def _contact(self, case: Case) -> str:
        if not case.interaction.contact:
            raise refuse("contact.none", "No contact is assigned to this interaction.")
        return case.interaction.contact

    async def _act(self, method: str, params: object, interaction: str, label: str) -> InteractionView | Done:
        case = self._day.parts.desk.cases.get(interaction)
        if case is not None:
            case.busy = label
            self._day.card_changed(interaction)
        return await self._day.requests.act(
            method, params, interaction=interaction, label=label, timeout=self._settings.request_timeout
        )


async def check_password(settings: EngineSettings, user: str, password: str, source: str = "") -> None:
    """Whether the password is right, without opening a session. ``source``: the browser's address.
    Raises RefusedError or LinkLostError."""
    endpoints = [
        Endpoint(host=a.host, port=a.port, application=a.application) for a in settings.configuration
    ]
    hello = Hello(application=settings.application, type="Workspace", instance=uuid.uuid4().hex)
    client = ConfigurationClient(endpoints, lambda: hello, TlsFiles(ca=settings.authority))
    await client.login(user, password, source)
