"""The record of mastership in the database, and the lock numbers of the pairs."""

import asyncpg
import msgspec

from stayline.domain.errors import refuse
from stayline.domain.mastership import End, Mastership, PromotionMode
from stayline.store.database import Connection

PAIRS: dict[str, int] = {"interaction": 1, "contact": 2}
"""Pair -> its key in both classes of advisory lock."""

SESSION_LOCK = 0x53544C31
"""Class of the locks that a primary holds as long as its session lives."""

FENCE_LOCK = 0x53544C32
"""Class of the locks that write transactions share and a new primary takes alone."""

_COLUMNS = "epoch, site, mode, reason, by, extract(epoch FROM at)::float8 AS at, token::text AS token"


def pair_key(pair: str) -> int:
    """The lock key of a pair. Raises RefusedError ``pair.unknown``."""
    if pair not in PAIRS:
        raise refuse(
            "pair.unknown", f"There is no pair {pair!r}.", fix=f"Use one of {', '.join(PAIRS)}.", field="pair"
        )
    return PAIRS[pair]


async def newest_mastership(conn: Connection) -> Mastership | None:
    """The row that names the master; None: no site ever was (or the tables are not there yet)."""
    try:
        row = await conn.fetchrow(f"SELECT {_COLUMNS} FROM mastership ORDER BY epoch DESC LIMIT 1")
    except asyncpg.UndefinedTableError:
        return None
    return None if row is None else _read(row)


async def mastership_history(conn: Connection, limit: int = 100) -> list[Mastership]:
    """The newest ``limit`` rows, newest first."""
    rows = await conn.fetch(f"SELECT {_COLUMNS} FROM mastership ORDER BY epoch DESC LIMIT $1", limit)
    return [_read(row) for row in rows]


async def insert_mastership(conn: Connection, row: Mastership) -> Mastership:
    """Write the next row and return it as recorded.

    Does not wait for a replica: the site that just became master has none yet. Raises RefusedError ``epoch.stale`` or
    ``epoch.gap`` when the epoch is not the next one, asyncpg.ReadOnlySQLTransactionError on a replica.
    """
    token = None if row.token is None else msgspec.json.encode(row.token).decode()
    try:
        async with conn.transaction():
            await conn.execute("SET LOCAL synchronous_commit = local")
            recorded = await conn.fetchrow(
                f"""INSERT INTO mastership (epoch, site, mode, reason, by, at, token)
                    VALUES ($1, $2, $3, $4, $5, coalesce(to_timestamp(nullif($6::float8, 0)), now()), $7::jsonb)
                    RETURNING {_COLUMNS}""",
                row.epoch,
                row.site,
                row.mode.value,
                row.reason,
                row.by,
                row.at,
                token,
            )
    except (asyncpg.CheckViolationError, asyncpg.UniqueViolationError) as error:
        newest = await newest_mastership(conn)
        current = 0 if newest is None else newest.epoch
        raise refuse(
            "epoch.stale" if row.epoch <= current else "epoch.gap",
            f"Epoch {row.epoch} for {row.site} was not recorded: {error}.",
            fix=f"The next epoch is {current + 1}.",
            field="epoch",
            epoch=current,
        ) from error
    assert recorded is not None
    return _read(recorded)


def _read(row: asyncpg.Record) -> Mastership:
    token = None if row["token"] is None else msgspec.json.decode(row["token"], type=End)
    return Mastership(
        epoch=row["epoch"],
        site=row["site"],
        mode=PromotionMode(row["mode"]),
        reason=row["reason"],
        by=row["by"],
        at=row["at"],
        token=token,
    )
