"""Agents' logins: opening, readiness, logout, loss and the end of the restore time (ADR 1 section 5)."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec
import structlog

from stayline.domain.capacity import why_no_capacity
from stayline.domain.errors import RefusedError, refuse
from stayline.domain.interaction import Command, Event, Interaction, State
from stayline.domain.second_login import Policy, opening_of
from stayline.domain.session import (
    AgentSession,
    Readiness,
    SessionEvent,
    SessionState,
    advance,
    reconnects,
    restore_deadline,
    with_readiness,
)
from stayline.link.messages.interaction import AgentLogin, AgentLogout, AgentStatus, SessionEnded, SetMedia
from stayline.servers.interaction.askings import Askings, asked_at
from stayline.servers.interaction.background import Background
from stayline.servers.interaction.channels import Channel, Channels
from stayline.servers.interaction.ledger import Ledger, Recorded
from stayline.servers.interaction.rules import Rules
from stayline.servers.interaction.tickets import Tickets
from stayline.servers.interaction.timers import Timers
from stayline.servers.interaction.views import media_states
from stayline.store.interaction import RequestResult

MAX_MEDIA = 16
MAX_MEDIA_NAME = 64
MAX_WORKSPACE = 128
"""Characters of an installation's name; all these go into the ticket, which must stay short."""

UNANSWERED = "offer not answered"
"""The not-ready reason that the server itself sets."""

log = structlog.get_logger(__name__)


class Login(NamedTuple):
    """What a login came to: its session, and what the agent had and did not get back over a lost link."""

    session: AgentSession
    given_back: list[Recorded]


