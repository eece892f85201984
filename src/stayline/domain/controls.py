"""What an agent may do with an interaction: the one published table (design rule 8).

Medium x stage of the interaction x links that are up decide every control. The Workspace enables its buttons
from this table and refuses by it, the reference page in the docs is printed from it, the tests compare it
with the sentences of the specification. There is no second source.
"""

import enum
from collections.abc import Iterator, Mapping
from itertools import product

import msgspec


class Media(enum.StrEnum):
    """Media types that have a row in the table."""

    CHAT = "chat"
    EMAIL = "email"
    SMS = "sms"


class Stage(enum.StrEnum):
    """Where an interaction stands, as far as controls are concerned.

    ``ACTIVE``: owned, and its session lives (chat; SMS in session mode). ``ENDED``: owned, its session has
    ended. ``INBOUND``/``OUTBOUND``: an owned e-mail. ``PAGED``: an owned SMS outside a session (page mode).
    """

    OFFERED = "offered"
    ACTIVE = "active"
    ENDED = "ended"
    INBOUND = "inbound"
    OUTBOUND = "outbound"
    PAGED = "paged"


class Control(enum.StrEnum):
    """Everything an agent can press or edit on an interaction."""

    ACCEPT = "accept"
    REJECT = "reject"
    SEND = "send"
    END = "end"
    TRANSFER = "transfer"
    CONFERENCE = "conference"
    DONE = "done"
    DELETE = "delete"
    REPLY = "reply"
    FORWARD = "forward"
    SAVE = "save"
    WORKBIN = "workbin"
    PRINT_PREVIEW = "print-preview"
    EDIT_FIELDS = "edit-fields"
    CASE_INFORMATION = "case-information"
    DISPOSITION = "disposition"
    RECORD_INFORMATION = "record-information"
    ASSIGN_CONTACT = "assign-contact"
    EDIT_CONTACT = "edit-contact"
    HISTORY = "history"


class Link(enum.StrEnum):
    """The links a control can depend on. ``INTERACTION`` counts as up only when the core has confirmed
    ownership."""

    INTERACTION = "interaction"
    CONTACT = "contact"
    MEDIA = "media"


class ControlState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a control can be used now. ``why`` is a sentence for the agent, empty when enabled; ``shown``
    is false where the control has no meaning at this stage at all."""

    enabled: bool
    why: str = ""
    shown: bool = True


Row = Mapping[Stage, frozenset[Link]]
"""For each stage in which a control exists: the links it needs."""

ENABLED = ControlState(True)

_NOTHING: frozenset[Link] = frozenset()
_IXN = frozenset({Link.INTERACTION})
_MEDIA = frozenset({Link.MEDIA})
_BOTH = frozenset({Link.INTERACTION, Link.MEDIA})
_UCS = frozenset({Link.CONTACT})
_ASSIGN = frozenset({Link.INTERACTION, Link.CONTACT})


def _in(stages: tuple[Stage, ...], links: frozenset[Link]) -> Row:
    return dict.fromkeys(stages, links)


def _general(stages: tuple[Stage, ...]) -> dict[Control, Row]:
    """Rows that every medium has: the specification's "general restrictions"."""
    return {
        Control.ACCEPT: _in((Stage.OFFERED,), _IXN),
        Control.REJECT: _in((Stage.OFFERED,), _IXN),
        Control.CASE_INFORMATION: _in(stages, _IXN),
        Control.DISPOSITION: _in(stages, _IXN),
        Control.RECORD_INFORMATION: _in(stages, _IXN),
        Control.ASSIGN_CONTACT: _in(stages, _ASSIGN),
        # Contact records and history are the Contact Server's alone: not restricted by the Interaction Server
        # link.
        Control.EDIT_CONTACT: _in(stages, _UCS),
        Control.HISTORY: _in((Stage.OFFERED, *stages), _UCS),
    }


_CHAT = (Stage.ACTIVE, Stage.ENDED)
_EMAIL = (Stage.INBOUND, Stage.OUTBOUND)
_SMS = (Stage.ACTIVE, Stage.ENDED, Stage.PAGED)

TABLE: Mapping[Media, Mapping[Control, Row]] = {
    Media.CHAT: {
        **_general(_CHAT),
        Control.SEND: _in((Stage.ACTIVE,), _MEDIA),
        Control.END: _in((Stage.ACTIVE,), _BOTH),
        Control.TRANSFER: _in((Stage.ACTIVE,), _IXN),
        Control.CONFERENCE: _in((Stage.ACTIVE,), _IXN),
        Control.DONE: _in((Stage.ENDED,), _IXN),
    },
    Media.EMAIL: {
        **_general(_EMAIL),
        # "All actions except for print preview are disabled": contact pages included.
        Control.EDIT_CONTACT: _in(_EMAIL, _ASSIGN),
        Control.HISTORY: _in((Stage.OFFERED, *_EMAIL), _ASSIGN),
        Control.REPLY: _in((Stage.INBOUND,), _IXN),
        Control.FORWARD: _in((Stage.INBOUND,), _IXN),
        Control.SEND: _in((Stage.OUTBOUND,), _BOTH),
        Control.SAVE: _in((Stage.OUTBOUND,), _IXN),
        Control.DELETE: _in((Stage.OUTBOUND,), _IXN),
        Control.TRANSFER: _in(_EMAIL, _IXN),
        Control.WORKBIN: _in(_EMAIL, _IXN),
        Control.DONE: _in((Stage.INBOUND,), _IXN),
        Control.PRINT_PREVIEW: _in(_EMAIL, _NOTHING),
        # To, From, Cc, Bcc, subject and body.
        Control.EDIT_FIELDS: _in((Stage.OUTBOUND,), _NOTHING),
    },
    Media.SMS: {
        **_general(_SMS),
        Control.SEND: {Stage.ACTIVE: _MEDIA, Stage.PAGED: _BOTH},
        Control.END: _in((Stage.ACTIVE,), _BOTH),
        Control.TRANSFER: _in(_SMS, _IXN),
        Control.DONE: _in(_SMS, _IXN),
        Control.DELETE: _in((Stage.PAGED,), _IXN),
    },
}

