"""What a site's database does when a command and its own watch meet, and when it has to wait for its peer."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stayline.control.host import site_database
from stayline.control.host.placement import Duty, RoleFile
from stayline.control.host.plan import HostPlan, PeerHost
from stayline.control.host.role_record import RoleRecord
from stayline.control.host.site_database import SiteDatabase
from stayline.control.host.watching import STREAM_PATIENCE
from stayline.control.postgres.node import PostgresNode
from stayline.domain.errors import RefusedError, refuse
from stayline.link.messages.control import DatabaseRole, DatabaseStatus, ReplicationMode

PLAN = HostPlan(
    host="host_a",
    site="Site_A",
    address="127.0.0.1",
    port=1,
    database_port=2,
    first=True,
    applications=[],
    peer=PeerHost(host="host_b", site="Site_B", address="127.0.0.1", port=3, database_port=4),
    passwords="",
)


class Node:
    """A database that takes every order; ``orders`` are those it got."""

    dsn = ""
    mode = None

    def __init__(self, *, writes: bool) -> None:
        self.on_exit: list[Any] = []
        self.orders: list[str] = []
        self.running = True
        self.files = SimpleNamespace(standby_signal=SimpleNamespace(exists=lambda: not writes))
        self.looking = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def adopt(self) -> None:
        """It runs already."""

    async def status(self) -> DatabaseStatus:
        """A replica without a stream."""
        self.looking.set()
        await self.may_answer.wait()
        return _status(DatabaseRole.REPLICA, 1)

    async def demote(self, why: str) -> None:
        """Refused, when it does not run any more."""
        self.orders.append("demote")
        raise refuse("database.busy", "It does not stop.")

    async def stop(self, mode: str) -> None:
        """Stopped hard."""
        self.orders.append(f"stop {mode}")
        self.running = False

    async def follow(self, upstream: object, timeout: float) -> None:
        """Never to be told here."""
        self.orders.append("follow")


def _status(role: DatabaseRole, epoch: int) -> DatabaseStatus:
    return DatabaseStatus(role=role, mode=ReplicationMode.FOLLOW, site="Site_B", epoch=epoch)


def _database(folder: Path, node: Node, duty: Duty, peer: DatabaseStatus) -> SiteDatabase:
    (folder / "run").mkdir()
    RoleRecord(folder).write_role(RoleFile(duty=duty, epoch=1, at=1.0, why="test"))

    async def ask() -> DatabaseStatus:
        return peer

    return SiteDatabase(PLAN, folder, cast(PostgresNode, node), ask, alone=False)


def test_a_look_that_a_command_overtook_changes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        node = Node(writes=False)
        peer = _status(DatabaseRole.PRIMARY, 1)
        database = _database(tmp_path, node, Duty.REPLICA, peer)
        assert database.role is not None
        node.may_answer.clear()
        overdue = time.monotonic() - STREAM_PATIENCE - 1.0
        look = asyncio.create_task(database._look(peer, database.role, overdue))
        await node.looking.wait()
        # It is promoted while the look waits for its own status.
        database._write(Duty.PRIMARY, 2, "promoted on command")
        node.may_answer.set()
        assert await look == 0.0
        assert node.orders == []

    asyncio.run(scenario())


def test_it_gives_way_once_while_it_waits_for_the_new_primary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_database, "ASK_EVERY", 0.0)

    async def scenario() -> None:
        node = Node(writes=True)
        database = _database(tmp_path, node, Duty.PRIMARY, _status(DatabaseRole.DOWN, 2))
        told: list[str] = []
        database.superseded.append(told.append)
        looks = 0
        asked_enough = asyncio.Event()
        ask = database._ask_peer

        async def counted() -> DatabaseStatus | None:
            nonlocal looks
            looks += 1
            if looks > 5:
                asked_enough.set()
            return await ask()

        database._ask_peer = counted
        settling = asyncio.create_task(database.settle())
        await asyncio.wait_for(asked_enough.wait(), 5)
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)
        assert len(told) == 1
        assert node.orders == ["demote", "stop immediate"]
        assert database.duty is Duty.FENCED

    asyncio.run(scenario())


def test_a_demotion_that_failed_is_recorded_with_its_reason(tmp_path: Path) -> None:
    async def scenario() -> None:
        node = Node(writes=True)
        database = _database(tmp_path, node, Duty.FENCED, _status(DatabaseRole.REPLICA, 1))
        with pytest.raises(RefusedError):
            await database.demote("switch-over")
        assert database.role is not None
        assert (database.role.duty, database.role.why) == (
            Duty.FENCED,
            "the demotion failed: It does not stop.",
        )
        assert database._keeper is None  # it keeps a primary's replicas, and this is none

    asyncio.run(scenario())
