"""Free ports for tests, from blocks that this process alone has reserved: other workers and labs run beside it."""

import functools
import random
import tempfile
from pathlib import Path

from stayline.lab.ports import BLOCK, choose_ports, is_free


@functools.cache
def _owner() -> "tempfile.TemporaryDirectory[str]":
    """Made when it is first needed; the reservation lasts as long as this folder, that is, as this process."""
    return tempfile.TemporaryDirectory(prefix="stayline-test-ports-")


_given: list[int] = []
_left: list[int] = []


def free_port() -> int:
    """A TCP port that nobody listens on, outside the range the kernel gives to clients, and never given before."""
    while True:
        if not _left:
            _left.extend(choose_ports(Path(_owner().name), BLOCK, random.Random(), keep=_given))
            _given.extend(_left)
        port = _left.pop()
        if is_free(port):
            return port
