"""What the core tells of the session and its interactions, brought to the desk, the file and the pages."""

import asyncio
from typing import TYPE_CHECKING

from stayline.domain.errors import Refusal
from stayline.link.machine.session import FINAL, GIVEN_UP
from stayline.link.messages.interaction import Done, Gone, InteractionView, MediaState, SessionOpened
from stayline.workspace.saved import KeptRequest
from stayline.workspace.view import BannerKind, Phase

if TYPE_CHECKING:
    from stayline.workspace.workday import Workday


class SessionDesk:
    """A :class:`~stayline.workspace.session.SessionUser`. ``opened`` is set when the session was confirmed first, or is
    over."""

    def __init__(self, day: "Workday") -> None:
        self.opened = asyncio.Event()
        self._day = day
        self._stopping: asyncio.Task[None] | None = None

    async def finished(self) -> None:
        """Wait for the links that the end of the session stopped."""
        if self._stopping is not None:
            await asyncio.wait([self._stopping])

    # -- the session

    def session_opened(self, opened: SessionOpened) -> None:
        """The core has said what is ours: restricted mode ends here and nowhere else."""
        parts = self._day.parts
        self._day.conductor.heard_epoch(opened.snapshot.epoch)
        departures = parts.desk.replace(opened.snapshot, opened.missed)
        parts.media = opened.snapshot.media
        for departure in departures:
            self._day.partings.departed(departure)
        parts.chats.follow(parts.desk.owned(), self._day.keeper.read)
        for message in parts.chats.orphans():
            self._day.partings.undelivered([message], "The interaction is no longer yours.")
        self._day.partings.orphans()
        self._desk_changed()
        self._day.set_phase()
        self._day.all_changed()
        self._day.hub.touch("list", "status", "banner")
        self._day.keeper.now()
        self.opened.set()
        peer = parts.interaction.peer
        if peer is not None:
            self._day.requests.open(peer)

    def session_away(self, why: str) -> None:
        """Restricted from here on."""
        self._day.requests.close()
        self._day.parts.desk.doubt()
        self._day.set_phase(why)
        self._day.all_changed()
        self._day.hub.touch("status", "banner")

    def session_lost(self, why: str, code: str) -> None:
        """The session is gone; what was on the desk is in its queues again, or will be."""
        what = "was given up" if code == GIVEN_UP else "was closed by the Interaction Server"
        self._day.partings.notice(BannerKind.WARNING, f"Your session {what}: {why} You are logged in anew.")
        self._day.keeper.soon()

    def session_over(self, refusal: Refusal) -> None:
        """Over for good: stop the links (not from inside one of their own callbacks)."""
        parts = self._day.parts
        parts.phase = Phase.ENDED
        parts.started_at = self._day.settings.clock()
        if refusal.code in FINAL and not refusal.code.startswith("token."):
            parts.session.forget()
        self._day.report("ended", code=refusal.code, why=refusal.reason)
        self._day.keeper.now()
        self._day.all_changed()
        self._day.standing.look()
        self._day.hub.touch("status", "banner", "list", "links")
        self.opened.set()
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(
                self._day.stop_links(), name="session over"
            )

    def session_changed(self) -> None:
        """A wait, a ticket: shown, and kept."""
        self._day.standing.look()
        self._day.keeper.soon()
        self._day.hub.touch("status", "banner")

    # -- interactions

    def interaction(self, view: InteractionView) -> None:
        """An interaction as it is now."""
        parts = self._day.parts
        known = view.id in parts.desk.cases
        case = parts.desk.put(view)
        if case is None:
            return
        if case.owned:
            parts.chats.follow([view], self._day.keeper.read)
        if not known:
            self._day.hub.touch("list")
        self._desk_changed()
        self._day.card_changed(view.id)
        self._day.keeper.soon()

    def interaction_gone(self, gone: Gone) -> None:
        """An interaction is not ours any more."""
        departure = self._day.parts.desk.remove(gone.interaction, gone.version, gone.event, gone.why)
        if departure is not None:
            self._day.partings.departed(departure)
        self._day.note_idle()

    def media(self, states: list[MediaState]) -> None:
        """Readiness as the core has it."""
        self._day.parts.media = states
        self._day.parts.session.note_media(states)
        self._day.hub.touch("status")
        self._day.keeper.soon()

    def answered(
        self,
        request: KeptRequest,
        result: InteractionView | Done | None,
        refusal: Refusal | None,
        waited: bool,
    ) -> None:
        """An action of the agent has its outcome."""
        self._day.partings.answered(request, result, refusal, waited)
        if isinstance(result, InteractionView):
            self.interaction(result)
        self._day.note_idle()
        self._day.card_changed(request.interaction)
        self._day.keeper.soon()

    def _desk_changed(self) -> None:
        self._day.note_idle()
        self._day.parts.contacts.want(
            [case.interaction.contact for case in self._day.parts.desk.cases.values()]
        )
