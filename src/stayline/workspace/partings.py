"""Interactions leaving the desk, and what the agent must be told about it: nothing typed vanishes
silently."""

import uuid

from stayline.domain.errors import Refusal
from stayline.domain.interaction import TRANSITIONS, Event, State
from stayline.link.messages.interaction import Done
from stayline.workspace.desk import Departure
from stayline.workspace.hub import Hub
from stayline.workspace.render import Parts
from stayline.workspace.saved import KeptRequest, OutMessage
from stayline.workspace.view import BannerKind, NoticeView

MAX_NOTICES = 50

LEAVING = frozenset({"interaction.done", "interaction.transfer", "interaction.reject"})
"""Actions by which the agent gives an interaction away."""

GIVEN_BACK = frozenset(
    event.value
    for (state, event), transition in TRANSITIONS.items()
    if state in (State.OWNED, State.OFFERED)
    and transition.new is State.QUEUED
    and event is not Event.TRANSFER
)
"""What brings an interaction back to the queue that it came from."""


class Partings:
    """Notices, and which interactions the agent parts with on purpose (their leaving is no news)."""

    def __init__(self, parts: Parts, hub: Hub) -> None:
        self._parts = parts
        self._hub = hub
        self._intended: set[str] = set()

    def intend(self, interaction: str) -> None:
        """The agent is about to part with it."""
        self._intended.add(interaction)

    def departed(self, departure: Departure) -> None:
        """An interaction has left the desk."""
        parts, view = self._parts, departure.interaction
        intended = view.id in self._intended
        self._intended.discard(view.id)
        left = parts.chats.drop(view.id)
        draft = parts.drafts.pop(view.id, "")
        if draft.strip():
            at = parts.clock()
            left.append(OutMessage(id="", session=view.chat_session, interaction=view.id, text=draft, at=at))
        who = view.customer or view.subject or view.id
        if not intended:
            told = f"{who} is no longer on your desk: {departure.why}{_where(departure)}"
            self.notice(BannerKind.WARNING, told, view.id)
        if left:
            self.undelivered(left, f"{who} is no longer on your desk.")
        self._hub.touch("list", f"card:{view.id}")

    def orphans(self) -> None:
        """Drafts of interactions that are not on the desk (any more): an earlier process had them there."""
        parts = self._parts
        for interaction in [key for key in parts.drafts if key not in parts.desk.cases]:
            text, at = parts.drafts.pop(interaction), parts.clock()
            if text.strip():
                message = OutMessage(id="", session="", interaction=interaction, text=text, at=at)
                self.undelivered([message], "The interaction is no longer yours.")

    def undelivered(self, messages: list[OutMessage], why: str) -> None:
        """What was typed and never acknowledged: its text stays in the notice."""
        text = "\n".join(message.text for message in messages)
        told = f"What you had typed was not confirmed as delivered: {why}"
        self.notice(BannerKind.WARNING, told, messages[0].interaction, text)

    def answered(self, request: KeptRequest, result: object, refusal: Refusal | None, waited: bool) -> None:
        """An action has its outcome."""
        case = self._parts.desk.cases.get(request.interaction)
        if case is not None and case.busy == request.label:
            case.busy = ""
        if refusal is not None:
            self._intended.discard(request.interaction)
            if not waited:
                told = f"'{request.label}' was refused: {refusal.reason}"
                self.notice(BannerKind.WARNING, told, request.interaction)
        elif isinstance(result, Done) and request.method in LEAVING and case is not None:
            version = max(result.version, case.interaction.version)
            event = request.method.rpartition(".")[2]
            departure = self._parts.desk.remove(request.interaction, version, event, "by this agent")
            if departure is not None:
                self.intend(request.interaction)
                self.departed(departure)

    def notice(self, kind: BannerKind, text: str, interaction: str = "", kept_text: str = "") -> None:
        """Tell the agent; the oldest of too many notices goes."""
        notice = NoticeView(
            id=uuid.uuid4().hex,
            kind=kind,
            text=text,
            at=self._parts.clock(),
            interaction=interaction,
            kept_text=kept_text,
        )
        self._parts.notices = _newest([*self._parts.notices, notice])
        self._hub.touch("notices")


def _newest(notices: list[NoticeView]) -> list[NoticeView]:
    """Not too many; those that hold what somebody has typed go last."""
    spare = max(0, len(notices) - MAX_NOTICES)
    gone = [*(one for one in notices if not one.kept_text), *(one for one in notices if one.kept_text)][
        :spare
    ]
    return [one for one in notices if one not in gone]


def _where(departure: Departure) -> str:
    """Where an interaction is that left the desk, as far as what happened to it says so."""
    queue = departure.interaction.queue
    if departure.event in GIVEN_BACK and queue:
        return f" It waits in queue '{queue}' for another agent."
    return ""
