"""The client of the Configuration Servers: one live copy of the configuration for as long as the process
lives.

It keeps a link to one of its Configuration Servers (which one, its machine decides), asks for what changed since the
revision it holds, and is told of every further change. While none answers the last copy stays in force; it is also
kept on disk, so that a process can start during an outage.
"""

import asyncio
import random as random_module
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import structlog

from stayline.domain.errors import LinkLostError, Refusal, StaylineError
from stayline.domain.objects import ConfigObject
from stayline.domain.topology import Configuration
from stayline.link.authority import TlsFiles
from stayline.link.bootstrap import Bootstrap
from stayline.link.configuration_copy import ConfigurationCopy
from stayline.link.configuration_link import ConfigurationLink, PairOf, Scout, nodes_of, plain_pair
from stayline.link.configuration_requests import ConfigurationRequests
from stayline.link.machine.pool import Node
from stayline.link.machine.standby_view import StandbyView, State
from stayline.link.messages.configuration import Changes, Read
from stayline.link.messages.envelope import Hello
from stayline.link.paired_link import PairedLink
from stayline.link.peer import Peer, read
from stayline.link.transport import Endpoint

__all__ = ["ConfigurationClient", "ConfigurationLink", "configuration_endpoints"]

log = structlog.get_logger(__name__)

MAX_EARLY = 1000
"""Events kept while an answer is under way."""


def configuration_endpoints(bootstrap: Bootstrap, local: float = 2.0, remote: float = 2.0) -> list[Endpoint]:
    """The Configuration Servers of a bootstrap file, own site's first; ``local``/``remote`` ADDP seconds."""
    return [
        Endpoint(host=node.host, port=node.port, application=node.application, local=local, remote=remote)
        for node in bootstrap.configuration
    ]


