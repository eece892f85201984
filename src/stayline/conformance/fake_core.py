"""The Interaction Server behind the fake proxies: sessions, tickets, interactions, as the Workspace sees them.

It follows the rules of the real one where a client can notice (tickets, multi-login, restored media, a key answered
once), and does by command what cannot be waited for: end a session, offer an interaction, take one back.
"""

import itertools
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from stayline.conformance.centre import TENANT
from stayline.conformance.fake_link import FakeLink
from stayline.domain.errors import refuse
from stayline.link.handlers import read
from stayline.link.messages import interaction
from stayline.link.messages.envelope import Frame
from stayline.link.messages.interaction import InteractionView, MediaState, Missed, Ownership, SessionOpened
from stayline.link.tokens import Ticket, TokenSigner, TokenVerifier

TICKET_SECONDS = 3_600.0
MAX_ANSWERS = 2_000


@dataclass(kw_only=True)
class FakeSession:
    """One agent session. ``link`` is where it lives now (None: lost)."""

    id: str
    agent: str
    place: str
    media: list[MediaState]
    workspace: str
    restore: list[str] | None
    link: FakeLink | None = None
    opened: int = 0
    over: str = ""


@dataclass(kw_only=True)
class FakeCore:
    """See the module. ``away_since``: out of the proxies' reach since then (Unix seconds), who hold requests back
    (``held``). ``policy`` is ``allow-multiple-agent-connections``. ``gap``: the next resume is told that what
    it missed is too old. ``ticket_seconds``: life of a ticket."""

    signer: TokenSigner
    verifier: TokenVerifier
    epoch: int = 1
    term: int = 1
    policy: str = "false"
    restore_timeout: float = 120.0
    ticket_seconds: float = TICKET_SECONDS
    gap: bool = False
    away_since: float = 0.0
    held: list[tuple[FakeLink, Frame]] = field(default_factory=list)
    seq: int = 100
    sessions: dict[str, FakeSession] = field(default_factory=dict)
    interactions: dict[str, InteractionView] = field(default_factory=dict)
    missed: list[tuple[str, Missed]] = field(default_factory=list)
    answers: dict[str, object] = field(default_factory=dict)
    executed: list[tuple[str, str]] = field(default_factory=list)
    names: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    # -- sessions

    def session_of(self, link: FakeLink) -> FakeSession:
        """The session that lives on a link. Raises RefusedError."""
        for session in self.sessions.values():
            if session.link is link and not session.over:
                return session
        raise refuse("session.none", "There is no session on this link.", fix="Log in first.")

    def live(self) -> list[FakeSession]:
        """Sessions that are not over."""
        return [session for session in self.sessions.values() if not session.over]

    def login(self, link: FakeLink, asked: interaction.AgentLogin) -> SessionOpened:
        """A login: opens a session or takes one over, as the policy says."""
        others = [one for one in self.live() if one.agent == link.user]
        same = [one for one in others if asked.workspace and one.workspace == asked.workspace]
        lost = [one for one in others if one.link is None]
        taken = next(iter(same or lost), None)
        if taken is None and others and self.policy != "true":
            if self.policy == "false":
                raise refuse("session.exists", f"{link.user} is logged in elsewhere already.")
            taken = others[0]
            self._expel(taken, "logged in at another Workspace")
        if taken is None:
            taken = self._new(link, asked)
        taken.workspace, taken.restore = asked.workspace, asked.restore
        taken.place, taken.media = asked.place, asked.media
        return self._opened(taken, link, self.seq)

    def resume(self, link: FakeLink, asked: interaction.AgentResume) -> SessionOpened:
        """A resume by ticket."""
        ticket = self.verifier.ticket(asked.ticket, time.time())
        session = self.sessions.get(ticket.session)
        if session is None or session.over:
            raise refuse("session.closed", f"Session {ticket.session} is closed.", fix="Log in again.")
        if session.agent != link.user:
            raise refuse("ticket.other_agent", f"The ticket belongs to {session.agent}.")
        if asked.restore is not None:
            session.restore = asked.restore
        if session.link is None:
            self._requeue_unrestored(session)
        return self._opened(session, link, asked.last_seq)

    def _new(self, link: FakeLink, asked: interaction.AgentLogin) -> FakeSession:
        session = FakeSession(
            id=uuid.uuid4().hex,
            agent=link.user,
            place=asked.place,
            media=asked.media,
            workspace=asked.workspace,
            restore=asked.restore,
        )
        self.sessions[session.id] = session
        return session

    def _opened(self, session: FakeSession, link: FakeLink, last_seq: int) -> SessionOpened:
        session.link = link
        session.opened += 1
        gap, self.gap = self.gap, False
        told = [] if gap else [m for agent, m in self.missed if agent == session.agent and m.seq > last_seq]
        return SessionOpened(
            session=session.id,
            ticket=self.ticket(session),
            restore_timeout=self.restore_timeout,
            snapshot=interaction.Snapshot(
                session=session.id,
                agent=session.agent,
                place=session.place,
                media=session.media,
                interactions=[one for one in self.interactions.values() if one.owner == session.agent],
                as_of=self.seq,
                epoch=self.epoch,
                term=self.term,
            ),
            missed=told,
            gap=gap,
        )

    def ticket(self, session: FakeSession) -> str:
        """A ticket of a session, valid from now on."""
        return self.signer.sign_ticket(
            Ticket(
                session=session.id,
                agent=session.agent,
                tenant=TENANT,
                place=session.place,
                epoch=self.epoch,
                expires=time.time() + self.ticket_seconds,
                media=[one.media for one in session.media],
                restore=session.restore,
            )
        )

    def _requeue_unrestored(self, session: FakeSession) -> None:
        if session.restore is None:
            return  # everything is restored
        for view in list(self.interactions.values()):
            if view.owner == session.agent and view.media not in session.restore:
                self.take(view.id, "its medium is not restored after a lost link", event="not_restored")

    def _expel(self, session: FakeSession, why: str) -> None:
        ended = interaction.SessionEnded(session=session.id, code="session.taken", why=why)
        self.tell(session.agent, "session.ended", ended)

    # -- what a script makes happen

    def end(self, agent: str, code: str, why: str) -> None:
        """End the agent's sessions; each live one is told."""
        for session in self.live():
            if session.agent == agent:
                session.over = code
                ended = interaction.SessionEnded(session=session.id, code=code, why=why)
                self._send(session, "session.ended", ended)

    def forget(self, agent: str) -> None:
        """End the agent's sessions without telling (expired while it was away)."""
        for session in self.live():
            if session.agent == agent:
                session.over = "session.timeout"

    def renew(self, agent: str) -> None:
        """Give the agent's live sessions a new ticket."""
        for session in self.live():
            if session.agent == agent:
                renewed = interaction.TicketRenewed(session=session.id, ticket=self.ticket(session))
                self._send(session, "session.ticket", renewed, ticket=renewed.ticket)

    def offer(self, agent: str, media: str = "chat", *, owned: bool = False, id: str = "") -> str:
        """Offer an interaction to an agent (``owned``: it has accepted it already)."""
        number = id or f"interaction-{next(self.names)}"
        view = InteractionView(
            id=number,
            tenant=TENANT,
            media=media,
            state=Ownership.OWNED if owned else Ownership.OFFERED,
            version=2,
            queue=f"{media}.support",
            owner=agent,
            subject="A question",
            contact=f"contact of {number}",
            customer="Ada",
            chat_session=number if media == "chat" else "",
            created_at=time.time(),
            owned_at=time.time() if owned else 0.0,
            offer_seconds=0.0 if owned else 30.0,
        )
        self.interactions[number] = view
        self.tell(
            agent,
            "interaction.changed" if owned else "interaction.offered",
            interaction.Changed(view) if owned else interaction.Offered(view),
            self._story(agent, number, "offered", "routed"),
        )
        return number

    def take(self, number: str, why: str, *, event: str = "requeued") -> None:
        """Take an interaction away from its agent."""
        view = self.interactions.pop(number)
        gone = interaction.Gone(interaction=number, version=view.version + 1, event=event, why=why)
        self.tell(view.owner, "interaction.gone", gone, self._story(view.owner, number, event, why))

    def _story(self, agent: str, number: str, event: str, why: str) -> int:
        self.seq += 1
        self.missed.append((agent, Missed(seq=self.seq, interaction=number, event=event, why=why)))
        return self.seq

    def tell(self, agent: str, name: str, event: object, seq: int = 0) -> None:
        """Send an event to every live session of an agent."""
        for session in self.live():
            if session.agent == agent:
                self._send(session, name, event, seq)

    def _send(self, session: FakeSession, name: str, event: object, seq: int = 0, **details: object) -> None:
        if session.link is not None and not session.link.lost:
            session.link.event(name, event, seq, **details)

    # -- requests

    def answer(self, link: FakeLink, frame: Frame) -> object:
        """Serve a request of an agent; a key that was carried out gets its answer again."""
        if frame.k and frame.k in self.answers:
            return self._again(link, frame)
        result = self._carry_out(link, frame)
        if frame.k:
            if len(self.answers) >= MAX_ANSWERS:
                self.answers.pop(next(iter(self.answers)))
            self.answers[frame.k] = result
            self.executed.append((frame.m, frame.k))
        return result

    def _again(self, link: FakeLink, frame: Frame) -> object:
        result = self.answers[frame.k]
        if isinstance(result, SessionOpened):
            session = self.sessions[result.session]
            if session.over:
                raise refuse("session.closed", f"Session {session.id} is closed.", fix="Log in again.")
            return self._opened(session, link, self.seq)
        return result

    def _carry_out(self, link: FakeLink, frame: Frame) -> object:
        serve = _METHODS.get(frame.m)
        if serve is None:
            raise refuse("method.unknown", f"There is no {frame.m}.", field="m")
        return serve(self, link, frame)

    def lost(self, link: FakeLink) -> None:
        """A link is gone: its session is lost, not over."""
        for session in self.sessions.values():
            if session.link is link:
                session.link = None
        self.held = [(one, frame) for one, frame in self.held if one is not link]

    # -- the core behind a proxy

    def back(self, link: FakeLink, code: str, reason: str) -> interaction.CoreBack:
        """What a proxy tells a client when its core is back; ``code``: its session could not be restored."""
        session = next((one for one in self.live() if one.link is link), None)
        if session is None:
            return interaction.CoreBack(epoch=self.epoch, term=self.term)
        if code:
            if code in _GONE:
                session.over = code
            return interaction.CoreBack(epoch=self.epoch, term=self.term, code=code, reason=reason)
        opened = self._opened(session, link, self.seq)
        return interaction.CoreBack(epoch=self.epoch, term=self.term, opened=opened)


