"""The client of the Configuration Servers: one live copy of the configuration for as long as the process
lives.

It connects to the first Configuration Server of its list that answers (own site first), asks for what changed
since the revision it holds, and is told of every further change. While none answers the last copy stays in
force; it is also kept on disk, so that a process can start during an outage.
"""

import asyncio
import contextlib
import random as random_module
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError, StaylineError
from stayline.domain.objects import ConfigObject
from stayline.domain.topology import Configuration
from stayline.link.authority import TlsFiles
from stayline.link.bootstrap import Bootstrap
from stayline.link.configuration_cache import Copy, load_cache, save_cache
from stayline.link.messages.configuration import (
    Change,
    ChangeMade,
    ChangeRecord,
    Changes,
    GetChangeHistory,
    LoggedIn,
    Login,
    Operation,
    Read,
)
from stayline.link.messages.envelope import Hello
from stayline.link.peer import BaseHandler, Peer
from stayline.link.transport import Endpoint, connect

log = structlog.get_logger(__name__)

T = TypeVar("T")

RETRY_FIRST = 0.1
"""Seconds before the second round through the list; doubles with each round up to :data:`RETRY_CAP`."""

RETRY_CAP = 3.0

ELSEWHERE = frozenset({"config.read_only", "config.unavailable", "link.refused", "link.busy"})
"""Refusals that another Configuration Server may answer differently."""


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
    since: float = 0.0
    why: str = "not started"
    next_attempt_at: float = 0.0


