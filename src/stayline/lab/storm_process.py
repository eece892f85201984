"""The parent's side of a storm's client processes: start them, order them, know who is back."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from stayline.domain.errors import refuse
from stayline.lab.attendant import environment
from stayline.lab.storm_orders import MAX_LINE, Counts, Do, StormOrder, StormState, Turned

FINISH_SECONDS = 20.0


class StormProcess:
    """``count`` agents from number ``first`` on, in a process of their own."""

    def __init__(
        self, state: Path, first: int, count: int, output: Path, heard: "Callable[[StormProcess], None]"
    ) -> None:
        self.first = first
        self.count = count
        self.state = StormState()
        self.ordered = 0
        self._folder = state
        self._output = output
        self._heard = heard
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it."""
        arguments = ["lab", "storm-clients", "--state", str(self._folder)]
        with self._output.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "stayline.cli.main", *arguments),
                *("--first", str(self.first), "--agents", str(self.count)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=out,
                limit=MAX_LINE,
                env=environment(),
                start_new_session=True,
            )
        self._reading = asyncio.create_task(self._read(), name=f"storm clients {self.first}")

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        decoder = msgspec.json.Decoder(StormState)
        async for line in self._process.stdout:
            self.state = decoder.decode(line)
            self._heard(self)
        self.state = StormState(problem=self.state.problem or f"it ended by itself; see {self._output}")
        self._heard(self)

    def order(self, order: StormOrder) -> None:
        """Tell it what to do; it has done so when ``state.obeyed`` has reached ``ordered``."""
        process = self._process
        if process is not None and process.stdin is not None and process.returncode is None:
            process.stdin.write(msgspec.json.encode(order) + b"\n")
            self.ordered += 1

    @property
    def obeyed(self) -> bool:
        """Whether it has done all that it was told."""
        return self.state.obeyed >= self.ordered

    async def stop(self) -> None:
        """Let it end; kill it when it does not."""
        process, reading = self._process, self._reading
        self._process = self._reading = None
        if process is None or reading is None:
            return
        if process.returncode is None and process.stdin is not None:
            process.stdin.write(msgspec.json.encode(StormOrder(Do.FINISH)) + b"\n")
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


class StormClients:
    """All client processes together. ``turned``: the last turn of each agent, by its number."""

    def __init__(self, state: Path, agents: int, processes: int, output: Path) -> None:
        self.agents = agents
        self.turned: dict[int, Turned] = {}
        self._changed = asyncio.Event()
        share, rest = divmod(agents, processes)
        self._processes: list[StormProcess] = []
        first = 1
        for number in range(processes):
            count = share + (number < rest)
            if count:
                self._processes.append(StormProcess(state, first, count, output, self._heard))
            first += count

    def _heard(self, process: StormProcess) -> None:
        for one in process.state.turned:
            self.turned[one.agent] = one
        self._changed.set()

    # -- life

    async def start(self) -> None:
        """Start all and wait until each has its configuration."""
        await asyncio.gather(*(one.start() for one in self._processes))
        await self.until(
            lambda: all(one.state.ready for one in self._processes), 120.0, "every client process is ready"
        )

    async def stop(self) -> None:
        """End all."""
        await asyncio.gather(*(one.stop() for one in self._processes))

    # -- what they are

    @property
    def counts(self) -> Counts:
        """Since the last mark, all together."""
        total = Counts()
        for one in self._processes:
            total.take(one.state.counts)
        return total

    @property
    def refusals(self) -> Mapping[str, int]:
        """How often each refusal was heard."""
        found: dict[str, int] = {}
        for one in self._processes:
            for code, count in one.state.refusals.items():
                found[code] = found.get(code, 0) + count
        return found

    @property
    def whole(self) -> int:
        """Agents that are whole, wherever."""
        return sum(1 for one in self.turned.values() if one.site)

    def at(self, site: str) -> list[Turned]:
        """Who is whole at a site."""
        return [one for one in self.turned.values() if one.site == site]

    def sessions(self) -> dict[int, str]:
        """The session of each agent that is whole."""
        return {one.agent: one.session for one in self.turned.values() if one.site}

    # -- orders

    async def order(self, do: Do, *, count: int = 0, at_once: int = 0) -> None:
        """Give an order to all and wait until it has been *taken* by all. ``count`` agents and ``at_once`` are of all
        processes together."""
        share = len(self._processes)
        for number, one in enumerate(self._processes):
            part = count // share + (number < count % share)
            one.order(StormOrder(do, min(part, one.count), max(1, at_once // share) if at_once else 0))
        await self.until(lambda: all(one.obeyed for one in self._processes), 30.0, f"{do} was heard")

    async def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until a condition on what the processes told holds. Raises RefusedError ``storm.late`` naming ``what``,
        ``storm.clients_failed`` when a process cannot go on."""
        if not await self.within(condition, seconds):
            raise refuse(
                "storm.late", f"{what}: not within {seconds:g} s ({self.whole} of {self.agents} are there)."
            )

    async def within(self, condition: Callable[[], bool], seconds: float) -> bool:
        """As :meth:`until`; whether it came true in time."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self._changed.clear()
                    self._check()
                    if condition():
                        return True
                    await self._changed.wait()
        except TimeoutError:
            return False

    def _check(self) -> None:
        for one in self._processes:
            if one.state.problem:
                why = f"Agents {one.first} to {one.first + one.count - 1} failed: {one.state.problem}."
                raise refuse("storm.clients_failed", why)
