"""A link to any one server of a pool: the pure machine of ``link/standby.py`` with sockets and timers around
it."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import structlog

from stayline.domain.errors import Refusal, StaylineError, refuse
from stayline.link.authority import TlsFiles
from stayline.link.messages.envelope import Hello
from stayline.link.messages.interaction import CoreAway, CoreBack, Leaving
from stayline.link.peer import BaseHandler, Peer, read
from stayline.link.pool import Assignment, Node
from stayline.link.standby import (
    Action,
    Assigned,
    Connect,
    Disconnect,
    Due,
    Event,
    Failed,
    Lost,
    Opened,
    Proven,
    StandbyView,
    State,
    Stop,
    Wait,
    step,
)
from stayline.link.transport import Endpoint, connect
from stayline.workspace.view import LinkView

log = structlog.get_logger(__name__)

TOKEN_REFUSED = frozenset({"token.expired", "token.invalid", "auth.disabled"})

Report = Callable[..., None]
"""Takes a fact and its details: ``report("link.up", application=...)``."""


class LinkUser(Protocol):
    """Who works on a pool's link. All calls happen in the event loop, in the order of what happened."""

    def link_up(self, peer: Peer) -> None:
        """A new link stands."""

    def link_down(self, why: str) -> None:
        """The link is gone (or was dropped on purpose); another attempt follows by itself."""

    def link_event(self, name: str, payload: msgspec.Raw, seq: int) -> None:
        """An event of the server. ``core.away`` and ``core.back`` have been noted by the link before."""

    def link_refused(self, refusal: Refusal) -> None:
        """A server says that this agent's token is of no use (any more): no other server will think
        otherwise."""

    def link_changed(self) -> None:
        """What the status bar shows of this link has changed."""


