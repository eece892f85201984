"""A change of the configuration that no Configuration Server can make: into the database of the active site itself, in
the same form (history, revision, mark), judged by the same rules."""

import asyncpg
import structlog

from stayline.domain.errors import refuse
from stayline.link.messages.configuration import Operation
from stayline.servers.configuration.changes import check_request, for_history, written_by
from stayline.store.configuration import NewChange, Stored, write_change
from stayline.store.database import LOST, connect, describe, hang_up

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 5.0


class DirectChange:
    """Writes to the database ``dsn`` of ``site`` as application ``by``, which is also who the Configuration Servers
    would note for it: the same key has effect once, whichever way it is used. ``instance`` names the database
    session."""

    def __init__(self, dsn: str, site: str, by: str, instance: str) -> None:
        self._dsn = dsn
        self._site = site
        self._by = by
        self._instance = instance[:63]

    async def __call__(self, operations: list[Operation], reason: str, key: str) -> int:
        """The revision made, or the one that this key made before. Raises RefusedError (``config.read_only``: this
        site does not hold the mastership; ``config.unavailable``: its database does not take it now)."""
        check_request(operations, reason)
        connection = await connect(
            self._dsn, self._instance, timeout=TIMEOUT_SECONDS, command_timeout=TIMEOUT_SECONDS
        )
        try:
            change = NewChange(self._by, reason.strip(), key, for_history(operations))
            revision, _ = await write_change(
                connection, change, self._site, Stored(), 0, lambda stored: written_by(operations, stored)
            )
        except (*LOST, asyncpg.LockNotAvailableError, asyncpg.ReadOnlySQLTransactionError) as error:
            raise refuse(
                "config.unavailable",
                f"The database of {self._site} cannot take the change: {describe(error)}.",
                retryable=True,
                retry_after=0.5,
                fix="Repeat it with the same key; it has effect at most once.",
            ) from error
        finally:
            await hang_up(connection)
        log.warning(
            "configuration.changed_directly",
            revision=revision,
            by=self._by,
            operations=len(operations),
            why=f"no Configuration Server answered: {reason}",
        )
        return revision
