"""The process of a node: direct child, adopted, killed, and the locks that such lives leave behind (trap 5)."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from stayline.control.postgres import PostgresNode
from stayline.control.postgres.account import Account
from stayline.control.postgres.config import PostgresConfig
from stayline.control.postgres.postmaster import lingering
from stayline.control.postgres.programs import find_programs
from stayline.domain.errors import RefusedError
from stayline.link.messages.control import DatabaseRole
from tests.integration.conftest import discard, node_config, until
from tests.integration.postgres.sites import session
from tests.ports import free_port

pytestmark = pytest.mark.postgres

_ROOT = Path(__file__).parents[3]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another account to switch to")


def _start_elsewhere(base: Path, port: int, *uid: int) -> tuple[int, Path, str]:
    """A server started by a process that has ended since."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.postgres.starter", str(base), str(port), *map(str, uid)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    pid, root, dsn = done.stdout.split("\n")[-4:-1]
    return int(pid), Path(root), dsn


def test_runs_as_a_direct_child_and_leaves_nothing(tmp_path: Path) -> None:
    async def play() -> None:
        node = PostgresNode(node_config(tmp_path, "Site_A", "Site_B"))
        try:
            assert (await node.status()).role is DatabaseRole.DOWN
            with pytest.raises(RefusedError) as caught:
                await node.start()
            assert caught.value.refusal.code == "database.not_there"
            await node.init_primary()
            process = psutil.Process(node.pid)
            assert process.ppid() == os.getpid()
            assert process.uids().real != 0
            async with session(node) as conn:
                assert await conn.fetchval("SHOW data_checksums") == "on"
                assert await conn.fetchval("SHOW fsync") == "on"
            await node.init_primary()
            assert process.pid == node.pid, "made once"
            await node.stop()
            await node.stop()
            assert not psutil.pid_exists(process.pid), "reaped"
            assert lingering(node.files.data) == []
        finally:
            await node.kill()
            discard(node)

    asyncio.run(play())


def test_killed_primary_starts_again_at_once(tmp_path: Path) -> None:
    async def play() -> list[str]:
        node = PostgresNode(node_config(tmp_path, "Site_A", "Site_B"))
        told: list[str] = []
        node.on_exit.append(told.append)
        try:
            await node.init_primary()
            async with session(node) as conn:
                await conn.execute("CREATE TABLE kept AS SELECT 1 AS n")
            for _ in range(2):
                os.kill(node.pid, signal.SIGKILL)
                await node.wait_exit()
                assert not node.running
                await node.start()
                async with session(node) as conn:
                    assert await conn.fetchval("SELECT n FROM kept") == 1
            await node.kill()
            assert len(told) == 2, "a commanded kill is no surprise"
        finally:
            await node.kill()
            discard(node)
        return told

    assert asyncio.run(play())[0] == "killed by SIGKILL"


def _sleeper(account: Account, seconds: str) -> "subprocess.Popen[bytes]":
    popen: subprocess.Popen[bytes] = subprocess.Popen(
        ["/bin/sleep", seconds],
        cwd="/",
        **account.popen(),  # type: ignore[call-overload]
    )
    return popen


@pytest.mark.parametrize("holder", ["zombie", "stranger", "nobody", "garbage"])
def test_stale_lock_does_not_block_the_start(tmp_path: Path, holder: str) -> None:
    async def play() -> None:
        node = PostgresNode(node_config(tmp_path, "Site_A", "Site_B"))
        other: subprocess.Popen[bytes] | None = None
        try:
            await node.init_primary()
            lock = (node.files.data / "postmaster.pid").read_text().splitlines()
            await node.kill()
            if holder in ("zombie", "stranger"):
                # Of PostgreSQL's own account: a process of another one PostgreSQL recognises as foreign by itself.
                other = _sleeper(node.account, "0" if holder == "zombie" else "60")
                if holder == "zombie":
                    process = psutil.Process(other.pid)
                    await until(lambda: process.status() == psutil.STATUS_ZOMBIE)
                lock[0] = str(other.pid)
            elif holder == "nobody":
                lock[0] = "4000000"
            else:
                lock = ["what", "is", "this"]
            (node.files.data / "postmaster.pid").write_text("\n".join(lock) + "\n")
            assert not await node.adopt()
            await node.start()
            assert node.running
        finally:
            if other is not None:
                other.kill()
                other.wait()
            await node.kill()
            discard(node)

    asyncio.run(play())


def test_server_of_a_former_supervisor_is_adopted(tmp_path: Path) -> None:
    port = free_port()
    pid, _, _ = _start_elsewhere(tmp_path, port)

    async def play() -> None:
        node = PostgresNode(node_config(tmp_path, "Site_A", "Site_B", port=port))
        told: list[str] = []
        node.on_exit.append(told.append)
        try:
            assert await node.adopt()
            assert node.pid == pid
            await node.start()
            assert node.pid == pid, "not a second one"
            assert (await node.status()).role is DatabaseRole.PRIMARY
            os.kill(pid, signal.SIGKILL)
            await asyncio.wait_for(node.wait_exit(), 5.0)
            await until(lambda: bool(told))
            await node.start()
            assert node.pid not in (0, pid)
            await node.stop()
        finally:
            await node.kill()
            discard(node)

    asyncio.run(play())


