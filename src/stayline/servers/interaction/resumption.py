"""Bringing sessions back: by ticket on any proxy, or all of a proxy's at once at a new primary. Not a login."""

from typing import NamedTuple

import msgspec
import structlog

from stayline.domain.errors import Refusal, RefusedError, refuse
from stayline.domain.ownership import whereabouts
from stayline.domain.session import AgentSession, SessionEvent, advance
from stayline.link.messages.envelope import MAX_FRAME_BYTES
from stayline.link.messages.interaction import (
    Missed,
    RestoreChannel,
    RestoreChannels,
    RestoredChannel,
    RestoredChannels,
    SessionOpened,
)
from stayline.link.peer import Peer
from stayline.link.tokens import Ticket, TokenVerifier
from stayline.servers.interaction.channels import Channel, Channels
from stayline.servers.interaction.ledger import Ledger
from stayline.servers.interaction.reader import Reader
from stayline.servers.interaction.rules import Rules
from stayline.servers.interaction.sessions import Sessions, agent_key
from stayline.servers.interaction.views import Views

MAX_ANSWER_BYTES = MAX_FRAME_BYTES - 65_536
"""What of a bulk restore fits into one reply; sessions beyond it are resumed one by one by their Workspaces."""

log = structlog.get_logger(__name__)


class _Wanted(NamedTuple):
    """A session to bring back on a channel."""

    channel: Channel
    session: str
    last_seq: int


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

    async def resume(self, channel: Channel, ticket: str, last_seq: int) -> SessionOpened:
        """Move the ticket's session to ``channel``. Raises RefusedError (``token.*``, ``session.closed`` ...)."""
        return await self.rejoin(channel, self._ticket(channel, ticket).session, last_seq)

    async def rejoin(self, channel: Channel, session: str, last_seq: int) -> SessionOpened:
        """Move a session, known to be this agent's, to ``channel``."""
        outcome = (await self._bring_back([_Wanted(channel, session, last_seq)]))[0]
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

    def opened(self, session: AgentSession, missed: list[Missed]) -> SessionOpened:
        """What a session's Workspace is told when it (re)opens."""
        model = self._ledger.model
        return SessionOpened(
            session=session.id,
            ticket=self._views.ticket(session),
            restore_timeout=self._rules.restore_timeout,
            snapshot=self._views.snapshot(
                session, model.held_by(session.id), model.seq, self._rules.snapshot_limit
            ),
            missed=missed,
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
        return _Wanted(channel, ticket.session, item.last_seq)

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
            for want in resumed:
                session = changes[want.session][1]
                self._sessions.attach(session, want.channel, "the session was resumed elsewhere")
        missed = await self._missed(resumed)
        lost = [want.session for want, refusal in zip(wanted, outcomes, strict=True) if refusal is not None]
        stories = await self._stories(lost)
        return [
            self._outcome(want, refusal, missed, stories)
            for want, refusal in zip(wanted, outcomes, strict=True)
        ]

    def _plan(self, want: _Wanted, changes: dict[str, tuple[AgentSession, AgentSession]]) -> Refusal | None:
        """Add the resumed record to ``changes``, or say why not."""
        session = self._ledger.model.sessions.get(want.session)
        if session is None:
            return Refusal(
                code="session.closed", reason=f"Session {want.session} is over.", fix="Log in again."
            )
        if want.session in changes:
            return Refusal(code="session.taken", reason="Another link resumed this session at the same time.")
        ledger = self._ledger
        after = advance(
            session, SessionEvent.RESUME, session, ledger.clock(), epoch=ledger.epoch, term=ledger.term
        )
        changes[want.session] = (session, after)
        return None

    async def _missed(self, resumed: list[_Wanted]) -> dict[str, list[Missed]]:
        after = {want.session: want.last_seq for want in resumed if want.last_seq < self._ledger.model.seq}
        rows = await self._reader.missed(after, self._ledger.model.seq) if after else {}
        return {
            session: [Missed(seq=r.seq, interaction=r.interaction, event=r.event, why=r.why) for r in story]
            for session, story in rows.items()
        }

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
        missed: dict[str, list[Missed]],
        stories: dict[str, str],
    ) -> SessionOpened | Refusal:
        session = self._ledger.model.sessions.get(want.session)
        if refusal is None and session is not None:
            return self.opened(session, missed.get(want.session, []))
        refusal = refusal or Refusal(code="session.closed", reason=f"Session {want.session} is over.")
        story = stories.get(want.session, "")
        return msgspec.structs.replace(refusal, reason=f"{refusal.reason} {story}.") if story else refusal


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
