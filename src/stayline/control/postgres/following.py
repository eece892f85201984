"""A node becomes the replica of the other site's primary: as it is, rewound, or copied anew.

A marker beside the data folder says that this is under way. As long as it is there the node starts neither as primary
nor as replica by itself: only :func:`follow`, called again, ends it.
"""

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import structlog

from stayline.control.postgres import loss
from stayline.control.postgres.config import DATABASE, Upstream, replica_name
from stayline.control.postgres.control_data import ControlData
from stayline.control.postgres.programs import sync_switches
from stayline.control.postgres.promotion import CHECKPOINT_SECONDS, ensure_slot
from stayline.control.postgres.settings import (
    conninfo,
    remove_tree,
    upstream_settings,
    write_auto_conf,
    write_standby_signal,
)
from stayline.domain.errors import RefusedError, refuse
from stayline.domain.mastership import Mastership, parse_lsn
from stayline.link.messages.control import FollowReport
from stayline.store.database import LOST, Connection, connect, describe, hang_up, is_in_recovery
from stayline.store.mastership import newest_mastership

if TYPE_CHECKING:
    from stayline.control.postgres.node import PostgresNode

_log = structlog.get_logger("postgres.following")

_LOOK = 0.05
_READING = "reading what only this node has"
_REWINDING = "rewinding"


async def follow(node: "PostgresNode", upstream: Upstream, timeout: float) -> FollowReport:
    """Become the replica of ``upstream`` within ``timeout`` seconds and report what was on this node only.

    Repeating it is harmless. Raises RefusedError ``database.unreachable`` (retryable), ``database.not_primary`` when
    the upstream is none, ``database.still_master`` when this node knows the newer epoch, ``database.not_following``
    (retryable) when even a new copy does not stream in time.
    """
    source = await node.upstream_connect(upstream)
    try:
        theirs = await _check_upstream(source, upstream)
        report = await _follow(node, upstream, source, theirs, timeout)
    finally:
        source.terminate()
    _log.warning(
        "database follows",
        site=node.config.site,
        primary=upstream.site,
        rewound=report.rewound,
        rebuilt=report.rebuilt,
        lost_journal=report.lost_journal,
        lost_entries=report.lost_entries,
        why="told to follow",
    )
    return report


async def _follow(
    node: "PostgresNode", upstream: Upstream, source: Connection, theirs: Mastership | None, timeout: float
) -> FollowReport:
    stage = node.follow_stage()
    if stage and not node.running:
        # What an interrupted attempt left running is isolated and of no use to anybody.
        await node.kill()
    if not node.exists or await _other_system(node, source) or stage == _REWINDING:
        await rebuild(node, upstream, timeout)
        return FollowReport(rewound=False, rebuilt=True)
    if await _streams_from(node, upstream):
        return FollowReport(rewound=False)
    await _stop_old(node, theirs, upstream)
    report = FollowReport(rewound=False)
    if await _diverged(await node.control_data(), source, node):
        report = await _rewind(node, upstream, source, theirs, timeout)
    if not report.rebuilt:
        await _resume(node, upstream, source, report, timeout)
    return report


async def _streams_from(node: "PostgresNode", upstream: Upstream) -> bool:
    """Whether the running replica already receives from there."""
    if not node.running:
        return False
    async with node.admin() as conn:
        found = await conn.fetchval(
            "SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming' AND sender_host = $1 AND sender_port = $2",
            upstream.host,
            upstream.port,
        )
    return bool(found)


async def rebuild(node: "PostgresNode", upstream: Upstream, timeout: float) -> None:
    """Copy the primary anew and follow it. The old data folder is kept aside (the last one only)."""
    source = await node.upstream_connect(upstream)
    try:
        await _check_upstream(source, upstream)
        # The copy is complete before anything that was here is touched.
        node.prepare_files()
        fresh, aside = node.files.root / "data.new", node.files.root / "data.old"
        remove_tree(fresh)
        await ensure_slot(source, replica_name(node.config.site))
        await _base_backup(node, upstream, str(fresh))
        await node.stop_server("fast")
        if node.exists:
            remove_tree(aside)
            node.files.data.rename(aside)
        fresh.rename(node.files.data)
        node.set_follow_stage("")
        await _start_as_replica(node, upstream)
        await _await_streaming(node, source, timeout)
    finally:
        source.terminate()


