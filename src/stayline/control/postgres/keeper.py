"""Keeps a primary's commits waiting for the replica, or not, as the replication mode says."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import structlog

from stayline.control.postgres.config import replica_name
from stayline.control.postgres.settings import write_marker
from stayline.domain.errors import StaylineError
from stayline.domain.replication import Action, Exposure, Phase, Seen, View, step
from stayline.link.messages.control import ReplicationMode
from stayline.store.database import LOST, Connection, describe

if TYPE_CHECKING:
    from stayline.control.postgres.node import PostgresNode

_log = structlog.get_logger("postgres.keeper")

TICK = 0.25
"""Seconds between two looks at the primary."""

_SILENT = 1.5
"""Seconds without a sign of life (one is due each second) until an attached replica counts as away."""

_LOOK = """
SELECT pg_is_in_recovery() AS replica,
       current_setting('synchronous_standby_names') <> '' AS waiting,
       CASE WHEN pg_is_in_recovery() THEN 0
            ELSE (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint END AS flushed,
       r.state, r.confirmed, r.reply_time
FROM (SELECT 1) one LEFT JOIN (
    SELECT state, (flush_lsn - '0/0'::pg_lsn)::bigint AS confirmed, reply_time
    FROM pg_stat_replication WHERE application_name = $1
    ORDER BY state = 'streaming' DESC, backend_start DESC LIMIT 1
) r ON true
"""


class ReplicationKeeper:
    """A task beside a primary. ``away_timeout`` seconds without the replica end the waiting in mode ``follow``.

    :meth:`stop` leaves the server's setting as it is: a primary that nobody looks after keeps its promise.
    """

    def __init__(self, node: "PostgresNode", mode: ReplicationMode, away_timeout: float = 2.0) -> None:
        self.node = node
        self.mode = mode
        self.away_timeout = away_timeout
        self._marker: Path = node.files.root / "exposed"
        self._view = View(exposed_since=self._read_marker())
        self._name = replica_name(node.config.peer_site)
        self._barrier: int | None = None
        self._confirming: asyncio.Task[None] | None = None
        self._heard = 0.0
        self._last_reply: object = None
        self._task: asyncio.Task[None] | None = None
        self._blind = ""

    @property
    def phase(self) -> Phase:
        """Where the primary stands with its replica."""
        return self._view.phase

    @property
    def exposure(self) -> Exposure:
        """For the status of the node."""
        return self._view.exposure

    def start(self) -> None:
        """Begin to look, and colour the node's status."""
        if self._task is None:
            self.node.mode = self.mode
            self.node.keeper_view = lambda: self.exposure
            self._begin()

    async def stop(self) -> None:
        """Look no more."""
        tasks = [task for task in (self._task, self._confirming) if task is not None]
        self._task = self._confirming = None
        self.node.keeper_view = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="replication-keeper")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """A primary without its keeper would wait for a lost replica for ever: begin again after any fault."""
        if task.cancelled() or self._task is not task:
            return
        _log.error("keeper failed", site=self.node.config.site, exc_info=task.exception())
        self._task = None
        asyncio.get_running_loop().call_later(TICK, self._begin_again)

    def _begin_again(self) -> None:
        if self._task is None and self.node.keeper_view is not None:
            self._begin()

    async def _run(self) -> None:
        while True:
            try:
                async with self.node.admin() as conn:
                    await self._tick(conn)
                self._blind = ""
            except StaylineError as error:
                self._cannot_look(error.refusal.reason)
            except (*LOST, asyncpg.PostgresError) as error:
                self._cannot_look(describe(error))
            await asyncio.sleep(TICK)

    async def _tick(self, conn: Connection) -> None:
        row = await conn.fetchrow(_LOOK, self._name)
        assert row is not None
        if row["replica"]:
            return
        now = time.time()
        if row["reply_time"] is not None and row["reply_time"] != self._last_reply:
            # Not the time in it: the other site's clock may be off.
            self._last_reply, self._heard = row["reply_time"], now
        alive = row["state"] == "streaming" and now - self._heard < _SILENT
        seen = Seen(alive, row["waiting"], row["flushed"], row["confirmed"], self._barrier, self._heard)
        before = self._view
        self._view, actions = step(before, seen, mode=self.mode, away_timeout=self.away_timeout, now=now)
        if self._view.exposed_since != before.exposed_since:
            self._note_exposure()
        if self._view.phase is not before.phase:
            self._tell(before)
        for action in actions:
            await self._do(conn, action)

    async def _do(self, conn: Connection, action: Action) -> None:
        if action is Action.CONFIRM:
            if self._confirming is None or self._confirming.done():
                self._confirming = asyncio.create_task(self._confirm(), name="replication-confirm")
            return
        names = f'FIRST 1 ("{self._name}")' if action is Action.WAIT_FOR_REPLICA else ""
        if self._confirming is not None:
            self._confirming.cancel()
            self._confirming = None
        self._barrier = None
        await conn.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        await conn.execute("SELECT pg_reload_conf()")

    async def _confirm(self) -> None:
        """Find the position from which on every commit waits.

        It is the checkpointer that makes commits wait, when it has read the changed settings, and it reads them before
        it begins a checkpoint: so once one was made on request, what is behind its end has waited.
        """
        try:
            conn = await self.node.admin_connect()
        except StaylineError as error:
            self._cannot_look(error.refusal.reason)
            return
        try:
            await conn.execute("CHECKPOINT", timeout=600.0)
            self._barrier = await conn.fetchval("SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint")
        except (*LOST, asyncpg.PostgresError) as error:
            self._cannot_look(describe(error))
        finally:
            conn.terminate()

    def _tell(self, before: View) -> None:
        view = self._view
        level = _log.error if view.phase in (Phase.ALONE, Phase.MISSING) else _log.info
        level(
            "replication",
            site=self.node.config.site,
            mode=self.mode.value,
            before=before.phase.value,
            phase=view.phase.value,
            exposed_since=view.exposed_since,
            why=view.why,
        )

    def _cannot_look(self, why: str) -> None:
        if why != self._blind:
            self._blind = why
            _log.warning("replication not seen", site=self.node.config.site, why=why)

    def _note_exposure(self) -> None:
        """The beginning of an exposure survives the process that saw it."""
        since = self._view.exposed_since
        write_marker(self._marker, repr(since) if since else "", self.node.account)

    def _read_marker(self) -> float:
        try:
            return float(self._marker.read_text())
        except (FileNotFoundError, ValueError):
            return 0.0
