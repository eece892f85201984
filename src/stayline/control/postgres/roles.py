"""What a new primary needs inside: roles, the database, and on a centre's first start its first mastership row."""

from typing import TYPE_CHECKING

import asyncpg

from stayline.control.postgres.config import APPLICATION_ROLE, DATABASE, REPLICATION_ROLE
from stayline.domain.mastership import Mastership, PromotionMode
from stayline.store.database import Connection, connect, hang_up
from stayline.store.mastership import insert_mastership, newest_mastership
from stayline.store.migrate import migrate

if TYPE_CHECKING:
    from stayline.control.postgres.node import PostgresNode

_REWIND_FUNCTIONS = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)


async def ensure(node: "PostgresNode") -> None:
    """Create the roles and the database that are missing; harmless when all is there."""
    conn = await node.admin_connect("postgres")
    try:
        password = node.config.passwords.application
        await _create_role(conn, APPLICATION_ROLE, f"LOGIN PASSWORD '{password}'")
        await _create_role(conn, REPLICATION_ROLE, "LOGIN REPLICATION")
        # It receives every byte of the database anyway; reading rows lets it count what a failover lost.
        # pg_checkpoint: a rewind needs a checkpoint of the new primary.
        await conn.execute(f"GRANT pg_read_all_data, pg_checkpoint TO {REPLICATION_ROLE}")
        if not await conn.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await conn.execute(f"CREATE DATABASE {DATABASE} OWNER {APPLICATION_ROLE}")
        await conn.execute(f"REVOKE CONNECT, TEMPORARY ON DATABASE {DATABASE} FROM PUBLIC")
        await conn.execute(f"GRANT CONNECT ON DATABASE {DATABASE} TO {REPLICATION_ROLE}")
    finally:
        await hang_up(conn)
    async with node.admin() as inside:
        for function in _REWIND_FUNCTIONS:
            await inside.execute(f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {REPLICATION_ROLE}")


async def establish_by_dsn(dsn: str, site: str, reason: str, by: str) -> None:
    """Bring the tables up to date and, when no site was ever master, write epoch 1 for this one."""
    conn = await connect(dsn, f"stayline-node {site}")
    try:
        # A primary that was left waiting for its replica must come up without it.
        await conn.execute("SET synchronous_commit = local")
        await migrate(conn)
        if await newest_mastership(conn) is None:
            row = Mastership(epoch=1, site=site, mode=PromotionMode.PLANNED, reason=reason, by=by)
            await insert_mastership(conn, row)
    finally:
        await hang_up(conn)


async def _create_role(conn: Connection, name: str, attributes: str) -> None:
    try:
        await conn.execute(f"CREATE ROLE {name} {attributes}")
    except asyncpg.DuplicateObjectError:
        await conn.execute(f"ALTER ROLE {name} {attributes}")