async def _base_backup(node: "PostgresNode", upstream: Upstream, target: str) -> None:
    await node.run(
        "pg_basebackup",
        f"--pgdata={target}",
        f"--dbname={conninfo(node.config, node.files, upstream)}",
        "--wal-method=stream",
        f"--slot={replica_name(node.config.site)}",
        "--checkpoint=fast",
        "--no-password",
        *sync_switches(node.programs.major, node.config.durable_setup),
        timeout=3_600.0,
    )


async def _check_upstream(source: Connection, upstream: Upstream) -> Mastership | None:
    if await is_in_recovery(source):
        raise refuse(
            "database.not_primary",
            f"The database of {upstream.site} is a replica itself.",
            retryable=True,
            retry_after=1.0,
            fix=f"Promote {upstream.site} first.",
        )
    newest = await newest_mastership(source)
    if newest is not None and newest.site != upstream.site:
        raise refuse(
            "database.not_primary",
            f"Epoch {newest.epoch} belongs to {newest.site}, not to {upstream.site}.",
            epoch=newest.epoch,
        )
    return newest


async def _other_system(node: "PostgresNode", source: Connection) -> bool:
    theirs = await source.fetchval("SELECT system_identifier::text FROM pg_control_system()")
    return bool(theirs != (await node.control_data()).system_id)


async def _stop_old(node: "PostgresNode", theirs: Mastership | None, upstream: Upstream) -> None:
    """Stop what runs here, unless it is a primary that nobody has replaced."""
    if not node.running and not await node.adopt_running():
        return
    async with node.admin() as conn:
        if not await is_in_recovery(conn):
            _check_replaced(await newest_mastership(conn), theirs, node.config.site, upstream)
    await node.stop_server("fast")


def _check_replaced(
    ours: Mastership | None, theirs: Mastership | None, site: str, upstream: Upstream
) -> None:
    mine = 0 if ours is None else ours.epoch
    other = 0 if theirs is None else theirs.epoch
    if mine >= other:
        raise refuse(
            "database.still_master",
            f"{site} has written under epoch {mine}; {upstream.site} only knows epoch {other}: "
            f"it has not replaced {site}.",
            fix=f"Promote {upstream.site} with a newer epoch, or let {upstream.site} follow {site}.",
            epoch=mine,
        )


async def _diverged(data: ControlData, source: Connection, node: "PostgresNode") -> bool:
    """Whether this node has written anything that is not part of the upstream's history."""
    if "recovery" in data.state:
        return False  # It was a replica: it has only ever written what it received.
    if not data.cleanly_stopped:
        return True  # A crashed primary: what it wrote last is not in its control file. Look closely.
    fork = await _fork(source, data.timeline)
    if fork is None:
        return node.follow_stage() == _READING
    # The shutdown checkpoint is the last record: when it lies before the fork, all of ours does.
    return parse_lsn(data.checkpoint) >= fork


async def _fork(source: Connection, timeline: int) -> int | None:
    """Where the upstream's history left ``timeline``; None: it never did (still on it)."""
    current = int(
        await source.fetchval(
            "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint"
        )
    )
    if current <= timeline:
        return None
    path = f"pg_wal/{current:08X}.history"
    text = bytes(await source.fetchval("SELECT pg_read_binary_file($1)", path)).decode()
    for line in text.splitlines():
        parts = line.split()
        if len(parts) >= 2 and parts[0].isdigit() and int(parts[0]) == timeline:
            return parse_lsn(parts[1])
    return None


