"""What a node tells about itself: role, position, and how much of it is on one site only."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import asyncpg

from stayline.control.postgres.config import replica_name
from stayline.domain.errors import StaylineError
from stayline.domain.replication import Exposure
from stayline.link.messages.control import DatabaseRole, DatabaseStatus, ReplicationMode
from stayline.store.database import LOST, Connection, describe
from stayline.store.mastership import newest_mastership

if TYPE_CHECKING:
    from stayline.control.postgres.node import PostgresNode

_COMMON = """
SELECT pg_is_in_recovery() AS replica, s.system_identifier::text AS system_id, c.timeline_id AS timeline
FROM pg_control_system() s, pg_control_checkpoint() c
"""

_PRIMARY = """
SELECT pg_current_wal_lsn()::text AS written,
       (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint AS flushed,
       ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint AS timeline,
       (SELECT (restart_lsn - '0/0'::pg_lsn)::bigint FROM pg_replication_slots
         WHERE slot_name = $1 AND slot_type = 'physical') AS kept_from
"""

_LINK = """
SELECT state, sync_state, (flush_lsn - '0/0'::pg_lsn)::bigint AS flushed
FROM pg_stat_replication WHERE application_name = $1
ORDER BY state = 'streaming' DESC, backend_start DESC LIMIT 1
"""

_REPLICA = """
SELECT pg_last_wal_replay_lsn()::text AS replayed,
       greatest(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::bigint AS lag,
       (SELECT status FROM pg_stat_wal_receiver) AS receiver,
       (SELECT received_tli FROM pg_stat_wal_receiver) AS timeline
"""


async def read_status(node: "PostgresNode") -> DatabaseStatus:
    """The node's status; a server that is down or does not answer is described, never raised."""
    if not node.running:
        return await _at_rest(node)
    try:
        async with node.admin() as conn:
            return await query_status(
                conn,
                node.config.site,
                node.config.peer_site,
                node.mode,
                keeper=node.keeper_view,
                pid=node.pid,
            )
    except StaylineError as error:
        why = error.refusal.reason
    except (*LOST, asyncpg.PostgresError) as error:
        why = describe(error)
    return DatabaseStatus(
        role=DatabaseRole.DOWN,
        mode=node.mode,
        site=node.config.site,
        pid=node.pid,
        why=f"Does not answer: {why}",
    )


async def query_status(
    conn: Connection,
    site: str,
    peer_site: str,
    mode: ReplicationMode,
    *,
    keeper: Callable[[], Exposure] | None,
    pid: int = 0,
) -> DatabaseStatus:
    """Ask a running server, ours or the operator's (needs the rights of ``pg_monitor``)."""
    common = await conn.fetchrow(_COMMON)
    assert common is not None
    newest = await newest_mastership(conn)
    status = DatabaseStatus(
        role=DatabaseRole.REPLICA if common["replica"] else DatabaseRole.PRIMARY,
        mode=mode,
        site=site,
        epoch=newest.epoch if newest else 0,
        master_site=newest.site if newest else "",
        system_id=common["system_id"],
        timeline=common["timeline"],
        pid=pid,
    )
    if common["replica"]:
        await _fill_replica(conn, status)
    else:
        await _fill_primary(conn, status, peer_site, keeper)
    return status


async def _fill_replica(conn: Connection, status: DatabaseStatus) -> None:
    row = await conn.fetchrow(_REPLICA)
    assert row is not None
    status.lsn = row["replayed"] or ""
    status.lag_bytes = row["lag"] or 0
    status.streaming = row["receiver"] == "streaming"
    status.timeline = row["timeline"] or status.timeline
    if status.streaming:
        status.why = (
            f"Follows {status.master_site or 'its primary'}; {status.lag_bytes} bytes still to replay."
        )
    else:
        status.why = f"Receives nothing from its primary; replayed up to {status.lsn or 'nothing'}."


async def _fill_primary(
    conn: Connection, status: DatabaseStatus, peer_site: str, keeper: Callable[[], Exposure] | None
) -> None:
    name = replica_name(peer_site)
    row = await conn.fetchrow(_PRIMARY, name)
    link = await conn.fetchrow(_LINK, name)
    assert row is not None
    status.lsn, status.timeline = row["written"], row["timeline"]
    streaming = link is not None and link["state"] == "streaming"
    status.replica = "streaming" if streaming else "absent"
    confirmed = (link["flushed"] if link is not None else None) or row["kept_from"]
    status.exposed_bytes = max(row["flushed"] - confirmed, 0) if confirmed is not None else row["flushed"]
    if keeper is None:
        # Nobody keeps up the mode: say what the server itself says, and that it may be exposed from now.
        status.synchronous = link is not None and link["sync_state"] in ("sync", "quorum")
        status.exposed_since = 0.0 if status.synchronous else time.time()
        status.why = "No keeper is running for the replication of this primary."
        return
    view = keeper()
    status.synchronous, status.exposed_since, status.why = view.synchronous, view.exposed_since, view.why
    if view.synchronous:
        # What is under way right now is not acknowledged to anybody yet.
        status.exposed_bytes = 0


async def _at_rest(node: "PostgresNode") -> DatabaseStatus:
    status = DatabaseStatus(role=DatabaseRole.DOWN, mode=node.mode, site=node.config.site)
    if not node.exists:
        status.why = "There is no database here yet."
        return status
    try:
        data = await node.control_data()
    except StaylineError as error:
        status.why = f"Not running, and its data folder cannot be read: {error.refusal.reason}"
        return status
    status.system_id, status.timeline, status.lsn = data.system_id, data.timeline, data.checkpoint
    if data.cleanly_stopped and node.files.standby_signal.exists():
        status.role = DatabaseRole.FENCED
        status.why = f"Demoted: stopped cleanly at {data.checkpoint} and cannot start as primary by itself."
    else:
        status.why = f"Not running; its data folder says: {data.state}."
    return status