_NEEDS: Mapping[tuple[Control, Link], str] = {
    (
        Control.ACCEPT,
        Link.INTERACTION,
    ): "The offer can be accepted only when the Interaction Server link is back.",
    (
        Control.REJECT,
        Link.INTERACTION,
    ): "The offer can be rejected only when the Interaction Server link is back.",
    (Control.END, Link.INTERACTION): "The chat can be ended when the Interaction Server link is back.",
    (Control.TRANSFER, Link.INTERACTION): "Transfer is possible when the Interaction Server link is back.",
    (
        Control.CONFERENCE,
        Link.INTERACTION,
    ): "Conference is possible when the Interaction Server link is back.",
    (Control.DONE, Link.INTERACTION): "Mark Done is possible when the Interaction Server link is back.",
    (Control.DELETE, Link.INTERACTION): "Delete is possible when the Interaction Server link is back.",
    (Control.CASE_INFORMATION, Link.INTERACTION): (
        "Case information is read only until the Interaction Server link is back."
    ),
    (Control.DISPOSITION, Link.INTERACTION): (
        "The disposition code is read only until the Interaction Server link is back."
    ),
    (Control.RECORD_INFORMATION, Link.INTERACTION): (
        "Record information is read only until the Interaction Server link is back."
    ),
    (Control.ASSIGN_CONTACT, Link.INTERACTION): (
        "A contact can be assigned when the Interaction Server link is back."
    ),
    (Control.EDIT_CONTACT, Link.CONTACT): "The contact is read only until the Contact Server link is back.",
    (Control.HISTORY, Link.CONTACT): "History can be read when the Contact Server link is back.",
    (Control.SEND, Link.MEDIA): "Messages can be sent when the connection to the media server is back.",
    (Control.END, Link.MEDIA): "The session can be ended when the connection to the media server is back.",
}

_GENERIC: Mapping[Link, str] = {
    Link.INTERACTION: "This is possible when the Interaction Server link is back.",
    Link.CONTACT: "This is possible when the Contact Server link is back.",
    Link.MEDIA: "This is possible when the connection to the media server is back.",
}

_NOT_AT: Mapping[tuple[Control, Stage], str] = {
    (Control.DONE, Stage.ACTIVE): "End the chat first, then mark it done.",
    (Control.DONE, Stage.OUTBOUND): "An outbound e-mail is finished by Send or Delete.",
    (Control.SEND, Stage.ENDED): "The session has ended: nothing more can be sent.",
    (Control.END, Stage.ENDED): "The session has already ended.",
    (Control.TRANSFER, Stage.ENDED): "The session has ended: there is nothing to transfer.",
    (Control.CONFERENCE, Stage.ENDED): "The session has ended: nobody can join it.",
    (Control.EDIT_FIELDS, Stage.INBOUND): "What a customer wrote cannot be edited.",
}

_AFTER_ACCEPT = "Accept the interaction first."
_NO_OFFER = "The interaction is already yours."
_NO_MEANING = "Not available for this interaction as it stands."


def stage_of(media: Media, *, owned: bool, online: bool, outbound: bool = False) -> Stage:
    """The stage of an interaction. ``online``: its chat or SMS session lives; ``outbound``: an e-mail being
    written."""
    if not owned:
        return Stage.OFFERED
    if media is Media.EMAIL:
        return Stage.OUTBOUND if outbound else Stage.INBOUND
    if media is Media.SMS and not online:
        return Stage.PAGED
    return Stage.ACTIVE if online else Stage.ENDED


def control_state(media: Media, control: Control, stage: Stage, up: frozenset[Link]) -> ControlState:
    """Whether ``control`` can be used at ``stage`` while the links ``up`` are up, and why not."""
    row = TABLE[media].get(control)
    if row is None:
        return ControlState(False, _NO_MEANING, shown=False)
    needs = row.get(stage)
    if needs is None:
        return _wrong_stage(control, stage)
    for link in Link:
        if link in needs and link not in up:
            return ControlState(False, _NEEDS.get((control, link), _GENERIC[link]))
    return ENABLED


def _wrong_stage(control: Control, stage: Stage) -> ControlState:
    why = _NOT_AT.get((control, stage))
    if why is not None:
        return ControlState(False, why)
    if stage is Stage.OFFERED:
        return ControlState(False, _AFTER_ACCEPT, shown=False)
    if control in (Control.ACCEPT, Control.REJECT):
        return ControlState(False, _NO_OFFER, shown=False)
    return ControlState(False, _NO_MEANING, shown=False)


def controls(media: Media, stage: Stage, up: frozenset[Link]) -> dict[str, ControlState]:
    """State of every control of a medium, by its name."""
    return {control.value: control_state(media, control, stage, up) for control in TABLE[media]}


def published() -> Iterator[tuple[Media, Stage, frozenset[Link], Control, ControlState]]:
    """Every line of the table written out, for the docs and the tests."""
    for media, rows in TABLE.items():
        stages = [stage for stage in Stage if any(stage in row for row in rows.values())]
        for stage, flags in product(stages, product((True, False), repeat=len(Link))):
            up = frozenset(link for link, flag in zip(Link, flags, strict=True) if flag)
            for control in rows:
                yield media, stage, up, control, control_state(media, control, stage, up)
