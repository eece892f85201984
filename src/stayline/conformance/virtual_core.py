"""The Interaction Server behind the proxies in virtual time: sessions, tickets, and answers as a case scripts them."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stayline.conformance.actions import Answer, AnswerHow, Becomes
from stayline.conformance.record import Seen
from stayline.conformance.world import HOP, Connection, World
from stayline.domain.errors import Refusal
from stayline.link.messages.interaction import (
    MediaState,
    SessionEnded,
    SessionOpened,
    Snapshot,
    TicketRenewed,
)

Reply = Callable[[SessionOpened | Refusal], None]
RESTORE_SECONDS = 120.0


@dataclass
class _Session:
    id: str
    place: str
    media: list[MediaState]
    link: Connection | None = None
    over: str = ""


@dataclass
class _Held:
    link: Connection
    method: str
    key: str
    payload: dict[str, Any]
    reply: Reply


@dataclass
class VirtualCore:
    """``epoch_of(link)``: what the core behind a proxy reports. One agent, who owns ``owned`` interactions."""

    world: World
    epoch_of: Callable[[Connection], int]
    owned: int = 0
    away: bool = False
    scripts: dict[str, Answer] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    sessions: dict[str, _Session] = field(default_factory=dict)
    tickets: dict[str, str] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)
    held: list[_Held] = field(default_factory=list)
    seq: int = 100
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    # -- requests

    def ask(self, link: Connection, method: str, key: str, payload: dict[str, Any], reply: Reply) -> None:
        """A request arrives."""
        if link.gone or link.server.becomes is Becomes.FROZEN:
            return
        self.world.record.add(
            Seen.REQUEST, link.server.name, link.number, method=method, key=key, payload=payload
        )
        if link.server.becomes is Becomes.DEAF:
            return
        if self.away:
            self.held.append(_Held(link, method, key, payload, reply))
            return
        self._serve(_Held(link, method, key, payload, reply))

    def _serve(self, asked: _Held) -> None:
        script = self._scripted(asked.method)
        if script is None or script.how is AnswerHow.NORMALLY:
            self._answer(asked, self._carry_out(asked))
        elif script.how is AnswerHow.REFUSED:
            refusal = Refusal(
                code=script.code or "request.refused",
                reason=script.reason or f"{asked.method} is refused, as the case says.",
                retryable=script.retryable,
                retry_after=script.retry_after,
            )
            self._answer(asked, refusal)
        elif script.how is AnswerHow.CUT:
            self._carry_out(asked)
            self.world.reset(asked.link, "cut before the answer")

    def _scripted(self, method: str) -> Answer | None:
        script = self.scripts.get(method)
        if script is None:
            return None
        self.used[method] = self.used.get(method, 0) + 1
        if script.times and self.used[method] > script.times:
            return None
        return script

    def _answer(self, asked: _Held, answer: SessionOpened | Refusal) -> None:
        code = answer.code if isinstance(answer, Refusal) else ""
        self.world.record.add(
            Seen.ANSWER, asked.link.server.name, asked.link.number, method=asked.method, code=code
        )
        self.world.clock.after(HOP, lambda: None if asked.link.gone else asked.reply(answer))

    def _carry_out(self, asked: _Held) -> SessionOpened | Refusal:
        if asked.method == "agent.resume":
            session = self.sessions.get(self.tickets.get(asked.payload["ticket"], ""))
            if session is None or session.over:
                return Refusal(code="session.closed", reason="The session is closed.")
            return self._opened(session, asked.link)
        known = self.done.get(asked.key)
        if known is not None:
            session = self.sessions[known]
            if session.over:
                return Refusal(code="session.closed", reason="The session is closed.")
            return self._opened(session, asked.link)
        living = [one for one in self.sessions.values() if not one.over]
        session = living[0] if living else self._new(asked.payload)
        self.done[asked.key] = session.id
        return self._opened(session, asked.link)

    def _new(self, payload: dict[str, Any]) -> _Session:
        session = _Session(f"session-{next(self.numbers)}", payload["place"], payload["media"])
        self.sessions[session.id] = session
        return session

    def _ticket(self, session: _Session) -> str:
        ticket = f"ticket-{next(self.numbers)}"
        self.tickets[ticket] = session.id
        return ticket

    def _opened(self, session: _Session, link: Connection) -> SessionOpened:
        session.link = link
        epoch = self.epoch_of(link)
        return SessionOpened(
            session=session.id,
            ticket=self._ticket(session),
            restore_timeout=RESTORE_SECONDS,
            snapshot=Snapshot(
                session=session.id,
                agent="jane",
                place=session.place,
                media=session.media,
                interactions=[],
                as_of=self.seq,
                epoch=epoch,
                term=1,
            ),
        )

    # -- what a case makes happen

    def _live(self) -> _Session | None:
        return next((one for one in self.sessions.values() if not one.over), None)

    def end(self, code: str, why: str) -> None:
        """End the session; it is told on its link."""
        session = self._live()
        if session is None:
            return
        session.over = code
        if session.link is not None:
            ended = SessionEnded(session=session.id, code=code, why=why)
            self.world.say(session.link, "session.ended", ended)

    def renew(self) -> None:
        """A new ticket for the live session."""
        session = self._live()
        if session is not None and session.link is not None:
            ticket = self._ticket(session)
            renewed = TicketRenewed(session=session.id, ticket=ticket)
            self.world.say(session.link, "session.ticket", renewed, ticket=ticket)

    def own(self, interactions: int) -> None:
        """The agent owns so many interactions from now on."""
        self.owned = interactions
        session = self._live()
        if session is not None and session.link is not None:
            self.seq += 1
            self.world.say(session.link, "owned", interactions, seq=self.seq)

    def go(self, links: list[Connection]) -> None:
        """The core is away: its proxies say so."""
        self.away = True
        for link in links:
            self.world.say(link, "core.away", "the case says that the core is away")

    def come(self, links: list[Connection], *, restored: bool, code: str) -> None:
        """The core is back, with the sessions or without."""
        self.away = False
        for link in links:
            session = next((one for one in self.sessions.values() if one.link is link and not one.over), None)
            opened = self._opened(session, link) if session is not None and restored else None
            if session is not None and not restored and code in ("session.unknown", "session.closed"):
                session.over = code
            told = (opened, "" if restored or session is None else code)
            self.world.say(link, "core.back", told)
        held, self.held = self.held, []
        for one in held:
            if not one.link.gone:
                self._serve(one)