class Sessions:
    """The agent sessions of a term. ``changed(session)`` is called after each committed change that matters to
    offers and routing; ``new_id`` makes ids of sessions."""

    def __init__(
        self,
        ledger: Ledger,
        rules: Rules,
        channels: Channels,
        background: Background,
        timers: Timers,
        tickets: Tickets,
        *,
        changed: Callable[[str], None],
        new_id: Callable[[], str],
    ) -> None:
        self._ledger = ledger
        self._rules = rules
        self._channels = channels
        self._background = background
        self._timers = timers
        self._tickets = tickets
        self._changed = changed
        self.askings = Askings()
        self._new_id = new_id

    # -- by the agent ----------------------------------------------------------------------------------------

    async def login(self, channel: Channel, params: AgentLogin, result: RequestResult | None) -> Login:
        """Open a session on ``channel``, or take over the one that the agent has. Raises RefusedError."""
        identity = channel.identity
        self._rules.check_agent(identity.user, identity.tenant)
        self._rules.check_place(params.place, identity.tenant)
        described = _described(params)
        place_key = f"place:{identity.tenant}/{params.place}"
        async with self._ledger.locks.hold(agent_key(identity.tenant, identity.user), place_key):
            departure = channel.departure()
            if departure is not None:
                raise RefusedError(departure)
            self._check_place_free(identity.tenant, params.place, identity.user)
            existing = self._ledger.model.sessions_of(identity.tenant, identity.user)
            policy = self._rules.multiple_connections
            taken, event = opening_of(existing, channel.session, params.workspace, policy)
            late = taken and self.askings.objection(taken.id, params.workspace, asked_at(params))
            if late:
                raise RefusedError(late)
            before = taken or self._draft(channel, exclusive=policy is not Policy.SECOND_SESSION)
            session = self._advance(taken, event, msgspec.structs.replace(before, **described))
            keep = msgspec.structs.replace(result, session=session.id) if result else None
            await self._ledger.save([(taken, session)], keep)
            self.askings.note(
                session.id, params.workspace, asked_at(params), len(self._ledger.model.sessions)
            )
            self.attach(session, channel, f"taken over: {session.why}")
            given_back = await self.give_back(session) if taken and reconnects(taken, event) else []
        self._warn_capacity(session)
        return Login(session, given_back)

    async def logout(self, channel: Channel, params: AgentLogout, result: RequestResult | None) -> None:
        """Close the channel's session. Raises RefusedError ``session.owns`` while it owns interactions, unless
        ``requeue``."""
        before = self.session_of(channel)
        async with self._ledger.locks.hold(agent_key(before.tenant, before.agent)):
            before = self.session_of(channel)
            owned = [i.id for i in self._ledger.model.held_by(before.id) if i.state is State.OWNED]
            if owned and not params.requeue:
                raise refuse(
                    "session.owns",
                    f"{before.agent} still owns {len(owned)} interaction(s): {', '.join(owned[:5])}.",
                    fix="Finish or transfer them, or log out with requeue.",
                )
            why = f"the agent logged out{f': {params.reason}' if params.reason else ''}"
            after = self._advance(before, SessionEvent.LOGOUT, before, why)
            await self._ledger.save([(before, after)], result)
            self._channels.unbind(before.id)
            self._tickets.forget(before.id)
        await self.requeue_all(before.id, Event.LOGOUT_REQUEUE, f"agent:{before.agent}")

    async def set_media(self, channel: Channel, params: SetMedia, result: RequestResult | None) -> None:
        """Set readiness. Raises RefusedError ``media.unknown``."""
        session = self.session_of(channel)
        await self._set_media(session.id, params.media, params.ready, params.reason, result)

    def session_of(self, channel: Channel) -> AgentSession:
        """The live session that a channel carries. Raises RefusedError ``session.none``."""
        session = self._ledger.model.sessions.get(channel.session)
        if session is None:
            raise refuse(
                "session.none",
                f"{channel.identity.user} has no session on this link.",
                fix="Log in, or resume with the ticket.",
            )
        return session

    # -- by the server ---------------------------------------------------------------------------------------

    def attach(self, session: AgentSession, channel: Channel, why: str) -> None:
        """``channel`` carries the session now; the one that did is told. The caller holds the agent's lock."""
        carried = channel.session
        before = self._channels.bind(channel, session.id)
        self._tickets.watch(session.id)
        if carried and carried != session.id:
            self._tickets.forget(carried)
            # The agent went over to another session on the same link: nobody holds the first one any more.
            self._background.spawn("session-lost", partial(self._lose, carried))
        if before is not None and before.is_open:
            before.tell("session.ended", SessionEnded(session=session.id, code="session.taken", why=why))
        self._timers.disarm(_timer(session.id))
        if not channel.is_open:
            # It went away while its session was being committed.
            self.channel_gone(channel)
        self._changed(session.id)

    def channel_gone(self, channel: Channel) -> None:
        """A channel is closed: its session is lost from now on."""
        session = channel.session
        if session and self._channels.carries(session) is channel:
            self._channels.unbind(session)
            self._tickets.forget(session)
            self._background.spawn("session-lost", partial(self._lose, session))

    def watch(self, session: AgentSession) -> None:
        """Arm the restore timeout of a lost session."""
        ends = restore_deadline(session, self._rules.restore_timeout)
        due = partial(self._background.spawn, "session-expiry", partial(self._expire, session.id))
        self._timers.arm(_timer(session.id), ends, due)

    def unanswered(self, session: str, media: str) -> None:
        """An offer of ``media`` was not answered: the agent is set not ready for it, with the reason."""
        self._background.spawn(
            "not-ready", partial(self._set_media, session, [media], False, UNANSWERED, None)
        )

    def requeue(self, interaction: Interaction, event: Event, actor: str = "server") -> None:
        """Put what is with a closed session back into its queue, in the background."""
        self._background.spawn("requeue", partial(self._requeue, interaction, event, actor))

    async def requeue_all(self, session: str, event: Event, actor: str) -> None:
        """Put everything that a closed session has back into its queues; what cannot be yet, in the background."""
        await self._requeue_each(self._ledger.model.held_by(session), event, actor)

    async def give_back(self, session: AgentSession) -> list[Recorded]:
        """Put what a session that came back over a lost link does not keep into its queues: what that came to. What
        cannot be yet goes there in the background. A primary that dies before the end leaves nothing undone: the
        session is lost then, and comes back at the next one."""
        held = self._ledger.model.held_by(session.id)
        leaving = [interaction for interaction in held if not session.restores(interaction.media)]
        return await self._requeue_each(leaving, Event.NOT_RESTORED, "server")

    async def _requeue_each(self, held: list[Interaction], event: Event, actor: str) -> list[Recorded]:
        done = await asyncio.gather(
            *(self._requeue_or_later(interaction, event, actor) for interaction in held)
        )
        return [recorded for recorded in done if recorded is not None]

    async def _requeue_or_later(self, interaction: Interaction, event: Event, actor: str) -> Recorded | None:
        try:
            return await self._requeue(interaction, event, actor)
        except RefusedError as error:
            if error.refusal.retryable:
                self.requeue(interaction, event, actor)
            # Otherwise it ended, or moved on, in the meantime.
            log.info("session.not_requeued", interaction=interaction.id, why=error.refusal.reason)
            return None

    async def _requeue(self, interaction: Interaction, event: Event, actor: str) -> Recorded:
        command = Command(
            event=event,
            actor=actor,
            epoch=self._ledger.epoch,
            term=self._ledger.term,
            session=interaction.session,
        )
        return await self._ledger.apply(interaction.id, lambda _: command)

    async def _set_media(
        self, id: str, media: list[str], ready: bool, reason: str, result: RequestResult | None
    ) -> None:
        found = self._open(id)
        async with self._ledger.locks.hold(agent_key(found.tenant, found.agent)):
            before = self._open(id)
            after = self._advance(
                before,
                SessionEvent.MEDIA,
                with_readiness(before, media, ready, reason),
                f"ready: {', '.join(media) or 'all'}"
                if ready
                else f"not ready: {reason or 'no reason given'}",
            )
            await self._ledger.save([(before, after)], result)
        self._channels.tell(id, "agent.status", AgentStatus(media=media_states(after)))
        self._warn_capacity(after)
        self._changed(id)

    async def _lose(self, id: str) -> None:
        found = self._ledger.model.sessions.get(id)
        if found is None:
            return
        async with self._ledger.locks.hold(agent_key(found.tenant, found.agent)):
            before = self._ledger.model.sessions.get(id)
            if before is None or before.state is not SessionState.LIVE or self._channels.carries(id):
                return
            after = self._advance(before, SessionEvent.LOSE, before)
            await self._ledger.save([(before, after)])
            self.watch(after)
        self._changed(id)

    async def _expire(self, id: str) -> None:
        found = self._ledger.model.sessions.get(id)
        if found is None:
            return
        async with self._ledger.locks.hold(agent_key(found.tenant, found.agent)):
            before = self._ledger.model.sessions.get(id)
            if before is None or before.state is not SessionState.LOST:
                return
            if restore_deadline(before, self._rules.restore_timeout) > self._ledger.clock():
                self.watch(before)
                return
            why = f"its link was lost and it was not restored within {self._rules.restore_timeout:g} s"
            await self._ledger.save([(before, self._advance(before, SessionEvent.EXPIRE, before, why))])
        await self.requeue_all(id, Event.SESSION_LOST_TIMEOUT, "server")

    # -- rules -----------------------------------------------------------------------------------------------

    def _check_place_free(self, tenant: str, place: str, agent: str) -> None:
        for other in self._ledger.model.sessions_at(tenant, place):
            if other.agent != agent:
                left = restore_deadline(other, self._rules.restore_timeout) - self._ledger.clock()
                lost = other.state is SessionState.LOST
                raise refuse(
                    "place.taken",
                    f"Place {place} is used by {other.agent}"
                    f"{', whose link is lost and may still come back' if lost else ''}.",
                    field="place",
                    retryable=lost,
                    retry_after=round(max(0.0, left), 1) if lost else None,
                    fix="Choose another place.",
                )

    def _draft(self, channel: Channel, *, exclusive: bool) -> AgentSession:
        identity = channel.identity
        return AgentSession(
            id=self._new_id(),
            tenant=identity.tenant,
            agent=identity.user,
            display_name=identity.display_name,
            place="",
            media=(),
            state=SessionState.LIVE,
            since=0.0,
            opened_at=self._ledger.clock(),
            version=0,
            epoch=0,
            term=0,
            exclusive=exclusive,
        )

    def _advance(
        self, before: AgentSession | None, event: SessionEvent, after: AgentSession, why: str = ""
    ) -> AgentSession:
        now = self._ledger.clock()
        return advance(before, event, after, now, epoch=self._ledger.epoch, term=self._ledger.term, why=why)

    def _open(self, id: str) -> AgentSession:
        session = self._ledger.model.sessions.get(id)
        if session is None:
            raise refuse("session.closed", f"Session {id} is closed.", fix="Log in again.")
        return session

    def _warn_capacity(self, session: AgentSession) -> None:
        rule = self._rules.capacity_rule(session.agent)
        for medium in session.media:
            why = why_no_capacity(session.agent, rule, medium.media) if medium.ready else ""
            if why:
                log.warning("session.no_capacity", agent=session.agent, media=medium.media, why=why)


