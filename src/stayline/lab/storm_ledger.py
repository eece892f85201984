"""The account of one agent's links in a storm: what was opened, what was in vain, who waits without knowing how long.

Pure: from the machines' views and events.
"""

from collections.abc import Callable

from stayline.lab.storm_orders import Counts
from stayline.link.machine.logic import Event, LogicView, OnLink
from stayline.link.machine.plan import Link
from stayline.link.machine.session import SessionView
from stayline.link.machine.session import State as SessionState
from stayline.link.machine.standby import Failed, Held, Lost, Opened, Proven, State
from stayline.workspace.session import ANSWER_SECONDS

LINKS = (Link.INTERACTION, Link.CONTACT)

HELLO_SECONDS = 10.0
"""How long an opener waits for an answer to its hello; until then an attempt ends by itself."""

LATE_SECONDS = 2.0
"""A wait that goes on so long beyond its time has not told the truth."""


class LinkLedger:
    """See the module. ``refused`` gets the code of each failed attempt."""

    def __init__(self, refused: Callable[[str], None]) -> None:
        self._refused = refused
        self._tried_at = dict.fromkeys(LINKS, 0.0)
        self._of_use = dict.fromkeys(LINKS, True)

    def take(self, before: LogicView, event: Event, after: LogicView, now: float, counts: Counts) -> None:
        """A step was taken at ``now`` (Unix seconds)."""
        if isinstance(event, OnLink) and event.link in LINKS:
            generation = before.links[event.link].generation
            if getattr(event.event, "generation", generation) == generation:
                self._count(event, now, counts)
        for link in LINKS:
            old, new = before.links[link], after.links[link]
            if new.state is State.CONNECTING and new.generation != old.generation:
                self._tried_at[link] = now
            if old.state is State.UP and new.state is not State.UP and not self._of_use[link]:
                self._of_use[link] = True
                counts.wasted += 1

    def _count(self, event: OnLink, now: float, counts: Counts) -> None:
        told = event.event
        if isinstance(told, Opened):
            counts.opened += 1
            # A UCS link is of use as it stands; that to the Interaction Server when the session is confirmed.
            self._of_use[event.link] = event.link is not Link.INTERACTION
        elif isinstance(told, Proven):
            self._of_use[event.link] = True
        elif isinstance(told, Held):
            counts.longest_wait = max(counts.longest_wait, told.until - now)
        elif isinstance(told, Lost):
            counts.lost_at = counts.lost_at or now
        elif isinstance(told, Failed):
            self._failed(told, counts)

    def _failed(self, told: Failed, counts: Counts) -> None:
        self._refused(told.code)
        if told.retry_after is not None:
            counts.turned_away += 1
            counts.longest_wait = max(counts.longest_wait, told.retry_after)
        elif told.code == "link.timeout" and "welcome" in told.why:
            # The server had the hello, and nobody knows how far it went with it.
            counts.wasted += 1

    def look(self, view: LogicView, session: SessionView, who: str, now: float, counts: Counts) -> None:
        """Count what is waited for, and what of it is waited for without knowing until when."""
        for link in LINKS:
            known = view.links[link]
            if known.state not in (State.UP, State.STOPPED):
                self._judge(
                    self._until(view, link), f"{who}, {link}: {known.state}, {known.why}", now, counts
                )
        if view.links[Link.INTERACTION].state is State.UP and not session.confirmed:
            until = _session_until(session)
            self._judge(until, f"{who}, session: {session.state}, {session.why}", now, counts)

    def _until(self, view: LogicView, link: Link) -> float:
        """When this wait ends; 0: nobody knows."""
        known = view.links[link]
        if known.until:
            return known.until
        if known.state is State.CONNECTING and known.node is not None:
            return self._tried_at[link] + known.node.open_timeout + HELLO_SECONDS
        return view.site.until if known.state is State.BLOCKED else 0.0

    def _judge(self, until: float, told: str, now: float, counts: Counts) -> None:
        counts.looks += 1
        if not until:
            counts.uninformed += 1
            counts.told = counts.told or told
        elif now > until + LATE_SECONDS:
            counts.late += 1


def _session_until(session: SessionView) -> float:
    if session.state is SessionState.ASKING:
        return session.since + ANSWER_SECONDS
    return session.until or session.given_up_at
