"""Which Chat Servers follow which session, and passing committed entries and signals on to them."""

from stayline.link.messages.contact import Entry, EntryAdded, Signal
from stayline.link.peer import Peer


class Subscriptions:
    """Links by session and sessions by link."""

    def __init__(self) -> None:
        self._by_session: dict[str, set[Peer]] = {}
        self._by_peer: dict[Peer, set[str]] = {}

    def add(self, session: str, peer: Peer) -> None:
        """From now on ``peer`` gets what happens in ``session``."""
        self._by_session.setdefault(session, set()).add(peer)
        self._by_peer.setdefault(peer, set()).add(session)

    def remove(self, session: str, peer: Peer) -> None:
        """No longer."""
        self._forget(session, peer)
        sessions = self._by_peer.get(peer)
        if sessions is not None:
            sessions.discard(session)
            if not sessions:
                del self._by_peer[peer]

    def lost(self, peer: Peer) -> None:
        """The link is gone."""
        for session in self._by_peer.pop(peer, set()):
            self._forget(session, peer)

    def _forget(self, session: str, peer: Peer) -> None:
        followers = self._by_session.get(session)
        if followers is not None:
            followers.discard(peer)
            if not followers:
                del self._by_session[session]

    def publish(self, session: str, entry: Entry) -> None:
        """An entry was committed: everybody who follows the session gets it, also the one that sent it."""
        for peer in self._by_session.get(session, ()):
            peer.event("chat.entry", EntryAdded(session=session, entry=entry))

    def signal(self, signal: Signal, source: Peer | None = None) -> None:
        """Pass a signal on to everybody but its source."""
        for peer in self._by_session.get(signal.session, ()):
            if peer is not source:
                peer.event("chat.signal", signal)
