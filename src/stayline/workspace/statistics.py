"""The link to a Stat Server: kept and shown; nothing is asked there yet."""

from collections.abc import Callable

import msgspec

from stayline.domain.errors import Refusal
from stayline.link.peer import Peer


class Statistics:
    """Works on the link of a Stat Server. ``proven`` says that it works: there is nothing else to prove it by than that
    it answered the hello."""

    def __init__(self, proven: Callable[[], None]) -> None:
        self._proven = proven

    def link_up(self, peer: Peer) -> None:
        """The server answered."""
        self._proven()

    def link_down(self, why: str) -> None:
        """Shown by the engine."""

    def link_event(self, name: str, payload: msgspec.Raw, seq: int) -> None:
        """No event of a Stat Server is used yet."""

    def link_refused(self, refusal: Refusal) -> None:
        """Said by the Interaction Server's link as well."""

    def link_changed(self) -> None:
        """Shown by the engine."""