_GONE = frozenset({"session.unknown", "session.closed"})
"""Why a session could not be restored, when there is none any more."""

_Serve = Callable[[FakeCore, FakeLink, Frame], object]


def _login(core: FakeCore, link: FakeLink, frame: Frame) -> object:
    return core.login(link, read(frame.p, interaction.AgentLogin, frame.m))


def _resume(core: FakeCore, link: FakeLink, frame: Frame) -> object:
    return core.resume(link, read(frame.p, interaction.AgentResume, frame.m))


def _logout(core: FakeCore, link: FakeLink, frame: Frame) -> object:
    core.session_of(link).over = "session.logged_out"
    return interaction.Done(seq=core.seq)


def _media(core: FakeCore, link: FakeLink, frame: Frame) -> object:
    session = core.session_of(link)
    asked = read(frame.p, interaction.SetMedia, frame.m)
    session.media = [
        MediaState(one.media, asked.ready, asked.reason)
        if not asked.media or one.media in asked.media
        else one
        for one in session.media
    ]
    return interaction.Done(seq=core.seq)


def _owned(core: FakeCore, link: FakeLink, number: str) -> InteractionView:
    session = core.session_of(link)
    view = core.interactions.get(number)
    if view is None or view.owner != session.agent:
        raise refuse("interaction.not_owner", f"Interaction {number} is not yours.")
    return view


