"""The envelope of every frame on every link.

On the wire a frame is a big-endian unsigned 32-bit length followed by that many bytes of UTF-8 JSON.
The payload ``p`` stays undecoded bytes (``msgspec.Raw``) until somebody needs it, so a proxy forwards without
looking inside.
"""

import enum

import msgspec

from stayline.domain.errors import Refusal

PROTOCOL_VERSION = 1
"""Spoken by this release; a hello carrying another one is refused, naming both."""

MAX_FRAME_BYTES = 1_048_576
"""Between servers. A link to a person's application allows :data:`MAX_CLIENT_FRAME_BYTES`."""

MAX_CLIENT_FRAME_BYTES = 65_536

EMPTY = msgspec.Raw(b"{}")


class Kind(enum.StrEnum):
    """What a frame is (field ``t``)."""

    HELLO = "hello"
    WELCOME = "welcome"
    REFUSED = "refused"
    WAIT = "wait"
    PING = "ping"
    PONG = "pong"
    REQUEST = "req"
    REPLY = "ok"
    ERROR = "err"
    EVENT = "ev"
    BYE = "bye"


class Frame(msgspec.Struct, omit_defaults=True):
    """One frame. Fields not used by a kind keep their default and are not sent.

    ``i`` request number (unique per link and direction); ``c`` channel on a multiplexed link (0: the link itself);
    ``m`` method of a request or name of an event; ``k`` idempotency key; ``s`` sequence number of an event;
    ``p`` payload; ``e`` the refusal of an ``err``, ``refused`` or ``bye`` frame.

    In a ``ping`` ``s`` is the highest event sequence heard on this link, in a ``pong`` the highest one sent on it: who
    has heard less than the other side had sent has a link that is open but delivers nothing. The payload of a
    ``pong`` is a :class:`Pong` when there is something to say.
    """

    t: Kind
    i: int = 0
    c: int = 0
    m: str = ""
    k: str = ""
    s: int = 0
    p: msgspec.Raw = EMPTY
    e: Refusal | None = None


class Role(enum.StrEnum):
    """What a server is at the moment; told in its welcome and by the ``server.role`` event when it changes."""

    PRIMARY = "primary"
    BACKUP = "backup"
    ACTIVE = "active"
    PASSIVE = "passive"
    CLIENT = "client"


class Hello(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Payload of the first frame of each side (``hello`` from the opener, ``welcome`` from the listener).

    ``expect`` (opener only) is the application it meant to reach: another one answering is refused with both names.
    ``instance`` is new with each start of a process. ``local``/``remote`` are the ADDP timeouts in seconds of opener
    and listener (0: that side does not poll), set by the opener, as the original does.
    ``trace`` asks the listener to log its ADDP polls.
    ``token`` identifies a person; servers are identified by their certificate and must leave it empty.
    ``ticket`` (opener only) is the session that will be resumed on this link: it puts the opener into the lane of
    resumes, ahead of logins. ``expect_site`` as ``expect_cluster``. ``statement`` (listener only) is a signed
    :class:`~stayline.link.tokens.Statement`: which site is master under which epoch.
    """

    version: int = PROTOCOL_VERSION
    application: str
    type: str
    instance: str
    site: str = ""
    cluster: str = ""
    epoch: int = 0
    term: int = 0
    role: Role = Role.CLIENT
    expect: str = ""
    expect_cluster: str = ""
    expect_site: str = ""
    local: float = 0.0
    remote: float = 0.0
    trace: bool = False
    token: str = ""
    ticket: str = ""
    statement: str = ""


class Waiting(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Payload of a ``wait`` frame, which may come (also repeatedly) between ``hello`` and ``welcome``.

    The opener is let in, but not yet: in about ``seconds``, after ``ahead`` others. It keeps the link and waits that
    long and its own hello timeout more; a newer ``wait`` replaces an older one.
    """

    seconds: float
    ahead: int = 0
    why: str = ""


class Pong(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Payload of a ``pong``: the listener's statement (see :class:`Hello`), when it is a newer one than was told on
    this link before."""

    statement: str = ""


class RoleChanged(msgspec.Struct):
    """Event ``server.role``: the sender's role, epoch or term is now this, because of ``why``."""

    role: Role
    epoch: int
    term: int
    why: str


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who a person is, as signed in a token by a Configuration Server. ``expires`` is Unix seconds. ``revision`` and
    ``mark`` are those of the configuration in which the person was found (0: not said): who knows that one or a newer
    one and not the person knows that it was deleted."""

    user: str
    tenant: str
    roles: list[str]
    expires: float
    display_name: str = ""
    revision: int = 0
    mark: str = ""
