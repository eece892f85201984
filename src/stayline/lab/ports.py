"""Ports for a lab: free, and outside the range from which the kernel takes ports for outgoing connections.

A passive server opens its port only after a switch-over, perhaps hours later. A port of the ephemeral range
could by then belong to somebody's outgoing connection; so the lab never uses one. Labs on one machine keep
apart by reserving blocks: a small file per block names the state folder it belongs to.
"""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path
from random import Random

from stayline.domain.errors import refuse

BLOCK = 128
"""Ports in a block."""

LOWEST, HIGHEST = 10_240, 32_767
"""Where blocks lie, before the ephemeral range is taken out."""

_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def ephemeral_range(path: Path = _RANGE_FILE) -> range:
    """The ports that the kernel gives to outgoing connections; the usual range where it does not tell."""
    try:
        low, high = (int(word) for word in path.read_text().split())
    except (OSError, ValueError):
        low, high = 32_768, 60_999
    return range(low, high + 1)


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Whether a listener could open ``port`` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def blocks(ephemeral: range) -> list[range]:
    """All blocks that lie entirely outside ``ephemeral``."""
    found = [range(first, first + BLOCK) for first in range(LOWEST, HIGHEST + 2 - BLOCK, BLOCK)]
    return [block for block in found if block[-1] < ephemeral.start or block.start >= ephemeral.stop]


def choose_ports(
    owner: Path, count: int, random: Random, *, keep: Iterable[int] = (), ephemeral: range | None = None
) -> list[int]:
    """``count`` free ports for the lab in ``owner``, none of them in ``keep`` (ports it uses already).

    Raises RefusedError ``lab.no_ports`` when the machine has not enough left.
    """
    candidates = blocks(ephemeral_range() if ephemeral is None else ephemeral)
    random.shuffle(candidates)
    taken, found = set(keep), list[int]()
    # Own blocks first (a restart with more servers), then unreserved ones; as a last resort anybody's free
    # ports, because a reservation is a courtesy between labs and no reason to refuse to start.
    for stage in ("own", "free", "any"):
        for block in candidates:
            if len(found) >= count:
                return found[:count]
            if stage == "any" or _reserve(block, owner, only_own=stage == "own"):
                fresh = [port for port in block if port not in taken and is_free(port)]
                found += fresh
                taken.update(fresh)
    if len(found) < count:
        raise refuse(
            "lab.no_ports",
            f"Only {len(found)} of {count} ports are free between {LOWEST} and {HIGHEST}.",
            fix="Stop other labs or programs that listen there.",
        )
    return found[:count]


def _reserve(block: range, owner: Path, *, only_own: bool) -> bool:
    folder = Path(tempfile.gettempdir()) / f"stayline-ports-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with open(folder / str(block.start), "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        holder = file.read().strip()
        mine = str(owner.resolve())
        if holder == mine:
            return True
        if only_own or (holder and Path(holder).exists()):
            return False
        file.seek(0)
        file.truncate()
        file.write(mine)
    return True
