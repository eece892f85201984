"""What an application does with its links: the handler it gives them, and how it reads requests and events."""

import functools
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, cast

import msgspec

from stayline.domain.errors import RefusedError, refuse
from stayline.link.frames import UNREADABLE, malformed

if TYPE_CHECKING:
    from stayline.link.peer import Peer

T = TypeVar("T")


@functools.lru_cache(maxsize=512)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def read(payload: msgspec.Raw, kind: type[T], what: str = "message") -> T:
    """Decode a payload. Raises RefusedError ``message.malformed`` naming the field; ``what`` is the method's name."""
    try:
        value: T = _decoder(cast(Any, kind)).decode(payload)
    except UNREADABLE as error:
        raise RefusedError(malformed(error, "message.malformed", what)) from error
    return value


class Request(NamedTuple):
    """A request of the other side. ``key`` is its idempotency key, ``channel`` the client behind a proxy (0: none)."""

    method: str
    payload: msgspec.Raw
    key: str
    channel: int

    def read(self, kind: type[T]) -> T:
        """The parameters. Raises RefusedError ``message.malformed`` naming the field."""
        return read(self.payload, kind, self.method)


class Handler(Protocol):
    """What an application does with its links."""

    async def on_open(self, peer: "Peer") -> None:
        """The link stands; requests and events wait until this returns. RefusedError closes the link with it."""

    async def on_request(self, peer: "Peer", request: Request) -> object:
        """Answer a request: the returned struct is the reply (None: an empty one); StaylineError refuses it."""

    def on_event(self, peer: "Peer", name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        """An event arrived. RefusedError (a malformed one) closes the link with it."""

    def on_statement(self, peer: "Peer", statement: str) -> None:
        """The other side carries this signed statement of mastership; unverified. Told after ``on_open`` when its
        welcome carried one, and for each newer one in its answers to polls."""

    def on_closed(self, peer: "Peer", why: str) -> None:
        """The link is gone."""


class BaseHandler:
    """A handler that refuses every request and ignores everything else: to subclass."""

    async def on_open(self, peer: "Peer") -> None:
        """Nothing to prepare."""

    async def on_request(self, peer: "Peer", request: Request) -> object:
        """No method is known here."""
        raise unknown_method(request.method)

    def on_event(self, peer: "Peer", name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        """Unknown events are no error: newer versions may send more."""

    def on_statement(self, peer: "Peer", statement: str) -> None:
        """Nobody here follows mastership."""

    def on_closed(self, peer: "Peer", why: str) -> None:
        """Nothing to clean."""


def unknown_method(method: str) -> RefusedError:
    """The refusal of a method that is not served on this link."""
    return refuse("method.unknown", f"There is no method {method!r} here.", field="m")
