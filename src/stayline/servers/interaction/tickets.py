"""Renewal of tickets: a live session's Workspace gets a new one long before the old one expires."""

from collections.abc import Callable
from functools import partial

from stayline.link.messages.interaction import TicketRenewed
from stayline.servers.interaction.channels import Channels
from stayline.servers.interaction.model import Model
from stayline.servers.interaction.timers import Timers
from stayline.servers.interaction.views import Views

EARLIEST = 0.6
LATEST = 0.8
"""A ticket is renewed after a random part of its life between these two: sessions that were all opened in one moment,
as after a takeover, are not renewed in one moment."""


class Tickets:
    """Renews the tickets of the sessions that it watches. ``random`` gives numbers in [0, 1)."""

    def __init__(
        self,
        model: Model,
        channels: Channels,
        views: Views,
        timers: Timers,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._model = model
        self._channels = channels
        self._views = views
        self._timers = timers
        self._clock = clock
        self._random = random

    def watch(self, session: str) -> None:
        """A ticket of ``session`` is given out about now."""
        part = EARLIEST + (LATEST - EARLIEST) * self._random()
        due = self._clock() + part * self._views.ticket_seconds
        self._timers.arm(_timer(session), due, partial(self._renew, session))

    def forget(self, session: str) -> None:
        """Nobody is linked to ``session`` any more; who resumes it gets a new ticket."""
        self._timers.disarm(_timer(session))

    def _renew(self, id: str) -> None:
        session, channel = self._model.sessions.get(id), self._channels.carries(id)
        if session is None or channel is None:
            return
        channel.tell("session.ticket", TicketRenewed(session=id, ticket=self._views.ticket(session)))
        self.watch(id)


def _timer(session: str) -> str:
    return f"ticket:{session}"
