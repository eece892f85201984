"""Brings waiting interactions and ready agents together, whenever either appears."""

import asyncio
from collections import Counter
from functools import partial

import structlog

from stayline.domain.capacity import free_capacity, why_no_capacity
from stayline.domain.errors import RefusedError, refuse
from stayline.domain.interaction import Command, Event, Interaction, State
from stayline.domain.ownership import routing_ends
from stayline.domain.routing import Candidate, Match, Waiting, match
from stayline.domain.session import AgentSession, SessionState
from stayline.servers.interaction.background import Background
from stayline.servers.interaction.ledger import Ledger
from stayline.servers.interaction.rules import Rules
from stayline.servers.interaction.timers import Timers

MAX_OFFERS_AT_ONCE = 256
"""Offers being committed at the same time; further ones are made when these are done."""

AGAIN_SECONDS = 0.1
"""Pause before the router looks again after an offer could not be made."""

ROUTER = "server"

log = structlog.get_logger(__name__)


class Router:
    """Makes offers. :meth:`kick` after anything that could allow one."""

    def __init__(self, ledger: Ledger, rules: Rules, background: Background, timers: Timers) -> None:
        self._ledger = ledger
        self._rules = rules
        self._background = background
        self._timers = timers
        self._kicked = False
        self._stopped = False
        self._offering: dict[str, Match] = {}
        self._held_back: set[tuple[str, str]] = set()
        self._warned: set[tuple[str, str]] = set()

    def kick(self) -> None:
        """Look for offers to make, once, at the end of this turn of the loop."""
        if not self._kicked and not self._stopped:
            self._kicked = True
            asyncio.get_running_loop().call_soon(self._route)

    def stop(self) -> None:
        """Make no more offers."""
        self._stopped = True

    def hold_back(self, interaction: str, session: str, since: float) -> None:
        """Do not offer ``interaction`` to ``session`` for ``reoffer-delay`` after ``since`` (Unix seconds)."""
        pair = (interaction, session)
        self._held_back.add(pair)
        until = since + self._rules.reoffer_delay
        self._timers.arm(f"hold-back:{interaction}:{session}", until, lambda: self._release(pair))

    def held_back(self, interaction: str) -> frozenset[str]:
        """Sessions to which it is not offered at the moment."""
        return frozenset(session for id, session in self._held_back if id == interaction)

    def watch(self, interaction: Interaction) -> None:
        """(Re)arm the routing timeout of a queued interaction; disarm it for one in any other state."""
        timer = f"routing:{interaction.id}"
        if interaction.state is not State.QUEUED:
            self._timers.disarm(timer)
            return
        now = self._ledger.clock()
        ends = routing_ends(interaction, self._rules.routing_timeout, now)
        due = partial(
            self._background.spawn, "routing-timeout", partial(self._routing_failed, interaction.id)
        )
        self._timers.arm(timer, ends, due)

    async def _routing_failed(self, id: str) -> None:
        """Nobody could take it for long: say so where it is found later, and ask everybody again."""
        waiting = self._ledger.model.interaction(id)
        if waiting is None or waiting.state is not State.QUEUED:
            return
        hours = (self._ledger.clock() - waiting.queued_at) / 3_600
        log.warning(
            "routing.failed",
            interaction=id,
            queue=waiting.queue,
            hours=round(hours, 2),
            why="no agent could take it within the routing timeout",
        )
        self._held_back = {pair for pair in self._held_back if pair[0] != id}
        ledger = self._ledger
        command = Command(event=Event.ROUTING_TIMEOUT, actor=ROUTER, epoch=ledger.epoch, term=ledger.term)
        await ledger.apply(id, lambda _: command)

    def _release(self, pair: tuple[str, str]) -> None:
        self._held_back.discard(pair)
        self.kick()

    # -- matching --------------------------------------------------------------------------------------------

    def _route(self) -> None:
        self._kicked = False
        room = MAX_OFFERS_AT_ONCE - len(self._offering)
        if self._stopped or room <= 0 or not self._ledger.model.is_anything_queued:
            # Nothing waits, and thousands of agents may be coming back: nobody looks at all of them for each of them.
            return
        # Candidates first: with nobody free, a long line costs nothing.
        candidates = self._candidates()
        waiting = self._waiting() if candidates else []
        for found in match(
            waiting,
            candidates,
            self._rules.queue_groups(),
            lambda interaction, session: (interaction, session) in self._held_back,
            room,
        ):
            self._offering[found.interaction] = found
            self._background.spawn("offer", partial(self._offer, found))

    def _waiting(self) -> list[Waiting]:
        return [
            Waiting(it.id, it.tenant, it.queue, it.media, it.queued_at)
            for it in self._ledger.model.queued()
            if it.id not in self._offering
        ]

    def _candidates(self) -> list[Candidate]:
        pending = Counter(found.session for found in self._offering.values())
        found = []
        for session in self._ledger.model.sessions.values():
            if session.state is not SessionState.LIVE:
                continue
            free = self._free(session, pending[session.id])
            if free:
                found.append(
                    Candidate(
                        session.id,
                        session.tenant,
                        self._rules.groups_of(session.agent),
                        free,
                        self._ledger.model.holding(session.id).total + pending[session.id],
                        self._ledger.model.idle_since.get(session.id, session.since),
                    )
                )
        return found

    def _free(self, session: AgentSession, pending: int) -> dict[str, int]:
        ready = [m.media for m in session.media if m.ready]
        if not ready:
            return {}
        rule = self._rules.capacity_rule(session.agent)
        held = self._ledger.model.holding(session.id).by_media
        free: dict[str, int] = {}
        for name in ready:
            self._warn(session.agent, name, why_no_capacity(session.agent, rule, name))
            # Offers on their way count against every medium: they are few, and one too many would be worse.
            room = free_capacity(rule, name, held.get(name, 0) + pending)
            if room:
                free[name] = room
        return free

    def _warn(self, agent: str, media: str, why: str) -> None:
        """Say once, loudly, that an agent who is ready for a medium will never get it."""
        if not why:
            self._warned.discard((agent, media))
        elif (agent, media) not in self._warned:
            self._warned.add((agent, media))
            log.warning("routing.no_capacity", agent=agent, media=media, why=why)

    # -- offering --------------------------------------------------------------------------------------------

    async def _offer(self, found: Match) -> None:
        try:
            await self._ledger.apply(found.interaction, lambda it: self._decide(it, found.session))
        except RefusedError as error:
            # Something else came first, or the writer is busy: look again, but not in a tight circle.
            log.debug("routing.not_offered", interaction=found.interaction, why=error.refusal.reason)
            self._timers.arm("route-again", self._ledger.clock() + AGAIN_SECONDS, self.kick)
        else:
            self.kick()
        finally:
            self._offering.pop(found.interaction, None)

    def _decide(self, interaction: Interaction, session_id: str) -> Command:
        """The offer, if the session can still take it now that its turn has come."""
        session = self._ledger.model.sessions.get(session_id)
        if interaction.state is State.QUEUED and (
            session is None or not session.ready_for(interaction.media)
        ):
            raise refuse(
                "session.not_ready", f"Session {session_id} is no longer ready for {interaction.media}."
            )
        return Command(
            event=Event.OFFER,
            actor=ROUTER,
            epoch=self._ledger.epoch,
            term=self._ledger.term,
            agent=session.agent if session else "",
            session=session_id,
            deadline=self._ledger.clock() + self._rules.delivering_timeout,
        )
