"""What a customer's page and a Chat Server say to each other: JSON objects with a ``type``, one per WebSocket message.

The reference, with examples, is ``docs/reference/customer-protocol.md``.
"""

import re

import msgspec

from stayline.domain.errors import Refusal, RefusedError, refuse
from stayline.link.messages.contact import Entry, Party

MAX_FRAME_BYTES = 16_384
"""Of one WebSocket message, either way."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")
_MESSAGE_ID = re.compile(r"[A-Za-z0-9_:.-]{1,64}")


class Start(msgspec.Struct, tag="start", kw_only=True):
    """Begin a chat, or find it begun: ``session`` and ``secret`` were made by the page (random, 16 to 64 letters,
    digits, ``-``, ``_``). ``id`` and ``text`` are the first message, if there is one. Repeated until ``started``."""

    session: str
    secret: str
    queue: str
    name: str = ""
    email: str = ""
    phone: str = ""
    subject: str = ""
    id: str = ""
    text: str = ""
    after: int = 0


class Resume(msgspec.Struct, tag="resume", kw_only=True):
    """Go on with a chat at this server; ``after`` is the last seq that the page holds, ``last`` the id of that
    entry."""

    session: str
    secret: str
    after: int = 0
    last: str = ""


class Send(msgspec.Struct, tag="send", kw_only=True):
    """A message; ``id`` is made when the customer pressed Send and stays the same when it is repeated."""

    id: str
    text: str


class Typing(msgspec.Struct, tag="typing"):
    """The customer is typing. Not stored."""


class End(msgspec.Struct, tag="end"):
    """The customer ends the chat."""


class Ping(msgspec.Struct, tag="ping"):
    """Are you alive? Answered by ``pong`` at once."""


FromCustomer = Start | Resume | Send | Typing | End | Ping


class Started(msgspec.Struct, tag="started", kw_only=True):
    """The chat is durable and on its way to an agent. Entries follow."""

    session: str


class Resumed(msgspec.Struct, tag="resumed", kw_only=True):
    """Entries after the asked one follow, up to ``last`` for the moment. ``again``: what the page holds is not this
    transcript (a site was lost with its newest entries): it forgets what it shows, all entries follow, and it sends
    its own messages again, with their ids."""

    session: str
    last: int
    again: bool = False


class Ack(msgspec.Struct, tag="ack", kw_only=True):
    """The message is durable; ``seq`` is its place, ``at`` its time (Unix seconds)."""

    id: str
    seq: int
    at: float


class EntrySeen(msgspec.Struct, tag="entry", kw_only=True):
    """The next entry of the transcript: ``seq`` is always one more than that of the one before."""

    seq: int
    id: str
    kind: str
    party: str
    name: str
    text: str
    at: float


class PartyTypes(msgspec.Struct, tag="typing", kw_only=True):
    """An agent is typing."""

    name: str


class State(msgspec.Struct, tag="state", kw_only=True):
    """How the chat stands: ``agents`` who take part; ``delayed``: what is sent waits for a server to come back."""

    agents: list[str]
    ended: bool
    delayed: bool


class Error(msgspec.Struct, tag="error", kw_only=True, omit_defaults=True):
    """A request had no effect. ``of`` is its type, ``id`` that of the message, if it was one."""

    code: str
    reason: str
    of: str = ""
    id: str = ""
    field: str = ""
    retryable: bool = False
    retry_after: float = 0.0


class Leaving(msgspec.Struct, tag="leaving", kw_only=True):
    """This server is going: resume elsewhere after ``retry_after`` seconds."""

    why: str
    retry_after: float


class Pong(msgspec.Struct, tag="pong"):
    """Alive."""


ToCustomer = Started | Resumed | Ack | EntrySeen | PartyTypes | State | Error | Leaving | Pong

_decoder: msgspec.json.Decoder[FromCustomer] = msgspec.json.Decoder(FromCustomer)


def decode(text: str) -> FromCustomer:
    """One message of a customer's page; raises ``message.malformed`` saying what is wrong with it."""
    try:
        message: FromCustomer = _decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise refuse("message.malformed", f"This is no message of the customer protocol: {error}.") from error
    except UnicodeError as error:
        raise refuse("message.malformed", "This is not Unicode text.") from error
    refusal = _check(message)
    if refusal is not None:
        raise RefusedError(refusal)
    return message


def _check(message: FromCustomer) -> Refusal | None:
    match message:
        case Start() | Resume():
            for field in ("session", "secret"):
                if not _TOKEN.fullmatch(getattr(message, field)):
                    reason = f"{field} needs 16 to 64 letters, digits, - or _."
                    return Refusal(code="message.malformed", reason=reason, field=field)
            if message.after < 0:
                return Refusal(code="message.malformed", reason="after is not negative.", field="after")
    if isinstance(message, Start):
        return _check_start(message)
    if isinstance(message, Send):
        return _check_text(message.id, message.text, needed=True)
    return None


def _check_start(start: Start) -> Refusal | None:
    for field, limit in (("queue", 64), ("name", 100), ("email", 254), ("phone", 40), ("subject", 200)):
        if len(getattr(start, field)) > limit:
            reason = f"{field} has at most {limit} characters."
            return Refusal(code="message.malformed", reason=reason, field=field)
    return _check_text(start.id, start.text, needed=False)


def _check_text(id_: str, text: str, *, needed: bool) -> Refusal | None:
    if not needed and not text:
        return None
    if not _MESSAGE_ID.fullmatch(id_):
        reason = "A message needs an id of 1 to 64 letters, digits, - or _."
        return Refusal(code="message.malformed", reason=reason, field="id")
    if not text.strip():
        return Refusal(code="chat.empty", reason="The message is empty.", field="text")
    return None


def clean_text(text: str) -> str:
    """Text as it is stored: without control characters other than line feed and tab."""
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in unified if c in "\n\t" or (c >= " " and c != "\x7f"))


def encode(message: ToCustomer | FromCustomer) -> str:
    """The text of one WebSocket message."""
    return msgspec.json.encode(message).decode()


_answer_decoder: msgspec.json.Decoder[ToCustomer] = msgspec.json.Decoder(ToCustomer)


def decode_answer(text: str | bytes) -> ToCustomer:
    """One message of a Chat Server, for programs that are customers; raises msgspec.MsgspecError."""
    answer: ToCustomer = _answer_decoder.decode(text)
    return answer


def entry_seen(entry: Entry) -> EntrySeen:
    """An entry as the customer sees it: without the agent's user name, and without the customer's own name.

    The centre may know that name from the contact whose address or number was typed, and nobody has proven to be that
    contact: whoever types somebody's number must not be told the name.
    """
    return EntrySeen(
        seq=entry.seq,
        id=entry.id,
        kind=entry.kind.value,
        party=entry.party.value,
        name="" if entry.party is Party.CUSTOMER else entry.name,
        text=entry.text,
        at=entry.at,
    )


def error_of(refusal: Refusal, of: str, id_: str = "") -> Error:
    """A refusal as the customer's page gets it."""
    return Error(
        code=refusal.code,
        reason=refusal.reason,
        of=of,
        id=id_,
        field=refusal.field,
        retryable=refusal.retryable,
        retry_after=refusal.retry_after or 0.0,
    )
