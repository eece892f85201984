"""Between hello and welcome: who decides when an opener comes in, and the opener while it waits."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from stayline.domain.errors import Refusal, StaylineError
from stayline.link.messages.envelope import Frame, Hello, Kind, Waiting
from stayline.link.peer import Peer
from stayline.link.wire import Wire

ONLY_ASKED = "workspace.asked"
"""Code of the bye of an opener that came to read the statement in the welcome, and is not to be set up."""


class Door(Protocol):
    """Decides when an opener, whose hello is good, gets its welcome. Times it gives are seconds."""

    def arrive(
        self,
        peer: Peer,
        hello: Hello,
        enter: Callable[[], None],
        wait: Callable[[Waiting], None],
        refuse: Callable[[Refusal], None],
    ) -> None:
        """An opener is at the door. In the end (now or later) exactly one of ``enter`` and ``refuse`` must be called,
        before that ``wait`` any number of times; calls after the opener has left do nothing. A RefusedError is a
        refusal. ``peer.identity`` is proven already."""

    def left(self, peer: Peer) -> None:
        """The link of an opener that arrived and was not refused is gone: while it waited, or after it had entered."""


class Arrival:
    """One opener between its hello and its welcome.

    ``let_in`` and ``turn_away`` do what was decided, once; ``over`` is told when it is decided or the opener has left.
    ``waited``: a ``wait`` frame was sent, so that what was true at its hello may not be so any more.
    """

    def __init__(
        self,
        peer: Peer,
        wire: Wire,
        *,
        let_in: Callable[["Arrival"], None],
        turn_away: Callable[["Arrival", Refusal], None],
        over: Callable[["Arrival"], None],
    ) -> None:
        self.peer = peer
        self.wire = wire
        self.waited = False
        self._let_in = let_in
        self._turn_away = turn_away
        self._over = over
        self._decided = False
        self._refused = False

    def at(self, door: Door) -> None:
        """Bring the opener to the door."""
        self.peer.closed.add_done_callback(lambda _: self._gone(door))
        try:
            door.arrive(self.peer, self.peer.hello, self.enter, self.wait, self.refuse)
        except StaylineError as error:
            self.refuse(error.refusal)

    def enter(self) -> None:
        """Welcome it."""
        if self._decide():
            self._let_in(self)

    def refuse(self, refusal: Refusal) -> None:
        """Turn it away."""
        if self._decide():
            self._refused = True
            self._turn_away(self, refusal)

    def wait(self, waiting: Waiting) -> None:
        """Tell it for how long."""
        if self._decided or self.peer.is_closed:
            return
        self.waited = True
        self.wire.send(Frame(Kind.WAIT, p=msgspec.Raw(msgspec.json.encode(waiting))))

    def _decide(self) -> bool:
        if self._decided or self.peer.is_closed:
            return False
        self._decided = True
        self._over(self)
        return True

    def _gone(self, door: Door) -> None:
        if not self._decided:
            self._decided = True
            self._over(self)
        if not self._refused:
            door.left(self.peer)
