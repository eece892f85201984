"""Is a server running in this data folder? Answered from the kernel, not from what ``postmaster.pid`` claims."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Lock:
    """``postmaster.pid``: who wrote it, and when (Unix seconds)."""

    pid: int
    started: float


def read_lock(data: Path) -> Lock | None:
    """The content of the lock file; None when there is none or it is not whole."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return Lock(pid=abs(int(lines[0])), started=float(lines[2]))
    except (FileNotFoundError, ValueError, IndexError):
        return None


def running_postmaster(data: Path) -> int | None:
    """The pid of the live postmaster of ``data``: named by the lock file, running postgres, in this folder.

    A zombie, a stranger that got the pid later and a server of another folder are all None.
    """
    lock = read_lock(data)
    if lock is None or not is_server(lock.pid, data):
        return None
    return lock.pid


def is_server(pid: int, data: Path) -> bool:
    """Whether ``pid`` is a live postgres process whose working folder is ``data``."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.name().startswith("postgres") and Path(process.cwd()) == data.resolve()
    except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
        return False


def says_ready(data: Path, pid: int) -> bool:
    """Whether the postmaster ``pid`` has written that it accepts connections, as primary or as replica."""
    lock = read_lock(data)
    if lock is None or lock.pid != pid:
        return False
    lines = (data / "postmaster.pid").read_text().splitlines()
    return len(lines) > 7 and lines[7].strip() in ("ready", "standby")


def lingering(data: Path) -> list[int]:
    """Every live postgres process of the data folder (a postmaster's children outlive its SIGKILL for a moment)."""
    here = str(data.resolve())
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _works_in(pid, here)]


def _works_in(pid: int, folder: str) -> bool:
    """A cheap look before :func:`is_server`: most processes of a machine are elsewhere."""
    try:
        return os.readlink(f"/proc/{pid}/cwd") == folder and is_server(pid, Path(folder))
    except OSError:
        return False


def kill_all(data: Path) -> int:
    """SIGKILL every process of the data folder; how many there were."""
    victims = lingering(data)
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(victims)


def clear_stale_locks(data: Path, run: Path) -> str:
    """Remove lock files that no live server stands behind; the sentence that says so, or nothing.

    There is one in the data folder and one beside each socket in ``run``, which belongs to this server alone.
    PostgreSQL itself refuses to start as long as *any* process of its account has the pid in such a file: a zombie
    that nobody has reaped, or a stranger. Only call this when :func:`lingering` is empty.
    """
    lock = read_lock(data)
    stale = [path for path in (data / "postmaster.pid", *run.rglob(".s.PGSQL.*")) if path.exists()]
    if not stale:
        return ""
    for path in stale:
        path.unlink()
    return f"removed a stale postmaster.pid (pid {lock.pid if lock else 'unreadable'} is no server of this folder)"
