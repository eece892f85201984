"""Mastership of the database moves: demote here with a proof of the end, promote there exactly from that end."""

import asyncio
import time
from typing import TYPE_CHECKING

import asyncpg
import structlog

from stayline.control.postgres.config import replica_name
from stayline.control.postgres.settings import write_auto_conf, write_standby_signal
from stayline.domain.errors import RefusedError, refuse
from stayline.domain.mastership import End, Mastership, PromotionMode, may_promote, reached
from stayline.link.messages.control import DemotionToken, Promote
from stayline.store.database import Connection, is_in_recovery
from stayline.store.mastership import insert_mastership, newest_mastership

if TYPE_CHECKING:
    from stayline.control.postgres.node import PostgresNode

_log = structlog.get_logger("postgres.promotion")

_TRY_WRITE = 0.002
"""Seconds between two attempts to write after a promotion: ``pg_promote(true)`` itself would only look every 100 ms."""

_LOOK = 0.01

CHECKPOINT_SECONDS = 60.0
"""A busy primary with much to write takes its time; giving up in the middle of a switch would cost more."""


async def demote(node: "PostgresNode", why: str) -> DemotionToken:
    """Stop the primary cleanly and keep it from ever starting as one by itself; the token proves where it ended.

    Repeating it gives the same token. Raises RefusedError ``database.not_primary`` on a replica,
    ``database.unclean_stop`` (then :func:`reinstate` or a forced promotion of the other site are the ways on).
    """
    if not node.running:
        data = await node.control_data()
        if not data.cleanly_stopped:
            if node.files.standby_signal.exists():
                raise refuse(
                    "database.not_primary", f"{node.config.site} is a replica.", fix="Demote the primary."
                )
            await node.start_server()
    if node.running:
        async with node.admin() as conn:
            if await is_in_recovery(conn):
                raise refuse(
                    "database.not_primary", f"{node.config.site} is a replica.", fix="Demote the primary."
                )
            # Short shutdown: most of its checkpoint is done while the services can still write.
            await conn.execute("CHECKPOINT", timeout=CHECKPOINT_SECONDS)
        # Before the stop, so that a crash anywhere from here leaves a server that cannot become primary unasked.
        write_standby_signal(node.files, node.account)
        await node.stop_server("fast")
    data = await node.control_data()
    if not data.cleanly_stopped:
        raise refuse(
            "database.unclean_stop",
            f"The database of {node.config.site} did not stop cleanly (it says: {data.state}).",
            fix="Reinstate it and try again, or promote the other site by force.",
        )
    write_standby_signal(node.files, node.account)
    write_auto_conf(node.files, node.account, {})
    token = DemotionToken(system_id=data.system_id, timeline=data.timeline, lsn=data.checkpoint)
    _log.warning("database demoted", site=node.config.site, lsn=token.lsn, timeline=token.timeline, why=why)
    return token


async def reinstate(node: "PostgresNode", why: str) -> None:
    """Let a demoted primary be primary again. Raises RefusedError ``database.not_demoted`` for anything else."""
    if node.running:
        async with node.admin() as conn:
            if not await is_in_recovery(conn):
                return
        raise refuse("database.not_demoted", f"{node.config.site} is a running replica.", fix="Promote it.")
    data = await node.control_data()
    if "recovery" in data.state:
        raise refuse(
            "database.not_demoted", f"{node.config.site} was a replica ({data.state}).", fix="Promote it."
        )
    node.files.standby_signal.unlink(missing_ok=True)
    write_auto_conf(node.files, node.account, {})
    await node.start_server()
    _log.warning("database reinstated", site=node.config.site, why=why)


async def promote(node: "PostgresNode", order: Promote) -> None:
    """Make this replica primary and record ``order.epoch`` for ``order.site``. Repeating it is harmless.

    With a token the replica must have replayed exactly to where the old primary ended. Raises RefusedError
    ``database.token_needed``, ``database.behind`` (retryable), ``database.diverged``, ``database.other_system``,
    ``epoch.stale``/``epoch.gap``, ``database.promotion_failed`` (retryable).
    """
    if order.site != node.config.site:
        raise refuse(
            "database.wrong_site", f"This is the database of {node.config.site}, not of {order.site}."
        )
    if order.token is None and not order.forced:
        raise refuse(
            "database.token_needed",
            "A planned promotion needs the token of the demoted primary.",
            fix="Demote the primary first, or promote by force if it cannot be asked.",
            field="token",
        )
    started = time.monotonic()
    deadline = asyncio.get_running_loop().time() + order.timeout
    await node.start_server()
    conn = await node.admin_connect()
    try:
        recovering = await is_in_recovery(conn)
        newest = await newest_mastership(conn)
        _check_epoch(newest, order, recovering=recovering)
        if recovering:
            if order.token is not None:
                await _reach(conn, order.token, deadline)
            await conn.execute("SELECT pg_promote(false)")
        await _write_mastership(conn, order, deadline)
        writable = time.monotonic()
        await _settle(node, conn)
    finally:
        conn.terminate()
    _log.warning(
        "database promoted",
        site=order.site,
        epoch=order.epoch,
        forced=order.forced,
        to_write_ms=round((writable - started) * 1000),
        why=order.reason,
    )


