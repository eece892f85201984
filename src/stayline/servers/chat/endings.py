"""The end of a chat, in both directions between Contact Server and Interaction Server."""

import structlog

from stayline.domain.errors import LinkLostError, RefusedError, StaylineError
from stayline.link.messages.contact import ChatSettled, ChatState, Entry, Party
from stayline.link.messages.interaction import ChangeProperties, Done, GetOwner, OwnerChanged, Ownership, Stop
from stayline.link.pair import PairLink
from stayline.servers.chat.agents import AgentLinks
from stayline.servers.chat.owners import Owners
from stayline.servers.chat.parties import ended
from stayline.servers.chat.sessions import HeldSession, Sessions

log = structlog.get_logger(__name__)

SETTLE_TIMEOUT = 10.0


class Endings:
    """Settles ended chats at the Interaction Server, and ends chats whose interaction is over."""

    def __init__(
        self, contact: PairLink, interaction: PairLink, sessions: Sessions, owners: Owners, agents: AgentLinks
    ) -> None:
        self._contact = contact
        self._interaction = interaction
        self._sessions = sessions
        self._owners = owners
        self._agents = agents
        self._settling: set[str] = set()
        agents.catch_up = self.catch_up

    # -- the chat has ended: the Interaction Server must know --------------------------------------------------

    async def settle(self, state: ChatState) -> None:
        """Say that nobody is online any more, stop the interaction if nobody has answered it, then tell the Contact
        Server. When this fails the Contact Server asks again."""
        if state.session in self._settling:
            return
        self._settling.add(state.session)
        try:
            await self._offline(state)
            await self._contact.request(
                "chat.settled",
                ChatSettled(state.session),
                ChatState,
                key=f"settled:{state.session}",
                timeout=SETTLE_TIMEOUT,
            )
            log.info("chat.settled", session=state.session, why=f"ended by {state.ended_by}")
        except StaylineError as error:
            log.info("chat.settle_later", session=state.session, why=error.refusal.reason)
        finally:
            self._settling.discard(state.session)

    async def _offline(self, state: ChatState) -> None:
        change = ChangeProperties(interaction=state.interaction, online=False)
        await self._tell("interaction.change", change, f"offline:{state.session}")
        reason = f"the chat was ended by the {state.ended_by or 'system'} before an agent answered"
        stop = Stop(interaction=state.interaction, reason=reason, only_unanswered=True)
        await self._tell("interaction.stop", stop, f"unanswered:{state.session}")

    async def _tell(self, method: str, params: object, key: str) -> None:
        try:
            await self._interaction.request(method, params, Done, key=key, timeout=SETTLE_TIMEOUT)
        except RefusedError as error:
            if error.refusal.retryable:
                raise
            # Stopped already, or never submitted: there is nothing to settle.
            log.info("chat.settle", method=method, code=error.refusal.code, why=error.refusal.reason)

    # -- the interaction has changed hands or is over: the chat must know --------------------------------------

    async def owner_changed(self, event: OwnerChanged) -> None:
        """An agent who does not own the interaction leaves its chat; a stopped interaction ends it."""
        if not event.chat_session or not self._owners.heard(event):
            return
        if event.state is Ownership.STOPPED:
            await self._end(event)
            return
        owner = self._owners.owner(event.chat_session)
        # Before the members go: the last one who looks at it lets the session go.
        held = self._sessions.get(event.chat_session)
        for member in self._agents.of(event.chat_session):
            # An event that was made before the grant says nothing about it, however late it comes.
            if member.user != owner and member.version < event.version:
                member.remove("somebody else has the interaction now" if owner else "it was given back")
        if held is not None and held.loaded:
            await self._write_departures(held, owner or "", event.version)

    async def _write_departures(self, held: HeldSession, owner: str, version: int) -> None:
        parties = held.transcript.parties
        for user in parties.agents:
            gone = user != owner and parties.joined_by(user) < version
            entry = parties.left(user) if gone else None
            if entry is not None and not held.transcript.ended:
                await self._write(held.id, entry)

    async def _end(self, event: OwnerChanged) -> None:
        held = self._sessions.get(event.chat_session)
        if held is None or not held.transcript.ended:
            await self._write(event.chat_session, ended(Party.SYSTEM, text="The conversation was closed."))

    async def _write(self, session: str, entry: Entry) -> None:
        try:
            await self._sessions.append(session, entry)
        except StaylineError as error:
            # Ended before, or never created: no matter. Else absence ends it (flex-disconnect-timeout).
            log.debug("chat.write", session=session, kind=entry.kind.value, why=error.refusal.reason)

    async def catch_up(self, held: HeldSession) -> None:
        """Ask for the owner: after the link to the Interaction Server was away, and when a session is first held."""
        if held.transcript.ended or held.transcript.state is None:
            return
        ask = GetOwner(interaction=held.transcript.state.interaction)
        try:
            owner = await self._interaction.request(
                "interaction.owner", ask, OwnerChanged, timeout=SETTLE_TIMEOUT
            )
        except (RefusedError, LinkLostError) as error:
            log.debug("chat.owner", session=held.id, why=error.refusal.reason)
            return
        await self.owner_changed(owner)