def agent_key(tenant: str, agent: str) -> str:
    """The lock of an agent's sessions."""
    return f"agent:{tenant}/{agent}"


def _timer(session: str) -> str:
    return f"session:{session}"


def restored_media(media: list[str] | None) -> tuple[str, ...] | None:
    """The media of a login's or resume's ``restore``. Raises RefusedError ``media.malformed``."""
    if media is not None and (len(media) > MAX_MEDIA or any(len(name) > MAX_MEDIA_NAME for name in media)):
        reason = f"At most {MAX_MEDIA} media of {MAX_MEDIA_NAME} characters are restored."
        raise refuse("media.malformed", reason, field="restore")
    return None if media is None else tuple(media)


def _described(params: AgentLogin) -> dict[str, Any]:
    """What a login says of its session. Raises RefusedError ``media.malformed`` or ``workspace.malformed``."""
    names = [m.media for m in params.media]
    well = all(0 < len(name) <= MAX_MEDIA_NAME for name in names)
    if len(names) > MAX_MEDIA or len(set(names)) != len(names) or not well:
        raise refuse(
            "media.malformed",
            f"A login names at most {MAX_MEDIA} different media of 1 to {MAX_MEDIA_NAME} characters.",
            field="media",
        )
    if len(params.workspace) > MAX_WORKSPACE:
        reason = f"The name of an installation has at most {MAX_WORKSPACE} characters."
        raise refuse("workspace.malformed", reason, field="workspace")
    return {
        "place": params.place,
        "media": tuple(Readiness(m.media, m.ready, "" if m.ready else m.reason) for m in params.media),
        "workspace": params.workspace,
        "restore": restored_media(params.restore),
    }
