"""Requests and events of the Contact Server (UCS): contacts, history, chat transcripts.

Agents come through a UCS Proxy, Chat Servers directly. The transcript is the one durable record of a chat session;
its sequence (1, 2, 3 ... without gaps) is the order in which both sides show it.
"""

import enum

import msgspec


class Contact(msgspec.Struct, kw_only=True):
    """A customer. Attribute names as the original's: EmailAddress, PhoneNumber, FirstName, LastName, ..."""

    id: str
    tenant: str
    attributes: dict[str, str]
    version: int = 1


class Identify(msgspec.Struct, kw_only=True):
    """``contact.identify`` -> :class:`Identified`: e-mail, then phone, then first and last name together."""

    tenant: str
    media: str
    attributes: dict[str, str]
    create: bool = True


class Identified(msgspec.Struct, kw_only=True):
    """``matched`` names the attribute that matched (empty: created, or not found and ``contact`` None)."""

    contact: Contact | None
    created: bool = False
    matched: str = ""


class GetContact(msgspec.Struct):
    """``contact.get`` -> :class:`Contact`."""

    contact: str


class UpdateContact(msgspec.Struct, kw_only=True):
    """``contact.update`` -> :class:`Contact`. ``version`` guards against overwriting a colleague's change."""

    contact: str
    version: int
    set: dict[str, str] = {}
    delete: list[str] = []


class GetHistory(msgspec.Struct, kw_only=True):
    """``history.list`` -> :class:`History`: newest first; ``before`` (Unix seconds) pages."""

    contact: str
    limit: int = 20
    before: float = 0.0


class HistoryItem(msgspec.Struct, kw_only=True):
    """One past or present interaction of a contact. Times are Unix seconds, 0: not yet."""

    interaction: str
    media: str
    subject: str
    state: str
    queue: str
    agent: str
    created_at: float
    ended_at: float
    disposition: str
    chat_session: str


class History(msgspec.Struct):
    """A page of history."""

    items: list[HistoryItem]


class Party(enum.StrEnum):
    """Who wrote an entry."""

    CUSTOMER = "customer"
    AGENT = "agent"
    SYSTEM = "system"


class EntryKind(enum.StrEnum):
    """What an entry of a transcript is."""

    MESSAGE = "message"
    JOINED = "joined"
    LEFT = "left"
    ENDED = "ended"


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One entry of a transcript. ``id`` is made by whoever typed it, unique in its session (deduplication);
    ``seq`` and ``at`` (Unix seconds) are given at commit."""

    id: str
    kind: EntryKind
    party: Party
    name: str
    text: str = ""
    user: str = ""
    seq: int = 0
    at: float = 0.0


class ChatState(msgspec.Struct, kw_only=True):
    """A chat session as it stands."""

    session: str
    tenant: str
    interaction: str
    contact: str
    customer: str
    subject: str
    queue: str
    ended: bool
    submitted: bool
    last_seq: int
    created_at: float
    ended_by: str = ""


class CreateChat(msgspec.Struct, kw_only=True):
    """``chat.create`` (Chat Server) -> :class:`ChatState`. Idempotent by ``session``; ``secret_hash`` is the SHA-256
    (hex) of the secret by which the customer's page resumes."""

    session: str
    interaction: str
    tenant: str
    contact: str
    customer: str
    subject: str
    queue: str
    secret_hash: str


class ChatSubmitted(msgspec.Struct):
    """``chat.submitted`` (Chat Server) -> :class:`ChatState`: the Interaction Server has it durably."""

    session: str


class ResumeChat(msgspec.Struct, kw_only=True):
    """``chat.resume`` (Chat Server) -> :class:`ChatState`; refused ``chat.secret`` when the secret is wrong."""

    session: str
    secret_hash: str


class Append(msgspec.Struct, kw_only=True):
    """``chat.append`` (Chat Server) -> :class:`Appended`, after the commit. Same entry id again: the same answer."""

    session: str
    entry: Entry


class Appended(msgspec.Struct, kw_only=True):
    """``seq`` and ``at`` of the stored entry; ``duplicate`` when it had been stored before."""

    seq: int
    at: float
    duplicate: bool = False


class Subscribe(msgspec.Struct, kw_only=True):
    """``chat.subscribe`` (Chat Server) -> :class:`Transcript`, then events ``chat.entry``, ``chat.signal``."""

    session: str
    after: int = 0


class Unsubscribe(msgspec.Struct):
    """``chat.unsubscribe`` (Chat Server) -> nothing."""

    session: str


class GetTranscript(msgspec.Struct, kw_only=True):
    """``transcript.get`` -> :class:`Transcript`."""

    session: str
    after: int = 0
    limit: int = 500


class Transcript(msgspec.Struct, kw_only=True):
    """Entries with seq > after, in order; ``more`` when the limit cut it."""

    state: ChatState
    entries: list[Entry]
    more: bool = False
    customer_present: bool = True


class EntryAdded(msgspec.Struct, kw_only=True):
    """Event ``chat.entry``: committed. ``session`` entries come with seq without gaps on one link."""

    session: str
    entry: Entry


class Signal(msgspec.Struct, kw_only=True):
    """Event ``chat.signal`` both ways, not stored: ``typing`` or customer ``present`` / ``away``."""

    session: str
    party: Party
    kind: str
    name: str = ""


class Settle(msgspec.Struct, kw_only=True):
    """Event ``chat.settle`` (UCS -> one Chat Server): the session has ended and the Interaction Server must be told.
    Repeated, to another Chat Server if need be, until ``chat.settled`` comes."""

    state: ChatState


class ChatSettled(msgspec.Struct):
    """``chat.settled`` (Chat Server) -> :class:`ChatState`: the Interaction Server knows that the session ended."""

    session: str
