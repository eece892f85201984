"""The shell of one link that is chosen by a machine: sockets and timers around ``link/machine/standby.py``.

It does what the machine's actions say and tells the machine what happened, with the generation of the attempt: what
comes from an earlier one has no effect.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import msgspec
import structlog

from stayline.domain.errors import Refusal, StaylineError, refuse
from stayline.link.authority import TlsFiles
from stayline.link.machine.pool import Node
from stayline.link.machine.standby import (
    Action,
    Connect,
    Disconnect,
    Due,
    Event,
    Failed,
    Held,
    Lame,
    Lost,
    Opened,
    Proven,
    StandbyView,
    State,
    Wait,
)
from stayline.link.messages.envelope import Hello, Waiting
from stayline.link.messages.interaction import CoreAway, CoreBack, Leaving
from stayline.link.peer import BaseHandler, Peer, read
from stayline.link.transport import Endpoint, connect

log = structlog.get_logger(__name__)

TOKEN_REFUSED = frozenset({"token.expired", "token.invalid", "auth.disabled"})
"""Refusals of a hello that no other server will see otherwise."""

RANK_SECONDS = 0.002
"""Between links that wait for the same moment."""

SUPERSEDED = "link.superseded"
"""Our own refusal of a link that came too late: the machine knows of it already."""

Report = Callable[..., None]
"""Takes a fact and its details: ``report("link.up", application=...)``."""

Prepare = Callable[[Peer], Awaitable[None]]
"""What belongs to opening a link besides the hello. Raises StaylineError when it fails."""


class LinkUser(Protocol):
    """Who works on a link. All calls happen in the event loop, in the order of what happened."""

    def link_up(self, peer: Peer) -> None:
        """A new link stands."""

    def link_down(self, why: str) -> None:
        """The link is gone (or was dropped on purpose); another attempt follows by itself."""

    def link_event(self, name: str, payload: msgspec.Raw, seq: int) -> None:
        """An event of the server. ``core.away`` and ``core.back`` have been noted by the link before."""

    def link_refused(self, refusal: Refusal) -> None:
        """A server says that this person's token is of no use (any more): no other server will think
        otherwise."""

    def link_changed(self) -> None:
        """What is shown of this link has changed."""


def endpoint_of(node: Node, *, in_cluster: bool = True) -> Endpoint:
    """Where a server listens, and what it must say of itself: its name, and cluster and site when it is the node of a
    cluster."""
    return Endpoint(
        host=node.host,
        port=node.port,
        application=node.application,
        cluster=node.cluster if in_cluster else "",
        site=node.site if in_cluster else "",
        local=node.local,
        remote=node.remote,
        trace=node.trace,
        ip_version=node.ip_version,
    )


class StandbyLink:
    """Keeps what one machine decides: at most one attempt, one timer and one link at a time.

    ``name`` is for people ("Interaction Server"). ``view`` gives the machine's present view, ``tell`` takes what
    happened and comes back here with :meth:`do`. ``prepare`` is called with each new link before it counts as open,
    ``on_statement`` with each signed statement of mastership that is heard. ``in_cluster``: whether a server must say
    that it belongs to its node's cluster and site. ``rank``: of several links that wait for the same moment, the one of
    the lowest rank begins first. ``clock`` gives Unix seconds.
    """

    def __init__(
        self,
        name: str,
        user: LinkUser,
        hello: Callable[[], Hello],
        tls: TlsFiles,
        *,
        view: Callable[[], StandbyView],
        tell: Callable[[Event], None],
        clock: Callable[[], float],
        report: Report,
        prepare: Prepare | None = None,
        on_statement: Callable[[str], None] | None = None,
        in_cluster: bool = True,
        rank: int = 0,
    ) -> None:
        self.name = name
        self.peer: Peer | None = None
        self.core_away: CoreAway | None = None
        self.changed_at = clock()
        self._user = user
        self._hello = hello
        self._tls = tls
        self._view = view
        self._tell = tell
        self._clock = clock
        self._report = report
        self._prepare = prepare
        self._on_statement = on_statement
        self._in_cluster = in_cluster
        self._lag = rank * RANK_SECONDS
        self._timer: asyncio.TimerHandle | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[Any]] = set()

    # -- what it is

    @property
    def view(self) -> StandbyView:
        """What the machine knows."""
        return self._view()

    @property
    def up(self) -> bool:
        """Whether requests work: a link stands and the core behind it is there."""
        return self.peer is not None and self.core_away is None

    @property
    def site(self) -> str:
        """Site of the server connected to or tried."""
        node = self.view.node
        return node.site if node else ""

    # -- what its user tells

    def proven(self) -> None:
        """The server did something useful."""
        self._tell(Proven(self.view.generation))

    def give_up(self, why: str, retry_after: float | None = None) -> None:
        """Leave this server for the next one; it is not asked again before ``retry_after`` seconds."""
        peer = self.peer
        if peer is not None:
            self._gone(peer, why, retry_after)

    def poll(self, deadline: float) -> None:
        """Find out now whether the link lives: it is dead when nothing is heard within ``deadline`` seconds."""
        if self.peer is not None:
            self.peer.poll_now(deadline)

    async def finished(self) -> None:
        """Wait for every task, after the machine was told to stop."""
        tasks = {task for task in (self._attempt, *self._closing) if task is not None}
        if tasks:
            await asyncio.wait(tasks)

    # -- what the machine tells

    def do(self, action: Action) -> None:
        """Carry out an action of the machine. One that is no business of a socket is not known here."""
        if isinstance(action, Connect):
            self._cancel()
            attempt = self._try(action.generation, action.node)
            self._attempt = asyncio.get_running_loop().create_task(attempt, name=f"link {self.name}")
            self._attempt.add_done_callback(partial(self._attempted, action.generation))
        elif isinstance(action, Wait):
            self._cancel_timer()
            delay = max(0.0, action.at - self._clock()) + self._lag
            due = Due(action.generation)
            self._timer = asyncio.get_running_loop().call_later(delay, self._tell, due)
        elif isinstance(action, Disconnect):
            self._cancel()
            self._hang_up(action.why)

    def changed(self) -> None:
        """The machine's view is another one: tell the user."""
        self._user.link_changed()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cancel(self) -> None:
        self._cancel_timer()
        if self._attempt is not None and self._attempt is not asyncio.current_task():
            self._attempt.cancel()

    def _hang_up(self, why: str) -> None:
        peer, self.peer = self.peer, None
        self.core_away = None
        if peer is None:
            return
        refusal = Refusal(code="workspace.leaves", reason=why)
        task = asyncio.get_running_loop().create_task(peer.close(refusal))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        self._note_down(peer, why)

    def _note_down(self, peer: Peer, why: str) -> None:
        self.changed_at = self._clock()
        self._report("link.down", link=self.name, application=peer.hello.application, why=why)
        self._user.link_down(why)

    # -- an attempt

    async def _try(self, generation: int, node: Node) -> None:
        """One attempt. Its end is reported with its generation; a superseded one reports in vain."""
        handler = _Handler(self, generation)

        def held(waiting: Waiting) -> None:
            why = waiting.why or f"{node.application} lets others in first"
            self._tell(Held(generation, self._clock() + waiting.seconds, why))

        try:
            await connect(
                endpoint_of(node, in_cluster=self._in_cluster),
                self._hello(),
                handler,
                self._tls,
                connect_timeout=node.open_timeout,
                hello_timeout=node.open_timeout,
                on_wait=held,
            )
        except StaylineError as error:
            if not handler.adopted and error.refusal.code != SUPERSEDED:
                self._failed(generation, error.refusal)

    def _attempted(self, generation: int, task: "asyncio.Task[None]") -> None:
        """A fault of ours in an attempt must not leave the machine waiting for its end for ever."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        log.error("link.fault", link=self.name, exc_info=error, why="an error of ours ended an attempt")
        reason = f"An error of ours ended the attempt: {type(error).__name__}."
        self._tell(Failed(generation, reason, None, "link.fault"))

    def _failed(self, generation: int, refusal: Refusal) -> None:
        if refusal.code in TOKEN_REFUSED:
            self._user.link_refused(refusal)
        self._tell(Failed(generation, refusal.reason, refusal.retry_after, refusal.code))

    async def prepare(self, peer: Peer) -> None:
        """What comes before the link counts as open; events of the server wait for it."""
        if self._prepare is not None:
            await self._prepare(peer)

    def adopt(self, generation: int, peer: Peer) -> None:
        """The hello was answered. Raises RefusedError when the attempt has been superseded meanwhile."""
        if generation != self.view.generation or self.view.state is not State.CONNECTING:
            raise refuse(SUPERSEDED, "The Workspace has gone elsewhere meanwhile.")
        if peer.is_closed:
            raise refuse(
                "link.lost", f"{peer.hello.application} answered and hung up at once.", retryable=True
            )
        self.peer = peer
        self.core_away = None
        self.changed_at = self._clock()
        self._tell(Opened(generation, peer.hello.epoch))
        if peer is not self.peer:
            raise refuse(SUPERSEDED, "The Workspace has gone elsewhere at once.")
        self._report("link.up", link=self.name, application=peer.hello.application, epoch=peer.hello.epoch)
        self._user.link_up(peer)

    def heard_statement(self, statement: str) -> None:
        """A proxy says which site is master."""
        if self._on_statement is not None:
            self._on_statement(statement)

    # -- what the link tells

    def event(self, peer: Peer, name: str, payload: msgspec.Raw, seq: int) -> None:
        """An event came on a link; one that is no longer ours is ignored."""
        if peer is not self.peer:
            return
        if name == "core.away":
            self.core_away = read(payload, CoreAway, name)
            self._turned()
        elif name == "core.back":
            read(payload, CoreBack, name)
            self.core_away = None
            self._turned()
        elif name == "server.leaving":
            self._leaving(peer, read(payload, Leaving, name))
            return
        self._user.link_event(name, payload, seq)

    def _leaving(self, peer: Peer, leaving: Leaving) -> None:
        why = f"{peer.hello.application} leaves: {leaving.why}"
        if leaving.slot > 0:
            self._tell(Lame(self.view.generation, self._clock() + leaving.slot, why, leaving.retry_after))
        else:
            self._gone(peer, why, leaving.retry_after)

    def _turned(self) -> None:
        self.changed_at = self._clock()
        self._user.link_changed()

    def closed(self, peer: Peer, why: str) -> None:
        """A link is gone."""
        if peer is not self.peer:
            return
        farewell = peer.farewell
        if farewell is None:
            self._gone(peer, why, None)
        else:
            self._gone(peer, why, farewell.retry_after, farewell.code)

    def _gone(self, peer: Peer, why: str, retry_after: float | None, code: str = "") -> None:
        self.peer = None
        self.core_away = None
        if not peer.is_closed:
            peer.hang_up(Refusal(code="workspace.leaves", reason=why))
        self._note_down(peer, why)
        name = peer.hello.application
        named = why if name in why else f"{name}: {why}"
        self._tell(Lost(self.view.generation, named, retry_after, code))


class _Handler(BaseHandler):
    """Ties a peer to the attempt that opened it."""

    def __init__(self, link: StandbyLink, generation: int) -> None:
        self._link = link
        self._generation = generation
        self.adopted = False

    async def on_open(self, peer: Peer) -> None:
        try:
            await self._link.prepare(peer)
        except BaseException:  # also when cancelled: nobody else knows this link yet
            peer.abort("the link could not be prepared")
            raise
        self._link.adopt(self._generation, peer)
        self.adopted = True

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        self._link.event(peer, name, payload, seq)

    def on_statement(self, peer: Peer, statement: str) -> None:
        self._link.heard_statement(statement)

    def on_closed(self, peer: Peer, why: str) -> None:
        self._link.closed(peer, why)
