"""What follows from a committed transition: who is told, which timer runs, where the router looks again."""

from functools import partial

from stayline.domain.errors import refuse
from stayline.domain.interaction import Action, Command, Event, Interaction, JournalEntry, State
from stayline.domain.ownership import handling_ends
from stayline.domain.session import SessionState, offer_ends
from stayline.link.messages.interaction import Changed, Gone, Offered
from stayline.servers.interaction.background import Background
from stayline.servers.interaction.channels import Channels
from stayline.servers.interaction.ledger import Ledger, Recorded
from stayline.servers.interaction.router import Router
from stayline.servers.interaction.sessions import Sessions
from stayline.servers.interaction.timers import Timers
from stayline.servers.interaction.views import Views, owner_changed


class Consequences:
    """Carries out the actions of the life cycle's table."""

    def __init__(
        self,
        ledger: Ledger,
        channels: Channels,
        views: Views,
        router: Router,
        sessions: Sessions,
        background: Background,
        timers: Timers,
    ) -> None:
        self._ledger = ledger
        self._channels = channels
        self._views = views
        self._router = router
        self._sessions = sessions
        self._background = background
        self._timers = timers

    def of(self, recorded: Recorded) -> None:
        """Everything that follows from one committed step, in the order of its table entry."""
        step = recorded.step
        before = step.before
        if before is not None and before.state is State.OFFERED and step.after.state is not State.OFFERED:
            self._timers.disarm(_timer(before.id))
        if before is not None and before.state is State.OWNED and step.after.state is not State.OWNED:
            self._timers.disarm(_handling_timer(before.id))
        queued = before is not None and before.state is State.QUEUED
        if queued or step.after.state is State.QUEUED:
            self._router.watch(step.after)
        for action in step.actions:
            self._do(action, recorded)
        if before is not None and before.session and before.session != step.after.session:
            self._router.kick()
        if step.after.session and step.after.session not in self._ledger.model.sessions:
            # The session was closed while this was being committed.
            self._sessions.requeue(step.after, Event.SESSION_LOST_TIMEOUT)

    def watch_offer(self, interaction: Interaction) -> None:
        """(Re)arm the delivering timeout of an offered interaction."""
        session = self._ledger.model.sessions.get(interaction.session)
        ends = offer_ends(interaction.offer_deadline, session)
        self._timers.arm(_timer(interaction.id), ends, partial(self._offer_due, interaction.id))

    def watch_handling(self, interaction: Interaction) -> None:
        """(Re)arm the handling timeout of an owned interaction; none while it has no end."""
        ends = handling_ends(interaction)
        if ends:
            due = partial(self._handling_due, interaction.id)
            self._timers.arm(_handling_timer(interaction.id), ends, due)
        else:
            self._timers.disarm(_handling_timer(interaction.id))

    def session_changed(self, session: str) -> None:
        """A session came, went or changed: its offers end at other times, and it may take new ones."""
        for interaction in self._ledger.model.held_by(session):
            if interaction.state is State.OFFERED:
                self.watch_offer(interaction)
        self._router.kick()

    def _do(self, action: Action, recorded: Recorded) -> None:
        step, seq = recorded
        after, entry = step.after, step.entry
        match action:
            case Action.ROUTE:
                self._router.kick()
            case Action.ARM_OFFER:
                self.watch_offer(after)
            case Action.ARM_HANDLING:
                self.watch_handling(after)
            case Action.TELL_OFFERED:
                session = self._ledger.model.sessions.get(after.session)
                view = self._views.interaction(after, session)
                self._channels.tell(after.session, "interaction.offered", Offered(view), seq)
            case Action.TELL_CHANGED:
                if after.session:
                    session = self._ledger.model.sessions.get(after.session)
                    view = self._views.interaction(after, session)
                    self._channels.tell(after.session, "interaction.changed", Changed(view), seq)
            case Action.TELL_GONE:
                self._tell_gone(entry, seq)
            case Action.TELL_OWNER:
                self._channels.tell_media("interaction.owner", owner_changed(after), seq)
            case Action.HOLD_BACK:
                if self._is_live(entry.previous_session):
                    self._router.hold_back(after.id, entry.previous_session, entry.at)
            case Action.NOT_READY:
                # A lost agent could not answer: that is no reason to find oneself not ready after the restore.
                if self._is_live(entry.previous_session):
                    self._sessions.unanswered(entry.previous_session, after.media)

    def _tell_gone(self, entry: JournalEntry, seq: int) -> None:
        if entry.previous_session:
            gone = Gone(
                interaction=entry.interaction,
                version=entry.version,
                event=entry.event.value,
                why=entry.why,
            )
            self._channels.tell(entry.previous_session, "interaction.gone", gone, seq)

    def _is_live(self, session: str) -> bool:
        found = self._ledger.model.sessions.get(session)
        return found is not None and found.state is SessionState.LIVE

    def _offer_due(self, id: str) -> None:
        self._background.spawn("offer-timeout", partial(self._end_offer, id))

    async def _end_offer(self, id: str) -> None:
        offered = self._ledger.model.interaction(id)
        if offered is None or offered.state is not State.OFFERED:
            return
        session = self._ledger.model.sessions.get(offered.session)
        if offer_ends(offered.offer_deadline, session) > self._ledger.clock():
            self.watch_offer(offered)
            return
        await self._ledger.apply(id, partial(self._timed_out, offered))

    def _handling_due(self, id: str) -> None:
        self._background.spawn("handling-timeout", partial(self._end_handling, id))

    async def _end_handling(self, id: str) -> None:
        owned = self._ledger.model.interaction(id)
        if owned is not None and owned.state is State.OWNED:
            await self._ledger.apply(id, self._silent_for_too_long)

    def _silent_for_too_long(self, owned: Interaction) -> Command:
        """Judged when its turn has come: the owner may have done something meanwhile."""
        ends = handling_ends(owned)
        if owned.state is State.OWNED and not 0 < ends <= self._ledger.clock():
            self.watch_handling(owned)
            raise refuse("interaction.handled", f"The owner of interaction {owned.id} did something with it.")
        return Command(
            event=Event.HANDLING_TIMEOUT,
            actor="server",
            epoch=self._ledger.epoch,
            term=self._ledger.term,
            session=owned.session,
        )

    def _timed_out(self, offered: Interaction, now: Interaction) -> Command:
        if now.offer_version != offered.offer_version:
            raise refuse("interaction.offer_gone", f"Interaction {now.id} has been offered anew.")
        return Command(
            event=Event.OFFER_TIMEOUT,
            actor="server",
            epoch=self._ledger.epoch,
            term=self._ledger.term,
            session=offered.session,
            version=offered.offer_version,
        )


def _handling_timer(interaction: str) -> str:
    return f"handling:{interaction}"


def _timer(interaction: str) -> str:
    return f"offer:{interaction}"