class ConfigurationClient:
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
        self._endpoints = list(endpoints)
        self._hello = hello
        self._tls = tls
        self._cache_path = cache_path
        self._token = token
        self._random = random or random_module.Random()
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._saving: asyncio.Task[None] | None = None
        self._peer: Peer | None = None
        self._known = asyncio.Event()
        self._mark = ""
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

    @property
    def peer(self) -> Peer | None:
        """The live link, or None."""
        return self._peer

    # -- life ------------------------------------------------------------------------------------------

    async def start(self, timeout: float = 15.0, grace: float = 2.0) -> None:
        """Connect and keep connected. Returns when there is a configuration to work with: from a server, or
        from the copy on disk when none answered within ``grace`` seconds. Raises LinkLostError
        (``config.unreachable``) when there is neither after ``timeout`` seconds; attempts go on until
        :meth:`stop` all the same."""
        cached = await asyncio.to_thread(load_cache, self._cache_path) if self._cache_path else None
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="configuration-link")
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
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._saving is not None:
            await self._saving

    # -- requests --------------------------------------------------------------------------------------

    async def login(self, user: str, password: str) -> LoggedIn:
        """Prove a person by password at any Configuration Server, on a link of its own. Raises RefusedError
        (``auth.failed``, ``auth.busy`` ...) or LinkLostError when none answers."""
        request = Login(user=user, password=password)
        return await self._anywhere("auth.login", request, LoggedIn, token="", key="", timeout=30.0)

    async def change(self, operations: list[Operation], reason: str, *, key: str = "") -> ChangeMade:
        """Make all operations or none, at whichever Configuration Server can write. Repeating it with the
        same ``key`` is harmless. Raises RefusedError or LinkLostError."""
        request = Change(operations=operations, reason=reason)
        return await self._here_or_elsewhere("config.change", request, ChangeMade, key or uuid.uuid4().hex)

    async def history(self, limit: int = 50, type: str = "", name: str = "") -> list[ChangeRecord]:
        """The newest changes (of one object, if named), newest first."""
        request = GetChangeHistory(limit=limit, type=type, name=name)
        return await self._here_or_elsewhere("config.history", request, list[ChangeRecord], "")

    async def _here_or_elsewhere(self, method: str, params: object, result: type[T], key: str) -> T:
        peer = self._peer
        if peer is not None and not peer.is_closed:
            try:
                return await peer.request(method, params, result, key=key)
            except LinkLostError as error:
                log.info("configuration.elsewhere", method=method, why=str(error))
            except RefusedError as error:
                if error.refusal.code not in ELSEWHERE:
                    raise
                log.info("configuration.elsewhere", method=method, why=str(error))
        token = self._token() if self._token is not None else ""
        return await self._anywhere(method, params, result, token=token, key=key, timeout=10.0)

    async def _anywhere(
        self, method: str, params: object, result: type[T], *, token: str, key: str, timeout: float
    ) -> T:
        """One request on a link of its own, at the first server of the list that does not send us on."""
        last: StaylineError = LinkLostError(self._unreachable("the list is empty"))
        for endpoint in self._endpoints:
            try:
                peer = await connect(endpoint, self._own_hello(token), BaseHandler(), self._tls)
            except LinkLostError as error:
                last = last if isinstance(last, RefusedError) else error
                continue
            except RefusedError as error:
                if error.refusal.code not in ELSEWHERE:
                    raise
                last = error
                continue
            try:
                return await peer.request(method, params, result, key=key, timeout=timeout)
            except LinkLostError as error:
                last = error
            except RefusedError as error:
                if error.refusal.code not in ELSEWHERE:
                    raise
                last = error
            finally:
                await peer.close()
        raise last

    def _own_hello(self, token: str) -> Hello:
        return msgspec.structs.replace(self._hello(), token=token)

    def _unreachable(self, why: str) -> Refusal:
        names = ", ".join(e.application for e in self._endpoints) or "none is known"
        return Refusal(
            code="config.unreachable",
            reason=f"No Configuration Server answers ({names}): {why}.",
            retryable=True,
            fix="Start a Configuration Server, or look at the network between here and it.",
        )

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
                    self._down(f"{endpoint.application}: {await peer.closed}")
                    # The list is walked from its head again: own site first.
                    break
                await self._pause(failures, pause)
                failures += 1
        finally:
            if self._peer is not None:
                await self._peer.close()

    async def _pause(self, failures: int, at_least: float) -> None:
        """Between two rounds: jittered, so that all who lost the same server do not come back together."""
        widest = min(RETRY_CAP, RETRY_FIRST * 2 ** min(failures, 10))
        wait = max(at_least, widest * self._random.uniform(0.5, 1.0))
        self._tell(replace(self.link, next_attempt_at=self._clock() + wait))
        await asyncio.sleep(wait)

    async def _open(self, endpoint: Endpoint) -> Peer:
        token = self._token() if self._token is not None else ""
        handler = _Subscriber(self)
        peer = await connect(endpoint, self._own_hello(token), handler, self._tls)
        try:
            since = Read(since=self.revision, subscribe=True, mark=self._mark)
            changes = await peer.request("config.read", since, Changes)
        except BaseException:
            peer.abort("configuration could not be read")
            raise
        self._peer = peer
        self._tell(
            ConfigurationLink(
                up=True,
                application=endpoint.application,
                site=peer.hello.site,
                writable=changes.writable,
                since=self._clock(),
                why=f"connected to {endpoint.application}",
            )
        )
        log.info("configuration.connected", server=endpoint.application, revision=changes.revision)
        self._take(changes)
        handler.begin()
        return peer

    def told(self, changes: Changes) -> None:
        """A further revision, or news of the server's writability, on the live link."""
        if changes.writable != self.link.writable:
            self._tell(replace(self.link, writable=changes.writable))
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
        self._mark = changes.mark
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
        while saved != (self.revision, self._mark):
            copy = Copy(revision=self.revision, mark=self._mark, objects=self.snapshot.objects)
            saved = (copy.revision, copy.mark)
            await asyncio.to_thread(save_cache, path, copy)


class _Subscriber(BaseHandler):
    """Receives ``config.changed``. Until the answer to the subscribing read is taken, events are kept in
    order."""

    def __init__(self, client: ConfigurationClient) -> None:
        self._client = client
        self._begun = False
        self._early: list[Changes] = []

    def begin(self) -> None:
        """The first answer is taken: from here on events count."""
        self._begun = True
        for changes in self._early:
            self._client.told(changes)
        self._early.clear()

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        """A change; one that cannot be read costs the link, and the next one asks for everything missed."""
        if name != "config.changed":
            return
        try:
            changes = msgspec.json.decode(payload, type=Changes)
        except msgspec.MsgspecError as error:
            peer.abort(f"malformed {name}: {error}")
            return
        if self._begun:
            self._client.told(changes)
        elif len(self._early) < 1000:
            self._early.append(changes)
        else:
            peer.abort("too many changes before the first answer")
