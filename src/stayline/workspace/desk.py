"""The interactions on an agent's desk: what the core said last, by version. No I/O.

An older version never replaces a newer one, whatever way it came (event, reply, snapshot); what has gone
leaves a mark with its version, so that a late event cannot bring it back.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stayline.link.messages.interaction import InteractionView, Missed, Ownership, Snapshot

TOMBSTONES = 1000
"""Marks kept of interactions that have gone."""

OURS = frozenset({Ownership.OFFERED, Ownership.OWNED})


@dataclass
class Case:
    """One interaction on the desk. ``deadline`` (Unix s) of an offer; ``confirmed``: said by the core since
    the last loss of the link; ``busy``: label of the action under way."""

    interaction: InteractionView
    deadline: float = 0.0
    confirmed: bool = True
    busy: str = ""

    @property
    def owned(self) -> bool:
        """Whether it is this agent's (accepted)."""
        return self.interaction.state is Ownership.OWNED


@dataclass(frozen=True)
class Departure:
    """An interaction that left the desk; ``event`` and ``why`` as the core said."""

    interaction: InteractionView
    event: str
    why: str


Report = Callable[..., None]


class Desk:
    """All cases of one agent session."""

    def __init__(self, clock: Callable[[], float], report: Report) -> None:
        self.cases: dict[str, Case] = {}
        self._gone: OrderedDict[str, int] = OrderedDict()
        self._clock = clock
        self._report = report

    def owned(self) -> list[InteractionView]:
        """Interactions that are this agent's."""
        return [case.interaction for case in self.cases.values() if case.owned]

    def put(self, view: InteractionView) -> Case | None:
        """Take a view of an interaction; None when it is older than what is known."""
        if view.state not in OURS:
            return None
        if view.version <= self._gone.get(view.id, -1):
            return None
        case = self.cases.get(view.id)
        if case is not None and view.version < case.interaction.version:
            return None
        self._tell(view, case)
        if case is None:
            case = self.cases[view.id] = Case(view)
        case.interaction = view
        case.confirmed = True
        case.deadline = self._clock() + view.offer_seconds if view.state is Ownership.OFFERED else 0.0
        return case

    def _tell(self, view: InteractionView, before: Case | None) -> None:
        """Facts for the trace: only what is new."""
        known = before.interaction if before is not None else None
        if known is not None and known.version == view.version and known.state is view.state:
            return
        fact = {Ownership.OFFERED: "offered", Ownership.OWNED: "owned"}[view.state]
        if known is not None and known.state is view.state:
            fact = "changed"
        self._report(
            fact,
            interaction=view.id,
            version=view.version,
            epoch=view.epoch,
            term=view.term,
            chat_session=view.chat_session,
        )

    def remove(self, interaction: str, version: int, event: str, why: str) -> Departure | None:
        """It is no longer ours as of ``version``; None when it is not on the desk or the news is old."""
        case = self.cases.get(interaction)
        if case is not None and version < case.interaction.version:
            return None
        self._mark(interaction, version)
        if case is None:
            return None
        del self.cases[interaction]
        self._report("gone", interaction=interaction, version=version, event=event, why=why)
        return Departure(case.interaction, event, why)

    def _mark(self, interaction: str, version: int) -> None:
        self._gone[interaction] = max(version, self._gone.get(interaction, -1))
        self._gone.move_to_end(interaction)
        while len(self._gone) > TOMBSTONES:
            self._gone.popitem(last=False)

    def replace(self, snapshot: Snapshot, missed: Iterable[Missed]) -> list[Departure]:
        """The whole truth: what is not in the snapshot is not ours, with the missed story's reason if it has
        one."""
        story = {item.interaction: item for item in missed}
        departures: list[Departure] = []
        present = {view.id for view in snapshot.interactions}
        for interaction in [key for key in self.cases if key not in present]:
            case = self.cases[interaction]
            told = story.get(interaction)
            event = told.event if told else "gone"
            why = told.why if told else "It was no longer this session's when the link was back."
            gone = self.remove(interaction, case.interaction.version, event, why)
            if gone is not None:
                departures.append(gone)
        for view in snapshot.interactions:
            self._gone.pop(view.id, None)
            self.put(view)
        return departures

    def doubt(self) -> None:
        """The link to the core is away: nothing is confirmed until it says so again."""
        for case in self.cases.values():
            case.confirmed = False
