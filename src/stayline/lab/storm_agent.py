"""One lean agent of a storm: the machines that decide in a Workspace in their own shell, real links, and no desk.

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
from stayline.lab.storm_ledger import LinkLedger
from stayline.lab.storm_orders import Counts
from stayline.lab.storm_original import OriginalPair
from stayline.link.authority import TlsFiles
from stayline.link.machine.logic import Event
from stayline.link.machine.plan import Link, Plan
from stayline.link.machine.session import SessionView
from stayline.link.messages.envelope import Hello
from stayline.link.messages.interaction import Gone, InteractionView, MediaState, SessionOpened
from stayline.link.peer import Peer
from stayline.link.standby_link import LinkUser
from stayline.link.tokens import TokenVerifier
from stayline.workspace.conductor import Conductor
from stayline.workspace.session import AgentSession

SETUPS = 2
"""Links that one Workspace sets up at a time."""


class Crowd(Protocol):
    """Whom agents tell, and what they share."""

    counts: Counts
    verifier: TokenVerifier

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
        self._session = AgentSession(
            _SessionUser(self), time.time, random=random, installation=f"storm of {account.user}"
        )
        self._session.begin_as(account.place, [MediaState(media="chat", ready=False)])
        self._conductor: _CountingConductor | None = None
        self._original: OriginalPair | None = None

    # -- what it is

    @property
    def site(self) -> str:
        """Where its Workspace shall be."""
        return self._wanted

    @property
    def session(self) -> str:
        """Its session."""
        return self.account.session if self._original is not None else self._session.session

    @property
    def whole(self) -> bool:
        """Whether its session is confirmed and its UCS link stands, both at the site where they shall be."""
        if self._original is not None:
            return self._original.whole
        if self._conductor is None or not self._session.confirmed:
            return False
        return all(link.up and link.site == self._wanted for link in self._conductor.links.values())

    async def until_whole(self) -> None:
        """Wait for it."""
        while not self.whole:
            self._turned.clear()
            await self._turned.wait()

    # -- what it is told

    def begin(self, plan: Plan, current: bool) -> None:
        """Connect: as a Workspace that starts, with the session that it has kept."""
        users: dict[Link, LinkUser] = {Link.INTERACTION: self._session, Link.CONTACT: _ContactUser()}
        self._conductor = _CountingConductor(self, users, self._tls, self._crowd, self._random)
        self._session.link = self._conductor.links[Link.INTERACTION]
        self.planned(plan, current)

    def planned(self, plan: Plan, current: bool) -> None:
        """The configuration says this now; ``current``: a Configuration Server that is current says so."""
        self._wanted = plan.wanted
        if self._original is not None:
            self._original.use(plan)
        elif self._conductor is not None:
            self._conductor.plan(plan, current=current)
        self.changed()

    def configuration_away(self, why: str) -> None:
        """No current Configuration Server answers."""
        if self._conductor is not None:
            self._conductor.configuration_away(why)

    async def hang_up(self) -> None:
        """Leave both servers; the session stays in the core."""
        conductor, self._conductor = self._conductor, None
        if self._original is not None:
            await self._original.stop()
        if conductor is not None:
            await conductor.stop()
            self._session.stop()
        self.changed()

    async def go_original(self, plan: Plan) -> None:
        """Hang up, and come back as the original does. There is no way back."""
        await self.hang_up()
        self._wanted = plan.wanted
        self._original = OriginalPair(self.account, self._tls, self._random, self.changed)
        self._original.use(plan, spread=0.0)

    def hello(self, _link: Link) -> Hello:
        """What its Workspace says first on each link."""
        return self.account.hello()

    # -- what it tells

    def changed(self) -> None:
        """Tell whoever waits for it when this agent has become whole, or is not any more."""
        now = self._wanted if self.whole else ""
        if now != self._was:
            self._was = now
            self._crowd.turned(self)
            self._turned.set()

    def keep_ticket(self) -> None:
        """What the next hello carries, and what goes on when the original's constants are played."""
        view, account = self._session.view, self.account
        account.session, account.ticket = view.session, view.ticket
        account.last_seq, account.epoch = view.last_seq, max(account.epoch, view.epoch)

    def session_lost(self) -> None:
        """The core has ended the session."""
        self._crowd.counts.sessions_lost += 1
        self.changed()

    def look(self, now: float) -> None:
        """Count whether a waiting agent knows until when. (The original never says.)"""
        if self._conductor is not None and not self.whole:
            self._conductor.look(self.account.user, self._session.view, now)


class _CountingConductor(Conductor):
    """The shell of a Workspace's machines, with an account of what happens to its links."""

    def __init__(
        self,
        agent: StormAgent,
        users: dict[Link, LinkUser],
        tls: TlsFiles,
        crowd: Crowd,
        random: Callable[[], float],
    ) -> None:
        self._crowd = crowd
        self._ledger = LinkLedger(crowd.refused)
        super().__init__(
            users,
            agent.hello,
            tls,
            verifier=crowd.verifier,
            setups=SETUPS,
            random=random,
            clock=time.time,
            report=_unreported,
            changed=agent.changed,
        )

    def _step(self, event: Event) -> None:
        before = self.view
        super()._step(event)
        self._ledger.take(before, event, self.view, time.time(), self._crowd.counts)

    def look(self, who: str, session: SessionView, now: float) -> None:
        """Count whether each link that is waited for knows until when, and the session where the link stands."""
        self._ledger.look(self.view, session, who, now, self._crowd.counts)


class _SessionUser:
    """Takes what the session tells; there is no desk to show it on."""

    def __init__(self, agent: StormAgent) -> None:
        self._agent = agent

    def session_opened(self, opened: SessionOpened) -> None:
        self._agent.keep_ticket()
        self._agent.changed()

    def session_away(self, why: str) -> None:
        self._agent.changed()

    def session_lost(self, why: str, code: str) -> None:
        self._agent.session_lost()

    def session_over(self, refusal: Refusal) -> None:
        self._agent.session_lost()

    def session_changed(self) -> None:
        self._agent.keep_ticket()

    def interaction(self, view: InteractionView) -> None:
        """Nobody is offered anything: no agent of a storm is ready."""

    def interaction_gone(self, gone: Gone) -> None:
        """As :meth:`interaction`."""

    def media(self, states: list[MediaState]) -> None:
        """As logged in."""


class _ContactUser:
    """The UCS link has nothing to do until an agent has an interaction."""

    def link_up(self, peer: Peer) -> None:
        """Nothing to ask."""

    def link_down(self, why: str) -> None:
        """The machine has been told."""

    def link_event(self, name: str, payload: msgspec.Raw, seq: int) -> None:
        """Nothing was asked, so nothing is answered."""

    def link_refused(self, refusal: Refusal) -> None:
        """Said by the Interaction Server's link as well."""

    def link_changed(self) -> None:
        """The agent is told by the conductor."""


def _unreported(fact: str, **details: object) -> None:
    """Facts of single links are too many to keep."""
