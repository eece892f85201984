"""What the Interaction Server's GroupWriter executes: transitions together, and the begin of a term by itself."""

from collections.abc import Sequence
from typing import TypeAlias

from stayline.domain.errors import Refusal
from stayline.store.database import Connection
from stayline.store.interaction import Write, Written, write_batch
from stayline.store.interaction_state import Loaded, Prove, Proven, Prune, Pruned, TakeOver, prune, take_over

Item: TypeAlias = Write | TakeOver | Prune | Prove
Outcome: TypeAlias = Written | Loaded | Pruned | Proven


async def execute(connection: Connection, items: Sequence[Item]) -> list[Outcome | Refusal]:
    """Run inside the writer's transaction, which has checked epoch and term. Same order as ``items``."""
    writes = [item for item in items if isinstance(item, Write)]
    written = iter(await write_batch(connection, writes) if writes else [])
    outcomes: list[Outcome | Refusal] = []
    for item in items:
        if isinstance(item, Write):
            outcomes.append(next(written))
        elif isinstance(item, TakeOver):
            outcomes.append(await take_over(connection, item))
        elif isinstance(item, Prune):
            outcomes.append(await prune(connection, item))
        else:
            outcomes.append(Proven())
    return outcomes
