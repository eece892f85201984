"""The shell around ADDP on one wire: when to poll, what polls and answers say, and what they prove."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import structlog

from stayline.link.frames import UNREADABLE, encode_frame, malformed
from stayline.link.machine.addp import Addp, AddpAction, AddpEvent, Delivery, is_deaf
from stayline.link.messages.envelope import Frame, Kind, Pong

if TYPE_CHECKING:
    from stayline.link.wire import Wire

log = structlog.get_logger(__name__)

_CONFIRM_SECONDS = 0.05
"""A dead verdict is looked at once more after this, when bytes that had already arrived have been read."""

_UNPOLLED_SPACING = 1.0
"""Seconds between polls that count (see Delivery) of a side that only polls when it wakes up."""

_PONG = encode_frame(Frame(Kind.PONG))
_PING = encode_frame(Frame(Kind.PING))
_EMPTY_PAYLOAD = 2
_read_pong = msgspec.json.Decoder(Pong).decode


class Liveness:
    """Polls the other side of ``wire`` and answers its polls. ``on_statement`` is told what an answer carried."""

    def __init__(self, wire: "Wire") -> None:
        self.on_statement: Callable[[str], None] = _nobody
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._addp: Addp | None = None
        # Counted, since clocks of event loops have milliseconds: an answer may come in the one of its poll.
        self._receipts = 0
        self._delivery = Delivery(_UNPOLLED_SPACING)
        self._trace = ""
        self._statement: Callable[[], str] | None = None
        self._told = ""
        # uvloop gives a plain handle for a time that has come already.
        self._timer: asyncio.Handle | None = None

    def start(
        self,
        interval: float,
        *,
        others: float = 0.0,
        trace: str = "",
        statement: Callable[[], str] | None = None,
        told: str = "",
    ) -> None:
        """Poll after ``interval`` seconds of silence; 0: do not. ``others`` is the interval of the other side.

        With ``trace``, the other side's name, polls and their answers are logged. Answers carry ``statement()`` when
        it is not the one that was ``told`` already.
        """
        self._trace, self._statement, self._told = trace, statement, told
        self._delivery = Delivery(others / 2 or _UNPOLLED_SPACING)
        if interval > 0 and not self._wire.is_closing:
            self._addp = Addp(interval, self._loop.time())
            self._arm(self._addp.due)

    def stop(self) -> None:
        """The wire is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def poll_now(self, deadline: float) -> None:
        """Poll at once; the link is dead when nothing is heard within ``deadline`` seconds."""
        if self._wire.is_closing:
            return
        now = self._loop.time()
        addp, _ = (self._addp or Addp(0.0, now)).step(self._wire.heard_at, AddpEvent.HEARD)
        self._receipts = self._wire.receipts
        self._addp, _ = addp.step(now, AddpEvent.WOKE, deadline)
        self._poll(f"this machine woke up; the answer has {deadline:g} s")
        self.stop()
        self._arm(self._addp.due)

    # -- polls of the other side

    def polled(self, frame: Frame) -> None:
        """A poll came: answer it, unless it proves that nothing of ours arrives."""
        sent = self._wire.sent_seq
        if frame.s < sent or self._delivery.promised:
            self._delivery, deaf = self._delivery.polled(self._loop.time(), frame.s, sent)
            if deaf:
                self._cut_deaf(f"the other side has heard up to event {frame.s} of {sent} that were sent")
                return
        said = self._statement() if self._statement is not None else ""
        if said and said != self._told:
            self._told = said
            payload = msgspec.Raw(msgspec.json.encode(Pong(statement=said)))
            self._wire.write(encode_frame(Frame(Kind.PONG, s=sent, p=payload)))
        else:
            self._wire.write(encode_frame(Frame(Kind.PONG, s=sent)) if sent else _PONG)

    def answered(self, frame: Frame) -> None:
        """Our poll was answered."""
        heard = self._wire.heard_seq
        if self._trace:
            why = f"the poll was answered: heard up to event {heard} of {frame.s}"
            log.info("addp.answer", peer=self._trace, why=why)
        if is_deaf(heard, frame.s):
            self._cut_deaf(f"events up to {frame.s} were sent, up to {heard} heard")
            return
        if len(frame.p) > _EMPTY_PAYLOAD:
            self._read(frame.p)

    def _read(self, payload: msgspec.Raw) -> None:
        try:
            pong = _read_pong(payload)
        except UNREADABLE as error:
            refusal = malformed(error, "frame.malformed", "pong")
            self._wire.say_bye(refusal, f"frame refused: {refusal.reason}")
            return
        if pong.statement:
            self.on_statement(pong.statement)

    def _cut_deaf(self, what: str) -> None:
        self._wire.abort(f"addp: the link is open but delivers nothing: {what}")

    # -- our polls

    def _arm(self, when: float) -> None:
        if when < float("inf"):
            self._timer = self._loop.call_at(when, self._tick)

    def _poll(self, why: str) -> None:
        heard = self._wire.heard_seq
        self._wire.write(encode_frame(Frame(Kind.PING, s=heard)) if heard else _PING)
        if self._trace:
            log.info("addp.poll", peer=self._trace, why=why)

    def _tick(self) -> None:
        if self._addp is None or self._wire.is_closing:
            return
        addp, heard_at = self._addp, self._wire.heard_at
        if self._wire.receipts != self._receipts:
            self._receipts = self._wire.receipts
            addp, _ = addp.step(heard_at, AddpEvent.HEARD)
        self._addp, action = addp.step(self._loop.time(), AddpEvent.TICK)
        if action is AddpAction.POLL:
            self._poll(f"nothing was heard for {self._loop.time() - heard_at:.3f} s")
        if action is AddpAction.DEAD:
            self._timer = self._loop.call_later(_CONFIRM_SECONDS, self._confirm_dead)
        else:
            # uvloop's clock has milliseconds: one more keeps the next tick from coming just too early.
            self._arm(self._addp.due + 0.001)

    def _confirm_dead(self) -> None:
        if self._wire.is_closing or self._addp is None:
            return
        if self._wire.receipts != self._receipts:
            self._tick()
            return
        self._wire.silent = True
        silence = self._loop.time() - self._wire.heard_at
        self._wire.abort(
            f"addp: nothing heard for {silence:.1f} s (timeout {self._addp.allowed:g} s, polled once)"
        )


def _nobody(statement: str) -> None:
    """Before anybody listens."""
