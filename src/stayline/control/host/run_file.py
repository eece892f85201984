"""The run file: which processes belong to this host agent, so that the next one can adopt them."""

import os
from pathlib import Path

import msgspec

from stayline.control.host.procinfo import is_same


class Running(msgspec.Struct, kw_only=True, frozen=True):
    """One process that lives, as recorded on disk. ``ticks`` is its start time, which proves that the pid is
    still its own; ``since`` Unix seconds."""

    pid: int
    ticks: int
    since: float
    restarts: int = 0

    @property
    def alive(self) -> bool:
        """Whether that very process still lives."""
        return is_same(self.pid, self.ticks)


class RunFile(msgspec.Struct, kw_only=True):
    """Content of ``run/processes.json``. ``agent`` is the host agent itself, ``forker`` its preloaded parent,
    ``stopped`` the applications that were stopped on command and stay so when the next host agent adopts the
    rest."""

    agent: Running | None = None
    forker: Running | None = None
    processes: dict[str, Running] = {}
    stopped: list[str] = []


def run_file_path(site_folder: Path) -> Path:
    """Where a site's run file lies."""
    return site_folder / "run" / "processes.json"


def read_run_file(path: Path) -> RunFile:
    """The recorded processes; empty when there is no file or it is not readable as one (nothing is adopted
    then)."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunFile)
    except (FileNotFoundError, msgspec.DecodeError):
        return RunFile()


def write_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file in one step, on the disk before this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_run_file(path: Path, content: RunFile) -> None:
    """Record the processes. Not flushed to the disk: after a power cut none of them lives anyway."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(content))
    draft.replace(path)
