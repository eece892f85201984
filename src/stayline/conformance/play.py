"""Plays one case to a client over real sockets: does what the case does, and waits for what must be seen."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from stayline.conformance import actions
from stayline.conformance.case import Case, Step
from stayline.conformance.centre import AGENT, PLACE
from stayline.conformance.client import Client, Desk, MakeClient
from stayline.conformance.court import Court, Marks, Outcome, Verdict, connected_or_last, last_status
from stayline.conformance.credentials import Credentials
from stayline.conformance.expectations import OF_STATUS, Connected, ShowsSession
from stayline.conformance.fake_configuration import PASSWORD
from stayline.conformance.pure_run import AT_ITS_END
from stayline.conformance.record import Happening, Record, Seen
from stayline.conformance.site import FakeSite
from stayline.conformance.status import ClientStatus
from stayline.conformance.verdict import judge
from stayline.domain.errors import StaylineError, refuse

LOOK_SECONDS = 0.02
"""How often a step is judged again when nothing new is seen: what a client shows may change by time alone."""

SETTLE_SECONDS = 0.05
"""A server knows that a link stands when it has said its welcome; so long the client has to hear it before the story
goes on."""

SLACK_SECONDS = 0.4
"""By how much a time may be off: real sockets, a busy machine."""

TELL_SECONDS = 2.0
"""Within which a client that has started tells its status, if it ever does."""

SESSION_SECONDS = 10.0
"""Within which a restarted client must get a session."""


_CONFIRMED = ShowsSession(state="confirmed")


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """A step that went wrong, or could not be judged."""

    number: int
    step: str
    why: str


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a case ended. ``failed``: the step it failed in; ``unjudged``: why it could not be judged (it is neither
    passed nor failed then); ``timeline``: what was seen, of a case that failed."""

    case: str
    title: str
    way: str = "sockets"
    failed: StepResult | None = None
    unjudged: str = ""
    timeline: list[str] = []
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every step was as it must be."""
        return self.failed is None and not self.unjudged


class Player:
    """Plays one case. ``folder`` is the client's own. ``slack``: seconds by which times may be off; ``patience``:
    seconds within which a restarted client must have a session. ``narrate`` gets each step and how it went."""

    def __init__(
        self,
        case: Case,
        make_client: MakeClient,
        credentials: Credentials,
        folder: Path,
        *,
        slack: float = SLACK_SECONDS,
        patience: float = SESSION_SECONDS,
        narrate: Callable[[str], None] | None = None,
    ) -> None:
        self._case = case
        self._slack = slack
        self._patience = patience
        self._narrate = narrate
        self._wall = time.time()
        self._record = Record(time.monotonic)
        self._site = FakeSite(case, credentials, self._record)
        self._marks = Marks()
        self._news = asyncio.Event()
        self._record.on_change = self._news.set
        self._doing = False
        self._settling = 0.0
        self._started_at = 0.0
        self._unjudged = ""
        state = folder / "state"
        state.mkdir(parents=True, exist_ok=True)
        bootstrap = folder / "bootstrap.json"
        self._site.bootstrap(bootstrap)
        self._client: Client = make_client(
            Desk(
                bootstrap=bootstrap,
                user=AGENT,
                password=PASSWORD,
                place=PLACE,
                state=state,
                tell=self._told,
                until_connected=self._connected,
            )
        )

    def _told(self, status: ClientStatus) -> None:
        self._record.add(Seen.STATUS, status=status)

    async def _connected(self, wanted: bool) -> None:
        while bool(self._site.connections()) is not wanted:
            await self._more(SESSION_SECONDS)

    async def play(self) -> CaseResult:
        """The whole story; the site and the client are gone afterwards."""
        failed: StepResult | None = None
        missing = [need for need in self._case.needs if need not in self._client.abilities]
        if missing:
            self._unjudged = f"this client cannot be told to: {', '.join(missing)}"
        try:
            self._site.open()
            if not missing:
                failed = await self._story()
        finally:
            await self._client.stop()
            await self._site.close()
        return CaseResult(
            case=self._case.id,
            title=self._case.title,
            failed=failed,
            unjudged="" if failed is not None else self._unjudged,
            timeline=self._record.timeline() if failed is not None else [],
            seconds=self._record.now,
        )

    async def _story(self) -> StepResult | None:
        for step in self._case.story:
            self._record.add(Seen.DONE, step=step.words)
            self._say(f"{step.number:3}. {step.words}")
            try:
                why = await self._do(step.do) if step.do is not None else await self._see(step)
            except StaylineError as error:
                why = error.refusal.reason
            if why:
                self._say(f"     but: {why}")
                return StepResult(number=step.number, step=step.words, why=why)
        return None

    def _say(self, line: str) -> None:
        if self._narrate is not None:
            self._narrate(line)

    # -- doing

    async def _do(self, action: actions.AnyAction) -> str:
        if not self._doing:
            self._doing = True
            await asyncio.sleep(self._settling)
            self._marks.block(self._record, self._site.scene, self._record.now)
        verb = _OF_CLIENT.get(type(action))
        if verb is not None:
            await verb(self, action)
        else:
            scene = self._site.scene
            bound = {link.value: connected_or_last(self._record, scene, link) for link in actions.Link}
            self._site.carry_out(action, bound)
        if not isinstance(action, actions.TimePasses):
            self._marks.done(self._record.now)
        return ""

    async def _start(self, action: actions.Start) -> None:
        self._started_at = began = self._record.now
        await self._client.start()
        if self._client.takes_time:
            await self._until(lambda: self._signs(began), SESSION_SECONDS)

    def _signs(self, since: float) -> bool:
        return bool(self._record.after(since, Seen.PROBE, Seen.ATTEMPT, Seen.STATUS))

    async def _until(self, true: Callable[[], bool], timeout: float) -> bool:
        """Wait until something is true, at most so many seconds; whether it is."""
        deadline = self._record.now + timeout
        while not true():
            if self._record.now > deadline:
                return False
            await self._more(LOOK_SECONDS)
        return True

    async def _stop(self, action: actions.StopClient) -> None:
        await self._client.stop()

    async def _restart(self, action: actions.Restart) -> None:
        for _ in range(action.times):
            await self._client.stop()
            await self._start(actions.Start())
            await self._session()

    async def _session(self) -> None:
        """Wait until the client, as started last, has got a session. Raises RefusedError when it gets none."""
        began = self._started_at
        if not await self._until(lambda: self._has_session(began), self._patience):
            raise refuse("conformance.story", f"No session within {self._patience:g} s of a start.")

    def _has_session(self, since: float) -> bool:
        return any(self._opens_session(one) for one in self._record.after(since, Seen.ANSWER))

    def _opens_session(self, answer: Happening) -> bool:
        return answer.get("method") in ("agent.login", "agent.resume") and not answer.get("code")

    async def _time_passes(self, action: actions.TimePasses) -> None:
        await asyncio.sleep(action.seconds)

    async def _wake_up(self, action: actions.WakeUp) -> None:
        self._client.wake_up(action.slept)

    async def _remember(self, action: actions.Remember) -> None:
        server = connected_or_last(self._record, self._site.scene, action.link)
        if not server:
            raise refuse("conformance.story", f"The {action.link} link was connected to nothing yet.")
        self._site.scene.names[action.name] = server

    # -- seeing

    async def _see(self, step: Step) -> str:
        """Empty when the step was met, else what was seen instead."""
        assert step.see is not None
        self._doing = False
        self._settling = SETTLE_SECONDS if isinstance(step.see, Connected) else 0.0
        if isinstance(step.see, OF_STATUS) and not await self._tells():
            if step.see == _CONFIRMED:
                # That much the servers see as well.
                await self._session()
                return ""
            self._unjudged = f"step {step.number} ({step.words}): the client tells no status"
            self._say("     not judged: the client tells no status")
            return ""
        if step.lasting:
            return await self._lasts(step)
        deadline = self._record.now + step.within
        while True:
            verdict = self._judge(step)
            if verdict.outcome is Outcome.MET:
                self._marks.met(verdict, self._record.now)
                return ""
            # One more look after the time is over: what came in its last moment counts.
            if verdict.outcome is Outcome.BROKEN or self._record.now > deadline + self._slack:
                return verdict.seen
            await self._more(LOOK_SECONDS)

    async def _lasts(self, step: Step) -> str:
        """An expectation that has to be true for a time."""
        end = self._record.now + step.lasting
        at_its_end = isinstance(step.see, AT_ITS_END)
        while True:
            over = self._record.now >= end
            verdict = self._judge(step)
            if verdict.outcome is Outcome.BROKEN:
                return verdict.seen
            if verdict.outcome is Outcome.NOT_YET and (over or not at_its_end):
                return verdict.seen
            if over:
                return ""
            await self._more(min(LOOK_SECONDS, max(0.0, end - self._record.now)))

    def _judge(self, step: Step) -> Verdict:
        assert step.see is not None
        court = Court(
            record=self._record,
            scene=self._site.scene,
            marks=self._marks,
            now=self._record.now,
            slack=self._slack,
            wall=self._wall,
        )
        return judge(step.see, court)

    async def _tells(self) -> bool:
        """Whether the client tells its status at all; it may take a moment to begin."""
        return await self._until(lambda: last_status(self._record) is not None, TELL_SECONDS)

    async def _more(self, timeout: float) -> None:
        """Until something more is seen, or so many seconds."""
        self._news.clear()
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            return


_OF_CLIENT: dict[type[actions.Action], Callable[[Player, Any], Coroutine[Any, Any, None]]] = {
    actions.Start: Player._start,
    actions.StopClient: Player._stop,
    actions.Restart: Player._restart,
    actions.TimePasses: Player._time_passes,
    actions.WakeUp: Player._wake_up,
    actions.Remember: Player._remember,
}
