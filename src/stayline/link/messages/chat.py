"""Requests and events between a Workspace and a Chat Server (the customer's side is in ``servers/chat``)."""

import msgspec

from stayline.link.messages.contact import Entry, Party


class Join(msgspec.Struct, kw_only=True):
    """``chat.join`` -> :class:`Joined`. ``grant`` is from the owned interaction; ``after`` the last seq held, and
    ``last`` the id of that entry: another one may stand there now (a forced switch-over lost some)."""

    session: str
    grant: str
    after: int = 0
    last: str = ""


class Joined(msgspec.Struct, kw_only=True):
    """What is new since ``after``, and how the session stands. ``again``: what the Workspace holds is not this
    transcript; ``entries`` are all there are, and what the agent wrote and misses among them must be sent again."""

    session: str
    entries: list[Entry]
    ended: bool
    customer: str
    customer_present: bool
    again: bool = False


class Leave(msgspec.Struct):
    """``chat.leave``: the agent no longer takes part (transferred); the session goes on."""

    session: str


class Send(msgspec.Struct, kw_only=True):
    """``chat.send`` -> :class:`Sent` once durable. ``id`` is made when the agent pressed Send."""

    session: str
    id: str
    text: str


class Sent(msgspec.Struct, kw_only=True):
    """Where the message stands in the transcript."""

    seq: int
    at: float


class Typing(msgspec.Struct):
    """``chat.typing``: not stored, no reply needed (an event from the Workspace)."""

    session: str


class End(msgspec.Struct):
    """``chat.end`` -> :class:`Sent`: ends the chat session for both sides; the interaction stays with the agent."""

    session: str


class Said(msgspec.Struct, kw_only=True):
    """Event ``chat.entry``: the next entry of a joined session."""

    session: str
    entry: Entry


class PartyTyping(msgspec.Struct, kw_only=True):
    """Event ``chat.typing``."""

    session: str
    party: Party
    name: str


class Presence(msgspec.Struct, kw_only=True):
    """Event ``chat.presence``: whether the customer's page is connected."""

    session: str
    customer_present: bool


class Removed(msgspec.Struct, kw_only=True):
    """Event ``chat.removed``: this agent is no longer a party, because of ``why``."""

    session: str
    why: str
