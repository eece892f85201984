"""Targets for the supervisor's tests: the smallest processes that behave in one way each."""

import signal
import sys
from pathlib import Path
from types import FrameType


def sleeper(folder: str, name: str) -> None:
    """Runs until SIGTERM, then ends with status 0."""

    def terminate(number: int, frame: FrameType | None) -> None:
        (Path(folder) / f"{name}.terminated").touch()
        sys.exit(0)

    signal.signal(signal.SIGTERM, terminate)
    (Path(folder) / f"{name}.ready").touch()
    while True:
        signal.pause()


def deaf(folder: str, name: str) -> None:
    """Ignores SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (Path(folder) / f"{name}.ready").touch()
    while True:
        signal.pause()


def failing(folder: str, name: str) -> None:
    """Ends at once with status 3."""
    sys.exit(3)
