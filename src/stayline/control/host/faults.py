"""How an operation on a site's database can fail, and what to say of it."""

import asyncpg

from stayline.domain.errors import StaylineError
from stayline.store.database import LOST

FAULTS = (StaylineError, asyncpg.PostgresError, TimeoutError, *LOST)
"""Refusals, and what the node's own connection raises as it comes."""


def sentence(error: BaseException) -> str:
    """The reason of a fault, for a log line or a status."""
    return error.refusal.reason if isinstance(error, StaylineError) else repr(error)
