"""A link that is kept: opened again for as long as it is wanted, with a short jittered backoff."""

import asyncio
import contextlib
import random as random_module
from collections.abc import Callable

import structlog

from stayline.domain.errors import StaylineError, refuse
from stayline.link.authority import TlsFiles
from stayline.link.messages.envelope import Hello
from stayline.link.peer import SERVER_LIMITS, Handler, Limits, Peer
from stayline.link.transport import Endpoint, connect

log = structlog.get_logger(__name__)

FIRST_DELAY = 0.05
"""Seconds until the first new attempt; doubles with each failure up to :data:`LONGEST_DELAY`."""

LONGEST_DELAY = 1.0
LONGEST_ADVICE = 5.0
"""A ``retry_after`` of the other side is followed up to this many seconds."""


class KeptLink:
    """Keeps one link to the endpoint that ``endpoint()`` names at the moment of each attempt (None: not now).

    ``on_up(peer)`` when a link stands (after the handler's ``on_open``), ``on_down(peer, why)`` when it is gone.
    ``why`` says why there is none.
    """

    def __init__(
        self,
        endpoint: Callable[[], Endpoint | None],
        hello: Callable[[], Hello],
        handler: Handler,
        tls: TlsFiles,
        *,
        random: random_module.Random,
        on_up: Callable[[Peer], None] | None = None,
        on_down: Callable[[Peer, str], None] | None = None,
        connect_timeout: float = 3.0,
        hello_timeout: float = 3.0,
        limits: Limits = SERVER_LIMITS,
    ) -> None:
        self.peer: Peer | None = None
        self.why = "not started"
        self._endpoint = endpoint
        self._hello = hello
        self._handler = handler
        self._tls = tls
        self._random = random
        self._on_up = on_up
        self._on_down = on_down
        self._connect_timeout = connect_timeout
        self._hello_timeout = hello_timeout
        self._limits = limits
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    def start(self) -> None:
        """Begin, once."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(_log_fault)

    def hurry(self) -> None:
        """Try again now instead of at the end of the present pause."""
        self._hurry.set()

    async def stop(self) -> None:
        """End the link and the attempts."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            # Not awaited itself: its cancellation and one of ours would look the same.
            await asyncio.gather(task, return_exceptions=True)
        if self.peer is not None:
            await self.peer.close()

    async def _run(self) -> None:
        failures = 0
        while True:
            advice = 0.0
            try:
                peer = await self._connect()
            except StaylineError as error:
                self._say(error.refusal.reason)
                advice = min(error.refusal.retry_after or 0.0, LONGEST_ADVICE)
            else:
                failures = 0
                await self._hold(peer)
            ceiling = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(failures, 10))
            failures += 1
            await self._pause(max(advice, self._random.uniform(0.5, 1.0) * ceiling))

    async def _connect(self) -> Peer:
        endpoint = self._endpoint()
        if endpoint is None:
            raise refuse("link.no_endpoint", "The configuration names no server to connect to.")
        return await connect(
            endpoint,
            self._hello(),
            self._handler,
            self._tls,
            connect_timeout=self._connect_timeout,
            hello_timeout=self._hello_timeout,
            limits=self._limits,
        )

    async def _hold(self, peer: Peer) -> None:
        self.peer = peer
        self.why = ""
        log.info("link.up", to=peer.hello.application, role=str(peer.hello.role), address=peer.remote_address)
        if self._on_up is not None:
            self._on_up(peer)
        # When we are stopped meanwhile, the future of the peer is not ours to cancel.
        why = await asyncio.shield(peer.closed)
        self.peer = None
        self._say(f"{peer.hello.application}: {why}")
        if self._on_down is not None:
            self._on_down(peer, why)

    async def _pause(self, seconds: float) -> None:
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    def _say(self, why: str) -> None:
        if why != self.why:
            self.why = why
            log.info("link.down", why=why)


def _log_fault(task: "asyncio.Task[None]") -> None:
    """Nobody awaits the task of a kept link while it runs: an error of ours must not go unseen."""
    if not task.cancelled() and task.exception() is not None:
        log.error("link.fault", exc_info=task.exception(), why="an error of ours ended a kept link")
