"""The copy of the configuration on disk, so that a process can start while no Configuration Server
answers."""

import contextlib
import os
from pathlib import Path

import msgspec
import structlog

from stayline.domain.objects import ConfigObject

log = structlog.get_logger(__name__)


class Copy(msgspec.Struct, kw_only=True):
    """What is kept: everything the owner of this file was told, as it was at ``revision``. When it was last known to be
    right is the time of the file itself (see :func:`confirm_cache`)."""

    format: int = 1
    revision: int
    mark: str
    objects: list[ConfigObject]


def load_cache(path: Path) -> Copy | None:
    """The copy, or None when there is none that can be read (said in the log, never fatal)."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Copy)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("configuration.cache_unreadable", file=str(path), why=str(error))
        return None


def confirmed_at(path: Path) -> float:
    """When the copy was last known to be what the servers have (Unix seconds); 0.0 when there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def confirm_cache(path: Path, at: float) -> None:
    """The copy is still what the servers have, as of ``at`` (Unix seconds). Nothing is said when there is none."""
    with contextlib.suppress(OSError):
        os.utime(path, (at, at))


def save_cache(path: Path, copy: Copy) -> None:
    """Write the copy so that a reader sees the old or the new one, never a part; readable by the owner only.
    A disk that refuses is said in the log: the process goes on with what it has in memory."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(copy))
        os.replace(part, path)
    except OSError as error:
        log.warning("configuration.cache_not_written", file=str(path), why=str(error))
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
