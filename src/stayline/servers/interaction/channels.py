"""Who is connected: agents' channels through the proxies, and the media servers' own links."""

from collections.abc import Iterable

import structlog

from stayline.domain.errors import Refusal, refuse
from stayline.domain.objects import ApplicationType
from stayline.link.messages.envelope import Identity
from stayline.link.messages.interaction import ChannelClose
from stayline.link.peer import Peer

MAX_CHANNELS = 20_000
"""Agents' applications that one core carries, over all proxies."""

MEDIA_TYPES = frozenset({ApplicationType.CHAT_SERVER.value})
"""Application types that submit interactions and are told who owns them."""

log = structlog.get_logger(__name__)


class Channel:
    """One agent's application behind a proxy. ``session`` is the agent session it carries (empty: none yet)."""

    def __init__(self, peer: Peer, number: int, identity: Identity, application: str) -> None:
        self.peer = peer
        self.number = number
        self.identity = identity
        self.application = application
        self.session = ""
        self.is_open = True

    def departure(self) -> Refusal | None:
        """Why nothing may be done for its client any more: it has left, and may have its session elsewhere by now.
        None: it is here."""
        if self.is_open:
            return None
        reason = f"{self.identity.user} has left this link."
        return Refusal(code="channel.closed", reason=reason, retryable=True)

    def tell(self, name: str, params: object, seq: int = 0) -> None:
        """Send an event; lost silently when the link is gone (the snapshot of the resume tells it then)."""
        self.peer.event(name, params, seq=seq, channel=self.number)


class Channels:
    """All channels, and which of them carries which session: at most one, the newest."""

    def __init__(self) -> None:
        self._channels: dict[tuple[int, int], Channel] = {}
        self._by_session: dict[str, Channel] = {}
        self._media: set[Peer] = set()

    def __len__(self) -> int:
        return len(self._channels)

    # -- links -----------------------------------------------------------------------------------------------

    def link_opened(self, peer: Peer) -> None:
        """A link stands; media servers' are remembered."""
        if peer.hello.type in MEDIA_TYPES:
            self._media.add(peer)

    def link_closed(self, peer: Peer) -> list[Channel]:
        """A link is gone: the channels that went with it."""
        self._media.discard(peer)
        gone = [c for c in self._channels.values() if c.peer is peer]
        for channel in gone:
            channel.is_open = False
            del self._channels[peer.generation, channel.number]
        return gone

    def open(self, peer: Peer, number: int, identity: Identity, application: str) -> Channel | None:
        """A proxy's client appeared. None: there are too many, the proxy is told to hang up on it."""
        if len(self._channels) >= MAX_CHANNELS and (peer.generation, number) not in self._channels:
            why = f"this core carries {MAX_CHANNELS} agents already"
            log.warning("channel.refused", proxy=peer.hello.application, agent=identity.user, why=why)
            peer.event("channel.close", ChannelClose(why=why), channel=number)
            return None
        channel = Channel(peer, number, identity, application)
        known = self._channels.get((peer.generation, number))
        if known is not None and known.identity.user == identity.user:
            return known  # said twice; what it carries stays
        self._channels[peer.generation, number] = channel
        return channel

    def close(self, peer: Peer, number: int) -> Channel | None:
        """A proxy's client is gone."""
        channel = self._channels.pop((peer.generation, number), None)
        if channel is not None:
            channel.is_open = False
        return channel

    def get(self, peer: Peer, number: int) -> Channel:
        """Raises RefusedError ``channel.unknown``."""
        channel = self._channels.get((peer.generation, number))
        if channel is None:
            raise refuse(
                "channel.unknown",
                f"{peer.hello.application} has not opened channel {number} here.",
                retryable=True,
                retry_after=0.5,
            )
        return channel

    # -- sessions --------------------------------------------------------------------------------------------

    def bind(self, channel: Channel, session: str) -> Channel | None:
        """``channel`` carries ``session`` from now on. The channel that carried it before, if it was another."""
        before = self._by_session.get(session)
        if channel.session and channel.session != session:
            self._by_session.pop(channel.session, None)
        channel.session = session
        self._by_session[session] = channel
        if before is None or before is channel:
            return None
        before.session = ""
        return before

    def unbind(self, session: str) -> Channel | None:
        """No channel carries ``session`` any more; the one that did."""
        channel = self._by_session.pop(session, None)
        if channel is not None:
            channel.session = ""
        return channel

    def carries(self, session: str) -> Channel | None:
        """The channel that carries a session."""
        return self._by_session.get(session)

    def tell(self, session: str, name: str, params: object, seq: int = 0) -> None:
        """Send an event to a session's channel, if it has one."""
        channel = self._by_session.get(session)
        if channel is not None:
            channel.tell(name, params, seq)

    def tell_media(self, name: str, params: object, seq: int = 0) -> None:
        """Send an event to every media server."""
        for peer in self.media:
            peer.event(name, params, seq=seq)

    @property
    def media(self) -> Iterable[Peer]:
        """Links to media servers."""
        return list(self._media)
