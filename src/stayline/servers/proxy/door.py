"""The door of a proxy: puts openers into the lanes of an :class:`Admission`, and knows when their set-up is over."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from stayline.domain.errors import Refusal, RefusedError
from stayline.link.door import ONLY_ASKED
from stayline.link.machine.admission import Admission, AdmissionSettings, Decision, Enter, Kind, Wait
from stayline.link.messages.envelope import Hello, Waiting
from stayline.link.peer import Peer
from stayline.link.tokens import TokenVerifier
from stayline.servers.proxy.shares import Shares

log = structlog.get_logger(__name__)

SILENT_SECONDS = 1.0
"""A client that has not asked to be logged in or resumed after this is not being set up any more: it costs nothing."""

REQUESTLESS_SECONDS = 0.05
"""The same where there are no sessions: many clients ask their first question much later."""

ANSWER_SECONDS = 1.0
"""Where there are no sessions, the longest time that a first question counts as set-up."""


@dataclass(frozen=True, slots=True)
class _Opener:
    """One who waits: what can be said to it. ``kind``: its lane."""

    kind: Kind
    enter: Callable[[], None]
    wait: Callable[[Waiting], None]
    refuse: Callable[[Refusal], None]


class ProxyDoor:
    """See :class:`stayline.link.door.Door`. ``opening``: methods whose answer ends a set-up (none: any first answer).

    ``forged`` counts tickets that were not signed by this centre or belong to somebody else; ``chance()`` draws from
    [0, 1). ``on_change()`` is called when what a report says has changed.
    """

    def __init__(
        self,
        name: str,
        settings: AdmissionSettings,
        verifier: TokenVerifier,
        opening: frozenset[str],
        chance: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        self.admission = Admission(settings)
        self.forged = 0
        self.shares = Shares()
        self._name = name
        self._verifier = verifier
        self._opening = opening
        self._chance = chance
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Peer, _Opener] = {}
        self._setups: dict[Peer, asyncio.TimerHandle] = {}
        self._asked: set[Peer] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = 0.0

    # -- the door

    def arrive(
        self,
        peer: Peer,
        hello: Hello,
        enter: Callable[[], None],
        wait: Callable[[Waiting], None],
        refuse: Callable[[Refusal], None],
    ) -> None:
        """An opener whose token is good."""
        user = peer.identity.user if peer.identity is not None else ""
        kind = self._lane(peer, hello)
        if not self.shares.has_room(user, kind):
            kind = Kind.LOGIN
        if not self.shares.has_room(user, kind):
            why = f"{user} has too many links that wait already"
            refuse(self._not_now(peer, self.admission.settings.longest_wait, why))
            return
        self.shares.take(peer, user, kind)
        self._waiting[peer] = _Opener(kind, enter, wait, refuse)
        self._do(self.admission.arrive(peer, kind, self._loop.time(), chance=self._chance(), who=user))

    def left(self, peer: Peer) -> None:
        """The link of an opener or of a client is gone."""
        self._waiting.pop(peer, None)
        self.shares.give_back(peer)
        if peer.farewell is not None and peer.farewell.code == ONLY_ASKED:
            self._unmeasured(peer)  # It has what it came for.
        wasted = self.admission.wasted
        self._over(peer)
        self._do(self.admission.left(peer, self._loop.time()))
        if self.admission.wasted > wasted:
            log.info("proxy.setup_wasted", who=peer.hello.application, why="the link ended during its set-up")

    # -- how set-ups go on

    def asked(self, peer: Peer, method: str) -> None:
        """A client that is being set up has asked for something."""
        timer = self._setups.get(peer)
        if timer is None or peer in self._asked or (self._opening and method not in self._opening):
            return
        self._asked.add(peer)
        timer.cancel()
        if not self._opening:
            self._setups[peer] = self._loop.call_later(ANSWER_SECONDS, self._unmeasured, peer)

    def answered(self, peer: Peer, method: str) -> None:
        """A client was answered."""
        if peer in self._setups and (not self._opening or method in self._opening):
            self._over(peer)
            self._do(self.admission.finished(peer, self._loop.time()))

    def disturbed(self) -> None:
        """The core is away: what is being set up takes longer, by no fault of this proxy."""
        self.admission.disturbed()

    def configure(self, settings: AdmissionSettings) -> None:
        """Other limits from now on."""
        if settings != self.admission.settings:
            self._do(self.admission.configure(settings, self._loop.time()))

    def send_away(self, refusal: Refusal) -> None:
        """Refuse everybody who waits."""
        for peer in self.admission.send_away():
            assert isinstance(peer, Peer)
            self.shares.give_back(peer)
            self._waiting.pop(peer).refuse(refusal)
        self._arm()

    def stop(self) -> None:
        """End the timers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for timer in self._setups.values():
            timer.cancel()
        self._setups.clear()

    # -- inside

    def _lane(self, peer: Peer, hello: Hello) -> Kind:
        """The lane of resumes takes a ticket of this centre that belongs to whom the token names."""
        if not hello.ticket or peer.identity is None:
            return Kind.LOGIN
        try:
            ticket = self._verifier.ticket(hello.ticket, time.time())
        except RefusedError as error:
            if error.refusal.code != "token.expired":
                self._bad_ticket(peer, error.refusal.reason)
            return Kind.LOGIN
        if ticket.agent != peer.identity.user:
            self._bad_ticket(peer, f"the ticket is {ticket.agent}'s, the token {peer.identity.user}'s")
            return Kind.LOGIN
        return Kind.RESUME

    def _bad_ticket(self, peer: Peer, why: str) -> None:
        self.forged += 1
        log.warning("proxy.ticket_forged", who=peer.hello.application, address=peer.remote_address, why=why)

    def _do(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            peer = decision.id
            assert isinstance(peer, Peer)
            opener = self._waiting.get(peer)
            if opener is None:
                continue
            if isinstance(decision, Wait):
                why = f"{decision.ahead} others are let in before this {opener.kind}"
                opener.wait(Waiting(seconds=round(decision.seconds, 3), ahead=decision.ahead, why=why))
                continue
            del self._waiting[peer]
            if isinstance(decision, Enter):
                self._enter(peer, opener)
            else:
                self.shares.give_back(peer)
                opener.refuse(self._not_now(peer, decision.retry_after, decision.why))
        self._arm()
        self._on_change()

    def _enter(self, peer: Peer, opener: _Opener) -> None:
        patience = SILENT_SECONDS if self._opening else REQUESTLESS_SECONDS
        self._setups[peer] = self._loop.call_later(patience, self._unmeasured, peer)
        opener.enter()

    def _not_now(self, peer: Peer, retry_after: float, why: str) -> Refusal:
        log.info("proxy.not_now", who=peer.hello.application, retry_after=round(retry_after, 3), why=why)
        reason = f"{self._name} cannot let it in now: {why}."
        return Refusal(code="link.not_now", reason=reason, retryable=True, retry_after=round(retry_after, 3))

    def _unmeasured(self, peer: Peer) -> None:
        """It is quiet, or its answer takes long: neither says anything about this proxy."""
        self._over(peer)
        self._do(self.admission.finished(peer, self._loop.time(), measured=False))

    def _over(self, peer: Peer) -> None:
        self.shares.give_back(peer)
        timer = self._setups.pop(peer, None)
        if timer is not None:
            timer.cancel()
        self._asked.discard(peer)

    def _arm(self) -> None:
        """One timer, for the next time at which the machine has something to do."""
        at = self.admission.wake_at(self._loop.time())
        if self._timer is not None:
            if at is not None and at >= self._wake_at:
                return  # It wakes up early enough, and looks again then.
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._wake_at = at
            self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._do(self.admission.tick(self._loop.time()))
