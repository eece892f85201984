"""Requests and events of the Configuration Server."""

import enum

import msgspec

from stayline.domain.objects import ConfigObject
from stayline.link.messages.envelope import Identity


class Login(msgspec.Struct, kw_only=True):
    """``auth.login`` -> :class:`LoggedIn`. Allowed on a link opened without a token; the only request that is.

    ``source``: where the person is, when the sender acts for several (a browser's address); failures are counted
    for it."""

    user: str
    password: str
    source: str = ""

    def __repr__(self) -> str:
        """Without the password: a repr may end in a traceback or a log."""
        return f"Login(user={self.user!r})"


class Renew(msgspec.Struct, kw_only=True, omit_defaults=True):
    """``auth.renew`` -> :class:`LoggedIn`: a new token for the person of this link, with the roles of now. Nothing is
    checked but that the old one has not expired and the person is still there and enabled: no password.

    ``token`` is the newest one of the person (empty: the link's own; a link may be older than its person's token)."""

    token: str = ""

    def __repr__(self) -> str:
        """Without the token: a repr may end in a traceback or a log."""
        return "Renew()"


class LoggedIn(msgspec.Struct, kw_only=True):
    """``token`` is signed and expires at ``identity.expires``."""

    token: str
    identity: Identity


class Read(msgspec.Struct, kw_only=True):
    """``config.read`` -> :class:`Changes`: everything changed after ``since`` (0: everything). With ``subscribe``
    the link then gets event ``config.changed`` (:class:`Changes`) for each further revision. ``mark`` is the mark
    of the revision ``since``: when the server's history has another one there (a forced switch-over lost the
    revision), the answer is full. ``offset`` asks for a further page of a long answer (see ``Changes.more``)."""

    since: int = 0
    subscribe: bool = False
    mark: str = ""
    offset: int = 0


class Changes(msgspec.Struct, kw_only=True):
    """Objects as they are at ``revision``; ``full`` means: forget everything else. A person's application gets its own
    Person object, its default place, and the groups that it is in with no other member named: nothing of other
    persons; nobody gets password hashes. ``deleted`` holds (type, name), perhaps of things never told. ``mark``
    identifies the revision across histories (the number alone may come twice after a loss). ``more`` is the offset of
    the next page, 0 at the end; in an event it says: too long to send, read it. ``current`` is false while the
    server's database is away or does not follow: another server may know more. ``epoch`` is the highest one that the
    server knows of (0: not said): who knows of a higher one does not take it for current."""

    revision: int
    full: bool
    objects: list[ConfigObject]
    deleted: list[tuple[str, str]] = []
    writable: bool = True
    mark: str = ""
    more: int = 0
    current: bool = True
    epoch: int = 0


class OperationKind(enum.StrEnum):
    """What one operation of a change does."""

    SET_OPTION = "set-option"
    DELETE_OPTION = "delete-option"
    PUT = "put"
    DELETE = "delete"


class Operation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """``type``/``name`` address the object; option operations use section, key, value; ``put`` uses ``object``."""

    op: OperationKind
    type: str
    name: str
    section: str = ""
    key: str = ""
    value: str = ""
    object: ConfigObject | None = None


class Change(msgspec.Struct, kw_only=True):
    """``config.change`` -> :class:`ChangeMade`: all operations or none. Needs role administrator or operator."""

    operations: list[Operation]
    reason: str


class ChangeMade(msgspec.Struct):
    """The revision that holds the change."""

    revision: int


class GetChangeHistory(msgspec.Struct, kw_only=True):
    """``config.history`` -> list of :class:`ChangeRecord`, newest first."""

    limit: int = 50
    type: str = ""
    name: str = ""


class ChangeRecord(msgspec.Struct, kw_only=True):
    """Who changed what, when and why. ``at`` is Unix seconds."""

    revision: int
    at: float
    by: str
    reason: str
    operations: list[Operation]
