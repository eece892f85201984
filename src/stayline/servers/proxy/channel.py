"""The clients of a proxy: each is a channel on the one link to the core."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from stayline.domain.errors import Refusal
from stayline.link.messages.envelope import Frame, Identity
from stayline.link.messages.interaction import RestoreChannel, TicketRenewed
from stayline.link.peer import Peer

_RETRY_SECONDS = 0.5

MAX_PENDING_BYTES = 48 * 1024 * 1024
"""All clients' unanswered requests together; less than what may wait on the link to the core."""


class _Position(msgspec.Struct):
    as_of: int


class _Opened(msgspec.Struct):
    """As much of a ``SessionOpened`` as a proxy needs; the rest passes unread."""

    session: str
    ticket: str
    snapshot: _Position


_opened = msgspec.json.Decoder(_Opened)
_renewed = msgspec.json.Decoder(TicketRenewed)


@dataclass(slots=True, eq=False)
class Channel:
    """One client. ``opened_on``: generation of the core link that knows this channel (0: none).

    ``ticket`` and ``last_seq``: what resumes its session at a new primary. ``pending``: its requests that were sent
    or wait to be sent and are not answered, by its own numbers, in order. ``restoring``: its session is being asked
    back; events of the core wait in ``held`` until the client has been told, so that it sees them in their order.
    """

    number: int
    peer: Peer
    identity: Identity
    opened_on: int = 0
    session: str = ""
    ticket: str = ""
    last_seq: int = 0
    pending: dict[int, Frame] = field(default_factory=dict)
    restoring: bool = False
    held: list[Frame] = field(default_factory=list)

    def note_opened(self, payload: msgspec.Raw) -> None:
        """A session was opened or resumed on this channel. Raises one of ``frames.UNREADABLE``."""
        opened = _opened.decode(payload)
        self.session, self.ticket = opened.session, opened.ticket
        self.last_seq = opened.snapshot.as_of

    def note_ticket(self, payload: msgspec.Raw) -> None:
        """The core renewed the ticket of the session. Raises one of ``frames.UNREADABLE``."""
        renewed = _renewed.decode(payload)
        if renewed.session == self.session:
            self.ticket = renewed.ticket

    def note_closed(self) -> None:
        """The session is over."""
        self.session = self.ticket = ""
        self.last_seq = 0

    def restore_request(self) -> RestoreChannel:
        """What a new primary must know of this client."""
        hello = self.peer.hello
        return RestoreChannel(
            channel=self.number,
            identity=self.identity,
            application=hello.application,
            instance=hello.instance,
            ticket=self.ticket,
            last_seq=self.last_seq,
        )


@dataclass(frozen=True, slots=True)
class PendingLimits:
    """Unanswered requests allowed: ``per_client`` and in ``total``."""

    per_client: int = 64
    total: int = 20_000


class Channels:
    """All channels, with the account of what is pending."""

    def __init__(self) -> None:
        self._channels: dict[int, Channel] = {}
        self._numbers = itertools.count(1)
        self.pending = 0
        self.pending_bytes = 0

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[Channel]:
        return iter(list(self._channels.values()))

    @property
    def sessions(self) -> int:
        """Channels that carry a session."""
        return sum(1 for channel in self._channels.values() if channel.ticket)

    def add(self, peer: Peer, identity: Identity) -> Channel:
        """A new client."""
        channel = Channel(next(self._numbers), peer, identity)
        self._channels[channel.number] = channel
        return channel

    def get(self, number: int) -> Channel | None:
        """The channel of that number, None when its client has gone."""
        return self._channels.get(number)

    def remove(self, channel: Channel) -> None:
        """A client has gone, and its unanswered requests with it."""
        if self._channels.pop(channel.number, None) is None:
            return
        for number in list(channel.pending):
            self.settle(channel, number)
        channel.held.clear()

    def hold(self, channel: Channel, frame: Frame, limits: PendingLimits) -> Refusal | None:
        """Take a request into account; the refusal when there are too many."""
        size = len(memoryview(frame.p))
        if len(channel.pending) >= limits.per_client:
            reason = f"{limits.per_client} requests of this client wait for an answer already."
        elif self.pending >= limits.total or self.pending_bytes + size > MAX_PENDING_BYTES:
            reason = f"{self.pending} requests wait for the core already."
        else:
            channel.pending[frame.i] = frame
            self.pending += 1
            self.pending_bytes += size
            return None
        return Refusal(code="link.busy", reason=reason, retryable=True, retry_after=_RETRY_SECONDS)

    def settle(self, channel: Channel, number: int) -> Frame | None:
        """A request was answered (or given up): the request; None when there is no such."""
        frame = channel.pending.pop(number, None)
        if frame is not None:
            self.pending -= 1
            self.pending_bytes -= len(memoryview(frame.p))
        return frame
