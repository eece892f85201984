"""Bringing sessions back: by ticket on any proxy, or all of a proxy's at once at a new primary. Not a login."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog

from stayline.domain.errors import Refusal, RefusedError, refuse
from stayline.domain.ownership import whereabouts
from stayline.domain.second_login import ticket_objection
from stayline.domain.session import AgentSession, SessionEvent, SessionState, advance
from stayline.link.messages.envelope import MAX_FRAME_BYTES
from stayline.link.messages.interaction import (
    AgentLogin,
    AgentResume,
    Missed,
    RestoreChannel,
    RestoreChannels,
    RestoredChannel,
    RestoredChannels,
    SessionOpened,
)
from stayline.link.peer import Peer
from stayline.link.tokens import Ticket, TokenVerifier
from stayline.servers.interaction.askings import asked_at
from stayline.servers.interaction.channels import Channel, Channels
from stayline.servers.interaction.ledger import Ledger, Recorded
from stayline.servers.interaction.reader import Reader
from stayline.servers.interaction.rules import Rules
from stayline.servers.interaction.sessions import Login, Sessions, agent_key, restored_media
from stayline.servers.interaction.views import Views
from stayline.store.interaction_history import MAX_MISSED, MissedRow

MAX_ANSWER_BYTES = MAX_FRAME_BYTES - 65_536
"""What of a bulk restore fits into one reply; sessions beyond it are resumed one by one by their Workspaces."""

MISSED_SECONDS = 600.0
"""A story that began longer ago is not told."""

_BUSY_SECONDS = 0.2

log = structlog.get_logger(__name__)


class _Wanted(NamedTuple):
    """A session to bring back on a channel. ``workspace``: the installation that its ticket was given to; ``restore``
    the media to restore from now on (None: as before). ``in_bulk``: its proxy brings it back, nobody asked just now."""

    channel: Channel
    session: str
    last_seq: int
    workspace: str = ""
    restore: tuple[str, ...] | None = None
    asked_at: float = 0.0
    in_bulk: bool = False


class _Story(NamedTuple):
    """What a session missed; ``gap``: too much or too old to be told."""

    missed: list[Missed]
    gap: bool


_NOTHING = _Story([], False)


class Resumption:
    """Resumes sessions of a term."""

    def __init__(
        self,
        ledger: Ledger,
        rules: Rules,
        channels: Channels,
        sessions: Sessions,
        views: Views,
        reader: Reader,
        verifier: TokenVerifier,
    ) -> None:
        self._ledger = ledger
        self._rules = rules
        self._channels = channels
        self._sessions = sessions
        self._views = views
        self._reader = reader
        self._verifier = verifier

    async def resume(self, channel: Channel, params: AgentResume) -> SessionOpened:
        """Move the ticket's session to ``channel``. Raises RefusedError (``token.*``, ``session.closed`` ...)."""
        ticket = self._ticket(channel, params.ticket)
        restore = restored_media(params.restore)
        wanted = _Wanted(
            channel, ticket.session, params.last_seq, ticket.workspace, restore, asked_at(params)
        )
        return await self._one(wanted)

    async def rejoin(self, channel: Channel, session: str, login: AgentLogin) -> SessionOpened:
        """Move a session, opened by this very login before, to ``channel``."""
        seq = self._ledger.model.seq
        return await self._one(_Wanted(channel, session, seq, login.workspace, None, asked_at(login)))

    async def _one(self, wanted: _Wanted) -> SessionOpened:
        outcome = (await self._bring_back([wanted]))[0]
        if isinstance(outcome, Refusal):
            raise RefusedError(outcome)
        return outcome

    async def restore(self, peer: Peer, params: RestoreChannels) -> RestoredChannels:
        """Bring back all clients of a proxy: one commit, one query. Same order as asked."""
        outcomes: dict[int, SessionOpened | Refusal] = {}
        wanted: list[_Wanted] = []
        for item in params.channels:
            prepared = self._prepare(peer, item)
            if isinstance(prepared, _Wanted):
                wanted.append(prepared)
            elif prepared is not None:
                outcomes[item.channel] = prepared
        for want, outcome in zip(wanted, await self._bring_back(wanted), strict=True):
            outcomes[want.channel.number] = outcome
        log.info(
            "channels.restored",
            proxy=peer.hello.application,
            channels=len(params.channels),
            sessions=sum(isinstance(o, SessionOpened) for o in outcomes.values()),
            why="a proxy brought its clients back",
        )
        return _fitting([_answer(item.channel, outcomes.get(item.channel)) for item in params.channels])

    def logged_in(self, login: Login) -> SessionOpened:
        """What the Workspace of a login is told: of the past only what it did not get back."""
        return self._opened(login.session, _Story([_told(recorded) for recorded in login.given_back], False))

    def _opened(self, session: AgentSession, story: _Story) -> SessionOpened:
        """What a session's Workspace is told when it (re)opens."""
        model = self._ledger.model
        return SessionOpened(
            session=session.id,
            ticket=self._views.ticket(session),
            restore_timeout=self._rules.restore_timeout,
            snapshot=self._views.snapshot(
                session, model.held_by(session.id), model.seq, self._rules.snapshot_limit
            ),
            missed=story.missed,
            gap=story.gap,
        )

    def _prepare(self, peer: Peer, item: RestoreChannel) -> _Wanted | Refusal | None:
        channel = self._channels.open(peer, item.channel, item.identity, item.application)
        if channel is None:
            return Refusal(code="core.full", reason="This core carries too many agents.", retryable=True)
        if not item.ticket:
            return None
        try:
            ticket = self._ticket(channel, item.ticket)
        except RefusedError as error:
            return error.refusal
        return _Wanted(channel, ticket.session, item.last_seq, ticket.workspace, in_bulk=True)

    def _ticket(self, channel: Channel, token: str) -> Ticket:
        ticket = self._verifier.ticket(token, self._ledger.clock())
        identity = channel.identity
        if (ticket.tenant, ticket.agent) != (identity.tenant, identity.user):
            raise refuse(
                "ticket.other_agent",
                f"This ticket is {ticket.agent}'s, not {identity.user}'s.",
                field="ticket",
            )
        if ticket.epoch > self._ledger.epoch:
            # It is signed, so it is true: mastership has moved on without this server noticing.
            self._ledger.give_up(
                f"{identity.user} holds a ticket of epoch {ticket.epoch}, this server acts under {self._ledger.epoch}"
            )
        return ticket

    async def _bring_back(self, wanted: list[_Wanted]) -> list[SessionOpened | Refusal]:
        """One commit for all that can be resumed, one query for what they missed. Same order as ``wanted``."""
        locks = [agent_key(w.channel.identity.tenant, w.channel.identity.user) for w in wanted]
        async with self._ledger.locks.hold(*locks):
            changes: dict[str, tuple[AgentSession, AgentSession]] = {}
            outcomes: list[Refusal | None] = []
            for want in wanted:
                outcomes.append(self._plan(want, changes))
            if changes:
                await self._ledger.save(list(changes.values()))
            resumed = [want for want, refusal in zip(wanted, outcomes, strict=True) if refusal is None]
            moved = [want for want in resumed if want.session in changes]
            for want in resumed:
                self._sessions.askings.note(
                    want.session, want.workspace, want.asked_at, len(self._ledger.model.sessions)
                )
            for want in moved:
                session = changes[want.session][1]
                self._sessions.attach(session, want.channel, "the session was resumed elsewhere")
            await asyncio.gather(*(self._sessions.give_back(changes[want.session][1]) for want in moved))
        missed = await self._missed(resumed)
        lost = [want.session for want, refusal in zip(wanted, outcomes, strict=True) if refusal is not None]
        stories = await self._stories(lost)
        return [
            self._outcome(want, refusal, missed, stories)
            for want, refusal in zip(wanted, outcomes, strict=True)
        ]

    def _plan(self, want: _Wanted, changes: dict[str, tuple[AgentSession, AgentSession]]) -> Refusal | None:
        """Add the resumed record to ``changes``, or say why not."""
        departure = want.channel.departure()
        if departure is not None:
            return departure
        session = self._ledger.model.sessions.get(want.session)
        if session is None:
            return Refusal(
                code="session.closed", reason=f"Session {want.session} is over.", fix="Log in again."
            )
        if want.session in changes:
            return Refusal(
                code="session.moving",
                reason="Another link resumed this session at the same time.",
                retryable=True,
                retry_after=_BUSY_SECONDS,
            )
        objection = ticket_objection(
            session, want.workspace, self._rules.multiple_connections
        ) or self._sessions.askings.objection(session.id, want.workspace, want.asked_at)
        if objection is not None:
            return objection
        carrier = self._channels.carries(session.id)
        if want.in_bulk and carrier is not None and carrier is not want.channel and carrier.is_open:
            # Its client asked for it elsewhere meanwhile; should it be here after all, it asks again by itself.
            return _elsewhere(carrier)
        restore = session.restore if want.restore is None else want.restore
        here = session.state is SessionState.LIVE and self._channels.carries(session.id) is want.channel
        if here and restore == session.restore:
            return None  # Asked twice over the same link: nothing was lost in between.
        ledger = self._ledger
        after = advance(
            session,
            SessionEvent.RESUME,
            msgspec.structs.replace(session, restore=restore),
            ledger.clock(),
            epoch=ledger.epoch,
            term=ledger.term,
        )
        changes[want.session] = (session, after)
        return None

    async def _missed(self, resumed: list[_Wanted]) -> dict[str, _Story]:
        after = {want.session: want.last_seq for want in resumed if want.last_seq < self._ledger.model.seq}
        rows = await self._reader.missed(after, self._ledger.model.seq) if after else {}
        oldest = self._ledger.clock() - MISSED_SECONDS
        return {session: story_of(story, oldest) for session, story in rows.items()}

    async def _stories(self, sessions: list[str]) -> dict[str, str]:
        """For sessions that are over: who has now what they had (invariant I6)."""
        stories: dict[str, str] = {}
        if sessions:
            for session, ids in (await self._reader.given_up(sessions)).items():
                parts = [f"{id} is {whereabouts(await self._ledger.find(id))}" for id in ids]
                stories[session] = "; ".join(parts)
        return stories

    def _outcome(
        self,
        want: _Wanted,
        refusal: Refusal | None,
        missed: dict[str, _Story],
        stories: dict[str, str],
    ) -> SessionOpened | Refusal:
        session = self._ledger.model.sessions.get(want.session)
        if refusal is None and session is not None:
            return self._opened(session, missed.get(want.session, _NOTHING))
        refusal = refusal or Refusal(code="session.closed", reason=f"Session {want.session} is over.")
        story = stories.get(want.session, "")
        return msgspec.structs.replace(refusal, reason=f"{refusal.reason} {story}.") if story else refusal