class PoolLink:
    """Keeps one link to a pool. ``name`` is for people ("Interaction Server")."""

    def __init__(
        self,
        name: str,
        user: LinkUser,
        hello: Callable[[], Hello],
        tls: TlsFiles,
        *,
        random: Callable[[], float],
        clock: Callable[[], float],
        report: Report,
    ) -> None:
        self.name = name
        self.view = StandbyView()
        self.peer: Peer | None = None
        self.core_away: CoreAway | None = None
        self._user = user
        self._hello = hello
        self._tls = tls
        self._random = random
        self._clock = clock
        self._report = report
        self._timer: asyncio.TimerHandle | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[Any]] = set()
        self._changed_at = clock()

    # -- what it is

    @property
    def up(self) -> bool:
        """Whether requests work: a link stands and the core behind it is there."""
        return self.peer is not None and self.core_away is None

    @property
    def site(self) -> str:
        """Site of the server connected to or tried."""
        return self.view.node.site if self.view.node else ""

    def shown(self) -> LinkView:
        """The link for the status bar."""
        view = self.view
        why = view.why
        if self.core_away is not None:
            why = f"connected, but its core is away: {self.core_away.why}"
        return LinkView(
            name=self.name,
            up=self.up,
            connected=self.peer is not None,
            application=view.node.application if view.node else "",
            site=self.site,
            since=self._changed_at,
            why=why,
            next_attempt_at=view.next_attempt_at if view.state is State.WAITING else 0.0,
            attempts=view.failures,
        )

    # -- what the engine tells it

    def assign(self, assignment: Assignment) -> None:
        """Use these pools from now on; at once, whatever it is waiting for."""
        self._apply(Assigned(assignment))

    def proven(self) -> None:
        """The server did something useful."""
        self._apply(Proven(self.view.generation))

    def give_up(self, why: str, retry_after: float | None = None) -> None:
        """Leave this server for the next one."""
        peer = self.peer
        if peer is not None:
            self._gone(peer, why, retry_after)

    async def stop(self) -> None:
        """Close the link and end every task of it."""
        self._apply(Stop())
        tasks = {task for task in (self._attempt, *self._closing) if task is not None}
        if tasks:
            await asyncio.wait(tasks)

    # -- the machine

    def _apply(self, event: Event) -> None:
        before = self.view.state
        self.view, actions = step(self.view, event, self._clock(), self._random)
        for action in actions:
            self._do(action)
        if self.view.state is not before or actions:
            self._log(before)
            self._user.link_changed()

    def _log(self, before: State) -> None:
        view = self.view
        log.info(
            "workspace.link",
            link=self.name,
            state=view.state,
            before=before,
            server=view.node.application if view.node else "",
            why=view.why,
            wait=round(view.next_attempt_at - self._clock(), 3) if view.state is State.WAITING else 0,
        )

    def _do(self, action: Action) -> None:
        if isinstance(action, Connect):
            self._cancel()
            attempt = self._try(action.generation, action.node)
            self._attempt = asyncio.get_running_loop().create_task(attempt, name=f"link {self.name}")
        elif isinstance(action, Wait):
            self._cancel()
            delay = max(0.0, action.at - self._clock())
            due = Due(action.generation)
            self._timer = asyncio.get_running_loop().call_later(delay, self._apply, due)
        elif isinstance(action, Disconnect):
            self._cancel()
            self._hang_up(action.why)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
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
        self._note_down(why)

    def _note_down(self, why: str) -> None:
        self._changed_at = self._clock()
        self._report("link.down", link=self.name, application=self.view.node_name, why=why)
        self._user.link_down(why)

    async def _try(self, generation: int, node: Node) -> None:
        """One attempt. Its end is reported with its generation; a superseded one reports in vain."""
        endpoint = Endpoint(
            host=node.host,
            port=node.port,
            application=node.application,
            cluster=node.cluster,
            local=node.local,
            remote=node.remote,
            trace=node.trace,
        )
        handler = _Handler(self, generation)
        try:
            await connect(endpoint, self._hello(), handler, self._tls)
        except StaylineError as error:
            if not handler.adopted:
                if error.refusal.code in TOKEN_REFUSED:
                    self._user.link_refused(error.refusal)
                self._apply(Failed(generation, error.refusal.reason, error.refusal.retry_after))

    # -- what the link tells

    def adopt(self, generation: int, peer: Peer) -> None:
        """The hello was answered. Raises RefusedError when the attempt has been superseded meanwhile."""
        if generation != self.view.generation or self.view.state is not State.CONNECTING:
            raise refuse("link.superseded", "The Workspace has gone elsewhere meanwhile.")
        if peer.is_closed:
            raise refuse(
                "link.lost", f"{peer.hello.application} answered and hung up at once.", retryable=True
            )
        self.peer = peer
        self.core_away = None
        self._changed_at = self._clock()
        self._apply(Opened(generation))
        self._report("link.up", link=self.name, application=peer.hello.application, epoch=peer.hello.epoch)
        self._user.link_up(peer)

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
            leaving = read(payload, Leaving, name)
            self._gone(peer, f"{peer.hello.application} leaves: {leaving.why}", leaving.retry_after)
            return
        self._user.link_event(name, payload, seq)

    def _turned(self) -> None:
        self._changed_at = self._clock()
        self._user.link_changed()

    def closed(self, peer: Peer, why: str) -> None:
        """A link is gone."""
        if peer is not self.peer:
            return
        farewell = peer.farewell
        self._gone(peer, why, farewell.retry_after if farewell is not None else None)

    def _gone(self, peer: Peer, why: str, retry_after: float | None) -> None:
        self.peer = None
        self.core_away = None
        if not peer.is_closed:
            peer.hang_up(Refusal(code="workspace.leaves", reason=why))
        self._note_down(why)
        self._apply(Lost(self.view.generation, why, retry_after))


class _Handler(BaseHandler):
    """Ties a peer to the attempt that opened it."""

    def __init__(self, link: PoolLink, generation: int) -> None:
        self._link = link
        self._generation = generation
        self.adopted = False

    async def on_open(self, peer: Peer) -> None:
        self._link.adopt(self._generation, peer)
        self.adopted = True

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        self._link.event(peer, name, payload, seq)

    def on_closed(self, peer: Peer, why: str) -> None:
        self._link.closed(peer, why)
