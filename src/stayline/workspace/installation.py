"""Which Workspace this is: a name that stays the same over restarts, made at random where it is first needed.

The Interaction Server takes a login from the same installation for the same person coming back, not for a second one.
"""

import contextlib
import os
import re
import uuid
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

FILE = "installation"
_NAME = re.compile(r"[0-9a-f]{32}")


def installation_of(folder: Path | None) -> str:
    """The name kept in ``folder``, made and kept there the first time. Without a folder, or with a disk that refuses,
    a new one each time: a restart then looks like another Workspace."""
    if folder is None:
        return uuid.uuid4().hex
    path = folder / FILE
    try:
        return _kept(path) or _make(path)
    except OSError as error:
        log.warning("workspace.installation", file=str(path), why=f"not kept: {error}")
        return uuid.uuid4().hex


def _kept(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        name = path.read_text().strip()
        if _NAME.fullmatch(name):
            return name
        log.warning("workspace.installation", file=str(path), why="unreadable, a new name is made")
        path.unlink()
    return ""


def _make(path: Path) -> str:
    """Another process may make one at the same moment: whoever is first counts."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = uuid.uuid4().hex
    part = path.with_name(f"{path.name}.{name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{name}\n")
        # A link appears with its whole content, and only if there is none yet.
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path.read_text().strip()
