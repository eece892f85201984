"""A wide-area network between two network namespaces of this machine, with delay, jitter, loss and cuts.

Each end is a TUN device in its namespace; this process carries the packets between them. It needs root and a kernel
with TUN devices, but no kernel module for network emulation. Everything is torn down by :meth:`Wan.close`, also the
namespaces; names carry the process id, so that several can run side by side.
"""

import asyncio
import fcntl
import os
import random as random_module
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stayline.domain.errors import refuse

TUN_DEVICE = Path("/dev/net/tun")
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_MTU = 1_500
_READ_BYTES = 65_536
_MOST_UNDER_WAY = 20_000
"""Packets delayed at a time in one direction; more are dropped, as by any router."""


@dataclass
class Way:
    """One direction: seconds of ``delay`` plus U(0, ``jitter``), share of packets lost, and whether anything passes
    at all. Change a field at any moment."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    up: bool = True
    carried: int = field(default=0, init=False)
    dropped: int = field(default=0, init=False)


def possible() -> str:
    """Why a WAN cannot be made here (empty: it can)."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "the program `ip` is not installed (package iproute2)"
    if not TUN_DEVICE.exists():
        return "this kernel has no TUN device"
    name = f"slprobe{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "network namespaces may not be made here"
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return ""


class End:
    """One end: its namespace, its address, and the TUN device that this process holds."""

    def __init__(self, namespace: str, device: str, address: str, other: str) -> None:
        self.namespace = namespace
        self.address = address
        self._device = device
        _ip("netns", "add", namespace)
        self.descriptor = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH22x", device.encode(), _IFF_TUN_NO_PI)
        fcntl.ioctl(self.descriptor, _TUNSETIFF, request)
        # The open descriptor stays with the device when it moves to another namespace.
        _ip("link", "set", device, "netns", namespace)
        self.ip("link", "set", "lo", "up")
        self.ip("addr", "add", address, "peer", other, "dev", device)
        self.ip("link", "set", device, "mtu", str(_MTU), "up")

    def ip(self, *arguments: str) -> None:
        """Run ``ip`` inside the namespace."""
        _ip("-n", self.namespace, *arguments)

    def command(self, *arguments: str) -> list[str]:
        """A command line that runs inside the namespace."""
        return ["ip", "netns", "exec", self.namespace, *arguments]

    def run(self, *arguments: str, stdin: str = "") -> None:
        """Run a program inside the namespace and wait for it. Raises RefusedError ``wan.failed``."""
        _checked(self.command(*arguments), stdin)

    def close(self) -> None:
        """Remove device and namespace."""
        os.close(self.descriptor)
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True, check=False)


class Wan:
    """Two ends, ``a`` and ``b``, and the two ways between them. Open it inside a running event loop."""

    def __init__(self, random: random_module.Random | None = None) -> None:
        self.a_to_b = Way()
        self.b_to_a = Way()
        self._random = random or random_module.Random()
        self._loop = asyncio.get_running_loop()
        self._under_way = 0
        tag = f"{os.getpid():x}"
        self.a = End(f"sl{tag}a", f"sl{tag}a", "10.213.7.1", "10.213.7.2")
        try:
            self.b = End(f"sl{tag}b", f"sl{tag}b", "10.213.7.2", "10.213.7.1")
        except BaseException:
            self.a.close()
            raise
        self._loop.add_reader(self.a.descriptor, self._read, self.a, self.b, self.a_to_b)
        self._loop.add_reader(self.b.descriptor, self._read, self.b, self.a, self.b_to_a)

    def cut(self, up: bool = False) -> None:
        """Let nothing pass in either direction (``up``: let it pass again)."""
        self.a_to_b.up = self.b_to_a.up = up

    def close(self) -> None:
        """Remove everything."""
        for end in (self.a, self.b):
            self._loop.remove_reader(end.descriptor)
            end.close()

    def _read(self, source: End, target: End, way: Way) -> None:
        try:
            packet = os.read(source.descriptor, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        if not way.up or self._random.random() < way.loss or self._under_way >= _MOST_UNDER_WAY:
            way.dropped += 1
            return
        delay = way.delay + self._random.random() * way.jitter
        if delay <= 0:
            self._write(target, way, packet)
            return
        self._under_way += 1
        self._loop.call_later(delay, self._arrive, target, way, packet)

    def _arrive(self, target: End, way: Way, packet: bytes) -> None:
        self._under_way -= 1
        if way.up:
            self._write(target, way, packet)
        else:
            way.dropped += 1  # It was on its way when the cable was cut.

    def _write(self, target: End, way: Way, packet: bytes) -> None:
        try:
            os.write(target.descriptor, packet)
        except OSError:
            way.dropped += 1  # The device is going away, or its queue is full.
        else:
            way.carried += 1


def _ip(*arguments: str) -> None:
    _checked(["ip", *arguments])


def _checked(command: Sequence[str], stdin: str = "") -> None:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}."
        raise refuse("wan.failed", reason)
