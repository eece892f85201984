"""Actions of the agent on their way to the Interaction Server.

The key is made when the agent acts. An action that was not answered is kept, also over a restart of the
process, and repeated with its key when the session is confirmed again: never a new one, so it has effect at
most once.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import structlog

from stayline.domain.errors import LinkLostError, Refusal, RefusedError
from stayline.link.messages.interaction import Done, InteractionView
from stayline.link.peer import Peer
from stayline.link.rate import TokenBucket
from stayline.workspace.saved import KeptRequest

log = structlog.get_logger(__name__)

MAX_KEPT = 200
"""Unanswered actions of one agent; more are refused."""

ANSWER_SECONDS = 10.0
"""An action not answered for this long on a living link is repeated with its key."""

RETRY_SECONDS = 0.25
"""Pause before repeating what was refused as retryable without a time."""

BUDGET_BURST = 10
"""Repetitions that are free after a quiet time."""

BUDGET_SHARE = 0.1
"""Each new action earns so much of a repetition: in the long run a tenth of what is sent."""

BUDGET_RATE = 0.5
"""Repetitions earned per second all the same: what was done must be answered one day."""

RESULTS: dict[str, type[Any]] = {"interaction.accept": InteractionView}
"""What is answered, where it is not :class:`~stayline.link.messages.interaction.Done`."""


class Answered(Protocol):
    """Who is told the outcome of each action, whether or not somebody still waits for it."""

    def __call__(
        self,
        request: KeptRequest,
        result: InteractionView | Done | None,
        refusal: Refusal | None,
        waited: bool,
    ) -> None:
        """``waited``: whether a caller gets the same outcome."""


class Budget:
    """How many repetitions one client may make, so that many of them cannot keep a server down by asking again."""

    def __init__(self, now: float) -> None:
        self._bucket = TokenBucket(BUDGET_RATE, BUDGET_BURST, now)

    def sent(self) -> None:
        """A new action was sent."""
        self._bucket.level = min(float(BUDGET_BURST), self._bucket.level + BUDGET_SHARE)

    def repeat(self, now: float) -> float:
        """Take one repetition: 0.0, or the seconds until there is one."""
        return self._bucket.take(now)


class Requests:
    """Keeps, sends and repeats. ``changed`` is called whenever the list of kept actions changed (to save
    it)."""

    def __init__(self, answered: Answered, changed: Callable[[], None], clock: Callable[[], float]) -> None:
        self._answered = answered
        self._changed = changed
        self._clock = clock
        self._budget = Budget(time.monotonic())
        self._tried: set[str] = set()
        self._kept: dict[str, KeptRequest] = {}
        self._waiting: dict[str, asyncio.Future[InteractionView | Done]] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._peer: Peer | None = None

    @property
    def kept(self) -> list[KeptRequest]:
        """Unanswered actions, oldest first."""
        return list(self._kept.values())

    def restore(self, kept: list[KeptRequest]) -> None:
        """Take over what the file had."""
        self._kept.update({request.key: request for request in kept})
        self._tried.update(request.key for request in kept)

    async def act(
        self, method: str, params: object, *, interaction: str, label: str, timeout: float
    ) -> InteractionView | Done:
        """Do something once. Raises RefusedError, or LinkLostError ``action.kept`` after ``timeout``
        seconds."""
        if len(self._kept) >= MAX_KEPT:
            reason = f"{MAX_KEPT} actions wait for the Interaction Server already."
            raise RefusedError(Refusal(code="action.too_many", reason=reason, retryable=True))
        request = KeptRequest(
            key=uuid.uuid4().hex,
            method=method,
            params=msgspec.Raw(msgspec.json.encode(params)),
            interaction=interaction,
            label=label,
            at=self._clock(),
        )
        waiter: asyncio.Future[InteractionView | Done] = asyncio.get_running_loop().create_future()
        self._kept[request.key] = request
        self._waiting[request.key] = waiter
        self._changed()
        self._send(request)
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError:
            reason = f"No answer to '{label}' yet; it is kept and repeated until there is one."
            raise LinkLostError(Refusal(code="action.kept", reason=reason, retryable=True)) from None
        finally:
            self._waiting.pop(request.key, None)

    def open(self, peer: Peer) -> None:
        """The session is confirmed on this link: (again) send everything unanswered, oldest first."""
        self._peer = peer
        for request in self.kept:
            self._send(request)

    def close(self) -> None:
        """No confirmed session: keep everything."""
        self._peer = None

    def stop(self) -> None:
        """End every task; what is unanswered stays kept."""
        self._peer = None
        for task in self._sending.values():
            task.cancel()
        for waiter in self._waiting.values():
            if not waiter.done():
                reason = "The Workspace stops; the action is kept and repeated at its next start."
                waiter.set_exception(
                    LinkLostError(Refusal(code="action.kept", reason=reason, retryable=True))
                )

    def forget(self) -> None:
        """Drop everything unanswered (logged out)."""
        self._kept.clear()
        self._tried.clear()

    def _send(self, request: KeptRequest) -> None:
        if self._peer is None or request.key in self._sending:
            return
        task = asyncio.get_running_loop().create_task(self._repeat(request), name=request.label)
        self._sending[request.key] = task
        task.add_done_callback(lambda _: self._sent(request))

    def _sent(self, request: KeptRequest) -> None:
        self._sending.pop(request.key, None)
        # The session may have been confirmed elsewhere while this one was finding out that its link is gone.
        if request.key in self._kept and self._peer is not None and not self._peer.is_closed:
            self._send(request)

    async def _repeat(self, request: KeptRequest) -> None:
        peer = self._peer
        kind = RESULTS.get(request.method, Done)
        while peer is not None and peer is self._peer and not peer.is_closed:
            await self._afford(request)
            try:
                result = await peer.request(
                    request.method, request.params, kind, key=request.key, timeout=ANSWER_SECONDS
                )
            except LinkLostError as error:
                log.info("workspace.repeat", action=request.label, why=error.refusal.reason)
            except RefusedError as error:
                refusal = error.refusal
                if not refusal.retryable:
                    self._settle(request, None, refusal)
                    return
                log.info("workspace.repeat", action=request.label, why=refusal.reason)
                await asyncio.sleep(refusal.retry_after or RETRY_SECONDS)
            else:
                self._settle(request, result, None)
                return

    async def _afford(self, request: KeptRequest) -> None:
        """The first time costs nothing; what is repeated beyond the budget waits for it."""
        if request.key not in self._tried:
            self._tried.add(request.key)
            self._budget.sent()
            return
        while wait := self._budget.repeat(time.monotonic()):
            log.info("workspace.repeat_waits", action=request.label, wait=round(wait, 3), why="retry budget")
            await asyncio.sleep(wait)

    def _settle(
        self, request: KeptRequest, result: InteractionView | Done | None, refusal: Refusal | None
    ) -> None:
        self._kept.pop(request.key, None)
        self._tried.discard(request.key)
        self._changed()
        waiter = self._waiting.get(request.key)
        if waiter is not None and waiter.done():
            waiter = None
        self._answered(request, result, refusal, waiter is not None)
        if waiter is None:
            return
        if refusal is not None:
            waiter.set_exception(RefusedError(refusal))
        elif result is not None:
            waiter.set_result(result)