def _check_epoch(newest: Mastership | None, order: Promote, *, recovering: bool) -> None:
    refusal = may_promote(newest, order.epoch, order.site)
    if refusal is None and recovering and newest is not None and newest.epoch == order.epoch:
        # A replica that already knows this epoch has been demoted since: it needs a new one.
        refusal = refuse(
            "epoch.stale",
            f"Epoch {order.epoch} was {order.site}'s before it became a replica.",
            fix=f"Promote with epoch {order.epoch + 1}.",
            epoch=order.epoch,
        ).refusal
    if refusal is not None:
        raise RefusedError(refusal)


async def _reach(conn: Connection, token: DemotionToken, deadline: float) -> None:
    """Wait until everything up to the token is replayed, and prove that its last record is the token's."""
    goal = End(token.system_id, token.timeline, token.lsn)
    system_id = str(await conn.fetchval("SELECT system_identifier::text FROM pg_control_system()"))
    while True:
        lsn = str(await conn.fetchval("SELECT coalesce(pg_last_wal_replay_lsn(), '0/0')::text"))
        refusal = reached(goal, End(system_id, token.timeline, lsn))
        if refusal is None:
            break
        if not refusal.retryable or asyncio.get_running_loop().time() > deadline:
            raise RefusedError(refusal)
        await asyncio.sleep(_LOOK)
    # A restart point is made at the last checkpoint record that was replayed: if that is the token's, on the token's
    # timeline, then this replica's history is the old primary's, to the last record.
    await conn.execute("CHECKPOINT", timeout=CHECKPOINT_SECONDS)
    row = await conn.fetchrow(
        "SELECT checkpoint_lsn::text AS lsn, timeline_id AS timeline FROM pg_control_checkpoint()"
    )
    assert row is not None
    if row["timeline"] != token.timeline or row["lsn"] != token.lsn:
        raise refuse(
            "database.diverged",
            f"The replica's last checkpoint is {row['lsn']} on timeline {row['timeline']}, "
            f"the old primary ended with {token.lsn} on timeline {token.timeline}.",
            fix="Demote the present primary again and use its new token.",
            field="token",
        )


async def _write_mastership(conn: Connection, order: Promote, deadline: float) -> None:
    row = mastership_row(order)
    while True:
        newest = None if await is_in_recovery(conn) else await newest_mastership(conn)
        if newest is not None and (newest.epoch, newest.site) == (order.epoch, order.site):
            return
        try:
            await insert_mastership(conn, row)
            return
        except asyncpg.ReadOnlySQLTransactionError:
            if asyncio.get_running_loop().time() > deadline:
                raise refuse(
                    "database.promotion_failed",
                    f"{order.site} accepts no write {order.timeout:g} s after its promotion.",
                    retryable=True,
                ) from None
        await asyncio.sleep(_TRY_WRITE)


def mastership_row(order: Promote) -> Mastership:
    """What a promotion writes into the record of mastership."""
    token = order.token
    return Mastership(
        epoch=order.epoch,
        site=order.site,
        mode=PromotionMode.FORCED if order.forced else PromotionMode.PLANNED,
        reason=order.reason,
        by=order.by,
        token=None if token is None else End(token.system_id, token.timeline, token.lsn),
    )


async def _settle(node: "PostgresNode", conn: Connection) -> None:
    """Forget the old primary, write a checkpoint (a rewind of the old one needs it) and keep the log for it."""
    for name in ("primary_conninfo", "primary_slot_name", "synchronous_standby_names"):
        await conn.execute(f"ALTER SYSTEM RESET {name}")
    await conn.execute("SELECT pg_reload_conf()")
    await conn.execute("CHECKPOINT", timeout=CHECKPOINT_SECONDS)
    await ensure_slot(conn, replica_name(node.config.peer_site))


async def ensure_slot(conn: Connection, name: str) -> None:
    """Create a physical slot that keeps the log from now on; one that lost its log is made anew."""
    state = await conn.fetchval("SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1", name)
    if state == "lost":
        await conn.execute("SELECT pg_drop_replication_slot($1)", name)
    try:
        await conn.execute("SELECT pg_create_physical_replication_slot($1, true)", name)
    except asyncpg.DuplicateObjectError:
        return
