"""Connections to PostgreSQL."""

import asyncio
import ssl
from typing import TypeAlias

import asyncpg

from stayline.domain.errors import Refusal, refuse

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
"""A connection that answers with plain records."""

APPLICATION_NAME_LIMIT = 63
"""Bytes: PostgreSQL cuts longer names off, and a cut name could not be fenced."""


LOST = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # asyncpg's own confusion about a session that was ended in just the wrong moment.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)
"""What a statement raises when its connection (or server) is going, gone or not there yet."""


async def connect(
    dsn: str,
    application_name: str,
    *,
    timeout: float = 5.0,
    command_timeout: float | None = 30.0,
    ssl_context: ssl.SSLContext | None = None,
) -> Connection:
    """Open one connection. ``application_name`` is the instance of the process, at most 63 bytes.

    ``timeout`` and ``command_timeout`` in seconds. Raises RefusedError ``database.unreachable`` (retryable), or
    ``database.credentials`` when the server does not accept who we say we are.
    """
    check_application_name(application_name)
    try:
        return await asyncpg.connect(
            dsn,
            timeout=timeout,
            command_timeout=command_timeout,
            server_settings={"application_name": application_name},
            ssl=ssl_context,
        )
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise refuse(
            "database.credentials",
            f"The database refuses this role: {error}",
            fix="Check user and password of the DSN.",
        ) from error
    except (*LOST, asyncpg.TooManyConnectionsError) as error:
        raise refuse(
            "database.unreachable",
            f"The database does not answer: {describe(error)}",
            retryable=True,
            retry_after=0.2,
        ) from error


async def open_pool(
    dsn: str, application_name: str, size: int, *, command_timeout: float = 30.0
) -> asyncpg.Pool:
    """A pool of at most ``size`` connections, one opened at once. Raises as :func:`connect` does."""
    check_application_name(application_name)
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=size,
            timeout=5.0,
            command_timeout=command_timeout,
            max_inactive_connection_lifetime=300.0,
            server_settings={"application_name": application_name},
        )
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise refuse("database.credentials", f"The database refuses this role: {error}") from error
    except (*LOST, asyncpg.TooManyConnectionsError) as error:
        raise refuse(
            "database.unreachable",
            f"The database does not answer: {describe(error)}",
            retryable=True,
            retry_after=0.2,
        ) from error


async def is_in_recovery(conn: Connection) -> bool:
    """Whether this server is a replica (or still recovering): it accepts no writes."""
    return bool(await conn.fetchval("SELECT pg_is_in_recovery()"))


async def hang_up(conn: Connection, timeout: float = 1.0) -> None:
    """Close a connection politely, else abruptly after ``timeout`` seconds; never raises."""
    try:
        await conn.close(timeout=timeout)
    except (*LOST, asyncpg.PostgresError):
        conn.terminate()
    except asyncio.CancelledError:
        conn.terminate()
        raise


def check_application_name(name: str) -> None:
    """Raises RefusedError ``database.application_name`` for a name that PostgreSQL would cut off."""
    if not 0 < len(name.encode()) <= APPLICATION_NAME_LIMIT:
        raise refuse(
            "database.application_name",
            f"{name!r} cannot name a database session: it must have 1 to {APPLICATION_NAME_LIMIT} bytes.",
            field="application_name",
        )


def describe(error: BaseException) -> str:
    """One line for a person: many connection errors have no text of their own."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def lost(error: BaseException) -> Refusal:
    """The refusal that says that the database went away during a request."""
    return Refusal(
        code="database.lost",
        reason=f"The database went away: {describe(error)}",
        retryable=True,
        retry_after=0.2,
    )