def _accept(core: FakeCore, link: FakeLink, frame: Frame) -> object:
    asked = read(frame.p, interaction.Accept, frame.m)
    view = _owned(core, link, asked.interaction)
    view = msgspec.structs.replace(
        view,
        state=Ownership.OWNED,
        version=view.version + 1,
        owned_at=time.time(),
        offer_seconds=0.0,
        grant=f"grant {view.id}",
    )
    core.interactions[view.id] = view
    return view


def _leave(core: FakeCore, link: FakeLink, frame: Frame) -> object:
    number = str(msgspec.json.decode(frame.p).get("interaction", ""))
    view = _owned(core, link, number)
    del core.interactions[number]
    return interaction.Done(seq=core.seq, version=view.version + 1)


def _change(core: FakeCore, link: FakeLink, frame: Frame) -> object:
    asked = read(frame.p, interaction.ChangeProperties, frame.m)
    view = _owned(core, link, asked.interaction)
    kept = {key: value for key, value in {**view.properties, **asked.set}.items() if key not in asked.delete}
    core.interactions[view.id] = msgspec.structs.replace(view, properties=kept, version=view.version + 1)
    return interaction.Done(seq=core.seq, version=view.version + 1)


_METHODS: dict[str, _Serve] = {
    "agent.login": _login,
    "agent.resume": _resume,
    "agent.logout": _logout,
    "agent.media": _media,
    "interaction.accept": _accept,
    "interaction.reject": _leave,
    "interaction.transfer": _leave,
    "interaction.done": _leave,
    "interaction.change": _change,
}
