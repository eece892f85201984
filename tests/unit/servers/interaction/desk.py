"""An Interaction Server's term without database and links: a writer that commits at once, or when told."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from stayline.domain.errors import Refusal, RefusedError
from stayline.domain.interaction import Interaction
from stayline.servers.interaction.ledger import Ledger, Recorded
from stayline.servers.interaction.model import Model
from stayline.store.interaction import Write, Written
from stayline.store.interaction_state import Loaded

EMPTY = Loaded([], [], [], [], {}, 0)


class FakeWriter:
    """Commits in order of arrival; ``hold`` keeps commits waiting; ``refusal`` answers everything."""

    def __init__(self) -> None:
        self.seq = 0
        self.writes: list[Write] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.refusal: Refusal | None = None

    async def submit(self, item: Write) -> Written:
        """The next journal positions."""
        await self.gate.wait()
        if self.refusal is not None:
            raise RefusedError(self.refusal)
        self.writes.append(item)
        seqs = []
        for _ in item.steps:
            self.seq += 1
            seqs.append(self.seq)
        return Written(tuple(seqs))


class Desk:
    """A ledger with its model; ``told`` are the steps whose consequences were called, ``over`` why it lost its term."""

    def __init__(self, loaded: Loaded = EMPTY, clock: Callable[[], float] = lambda: 1_000.0) -> None:
        self.model = Model(loaded)
        self.writer = FakeWriter()
        self.told: list[Recorded] = []
        self.over: list[str] = []
        self.old: Mapping[str, Interaction] = {}
        self.ledger = Ledger(
            self.model,
            self.writer,
            epoch=1,
            term=1,
            clock=clock,
            find=self._find,
            after=self.told.append,
            lost=self.over.append,
        )

    async def _find(self, id: str) -> Interaction | None:
        return self.old.get(id)


def events(recorded: Sequence[Recorded]) -> list[str]:
    """What happened, in order."""
    return [r.step.entry.event.value for r in recorded]