def test_leaving_a_server_running_for_the_next_supervisor(tmp_path: Path) -> None:
    async def play() -> None:
        first = PostgresNode(node_config(tmp_path, "Site_A", "Site_B"))
        second = PostgresNode(first.config)
        try:
            await first.init_primary()
            pid = first.pid
            first.forget()
            assert await second.adopt()
            assert second.pid == pid
            assert (await second.status()).pid == pid
        finally:
            await second.kill()
            discard(second)

    asyncio.run(play())


def test_start_that_fails_says_why(tmp_path: Path) -> None:
    async def play() -> str:
        config = node_config(tmp_path, "Site_A", "Site_B", settings={"shared_buffers": "nonsense"})
        node = PostgresNode(config)
        try:
            with pytest.raises(RefusedError) as caught:
                await node.init_primary()
            return caught.value.refusal.reason
        finally:
            await node.kill()
            discard(node)

    assert "shared_buffers" in asyncio.run(play())


@as_root
def test_clone_in_a_folder_that_the_account_cannot_enter(tmp_path: Path) -> None:
    """State folder and programs both below a folder of mode 0700 that belongs to root."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    programs = closed / "venv" / "pginstall"
    shutil.copytree(find_programs().tree, programs, symlinks=True)

    def config() -> PostgresConfig:
        return node_config(closed, "Site_A", "Site_B", bin_dir=programs / "bin", port=port)

    port = free_port()

    async def play() -> None:
        node = PostgresNode(config())
        try:
            await node.init_primary()
            root = Path(node.location.root)
            moved = root.with_name(root.name + ".moved")
            assert not root.is_relative_to(closed)
            assert not Path(node.location.bin_dir).is_relative_to(closed)
            assert stat.S_IMODE(os.stat(root).st_mode) == 0o700
            assert stat.S_IMODE(node.files.run.stat().st_mode) == 0o700
            assert "cannot enter" in node.location.why
            async with session(node) as conn:
                assert await conn.fetchval("SELECT 1") == 1
            await node.stop()
            again = PostgresNode(config())
            assert again.location == node.location, "recorded in the state folder"
            await again.start()
            await again.stop()
            os.rename(root, moved)
            with pytest.raises(RefusedError) as caught:
                PostgresNode(config())
            assert caught.value.refusal.code == "database.place_gone"
            os.rename(moved, root)
            os.chmod(root, 0o755)
            with pytest.raises(RefusedError) as caught:
                PostgresNode(config())
            assert caught.value.refusal.code == "database.place_foreign"
        finally:
            await node.kill()
            discard(node)

    asyncio.run(play())


@as_root
def test_taken_name_of_the_private_place_is_left_alone(tmp_path: Path) -> None:
    """Somebody made a folder under the name that this node would choose."""
    first = PostgresNode(node_config(tmp_path, "Site_A", "Site_B"))
    (first.config.directory / "location.json").unlink()
    second = PostgresNode(first.config)
    try:
        assert second.location.root != first.location.root
        assert list(Path(first.location.root).iterdir()) == [Path(first.location.run)]
    finally:
        discard(first)
        discard(second)


def test_planted_socket_folder_is_not_touched(tmp_path: Path) -> None:
    node = PostgresNode(node_config(tmp_path, "Site_A", "Site_B"))
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o755)
    node.files.run.rmdir()
    node.files.run.symlink_to(victim)
    again = PostgresNode(node.config)
    try:
        assert again.files.run != node.files.run
        assert stat.S_IMODE(victim.stat().st_mode) == 0o755
        assert again.location.root == node.location.root
    finally:
        discard(again)


@as_root
def test_ordinary_user_needs_nothing_special() -> None:
    base = Path(tempfile.mkdtemp(dir="/var/tmp"))
    os.chown(base, 65534, 65534)
    try:
        pid, root, dsn = _start_elsewhere(base, free_port(), 65534)
        try:
            assert root.is_relative_to(base), "inside the state folder"
            assert psutil.Process(pid).uids().real == 65534
            assert dsn.startswith("postgresql://stayline:")
        finally:
            os.kill(pid, signal.SIGKILL)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def test_long_path_gets_a_short_place_for_sockets(tmp_path: Path) -> None:
    deep = Path(tempfile.mkdtemp(dir="/var/tmp"))
    deep.chmod(0o755)
    base = deep / ("d" * 90)

    async def play() -> None:
        node = PostgresNode(node_config(base, "Site_A", "Site_B"))
        try:
            await node.init_primary()
            async with session(node) as conn:
                assert await conn.fetchval("SELECT 1") == 1
            assert node.files.data.is_relative_to(base)
            assert len(str(node.files.run)) < 60
            again = PostgresNode(node.config)
            assert again.dsn == node.dsn, "services keep the DSN over restarts"
        finally:
            await node.kill()
            discard(node)

    try:
        asyncio.run(play())
    finally:
        shutil.rmtree(deep)
