"""Agents at this Chat Server: the requests of Workspaces, and what they are told."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable

import msgspec

from stayline.domain.errors import LinkLostError, Refusal, RefusedError, StaylineError, refuse
from stayline.link.messages import chat as messages
from stayline.link.messages.contact import Appended, Entry, EntryKind, Party, Signal
from stayline.link.messages.envelope import Identity
from stayline.link.peer import BaseHandler, Peer, Request, read, unknown_method
from stayline.link.tokens import TokenVerifier
from stayline.servers.chat.owners import Owners
from stayline.servers.chat.parties import ended
from stayline.servers.chat.protocol import clean_text
from stayline.servers.chat.sessions import HeldSession, Sessions

METHODS = frozenset({"chat.join", "chat.leave", "chat.send", "chat.end"})
"""All that a person's link may call here."""

AGENT_APPEND_TIMEOUT = 10.0
"""Seconds that an agent's message waits here; the Workspace keeps it and asks again."""

MAX_SESSIONS = 50
"""Sessions that one Workspace link may have joined."""


class AgentLinks:
    """Everything the handlers of agents' links share."""

    def __init__(
        self, sessions: Sessions, owners: Owners, verifier: TokenVerifier, max_text: Callable[[], int]
    ) -> None:
        self.sessions = sessions
        self.owners = owners
        self.verifier = verifier
        self.max_text = max_text
        self.catch_up: Callable[[HeldSession], Awaitable[None]] | None = None
        """Asks who owns a session's interaction: set by who can ask."""
        self._members: set[Member] = set()
        self._asking: set[asyncio.Task[None]] = set()

    def handler(self, peer: Peer) -> "AgentHandler":
        """The handler of a new link."""
        if peer.identity is None:
            raise refuse("token.missing", "Only agents' Workspaces connect here.", field="token")
        return AgentHandler(self, peer.identity)

    def add(self, member: "Member") -> None:
        """An agent takes part in a session at this server."""
        self._members.add(member)

    def verify(self, held: HeldSession) -> None:
        """A grant was believed of whose interaction nothing was heard here (this server is new): ask beside, so that
        agents chat on while nobody answers, but one who gave the interaction away is removed."""
        if self.catch_up is None or self.owners.owner(held.id) is not None:
            return
        task = asyncio.ensure_future(self.catch_up(held))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def discard(self, member: "Member") -> None:
        """No longer."""
        self._members.discard(member)

    def of(self, session: str) -> "list[Member]":
        """The agents who take part in a session at this server."""
        return [member for member in self._members if member.session == session]


class Member:
    """An agent's part in one session: passes on what is new, in order, once."""

    is_customer = False

    def __init__(self, handler: "AgentHandler", peer: Peer, user: str, session: str) -> None:
        self.peer = peer
        self.user = user
        self._handler = handler
        self.session = session
        self.held: HeldSession = HeldSession(session)  # replaced once the session is loaded
        self.shown = 0
        self.version = 0
        self.told_present: bool | None = None
        self.joined = False
        self._turn = asyncio.Lock()
        self._tickets = itertools.count(1)
        self._given_up = 0

    async def in_turn(self, work: Callable[[], Awaitable[Appended]]) -> Appended:
        """Do one write after the other. When one fails, those that wait behind it fail with it: they must not overtake
        it, because the Workspace repeats them in order."""
        ticket = next(self._tickets)
        async with self._turn:
            if ticket <= self._given_up:
                raise refuse("chat.out_of_turn", "A message before this one was not stored.", retryable=True)
            try:
                return await work()
            except StaylineError as error:
                if error.refusal.retryable or isinstance(error, LinkLostError):
                    self._given_up = next(self._tickets)
                raise

    def changed(self, session: HeldSession) -> None:
        """Send what is new, but nothing before the answer to ``chat.join``."""
        if not self.joined:
            return
        for entry in session.transcript.after(self.shown):
            self.peer.event("chat.entry", messages.Said(session=self.session, entry=entry))
        self.shown = session.transcript.last
        present = session.transcript.customer_present
        if present != self.told_present:
            self.told_present = present
            presence = messages.Presence(session=self.session, customer_present=present)
            self.peer.event("chat.presence", presence)

    def remove(self, why: str) -> None:
        """Not a party any more: say so, send nothing further."""
        if self.joined:
            self.peer.event("chat.removed", messages.Removed(session=self.session, why=why))
        self.joined = False
        self._handler.forget(self)

    def signalled(self, signal: Signal) -> None:
        """Somebody else types."""
        if self.joined and signal.kind == "typing":
            typing = messages.PartyTyping(session=self.session, party=signal.party, name=signal.name)
            self.peer.event("chat.typing", typing)


