"""The client of the Configuration Servers: one live copy of the configuration for as long as the process
lives.

It connects to the first Configuration Server of its list that answers (own site first), asks for what changed
since the revision it holds, and is told of every further change. While none answers the last copy stays in
force; it is also kept on disk, so that a process can start during an outage.
"""

import asyncio
import random as random_module
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError, StaylineError
from stayline.domain.objects import ConfigObject
from stayline.domain.topology import Configuration
from stayline.link.authority import TlsFiles
from stayline.link.bootstrap import Bootstrap
from stayline.link.configuration_cache import Copy, load_cache, save_cache
from stayline.link.configuration_requests import ConfigurationRequests
from stayline.link.messages.configuration import (
    Changes,
    Read,
)
from stayline.link.messages.envelope import Hello
from stayline.link.peer import BaseHandler, Peer, read
from stayline.link.transport import Endpoint, connect

log = structlog.get_logger(__name__)

RETRY_FIRST = 0.1
"""Seconds before the second round through the list; doubles with each round up to :data:`RETRY_CAP`."""

RETRY_CAP = 3.0

MAX_EARLY = 1000
"""Events kept while an answer is under way."""

LOOK_AROUND = (1.5, 3.0)
"""Seconds (drawn between) after which a client of a server that is not current looks for one that is."""


def configuration_endpoints(bootstrap: Bootstrap, local: float = 2.0, remote: float = 2.0) -> list[Endpoint]:
    """The Configuration Servers of a bootstrap file, own site's first; ``local``/``remote`` ADDP seconds."""
    return [
        Endpoint(host=node.host, port=node.port, application=node.application, local=local, remote=remote)
        for node in bootstrap.configuration
    ]


@dataclass(frozen=True, kw_only=True)
class ConfigurationLink:
    """How the link stands: ``since`` (Unix seconds) of the present state, ``why`` in a sentence, and when the
    next attempt is (0: connected, or under way)."""

    up: bool = False
    application: str = ""
    site: str = ""
    writable: bool = False
    current: bool = True
    since: float = 0.0
    why: str = "not started"
    next_attempt_at: float = 0.0


