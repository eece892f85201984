"""What the kernel says about a process: whether this pid is still the one that was meant."""

import ctypes
import os
import signal
from pathlib import Path

_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36


def start_ticks(pid: int) -> int:
    """Clock ticks after boot at which ``pid`` started; with the pid it names one process for ever. 0: no such
    process, or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    # The command in brackets may hold spaces and brackets itself: count fields from the last bracket on.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def is_same(pid: int, ticks: int) -> bool:
    """Whether ``pid`` is alive and still the process that started at ``ticks``."""
    return pid > 0 and ticks > 0 and start_ticks(pid) == ticks


def children(pid: int) -> list[int]:
    """Pids of the direct children of ``pid`` (zombies included)."""
    found: list[int] = []
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return found
    for thread in threads:
        try:
            found.extend(int(word) for word in (thread / "children").read_text().split())
        except OSError:
            continue
    return found


def descendants(pid: int) -> list[int]:
    """Pids of all descendants of ``pid``, parents before children."""
    found: list[int] = []
    queue = children(pid)
    while queue:
        one = queue.pop(0)
        found.append(one)
        queue.extend(children(one))
    return found


def zombies(pid: int) -> set[int]:
    """Direct children of ``pid`` that ended and were not waited for."""
    return {child for child in children(pid) if _state(child) == b"Z"}


def _state(pid: int) -> bytes:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return b""
    return stat[stat.rindex(b")") + 2 :].split()[0]


def reap(pid: int) -> None:
    """Wait for a zombie child without blocking; nothing happens when somebody else did."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def become_subreaper() -> bool:
    """Make orphans below this process its children instead of PID 1's, so that it can wait for them. False
    where the kernel has no such thing: they are then the init process's business."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def name_process(name: str) -> None:
    """Give this process the name that ``top`` and ``ps -o comm`` show (the kernel keeps 15 bytes)."""
    if name:
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def describe_exit(status: int) -> str:
    """A wait status in words: "killed by SIGKILL" or "exit status 3"."""
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.WEXITSTATUS(status)}"