class ConfigurationClient(ConfigurationRequests):
    """See the module. ``endpoints`` in order of preference; ``hello`` is called for every attempt;
    ``cache_path`` is the copy on disk (None: none); ``token`` gives a person's token (None: a server, proven
    by its certificate); ``pair`` says how the servers of the list are used."""

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
        pair: PairOf = plain_pair,
    ) -> None:
        super().__init__(endpoints, hello, tls, token)
        self.copy = ConfigurationCopy(cache_path, clock)
        self.link = ConfigurationLink()
        # Called when the link comes, goes, or plans its next attempt.
        self.on_link: list[Callable[[ConfigurationLink], None]] = []
        self._clock = clock
        self._random = random or random_module.Random()
        self._pair = pair
        self._nodes = nodes_of(endpoints)
        self._first: Changes | None = None
        self._server = Changes(revision=0, full=False, objects=[], writable=False)
        self._early: list[Changes] | None = None
        self._rereading: asyncio.Task[None] | None = None
        self._scout = Scout(self._link_hello, tls, self._glance, self._random)
        self._standby = PairedLink(
            "Configuration Server",
            self,
            self._link_hello,
            tls,
            random=self._random.random,
            clock=clock,
            report=_nobody,
            prepare=self._prepare,
        )
        self.changed.append(self._plan_again)

    # -- what it knows

    @property
    def snapshot(self) -> Configuration:
        """The configuration in force."""
        return self.copy.snapshot

    @property
    def mark(self) -> str:
        """Identifies its revision across histories."""
        return self.copy.mark

    @property
    def revision(self) -> int:
        """Revision of :attr:`snapshot`."""
        return self.copy.snapshot.revision

    @property
    def changed(self) -> list[Callable[[list[ConfigObject]], None]]:
        """Called with the changed objects (deleted ones are gone from ``snapshot``) once ``snapshot`` is new."""
        return self.copy.changed

    @property
    def view(self) -> StandbyView:
        """What the machine of the link knows."""
        return self._standby.view

    @property
    def pair_refusal(self) -> Refusal | None:
        """What is wrong with the options that say which of its servers to prefer."""
        return self._standby.group.refusal

    @property
    def is_current(self) -> bool:
        """Whether what is known is what a server that is current has."""
        return self.link.up and self.link.current

    @property
    def as_of(self) -> float:
        """When what is known was last known to be right (Unix seconds; 0.0: nothing is known)."""
        return self._clock() if self.is_current else self.copy.as_of

    @property
    def from_disk_since(self) -> float:
        """As :attr:`as_of`, while no server has confirmed what was read from the disk; else 0.0."""
        return self.copy.as_of if self.copy.from_disk else 0.0

    # -- life ------------------------------------------------------------------------------------------

    def start_following(self) -> None:
        """Connect and keep connected, without waiting for anything."""
        if self._standby.view.state is State.STOPPED:
            self._plan_again([])

    async def start(self, timeout: float = 15.0, grace: float = 2.0) -> None:
        """Connect and keep connected. Returns when there is a configuration to work with: from a server, or
        from the copy on disk when none answered within ``grace`` seconds. Raises LinkLostError
        (``config.unreachable``) when there is neither after ``timeout`` seconds; attempts go on until
        :meth:`stop` all the same."""
        cached = await self.copy.load()
        if cached is not None and self._standby.view.state is State.STOPPED:
            # Which servers to use first, it says already.
            self._assign(Configuration(cached.objects, cached.revision))
        self.start_following()
        try:
            async with asyncio.timeout(timeout if cached is None else grace):
                await self.copy.known.wait()
        except TimeoutError:
            if cached is None:
                raise LinkLostError(self._unreachable(self.link.why)) from None
            log.warning("configuration.from_cache", revision=cached.revision, why=self.link.why)
            self.copy.take_from_disk(cached)
            self.link_changed()

    def woke(self) -> None:
        """This machine was asleep."""
        self._standby.woke()

    async def stop(self) -> None:
        """Close the link and end every task."""
        await self._standby.stop()
        await self._scout.finished()
        if self._rereading is not None:
            await self._rereading
        await self.copy.flush()

    def _plan_again(self, changed: list[ConfigObject]) -> None:
        """The configuration may say something else about its own servers."""
        self._assign(self.snapshot)

    def _assign(self, configuration: Configuration) -> None:
        self._standby.plan(self._pair(configuration, self._located(configuration)))

    def _located(self, configuration: Configuration) -> tuple[Node, ...]:
        """The servers of the list with their sites, as far as the configuration knows them."""
        known = {app.name for app in configuration.applications()}
        return tuple(
            replace(node, site=configuration.site_of(node.application)) if node.application in known else node
            for node in self._nodes
        )

    # -- the link (LinkUser) -----------------------------------------------------------------------------

    def _link_hello(self) -> Hello:
        return self._own_hello(self._token() if self._token is not None else "")

    async def _prepare(self, peer: Peer) -> None:
        """A link counts as open when the configuration has been read over it."""
        self._first = self._weighed(await self._read(peer))

    def link_up(self, peer: Peer) -> None:
        """A server answered and has told what it has."""
        changes, self._first = self._first, None
        assert changes is not None
        log.info("configuration.connected", server=peer.hello.application, revision=changes.revision)
        # First what it told, then that it is there: nobody shall take the old configuration for a current one.
        self.copy.take(changes)
        self._peer, self._server, self._early = peer, changes, None
        self._standby.proven()
        self._tell()
        self._look_around()

    def link_down(self, why: str) -> None:
        """The server is gone; what it told stays in force."""
        if self.is_current:
            self.copy.confirm()
            self.copy.date()
        self._peer = None
        self._scout.end()
        level = log.info if self._standby.view.state is State.STOPPED else log.warning
        level("configuration.disconnected", why=why)
        self._tell()

    def link_event(self, name: str, payload: msgspec.Raw, seq: int) -> None:
        """A change; one that cannot be read costs the link, and the next link asks for everything missed."""
        if name != "config.changed":
            return
        changes = read(payload, Changes, name)
        if self._early is None:
            self._told(changes)
        elif len(self._early) < MAX_EARLY:
            self._early.append(changes)
        elif self._peer is not None:
            self._peer.abort("too many changes before the answer to a reading")

    def link_refused(self, refusal: Refusal) -> None:
        """Shown as the reason; a token may be renewed meanwhile."""

    def link_changed(self) -> None:
        """The machine is somewhere else."""
        self._tell()

    def _tell(self) -> None:
        """Tell how the link stands, if it is otherwise than before."""
        view, peer = self._standby.view, self._peer
        up = peer is not None
        since = self.link.since if self.link.up == up and self.link.since else self._clock()
        current = self._server.current if up else True
        link = ConfigurationLink(
            up=up,
            application=peer.hello.application if peer is not None else "",
            site=peer.hello.site if peer is not None else "",
            writable=up and self._server.writable,
            current=current,
            since=since,
            why=view.why if not up else f"connected to {view.node_name}",
            next_attempt_at=view.next_attempt_at if view.state is State.WAITING else 0.0,
            held_until=view.held_until if view.state is State.CONNECTING else 0.0,
            as_of=0.0 if up and current else self.copy.as_of,
        )
        if link == self.link:
            return
        self.link = link
        for callback in list(self.on_link):
            callback(link)

    # -- reading -----------------------------------------------------------------------------------------

    async def _read(self, peer: Peer, *, subscribe: bool = True) -> Changes:
        """Everything since our revision, page by page; from the start again when a new revision came between."""
        while True:
            since = Read(since=self.revision, subscribe=subscribe, mark=self.mark)
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

    async def _glance(self, peer: Peer) -> Changes:
        """Only to see whether that server is current."""
        since = Read(since=self.revision, mark=self.mark)
        return self._weighed(await peer.request("config.read", since, Changes))

    def _weighed(self, changes: Changes) -> Changes:
        """A server that was frozen, and has not looked at its database since, takes itself for current: what is known
        here of a higher epoch says that it is not."""
        if 0 < changes.epoch < self._hello().epoch:
            changes.current = False
        return changes

    def _told(self, changes: Changes) -> None:
        """A further revision, or news of the server's writability, on the live link."""
        if changes.more:
            self._reread()
            return
        self._weighed(changes)
        if self.is_current and not changes.current:
            self.copy.confirm()
        if changes.full or changes.revision > self.revision:
            self.copy.take(changes)
        self._server = changes
        self._tell()
        self._look_around()

    def _reread(self) -> None:
        """A change too long for an event was announced: read it; events wait until it is taken."""
        peer = self._peer
        if peer is not None and (self._rereading is None or self._rereading.done()):
            self._early = []
            self._rereading = asyncio.create_task(self._read_again(peer), name="configuration-reread")

    async def _read_again(self, peer: Peer) -> None:
        try:
            changes = await self._read(peer)
        except StaylineError as error:
            peer.abort(f"configuration could not be read: {error}")
            return
        if peer is not self._peer:
            return
        early, self._early = self._early or [], None
        self._rereading = None
        self._told(changes)
        for change in early:
            self.link_event("config.changed", msgspec.Raw(msgspec.json.encode(change)), 0)

    # -- a better server -----------------------------------------------------------------------------------

    def _look_around(self) -> None:
        """While the server is not current, look for one that is, and move."""
        if self._peer is None or self._server.current:
            self._scout.end()
            return
        others = [n for n in self._standby.others() if n.application != self._peer.hello.application]
        self._scout.look(others, self._found)

    def _found(self, node: Node) -> None:
        if self._peer is not None and not self._server.current:
            why = f"{self._peer.hello.application} is not current, {node.application} is"
            log.info("configuration.moved", server=node.application, why=why)
            self._standby.give_up(why, 0.0)


def _nobody(fact: str, **details: object) -> None:
    """Facts are told by ``on_link``."""
