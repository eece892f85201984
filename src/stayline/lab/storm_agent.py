"""One lean agent of a storm: the machines that decide in a Workspace, real links, and no desk.

It keeps a link to an Interaction Server Proxy with its session on it, and one to a UCS Proxy. What a Workspace has
besides (pages, interactions, files) costs a server nothing, and would cost this machine most of its memory.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from stayline.domain.errors import Refusal
from stayline.lab.storm_account import Account
from stayline.lab.storm_orders import Counts
from stayline.lab.storm_original import OriginalPair
from stayline.link.authority import TlsFiles
from stayline.link.messages.interaction import Gone, InteractionView, MediaState, SessionOpened
from stayline.link.peer import Peer
from stayline.link.plan import Link, Plan
from stayline.link.pool import Assignment
from stayline.link.standby import (
    Action,
    Assigned,
    Connect,
    Disconnect,
    Event,
    Failed,
    Held,
    Lost,
    Opened,
    Proven,
    StandbyView,
    State,
    Stop,
    step,
)
from stayline.link.standby_link import StandbyLink
from stayline.link.turn import Turn
from stayline.workspace.session import AgentSession

LINKS = (Link.INTERACTION, Link.CONTACT)

HELLO_SECONDS = 10.0
"""How long an opener waits for an answer to its hello; until then an attempt ends by itself."""

LATE_SECONDS = 2.0
"""A wait that goes on so long beyond its time has not told the truth."""


class Crowd(Protocol):
    """Whom agents tell."""

    counts: Counts

    def turned(self, agent: "StormAgent") -> None:
        """The agent is whole, or not any more."""

    def refused(self, code: str) -> None:
        """A refusal was heard."""


class StormAgent:
    """See the module. ``random`` gives numbers in [0, 1)."""

    def __init__(self, account: Account, tls: TlsFiles, *, random: Callable[[], float], crowd: Crowd) -> None:
        self.account = account
        self._tls = tls
        self._random = random
        self._crowd = crowd
        self._wanted = ""
        self._was = ""
        self._turned = asyncio.Event()
        self._views = {link: StandbyView() for link in LINKS}
        self._tried_at = dict.fromkeys(LINKS, 0.0)
        self._of_use = dict.fromkeys(LINKS, True)
        self._tell: Turn[tuple[Link, Event]] = Turn(self._step)
        self._session = AgentSession(_SessionUser(self), time.time)
        self._session.place = account.place
        self._session.wanted = [MediaState(media="chat", ready=False)]
        self._links = {link: self._make(link) for link in LINKS}
        self._session.link = self._links[Link.INTERACTION]  # type: ignore[assignment]
        self._original: OriginalPair | None = None

    def _make(self, link: Link) -> StandbyLink:
        return StandbyLink(
            link,
            self._session if link is Link.INTERACTION else _ContactUser(self),
            self.account.hello,
            self._tls,
            view=lambda: self._views[link],
            tell=lambda event: self._tell((link, event)),
            clock=time.time,
            report=_unreported,
        )

    # -- what it is

    @property
    def site(self) -> str:
        """Where its Workspace shall be."""
        return self._wanted

    @property
    def whole(self) -> bool:
        """Whether its session is confirmed and its UCS link stands, both at the site where they shall be."""
        if self._original is not None:
            return self._original.whole
        if not self._session.confirmed:
            return False
        return all(link.up and link.site == self._wanted for link in self._links.values())

    async def until_whole(self) -> None:
        """Wait for it."""
        while not self.whole:
            self._turned.clear()
            await self._turned.wait()

    # -- what it is told

    def begin(self, plan: Plan) -> None:
        """Connect."""
        self._assign(plan)

    def planned(self, plan: Plan) -> None:
        """The configuration says this now."""
        if self._original is not None:
            self._wanted = plan.wanted
            self._original.use(plan)
        elif self._views[Link.INTERACTION].state is not State.STOPPED:
            self._assign(plan)

    async def hang_up(self) -> None:
        """Leave both servers; the session stays in the core."""
        if self._original is not None:
            await self._original.stop()
            return
        for link in LINKS:
            self._tell((link, Stop()))
        await asyncio.gather(*(link.finished() for link in self._links.values()))
        self._session.stop()
        self.changed()

    async def go_original(self, plan: Plan) -> None:
        """Hang up, and come back as the original does. There is no way back."""
        await self.hang_up()
        self._wanted = plan.wanted
        self._original = OriginalPair(self.account, self._tls, self._random, self.changed)
        self._original.use(plan, spread=0.0)

    def _assign(self, plan: Plan) -> None:
        self._wanted = plan.wanted
        cluster = plan.cluster_of(plan.wanted)
        for link in LINKS:
            pool = cluster.pools[link] if cluster is not None else None
            assignment = Assignment(wanted=plan.wanted, pool=pool, move_range=plan.spread)
            self._tell((link, Assigned(assignment)))

    # -- the machines

    def _step(self, happened: tuple[Link, Event]) -> None:
        link, event = happened
        self._count(link, event)
        self._views[link], actions = step(self._views[link], event, time.time(), self._random)
        for action in actions:
            self._do(link, action)
        self.changed()

    def _do(self, link: Link, action: Action) -> None:
        if isinstance(action, Connect):
            self._tried_at[link] = time.time()
        elif isinstance(action, Disconnect):
            self._left(link)
        self._links[link].do(action)

    def changed(self) -> None:
        """Tell whoever waits for it when this agent has become whole, or is not any more."""
        now = self._wanted if self.whole else ""
        if now != self._was:
            self._was = now
            self._crowd.turned(self)
            self._turned.set()

    # -- the account of what it costs

    def _count(self, link: Link, event: Event) -> None:
        view, counts = self._views[link], self._crowd.counts
        if getattr(event, "generation", view.generation) != view.generation:
            return
        if isinstance(event, Opened):
            counts.opened += 1
            # A UCS link is of use as it stands; that to the Interaction Server when the session is confirmed.
            self._of_use[link] = link is not Link.INTERACTION
        elif isinstance(event, Proven):
            self._of_use[link] = True
        elif isinstance(event, Held):
            counts.longest_wait = max(counts.longest_wait, event.until - time.time())
        elif isinstance(event, Failed):
            self._failed(event)
        elif isinstance(event, Lost):
            counts.lost_at = counts.lost_at or time.time()
            self._left(link)

    def _failed(self, event: Failed) -> None:
        counts = self._crowd.counts
        self._crowd.refused(event.code)
        if event.retry_after is not None:
            counts.turned_away += 1
            counts.longest_wait = max(counts.longest_wait, event.retry_after)
        elif event.code == "link.timeout" and "welcome" in event.why:
            # The server had the hello, and nobody knows how far it went with it.
            counts.wasted += 1

    def _left(self, link: Link) -> None:
        if not self._of_use[link]:
            self._of_use[link] = True
            self._crowd.counts.wasted += 1

    def sessions_lost(self) -> None:
        """The core has ended the session."""
        self._crowd.counts.sessions_lost += 1
        self.changed()

    def look(self, now: float) -> None:
        """Count whether a waiting agent knows until when. (The original never says.)"""
        if self.whole or self._original is not None:
            return
        for link in LINKS:
            view = self._views[link]
            if view.state in (State.UP, State.STOPPED):
                continue
            counts = self._crowd.counts
            counts.looks += 1
            until = view.until
            if not until and view.state is State.CONNECTING and view.node is not None:
                until = self._tried_at[link] + view.node.open_timeout + HELLO_SECONDS
            if not until:
                counts.uninformed += 1
                counts.told = counts.told or f"{self.account.user}, {link}: {view.state}, {view.why}"
            elif now > until + LATE_SECONDS:
                counts.late += 1


class _SessionUser:
    """Takes what the session tells; there is no desk to show it on."""

    def __init__(self, agent: StormAgent) -> None:
        self._agent = agent

    def session_opened(self, opened: SessionOpened) -> None:
        account = self._agent.account
        account.session, account.ticket = opened.session, opened.ticket
        account.last_seq = opened.snapshot.as_of
        account.epoch = max(account.epoch, opened.snapshot.epoch)
        self._agent.changed()

    def session_away(self, why: str) -> None:
        self._agent.changed()

    def session_lost(self, why: str) -> None:
        self._agent.account.ticket = ""
        self._agent.sessions_lost()

    def session_over(self, refusal: Refusal) -> None:
        self._agent.sessions_lost()

    def interaction(self, view: InteractionView) -> None:
        """Nobody is offered anything: no agent of a storm is ready."""

    def interaction_gone(self, gone: Gone) -> None:
        """As :meth:`interaction`."""

    def media(self, states: list[MediaState]) -> None:
        """As logged in."""


class _ContactUser:
    """The UCS link has nothing to do until an agent has an interaction."""

    def __init__(self, agent: StormAgent) -> None:
        self._agent = agent

    def link_up(self, peer: Peer) -> None:
        self._agent.changed()

    def link_down(self, why: str) -> None:
        self._agent.changed()

    def link_event(self, name: str, payload: msgspec.Raw, seq: int) -> None:
        """Nothing is asked, so nothing is answered."""

    def link_refused(self, refusal: Refusal) -> None:
        """Said by the Interaction Server's link as well."""

    def link_changed(self) -> None:
        self._agent.changed()


def _unreported(fact: str, **details: object) -> None:
    """Facts of single links are too many to keep."""
