"""The configuration in force at a client, and its copy on disk: what it is, and how old it may be."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from stayline.domain.objects import ConfigObject
from stayline.domain.topology import Configuration
from stayline.link.configuration_cache import Copy, confirm_cache, confirmed_at, load_cache, save_cache
from stayline.link.messages.configuration import Changes

log = structlog.get_logger(__name__)


class ConfigurationCopy:
    """``path`` is the file (None: none is kept), ``clock`` gives Unix seconds.

    ``changed`` are called with the changed objects (deleted ones are gone from ``snapshot``) once ``snapshot`` is new.
    ``known`` is set when there is a configuration at all. ``as_of``: when it was last known to be what a server that is
    current has (0.0: never); ``from_disk`` while no server has confirmed what was read from the file.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float]) -> None:
        self.path = path
        self.snapshot = Configuration()
        self.mark = ""
        self.as_of = 0.0
        self.from_disk = False
        self.known = asyncio.Event()
        self.changed: list[Callable[[list[ConfigObject]], None]] = []
        self._clock = clock
        self._saving: asyncio.Task[None] | None = None

    async def load(self) -> Copy | None:
        """What the file has, if there is one that can be read."""
        return await asyncio.to_thread(load_cache, self.path) if self.path is not None else None

    def take_from_disk(self, copy: Copy) -> None:
        """Use what the file had; unless a server was quicker."""
        if self.known.is_set():
            return
        self.from_disk = True
        self.as_of = confirmed_at(self.path) if self.path is not None else 0.0
        self._use(Changes(revision=copy.revision, full=True, objects=copy.objects, mark=copy.mark))

    def take(self, changes: Changes) -> None:
        """Make a server's changes the configuration in force, then tell whoever asked to be told."""
        if changes.current:
            self.confirm()
        self._use(changes)
        if self.path is not None and (self._saving is None or self._saving.done()):
            self._saving = asyncio.create_task(self._save(self.path), name="configuration-copy")

    def _use(self, changes: Changes) -> None:
        before = self.snapshot
        self.snapshot = before.applied(changes.objects, changes.deleted, changes.revision, changes.full)
        self.mark = changes.mark
        first = not self.known.is_set()
        self.known.set()
        changed = [o for o in changes.objects if before.get(o.type, o.name) != o]
        kept = {(o.type, o.name) for o in self.snapshot.objects}
        if not (changed or first or any((o.type, o.name) not in kept for o in before.objects)):
            return
        log.info("configuration.taken", revision=changes.revision, objects=len(changed), full=changes.full)
        for callback in list(self.changed):
            callback(changed)

    def confirm(self) -> None:
        """It is what a server that is current has, now."""
        self.from_disk = False
        self.as_of = self._clock()

    def date(self) -> None:
        """Note in the file when it was last known to be right: this process may be killed before :meth:`flush`."""
        if self.path is not None and self.as_of:
            confirm_cache(self.path, self.as_of)

    async def flush(self) -> None:
        """Wait until the file is written, and note there when it was last known to be right."""
        if self._saving is not None:
            await self._saving
        if self.path is not None and self.as_of:
            await asyncio.to_thread(confirm_cache, self.path, self.as_of)

    async def _save(self, path: Path) -> None:
        saved = (-1, "")
        while saved != (self.snapshot.revision, self.mark):
            copy = Copy(revision=self.snapshot.revision, mark=self.mark, objects=self.snapshot.objects)
            saved = (copy.revision, copy.mark)
            await asyncio.to_thread(save_cache, path, copy)