def _elsewhere(carrier: Channel) -> Refusal:
    return Refusal(
        code="session.moving",
        reason=f"The session is on a link of {carrier.peer.hello.application} already.",
        retryable=True,
        retry_after=_BUSY_SECONDS,
    )


def story_of(rows: Sequence[MissedRow], oldest: float) -> _Story:
    """What to tell of ``rows``, oldest first: all, or nothing of a story that is longer than :data:`MAX_MISSED` or
    began before ``oldest`` (Unix seconds)."""
    if len(rows) > MAX_MISSED or (rows and rows[0].at < oldest):
        return _Story([], True)
    return _Story(
        [Missed(seq=r.seq, interaction=r.interaction, event=r.event, why=r.why) for r in rows], False
    )


def _told(recorded: Recorded) -> Missed:
    entry = recorded.step.entry
    return Missed(seq=recorded.seq, interaction=entry.interaction, event=entry.event.value, why=entry.why)


def _answer(number: int, outcome: SessionOpened | Refusal | None) -> RestoredChannel:
    if isinstance(outcome, Refusal):
        return RestoredChannel(channel=number, code=outcome.code, reason=outcome.reason)
    return RestoredChannel(channel=number, opened=outcome)


def _fitting(answers: list[RestoredChannel]) -> RestoredChannels:
    """The answers, with sessions that no longer fit into one frame left to their own resume."""
    size = 0
    for place, answer in enumerate(answers):
        size += len(msgspec.json.encode(answer)) + 1
        if size > MAX_ANSWER_BYTES and answer.opened is not None:
            answers[place] = RestoredChannel(
                channel=answer.channel,
                code="channels.too_large",
                reason="Too much for one answer: resume with the ticket.",
            )
            size -= len(msgspec.json.encode(answer))
    return RestoredChannels(channels=answers)
