"""What the fragments about the chosen interaction are rendered from (see ``models``)."""

from dataclasses import dataclass

import msgspec

from stayline.domain.controls import ControlState
from stayline.link.messages.contact import EntryKind, HistoryItem, Party
from stayline.link.messages.interaction import Ownership
from stayline.workspace.view import EntryView, InteractionCard, WorkspaceView
from stayline.workspace.web import wording
from stayline.workspace.web.wording import Chip

GROUP_SECONDS = 120.0
"""Messages of one person closer together than this share one heading."""

TRANSCRIPT_SHOWN = 400
"""Newest entries shown; a longer transcript says that earlier ones exist."""

CONTACT_FIELDS = (
    ("FirstName", "First name"),
    ("LastName", "Last name"),
    ("EmailAddress", "E-mail"),
    ("PhoneNumber", "Phone"),
)
"""Attributes of a contact shown on the desk, with their labels."""

MISSING = ControlState(enabled=False, why="Not available for this interaction.", shown=False)


class HeadModel(msgspec.Struct, frozen=True, kw_only=True):
    """Heading of the chosen interaction, with its actions."""

    id: str
    media: str
    customer: str
    subject: str
    queue: str
    chip: Chip
    owned_at: float
    created_at: float
    unread: int
    busy: str
    held: bool
    actions: list[tuple[str, ControlState]]


@dataclass(frozen=True)
class Group:
    """Entries of one person in a row, or one system line."""

    kind: str
    name: str
    at: float
    entries: tuple[EntryView, ...]


class LogModel(msgspec.Struct, frozen=True, kw_only=True):
    """The transcript."""

    id: str
    customer: str
    entries: list[EntryView]
    cut: bool
    offered: bool

    def groups(self) -> list[Group]:
        """Entries gathered under headings."""
        return group(self.entries)


class ComposerModel(msgspec.Struct, frozen=True, kw_only=True):
    """The reply box."""

    id: str
    customer: str
    send: ControlState
    unsent: int


class FieldModel(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a form. ``why`` when it cannot be changed now."""

    key: str
    label: str
    value: str
    editable: bool
    why: str = ""


class FormModel(msgspec.Struct, frozen=True, kw_only=True):
    """Fields about one interaction; ``why``: one reason for all of them (empty: they can be edited)."""

    id: str
    fields: list[FieldModel]
    why: str
    loading: bool = False


class CaseModel(msgspec.Struct, frozen=True, kw_only=True):
    """Case information and the disposition code."""

    form: FormModel
    disposition: str
    dispositions: list[tuple[str, str]]
    disposition_state: ControlState


class HistoryModel(msgspec.Struct, frozen=True, kw_only=True):
    """Earlier interactions of the contact. ``items`` None: not loaded."""

    id: str
    items: list[HistoryItem] | None
    state: ControlState


_ACTIONS = ("transfer", "end", "done")


def head(card: InteractionCard | None) -> HeadModel | None:
    """Model of the heading; None when nothing is chosen."""
    if card is None:
        return None
    return HeadModel(
        id=card.id,
        media=card.media,
        customer=card.customer or "Unknown customer",
        subject=card.subject,
        queue=card.queue,
        chip=wording.card_chip(card),
        owned_at=card.owned_at,
        created_at=card.created_at,
        unread=card.unread,
        busy=card.busy,
        held=not card.confirmed,
        actions=[(name, card.controls.get(name, MISSING)) for name in _ACTIONS],
    )


def log(card: InteractionCard | None) -> LogModel | None:
    """Model of the transcript."""
    if card is None:
        return None
    return LogModel(
        id=card.id,
        customer=card.customer or "the customer",
        entries=card.transcript[-TRANSCRIPT_SHOWN:],
        cut=len(card.transcript) > TRANSCRIPT_SHOWN,
        offered=card.state is Ownership.OFFERED,
    )


def group(entries: list[EntryView]) -> list[Group]:
    """Gather neighbouring messages of one person; every other entry is a line of its own."""
    groups: list[Group] = []
    for entry in entries:
        message = entry.kind is EntryKind.MESSAGE and entry.party is not Party.SYSTEM
        kind = ("mine" if entry.mine else entry.party.value) if message else "event"
        last = groups[-1] if groups else None
        joins = last is not None and message and (last.kind, last.name) == (kind, entry.name)
        if last is not None and joins and entry.at - last.entries[-1].at <= GROUP_SECONDS:
            groups[-1] = Group(kind, last.name, last.at, (*last.entries, entry))
        else:
            groups.append(Group(kind, entry.name, entry.at, (entry,)))
    return groups


def composer(card: InteractionCard | None) -> ComposerModel | None:
    """Model of the reply box; None where nothing can be written."""
    if card is None or card.state is not Ownership.OWNED:
        return None
    send = card.controls.get("send", MISSING)
    return ComposerModel(id=card.id, customer=card.customer or "the customer", send=send, unsent=card.unsent)


def typing(card: InteractionCard | None) -> str:
    """Who is typing to the agent (empty: nobody)."""
    return (card.customer or "The customer") if card is not None and card.customer_typing else ""


def contact(card: InteractionCard | None) -> FormModel | None:
    """Model of the contact panel."""
    if card is None:
        return None
    state = card.controls.get("edit-contact", MISSING)
    attributes = card.contact.attributes if card.contact is not None else {}
    why = "" if state.enabled else state.why
    fields = [
        FieldModel(key=key, label=label, value=attributes.get(key, ""), editable=True, why=why)
        for key, label in CONTACT_FIELDS
    ]
    return FormModel(id=card.id, fields=fields, why=why, loading=card.contact is None)


def case(view: WorkspaceView, card: InteractionCard | None) -> CaseModel | None:
    """Model of case information."""
    if card is None:
        return None
    state = card.controls.get("case-information", MISSING)
    why = "" if state.enabled else state.why
    fields = [
        FieldModel(
            key=one.key,
            label=one.label,
            value=card.properties.get(one.key, ""),
            editable=one.editable,
            why=why if one.editable else "This field is for information only.",
        )
        for one in view.case_fields
    ]
    return CaseModel(
        form=FormModel(id=card.id, fields=fields, why=why),
        disposition=card.disposition,
        dispositions=list(view.dispositions.items()),
        disposition_state=card.controls.get("disposition", MISSING),
    )


def history(view: WorkspaceView, card: InteractionCard | None) -> HistoryModel | None:
    """Model of the history panel; the present interaction is left out, dispositions get their labels."""
    if card is None:
        return None
    state = card.controls.get("history", MISSING)
    if card.history is None:
        return HistoryModel(id=card.id, items=None, state=state)
    items = [
        msgspec.structs.replace(item, disposition=view.dispositions.get(item.disposition, item.disposition))
        for item in card.history
        if item.interaction != card.id
    ]
    return HistoryModel(id=card.id, items=items, state=state)