class AgentHandler(BaseHandler):
    """One Workspace's link."""

    def __init__(self, links: AgentLinks, identity: Identity) -> None:
        self._links = links
        self._user = identity.user
        self._name = identity.display_name or identity.user
        self._members: dict[str, Member] = {}

    async def on_request(self, peer: Peer, request: Request) -> object:
        """Dispatch."""
        match request.method:
            case "chat.join":
                return await self._join(peer, request.read(messages.Join))
            case "chat.send":
                return await self._send(request.read(messages.Send))
            case "chat.end":
                return await self._end(request.read(messages.End))
            case "chat.leave":
                await self._leave(request.read(messages.Leave))
                return None
        raise unknown_method(request.method)

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        """The agent types."""
        if name == "chat.typing":
            member = self._members.get(read(payload, messages.Typing, name).session)
            if member is not None:
                self._links.sessions.typing(member.held, member, Party.AGENT, self._name)

    def on_closed(self, peer: Peer, why: str) -> None:
        """The Workspace is gone; the agent still takes part and comes back to some Chat Server."""
        for member in list(self._members.values()):
            self.forget(member)

    def forget(self, member: Member) -> None:
        """This link does not follow the session any longer."""
        self._members.pop(member.session, None)
        self._links.discard(member)
        self._links.sessions.leave(member.held, member)

    # -- joining -----------------------------------------------------------------------------------------------

    async def _join(self, peer: Peer, request: messages.Join) -> messages.Joined:
        version = self._check_grant(request)
        member = self._members.get(request.session)
        if member is None:
            if len(self._members) >= MAX_SESSIONS:
                raise refuse("chat.too_many", f"One link joins at most {MAX_SESSIONS} sessions.")
            member = await self._become_member(peer, request.session)
        member.version = max(member.version, version)
        await self._write_joined(member)
        goes_on = await self._links.sessions.continues(member.held, request.after, request.last)
        transcript = member.held.transcript
        self._links.verify(member.held)
        # No await from here to the return: what comes later is sent as events after this answer.
        entries = list(transcript.after(request.after if goes_on else 0))
        member.joined, member.shown = True, transcript.last
        member.told_present = transcript.customer_present
        return messages.Joined(
            session=request.session,
            entries=entries,
            ended=transcript.ended,
            customer=transcript.state.customer if transcript.state else "",
            customer_present=transcript.customer_present,
            again=not goes_on,
        )

    def _check_grant(self, request: messages.Join) -> int:
        grant = self._links.verifier.grant(request.grant, time.time())
        if grant.chat_session != request.session or grant.agent != self._user:
            raise refuse(
                "chat.grant_foreign",
                f"The grant is for {grant.agent} in session {grant.chat_session}.",
                field="grant",
            )
        objection = self._links.owners.objection(grant)
        if objection is not None:
            raise RefusedError(objection)
        return grant.version

    async def _become_member(self, peer: Peer, session: str) -> Member:
        member = Member(self, peer, self._user, session)
        self._members[session] = member
        try:
            member.held = await self._links.sessions.watch(session, member)
        except BaseException:  # also when cancelled: one who sees nothing is no member
            self._members.pop(session, None)
            raise
        if peer.is_closed:
            self.forget(member)
            raise LinkLostError(Refusal(code="link.lost", reason="The Workspace is gone.", retryable=True))
        self._links.add(member)
        return member

    async def _write_joined(self, member: Member) -> None:
        transcript = member.held.transcript
        if transcript.ended:
            return
        entry = transcript.parties.joined(self._user, self._name, member.version)
        if entry is None:
            return
        try:
            await self._links.sessions.append(member.session, entry, timeout=AGENT_APPEND_TIMEOUT)
        except StaylineError as error:
            if error.refusal.code != "chat.ended":  # ended at this very moment: join to read it
                raise

    # -- taking part -------------------------------------------------------------------------------------------

    async def _send(self, request: messages.Send) -> messages.Sent:
        member = self._member(request.session)
        text = clean_text(request.text)
        limit = self._links.max_text()
        if not text.strip() or len(text) > limit:
            raise refuse(
                "chat.too_long" if text.strip() else "chat.empty",
                f"A message has 1 to {limit} characters.",
                field="text",
            )
        entry = Entry(
            id=request.id,
            kind=EntryKind.MESSAGE,
            party=Party.AGENT,
            name=self._name,
            text=text,
            user=self._user,
        )
        return _sent(await member.in_turn(lambda: self._append(member, entry)))

    async def _append(self, member: Member, entry: Entry) -> Appended:
        return await self._links.sessions.append(member.session, entry, timeout=AGENT_APPEND_TIMEOUT)

    async def _end(self, request: messages.End) -> messages.Sent:
        member = self._member(request.session)
        transcript = member.held.transcript
        if transcript.ended:
            last = transcript.entries[-1]
            return messages.Sent(seq=last.seq, at=last.at)
        entry = ended(Party.AGENT, self._name, self._user)
        return _sent(await member.in_turn(lambda: self._append(member, entry)))

    async def _leave(self, request: messages.Leave) -> None:
        member = self._members.get(request.session)
        if member is None:
            return
        transcript = member.held.transcript
        entry = None if transcript.ended else transcript.parties.left(self._user)
        self.forget(member)
        if entry is not None:
            await self._links.sessions.append(request.session, entry, timeout=AGENT_APPEND_TIMEOUT)

    def _member(self, session: str) -> Member:
        member = self._members.get(session)
        if member is None or not member.joined:
            raise refuse(
                "chat.not_joined",
                f"You do not take part in chat session {session} at this server.",
                retryable=True,
                fix="Join it with the grant of the owned interaction.",
            )
        return member


def _sent(stored: Appended) -> messages.Sent:
    return messages.Sent(seq=stored.seq, at=stored.at)