class ConfigurationClient(ConfigurationRequests):
    """See the module. ``endpoints`` in order of preference; ``hello`` is called for every attempt;
    ``cache_path`` is the copy on disk (None: none); ``token`` gives a person's token (None: a server, proven
    by its certificate)."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        hello: Callable[[], Hello],
        tls: TlsFiles,
        cache_path: Path | None = None,
        token: Callable[[], str] | None = None,
        *,
        random: random_module.Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(endpoints, hello, tls, token)
        self._cache_path = cache_path
        self._random = random or random_module.Random()
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._saving: asyncio.Task[None] | None = None
        self._rereading: asyncio.Task[None] | None = None
        self._turned = asyncio.Event()
        self._known = asyncio.Event()
        self.mark = ""
        self.snapshot = Configuration()
        self.link = ConfigurationLink()
        # Called with the changed objects (deleted ones are gone from `snapshot`) once `snapshot` is new.
        self.changed: list[Callable[[list[ConfigObject]], None]] = []
        # Called when the link comes, goes, or plans its next attempt.
        self.on_link: list[Callable[[ConfigurationLink], None]] = []

    @property
    def revision(self) -> int:
        """Revision of :attr:`snapshot`."""
        return self.snapshot.revision

    # -- life ------------------------------------------------------------------------------------------

    def start_following(self) -> None:
        """Connect and keep connected, without waiting for anything."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="configuration-link")

    async def start(self, timeout: float = 15.0, grace: float = 2.0) -> None:
        """Connect and keep connected. Returns when there is a configuration to work with: from a server, or
        from the copy on disk when none answered within ``grace`` seconds. Raises LinkLostError
        (``config.unreachable``) when there is neither after ``timeout`` seconds; attempts go on until
        :meth:`stop` all the same."""
        cached = await asyncio.to_thread(load_cache, self._cache_path) if self._cache_path else None
        self.start_following()
        try:
            async with asyncio.timeout(timeout if cached is None else grace):
                await self._known.wait()
        except TimeoutError:
            if cached is None:
                raise LinkLostError(self._unreachable(self.link.why)) from None
            log.warning("configuration.from_cache", revision=cached.revision, why=self.link.why)
            self._take(Changes(revision=cached.revision, full=True, objects=cached.objects, mark=cached.mark))

    async def stop(self) -> None:
        """Close the link and end every task."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for running in (self._rereading, self._saving):
            if running is not None:
                await running

    # -- the link --------------------------------------------------------------------------------------

    async def _run(self) -> None:
        failures = 0
        try:
            while True:
                pause = 0.0
                for endpoint in self._endpoints:
                    try:
                        peer = await self._open(endpoint)
                    except StaylineError as error:
                        pause = max(pause, error.refusal.retry_after or 0.0)
                        self._down(f"{endpoint.application}: {error.refusal.reason}")
                        continue
                    failures, pause = 0, 0.0
                    await self._stay(peer, endpoint)
                    # The list is walked from its head again: own site first.
                    break
                await self._pause(failures, pause)
                failures += 1
        finally:
            if self._peer is not None:
                await self._peer.close()

    async def _stay(self, peer: Peer, endpoint: Endpoint) -> None:
        """Until the link is lost. While its server says that it is not current, look for one that is, and move."""
        while not peer.is_closed:
            wait = None if self.link.current else self._random.uniform(*LOOK_AROUND)
            self._turned.clear()
            turned = asyncio.create_task(self._turned.wait())
            until: set[asyncio.Future[Any]] = {peer.closed, turned}
            try:
                done, _ = await asyncio.wait(until, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            finally:
                turned.cancel()
            if done:
                continue
            better = await self._better_than(endpoint)
            if better is not None:
                log.info("configuration.moved", server=better[0].application, why="the other is not current")
                await peer.close()
                endpoint, peer = better
        self._down(f"{endpoint.application}: {await peer.closed}")

    async def _better_than(self, endpoint: Endpoint) -> tuple[Endpoint, Peer] | None:
        for other in self._endpoints:
            if other == endpoint:
                continue
            try:
                return other, await self._open(other, only_current=True)
            except StaylineError as error:
                log.debug("configuration.not_better", server=other.application, why=str(error))
        return None

    async def _pause(self, failures: int, at_least: float) -> None:
        """Between two rounds: jittered, so that all who lost the same server do not come back together."""
        widest = min(RETRY_CAP, RETRY_FIRST * 2 ** min(failures, 10))
        wait = max(at_least, widest * self._random.uniform(0.5, 1.0))
        self._tell(replace(self.link, next_attempt_at=self._clock() + wait))
        await asyncio.sleep(wait)

    async def _open(self, endpoint: Endpoint, *, only_current: bool = False) -> Peer:
        """A link to this server, with the configuration taken from it; it is :attr:`peer` from then on."""
        token = self._token() if self._token is not None else ""
        handler = _Subscriber(self)
        peer = await connect(endpoint, self._own_hello(token), handler, self._tls)
        try:
            changes = await self._read(peer)
            if only_current and not changes.current:
                reason = f"{endpoint.application} is not current either."
                raise RefusedError(Refusal(code="config.behind", reason=reason, retryable=True))
        except BaseException:  # also when cancelled: nobody else knows this link yet
            peer.abort("configuration could not be read")
            raise
        self._peer = peer
        self._tell(
            ConfigurationLink(
                up=True,
                application=endpoint.application,
                site=peer.hello.site,
                writable=changes.writable,
                current=changes.current,
                since=self._clock(),
                why=f"connected to {endpoint.application}",
            )
        )
        log.info("configuration.connected", server=endpoint.application, revision=changes.revision)
        self._take(changes)
        handler.begin(peer)
        return peer

    async def _read(self, peer: Peer) -> Changes:
        """Everything since our revision, page by page; from the start again when a new revision came between."""
        while True:
            since = Read(since=self.revision, subscribe=True, mark=self.mark)
            whole = await peer.request("config.read", since, Changes)
            more = whole.more
            while more:
                part = await peer.request("config.read", msgspec.structs.replace(since, offset=more), Changes)
                if (part.revision, part.mark, part.full) != (whole.revision, whole.mark, whole.full):
                    break
                whole.objects.extend(part.objects)
                more = part.more
            else:
                return whole

    def reread(self, handler: "_Subscriber", peer: Peer) -> None:
        """A change too long for an event was announced: read it."""
        if self._rereading is None or self._rereading.done():
            self._rereading = asyncio.create_task(self._reread(handler, peer), name="configuration-reread")

    async def _reread(self, handler: "_Subscriber", peer: Peer) -> None:
        try:
            changes = await self._read(peer)
        except StaylineError as error:
            peer.abort(f"configuration could not be read: {error}")
            return
        if peer is self._peer:
            self._take(changes)
            handler.begin(peer)

    def told(self, changes: Changes) -> None:
        """A further revision, or news of the server's writability, on the live link."""
        if (changes.writable, changes.current) != (self.link.writable, self.link.current):
            self._tell(replace(self.link, writable=changes.writable, current=changes.current))
            self._turned.set()
        if changes.full or changes.revision > self.revision:
            self._take(changes)

    def _down(self, why: str) -> None:
        self._peer = None
        since = self._clock() if self.link.up or not self.link.since else self.link.since
        if self.link.up:
            log.warning("configuration.disconnected", why=why)
        self._tell(ConfigurationLink(since=since, why=why))

    def _tell(self, link: ConfigurationLink) -> None:
        self.link = link
        for callback in list(self.on_link):
            callback(link)

    # -- the copy --------------------------------------------------------------------------------------

    def _take(self, changes: Changes) -> None:
        """Make the changes the configuration in force, then tell whoever asked to be told."""
        before = self.snapshot
        self.snapshot = before.applied(changes.objects, changes.deleted, changes.revision, changes.full)
        self.mark = changes.mark
        first = not self._known.is_set()
        self._known.set()
        if self._cache_path is not None and (self._saving is None or self._saving.done()):
            self._saving = asyncio.create_task(self._save(self._cache_path), name="configuration-copy")
        changed = [o for o in changes.objects if before.get(o.type, o.name) != o]
        kept = {(o.type, o.name) for o in self.snapshot.objects}
        if not (changed or first or any((o.type, o.name) not in kept for o in before.objects)):
            return
        log.info("configuration.taken", revision=changes.revision, objects=len(changed), full=changes.full)
        for callback in list(self.changed):
            callback(changed)

    async def _save(self, path: Path) -> None:
        saved = (-1, "")
        while saved != (self.revision, self.mark):
            copy = Copy(revision=self.revision, mark=self.mark, objects=self.snapshot.objects)
            saved = (copy.revision, copy.mark)
            await asyncio.to_thread(save_cache, path, copy)


class _Subscriber(BaseHandler):
    """Receives ``config.changed``. Until the answer to the subscribing read is taken, events are kept in order."""

    def __init__(self, client: ConfigurationClient) -> None:
        self._client = client
        self._begun = False
        self._early: list[Changes] = []

    def begin(self, peer: Peer) -> None:
        """The answer is taken: from here on events count."""
        self._begun = True
        while self._early and self._begun:
            self._count(peer, self._early.pop(0))

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        """A change; one that cannot be read costs the link, and the next link asks for everything missed."""
        if name != "config.changed":
            return
        changes = read(payload, Changes, name)
        if self._begun:
            self._count(peer, changes)
        elif len(self._early) < MAX_EARLY:
            self._early.append(changes)
        else:
            peer.abort("too many changes before the first answer")

    def _count(self, peer: Peer, changes: Changes) -> None:
        if changes.more:
            self._begun = False
            self._client.reread(self, peer)
        else:
            self._client.told(changes)