async def _rewind(
    node: "PostgresNode", upstream: Upstream, source: Connection, theirs: Mastership | None, timeout: float
) -> FollowReport:
    node.set_follow_stage(_READING)
    try:
        report = await _read_what_is_only_here(node, upstream, source, theirs)
    except RefusedError as error:
        if error.refusal.code == "database.still_master":
            node.set_follow_stage("")
            raise
        if error.refusal.code != "database.start_failed":
            raise
        _log.error("old primary unreadable", site=node.config.site, why=error.refusal.reason)
        await rebuild(node, upstream, timeout)
        return FollowReport(rewound=False, rebuilt=True)
    node.set_follow_stage(_REWINDING)
    try:
        # A rewind that starts from before the new primary's first checkpoint silently does nothing (trap 2).
        await source.execute("CHECKPOINT", timeout=CHECKPOINT_SECONDS)
        await ensure_slot(source, replica_name(node.config.site))
        await node.run(
            "pg_rewind",
            f"--target-pgdata={node.files.data}",
            f"--source-server={conninfo(node.config, node.files, upstream, DATABASE)}",
            *((f"--config-file={node.files.conf}",) if node.programs.major >= 15 else ()),
            *sync_switches(node.programs.major, node.config.durable_setup),
            timeout=3_600.0,
        )
        report.rewound = True
    except RefusedError as error:
        if error.refusal.code != "database.program_failed":
            raise
        _log.error("rewind impossible", site=node.config.site, why=error.refusal.reason)
        await rebuild(node, upstream, timeout)
        report.rebuilt = True
    return report


async def _read_what_is_only_here(
    node: "PostgresNode", upstream: Upstream, source: Connection, theirs: Mastership | None
) -> FollowReport:
    """Start the old primary where nobody can reach it, read only, and compare. It is stopped cleanly afterwards."""
    node.files.standby_signal.unlink(missing_ok=True)
    private = node.make_private_run()
    await node.start_server(
        "listen_addresses=",
        f"unix_socket_directories={private}",
        "default_transaction_read_only=on",
        "synchronous_standby_names=",
        "autovacuum=off",
    )
    try:
        old = await connect(
            node.admin_dsn(private), f"stayline-node {node.config.site}", command_timeout=None
        )
        try:
            _check_replaced(await newest_mastership(old), theirs, node.config.site, upstream)
            return await loss.measure(old, source)
        finally:
            await hang_up(old)
    finally:
        await node.stop_server("fast")


async def _resume(
    node: "PostgresNode", upstream: Upstream, source: Connection, report: FollowReport, timeout: float
) -> None:
    await ensure_slot(source, replica_name(node.config.site))
    try:
        await _start_as_replica(node, upstream)
        await _await_streaming(node, source, timeout / 2)
        return
    except RefusedError as error:
        if error.refusal.code not in ("database.not_following", "database.start_failed"):
            raise
        _log.error("does not follow", site=node.config.site, why=error.refusal.reason)
    await rebuild(node, upstream, timeout)
    report.rebuilt = True


async def _start_as_replica(node: "PostgresNode", upstream: Upstream) -> None:
    """The order matters: what a copy or rewind brought is replaced before anything can start with it (trap 1)."""
    write_standby_signal(node.files, node.account)
    write_auto_conf(node.files, node.account, upstream_settings(node.config, node.files, upstream))
    node.set_follow_stage("")
    await node.start_server()
    async with node.admin() as conn:
        # Slots of the time when this was the primary would keep its log for ever.
        await conn.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active"
        )


async def _await_streaming(node: "PostgresNode", source: Connection, timeout: float) -> None:
    """Wait until this replica receives, and has replayed all that the primary had when asked."""
    goal = await source.fetchval("SELECT pg_current_wal_flush_lsn()::text")
    deadline = asyncio.get_running_loop().time() + timeout
    seen = "not asked yet"
    while asyncio.get_running_loop().time() < deadline:
        try:
            async with node.admin() as conn:
                row = await conn.fetchrow(
                    "SELECT (SELECT status FROM pg_stat_wal_receiver) AS status, pg_last_wal_replay_lsn()::text AS lsn"
                )
        except (*LOST, asyncpg.PostgresError) as error:
            seen = describe(error)
        else:
            assert row is not None
            if row["status"] == "streaming" and row["lsn"] and parse_lsn(row["lsn"]) >= parse_lsn(goal):
                return
            seen = f"receiver {row['status'] or 'not connected'}, replayed to {row['lsn']} of {goal}"
        if not node.running:
            raise refuse(
                "database.not_following", f"The replica of {node.config.site} ended.", retryable=True
            )
        await asyncio.sleep(_LOOK)
    raise refuse(
        "database.not_following",
        f"The replica of {node.config.site} does not follow within {timeout:.0f} s: {seen}.",
        retryable=True,
    )
