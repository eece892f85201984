"""Stands between a link and its user: the user hears first, then the pages."""

from collections.abc import Callable

import msgspec

from stayline.domain.errors import Refusal
from stayline.link.peer import Peer
from stayline.link.standby_link import LinkUser


class Tap:
    """A :class:`~stayline.link.standby_link.LinkUser`. ``changed`` is told that what is shown of the link may be
    another."""

    def __init__(self, user: LinkUser, changed: Callable[[], None]) -> None:
        self._user = user
        self._changed = changed

    def link_up(self, peer: Peer) -> None:
        self._user.link_up(peer)
        self._changed()

    def link_down(self, why: str) -> None:
        self._user.link_down(why)
        self._changed()

    def link_event(self, name: str, payload: msgspec.Raw, seq: int) -> None:
        self._user.link_event(name, payload, seq)

    def link_refused(self, refusal: Refusal) -> None:
        self._user.link_refused(refusal)

    def link_changed(self) -> None:
        self._user.link_changed()
        self._changed()
