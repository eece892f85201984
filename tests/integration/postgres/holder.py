"""A process of its own that is elected, then writes in a group writer as fast as it can, and says what it does.

``python -m tests.integration.postgres.holder DSN INSTANCE TABLE``; one line for each event on standard output.
"""

import asyncio
import sys

from stayline.domain.errors import Refusal, RefusedError
from stayline.store.database import Connection
from stayline.store.election import Election
from stayline.store.writer import GroupWriter


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def hold(dsn: str, instance: str, table: str) -> None:
    """Be primary until the term is over."""
    election = Election(dsn, "interaction", "Site_A", instance)
    term = await election.campaign()
    _say(f"elected {term.epoch} {term.term}")

    async def apply(conn: Connection, items: list[int]) -> list[int | Refusal]:
        await conn.execute(f"INSERT INTO {table} (n, term) SELECT unnest($1::bigint[]), $2", items, term.term)
        return list(items)

    writer: GroupWriter[int, int] = GroupWriter(dsn, term, apply, instance=instance)
    await writer.open()
    number = term.term * 1_000_000
    while True:
        number += 1
        try:
            await writer.submit(number)
        except RefusedError as error:
            _say(f"refused {number} {error.refusal.code} {error.refusal.reason}")
            break
        _say(f"written {number}")
    await writer.close()
    _say(f"lost {await election.lost}")
    await election.close()


if __name__ == "__main__":
    asyncio.run(hold(*sys.argv[1:4]))
