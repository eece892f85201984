"""A proxy's side towards its core: one link to the primary that carries all clients, and what happens when it moves.

States of the link: *away* (no primary: clients are told, their requests wait), *restoring* (a new primary: clients
are brought back in bulk, each one's waiting requests follow its restoration), *ready*.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial

import msgspec
import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError
from stayline.link.frames import UNREADABLE
from stayline.link.messages.envelope import Frame, Kind
from stayline.link.messages.interaction import (
    ChannelClose,
    ChannelOpen,
    CoreAway,
    CoreBack,
    Leaving,
    RestoreChannels,
    RestoredChannel,
    RestoredChannels,
    Statement,
)
from stayline.link.pair import NOT_PRIMARY, PairLink
from stayline.link.peer import BaseHandler, Peer, read
from stayline.servers.proxy.channel import Channel, Channels
from stayline.servers.proxy.profile import Profile

log = structlog.get_logger(__name__)

RESTORE_CHUNK = 200
RESTORE_PARALLEL = 4
RESTORE_TIMEOUT = 10.0
RESTORE_PAUSE = 0.2
ASK_AGAIN = 0.2
"""Seconds until a core that said it is not primary is asked again, if it is still the one to ask."""

MAX_HELD_EVENTS = 1_000

_STEPPING_DOWN = NOT_PRIMARY | {"core.stepped_down"}


class CoreLink(BaseHandler):
    """Owns which primary the clients' frames go to. ``on_change(why)`` is told of every change of state,
    ``on_leaving(why, retry_after)`` when the primary stops on command, ``on_answer(channel, method)`` of every answer
    to a client, ``on_statement(token)`` of a signed statement of mastership."""

    def __init__(
        self,
        channels: Channels,
        profile: Profile,
        on_change: Callable[[str], None],
        on_leaving: Callable[[str, float], None],
        on_answer: Callable[[Channel, str], None],
        on_statement: Callable[[str], None],
    ) -> None:
        self.peer: Peer | None = None
        self.ready = False
        self.away_since = time.time()
        self.why = "the core has not been reached yet"
        self.pair: PairLink | None = None
        self._channels = channels
        self._profile = profile
        self._on_change = on_change
        self._on_leaving = on_leaving
        self._on_answer = on_answer
        self._on_statement = on_statement
        self._restoring: asyncio.Task[None] | None = None

    def attach(self, pair: PairLink) -> None:
        """Follow the primary of ``pair``."""
        self.pair = pair
        pair.on_primary.append(self._primary)
        pair.on_lost.append(self._lost)

    # -- towards the core

    def forward(self, channel: Channel, request: Frame) -> None:
        """Send a request that is already in the client's account, now or when the core is back."""
        core = self.peer
        if core is None:
            return
        if channel.opened_on != core.generation:
            if not self.ready:
                return
            self._open(core, channel)
        core.send_frame(request)

    def client_gone(self, channel: Channel, why: str) -> None:
        """Tell the core that a client's link is gone."""
        if self.peer is not None and channel.opened_on == self.peer.generation:
            self.peer.event("channel.close", ChannelClose(why=why), channel=channel.number)

    def away(self) -> CoreAway:
        """What clients are told while there is no primary."""
        return CoreAway(since=self.away_since, why=self.why)

    def _open(self, core: Peer, channel: Channel) -> None:
        hello = channel.peer.hello
        opened = ChannelOpen(
            identity=channel.identity, application=hello.application, instance=hello.instance
        )
        core.event("channel.open", opened, channel=channel.number)
        channel.opened_on = core.generation

    # -- from the core

    async def on_open(self, peer: Peer) -> None:
        """A link to a member of the pair: its channels' frames come here unread."""
        peer.set_raw(lambda frame: self._from_core(peer, frame))

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        """Events of the core server itself."""
        if name == "server.leaving" and peer is self.peer:
            leaving = read(payload, Leaving, name)
            self._on_leaving(f"{peer.hello.application}: {leaving.why}", leaving.retry_after)
        elif name == "server.mastership":
            # From whichever of the pair: it is signed, and the highest epoch counts.
            self._on_statement(read(payload, Statement, name).statement)

    def _from_core(self, peer: Peer, frame: Frame) -> None:
        if peer is not self.peer:
            return  # A primary of the past: its answers are asked for again at the present one.
        channel = self._channels.get(frame.c)
        if channel is None:
            return  # The client left while this was on its way; the core is being told.
        if frame.t is Kind.EVENT:
            self._event(channel, frame)
        elif frame.t is not Kind.REQUEST:  # A core asks nothing of agents.
            self._answer(peer, channel, frame)

    def _answer(self, core: Peer, channel: Channel, frame: Frame) -> None:
        if frame.t is Kind.ERROR and frame.e is not None and frame.e.code in _STEPPING_DOWN:
            # Still unanswered: the next primary gets it, or this one again, should it stay primary.
            loop = asyncio.get_running_loop()
            loop.call_later(frame.e.retry_after or ASK_AGAIN, self._ask_again, core, channel, frame)
            return
        request = self._channels.settle(channel, frame.i)
        if request is None:
            return
        if frame.t is Kind.REPLY:
            if request.m in self._profile.opening:
                self._note(channel.note_opened, channel, frame)
            elif request.m in self._profile.closing:
                channel.note_closed()
        to_client(channel, frame)
        self._on_answer(channel, request.m)

    def _ask_again(self, core: Peer, channel: Channel, refused: Frame) -> None:
        """A core said that it is not primary, and is still the one that is asked."""
        request = channel.pending.get(refused.i)
        if request is None or self.peer is not core or channel.opened_on != core.generation:
            return
        if request.k or request.m in self._profile.reads:
            core.send_frame(request)
            return
        # Without a key nobody knows whether it had effect: its sender decides.
        self._channels.settle(channel, refused.i)
        to_client(channel, refused)
        self._on_answer(channel, request.m)

    def _note(self, note: Callable[[msgspec.Raw], None], channel: Channel, frame: Frame) -> None:
        try:
            note(frame.p)
        except UNREADABLE as error:
            log.error("proxy.session_unreadable", user=channel.identity.user, why=str(error))

    def _event(self, channel: Channel, frame: Frame) -> None:
        if channel.restoring and frame.m != "channel.close":
            if len(channel.held) < MAX_HELD_EVENTS:
                channel.held.append(frame)
            else:
                channel.peer.abort("more events than can be held while its session is restored")
            return
        self._deliver(channel, frame)

    def _deliver(self, channel: Channel, frame: Frame) -> None:
        channel.last_seq = max(channel.last_seq, frame.s)
        if frame.m == "channel.close":
            why = read(frame.p, ChannelClose, frame.m).why
            channel.opened_on = 0
            refusal = Refusal(code="channel.closed", reason=why, retryable=True)
            channel.peer.hang_up(refusal)
            return
        if frame.m == "session.ended":
            channel.note_closed()
        elif frame.m == "session.ticket":
            self._note(channel.note_ticket, channel, frame)
        to_client(channel, frame)

    # -- the primary comes and goes

    def _lost(self, why: str) -> None:
        self.peer = None
        self.ready = False
        self.away_since = time.time()
        self.why = why
        if self._restoring is not None:
            self._restoring.cancel()
            self._restoring = None
        log.warning("proxy.core_away", clients=len(self._channels), waiting=self._channels.pending, why=why)
        away = msgspec.Raw(msgspec.json.encode(self.away()))
        for channel in self._channels:
            channel.restoring = False
            channel.held.clear()
            channel.peer.event("core.away", away)
            self._give_up_unrepeatable(channel)
        self._on_change(why)

    def _give_up_unrepeatable(self, channel: Channel) -> None:
        """A request that changes something and has no key cannot be repeated: whether it had effect is unknown."""
        for number, request in list(channel.pending.items()):
            if request.k or request.m in self._profile.reads:
                continue
            self._channels.settle(channel, number)
            reason = f"The core was lost before it answered {request.m}; without a key it is not repeated."
            refusal = Refusal(code="link.lost", reason=reason, retryable=True)
            to_client(channel, Frame(Kind.ERROR, number, e=refusal))
            self._on_answer(channel, request.m)

    def _primary(self, peer: Peer) -> None:
        self.peer = peer
        self.ready = False
        self.why = f"{peer.hello.application} is the new primary and takes the sessions over"
        self._restoring = asyncio.get_running_loop().create_task(self._restore(peer), name="restore")
        self._restoring.add_done_callback(partial(self._restored, peer))

    def _restored(self, core: Peer, task: "asyncio.Task[None]") -> None:
        """A fault while clients were brought back must not leave them waiting for ever: begin anew."""
        if not task.cancelled() and task.exception() is not None:
            log.error("proxy.restore_failed", core=core.hello.application, exc_info=task.exception())
            core.abort("bringing the clients back failed")

    async def stop(self) -> None:
        """End what is under way."""
        task, self._restoring = self._restoring, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # -- bringing clients back

    async def _restore(self, core: Peer) -> None:
        started = time.monotonic()
        channels = list(self._channels)
        for channel in channels:
            channel.restoring = True
        chunks = [channels[at : at + RESTORE_CHUNK] for at in range(0, len(channels), RESTORE_CHUNK)]
        for at in range(0, len(chunks), RESTORE_PARALLEL):
            await asyncio.gather(
                *(self._bring_back(core, chunk) for chunk in chunks[at : at + RESTORE_PARALLEL])
            )
        if self.peer is not core:
            return
        self.ready = True
        for channel in self._channels:
            if channel.opened_on != core.generation:
                self._told_back(core, channel, None)
        seconds = round(time.monotonic() - started, 3)
        log.info("proxy.core_back", core=core.hello.application, clients=len(channels), seconds=seconds)
        self._on_change(f"linked to {core.hello.application}, primary with term {core.hello.term}")

    async def _bring_back(self, core: Peer, chunk: list[Channel]) -> None:
        """Restore some channels; retried while ``core`` is the primary, in halves when the answer is too large."""
        while self.peer is core:
            chunk = [channel for channel in chunk if not channel.peer.is_closed]
            if not chunk:
                return
            try:
                answer = await self._ask(core, chunk)
            except LinkLostError as error:
                log.warning("proxy.restore_unanswered", clients=len(chunk), why=error.refusal.reason)
                await asyncio.sleep(RESTORE_PAUSE)
            except RefusedError as error:
                refusal = error.refusal
                log.warning(
                    "proxy.restore_refused", clients=len(chunk), code=refusal.code, why=refusal.reason
                )
                if refusal.code in _STEPPING_DOWN or refusal.retryable:
                    await asyncio.sleep(refusal.retry_after or RESTORE_PAUSE)
                elif len(chunk) == 1:
                    failed = RestoredChannel(
                        channel=chunk[0].number, code=refusal.code, reason=refusal.reason
                    )
                    self._told_back(core, chunk[0], failed)
                    return
                else:
                    middle = len(chunk) // 2
                    await self._bring_back(core, chunk[:middle])
                    chunk = chunk[middle:]
            else:
                self._brought_back(core, chunk, answer)
                return

    async def _ask(self, core: Peer, chunk: list[Channel]) -> RestoredChannels:
        asked = RestoreChannels([channel.restore_request() for channel in chunk])
        return await core.request("channels.restore", asked, RestoredChannels, timeout=RESTORE_TIMEOUT)

    def _brought_back(self, core: Peer, chunk: list[Channel], answer: RestoredChannels) -> None:
        outcomes = {outcome.channel: outcome for outcome in answer.channels}
        for channel in chunk:
            if channel.peer.is_closed:
                # It left while it was being restored: the core believes that it is here.
                why = "the client left during the restoration"
                core.event("channel.close", ChannelClose(why=why), channel=channel.number)
                continue
            channel.opened_on = core.generation
            self._told_back(core, channel, outcomes.get(channel.number))

    def _told_back(self, core: Peer, channel: Channel, outcome: RestoredChannel | None) -> None:
        """Tell a client how it stands at the new primary, then send what waits in either direction."""
        if channel.opened_on != core.generation:
            self._open(core, channel)
        opened = outcome.opened if outcome else None
        if opened is not None:
            channel.session, channel.ticket = opened.session, opened.ticket
            channel.last_seq = opened.snapshot.as_of
        elif channel.ticket:
            channel.note_closed()
        back = CoreBack(
            epoch=core.hello.epoch,
            term=core.hello.term,
            opened=opened,
            code=outcome.code if outcome else "",
            reason=outcome.reason if outcome else "",
        )
        channel.peer.event("core.back", back)
        channel.restoring = False
        held, channel.held = channel.held, []
        for frame in held:
            self._deliver(channel, frame)
        for request in list(channel.pending.values()):
            core.send_frame(request)


def to_client(channel: Channel, frame: Frame) -> None:
    """Pass a frame of the core (or of the proxy) to the client; what does not fit becomes an error."""
    try:
        channel.peer.send_frame(Frame(frame.t, frame.i, 0, frame.m, frame.k, frame.s, frame.p, frame.e))
    except RefusedError as error:
        log.error("proxy.too_large", user=channel.identity.user, method=frame.m, why=error.refusal.reason)
        if frame.t is Kind.REPLY:
            channel.peer.send_frame(Frame(Kind.ERROR, frame.i, e=error.refusal))
