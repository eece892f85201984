"""``stayline lab up``: start both sites, show them, stop them at Ctrl-C."""

import asyncio
import collections
import contextlib
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from rich.console import Console
from rich.live import Live

from stayline.domain.errors import StaylineError
from stayline.domain.objects import ObjectType
from stayline.lab.attendant import Attendant
from stayline.lab.centre import Centre
from stayline.lab.layout import (
    SHOP_PORT,
    WORKSPACE_FOLDER,
    WORKSPACE_PORT,
    Layout,
    chat_addresses,
    lay_out,
)
from stayline.lab.readiness import Missing, active_site
from stayline.lab.shop import Shop
from stayline.lab.topology_view import draw
from stayline.link.messages.control import DatabaseStatus, HostStatus, ReplicationMode

READY_SECONDS = 90.0
"""After this long without being ready the lab says what is missing, and goes on waiting."""

_REFRESH = 0.5
_KEPT_EVENTS = 8


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The options of ``stayline lab up``; see there."""

    state: Path
    agents: int = 0
    customers: int = 0
    replication: ReplicationMode = ReplicationMode.FOLLOW
    config: Path | None = None
    fresh: bool = False
    alone: bool = False
    databases: Mapping[str, str] = field(default_factory=dict)


def lab_up(wishes: Wishes) -> int:
    """Run the lab until SIGINT or SIGTERM; the exit status. Raises RefusedError when it cannot begin."""
    began = time.monotonic()
    layout = lay_out(
        wishes.state,
        config=wishes.config,
        agents=wishes.agents,
        replication=wishes.replication,
        fresh=wishes.fresh,
        databases=wishes.databases,
    )
    _log_to_file(layout.state / "lab.log")
    return asyncio.run(_Lab(wishes, layout, began).run())


class _Lab:
    """One run of the lab."""

    def __init__(self, wishes: Wishes, layout: Layout, began: float) -> None:
        self._wishes = wishes
        self._layout = layout
        self._began = began
        self._console = Console()
        self._live = self._console.is_terminal
        self._events: collections.deque[str] = collections.deque(maxlen=_KEPT_EVENTS)
        self._seen: dict[str, str] = {}
        self._crowd_line = ""
        self._stopping = asyncio.Event()
        self._centre = Centre(layout, alone=wishes.alone)
        self._centre.on_event = self._event
        self._attendants = self._make_attendants()
        self._shop = Shop(chat_addresses(layout), layout.lab_port(SHOP_PORT))

    async def run(self) -> int:
        """Everything from start to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stopping.set)
        self._say(f"Starting {' and '.join(self._layout.sites)} in {self._layout.state}")
        await self._centre.start()
        try:
            self._shop.start()
            self._attendants[0].start()
            if await self._until_ready():
                for attendant in self._attendants[1:]:
                    attendant.start()
                await self._show()
        finally:
            await self._stop()
        return 0

    async def _until_ready(self) -> bool:
        """Whether both sites got ready before somebody stopped the lab."""
        waiting = asyncio.create_task(self._wait_ready())
        stopped = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not waiting.done():
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            return False
        waiting.result()
        self._say_ready()
        return True

    async def _wait_ready(self) -> None:
        shown: set[str] = set()

        def told(lacks: Missing) -> None:
            for name, seconds in self._centre.milestones.items():
                if name not in shown:
                    shown.add(name)
                    self._say(f"  {seconds:5.1f} s  {_MILESTONES[name]}")

        while True:
            try:
                await self._centre.wait_ready(READY_SECONDS, told)
            except StaylineError as error:
                self._say(error.refusal.reason + " " + error.refusal.fix)
            else:
                return

    def _say_ready(self) -> None:
        self._say(f"Ready after {time.monotonic() - self._began:.1f} s.\n")
        for line in welcome(self._layout):
            self._say(line)
        self._say("")

    async def _show(self) -> None:
        """The picture (or, without a terminal, the events) until the lab is stopped."""
        if not self._live:
            while not self._stopping.is_set():
                self._notice(await self._centre.statuses())
                await self._pause()
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while not self._stopping.is_set():
                statuses = await self._centre.statuses()
                self._notice(statuses)
                live.update(
                    draw(statuses, self._headline(), list(self._events), self._console.width), refresh=True
                )
                await self._pause()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REFRESH):
                await self._stopping.wait()

    def _headline(self) -> str:
        agents = f"http://127.0.0.1:{self._layout.lab_port(WORKSPACE_PORT)}"
        customers = f"http://127.0.0.1:{self._layout.lab_port(SHOP_PORT)}"
        crowd = f"  ·  {self._crowd_line}" if self._crowd_line else ""
        return f"[bold]agents[/bold] {agents}  ·  [bold]customers[/bold] {customers}{crowd}  ·  Ctrl-C stops"

    def _notice(self, statuses: dict[str, HostStatus | None]) -> None:
        """Turn differences between two looks into events."""
        now: dict[str, str] = {"active site": active_site(statuses) or "none"}
        for site, status in statuses.items():
            now[f"{site} host agent"] = "answers" if status is not None else "does not answer"
            if status is None:
                continue
            if status.database is not None:
                exposed = ", exposed" if _exposed(status.database) else ""
                now[f"{site} database"] = f"{status.database.role}, epoch {status.database.epoch}{exposed}"
            for process in status.processes:
                role = f", {process.report.role}" if process.report is not None else ""
                exit_ = f" ({process.exit})" if process.exit else ""
                now[process.application] = f"{process.state}{role}{exit_}"
        if self._seen:
            for name, value in now.items():
                if self._seen.get(name) != value:
                    self._event(f"{name}: {value}")
        self._seen.update(now)

    def _event(self, sentence: str) -> None:
        line = f"{time.strftime('%H:%M:%S')}  {sentence}"
        self._events.append(line)
        if not self._live:
            print(line, flush=True)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _crowd(self, line: str) -> None:
        self._crowd_line = line

    async def _stop(self) -> None:
        self._say("Stopping …")
        began = time.monotonic()
        await asyncio.gather(*(attendant.stop() for attendant in self._attendants), self._shop.stop())
        await self._centre.stop()
        self._say(
            f"Stopped after {time.monotonic() - began:.1f} s; the data is kept in {self._layout.state}."
        )

    def _make_attendants(self) -> list[Attendant]:
        state, logs = self._layout.state, self._layout.state / "log"
        workspace = ["workspace", "--state", str(state / WORKSPACE_FOLDER), "--host", "127.0.0.1"]
        workspace += ["--port", str(self._layout.lab_port(WORKSPACE_PORT))]
        found = [Attendant("workspace", workspace, logs / "workspace.out", on_event=self._event)]
        if self._wishes.agents or self._wishes.customers:
            crowd = ["lab", "crowd", "--state", str(state)]
            crowd += ["--agents", str(self._wishes.agents), "--customers", str(self._wishes.customers)]
            found.append(
                Attendant("crowd", crowd, logs / "crowd.out", on_line=self._crowd, on_event=self._event)
            )
        return found


def _exposed(database: DatabaseStatus) -> bool:
    """Whether acknowledged work has been on one site only for longer than replication normally takes."""
    return database.exposed_since > 0 and time.time() - database.exposed_since > 1.0


_MILESTONES = {
    "databases": "the primary database accepts writes",
    "configuration": "Configuration Servers of both sites answer",
    "core": "Interaction Server and UCS have a primary",
    "doors": "proxies and Chat Servers listen",
    "replica": "the replica follows and commits wait for it",
    "rest": "every server reported",
    "ready": "both sites are ready",
}


def welcome(layout: Layout) -> list[str]:
    """What to open and who can log in, in lines."""
    persons = [one for one in layout.objects if one.type is ObjectType.PERSON and "agent" in one.roles]
    sample = [one.name for one in persons if not one.name.startswith("robot")]
    names = f"{sample[0]} … {sample[-1]}" if len(sample) > 1 else ", ".join(sample)
    state = "" if layout.state == Path(os.getcwd(), ".stayline") else f" --state {layout.state}"
    command = _command()
    return [
        f"  agents      http://127.0.0.1:{layout.lab_port(WORKSPACE_PORT)}   log in as {names}, password stayline",
        f"  customers   http://127.0.0.1:{layout.lab_port(SHOP_PORT)}   open it in a second browser and start a chat",
        f"  operator    {command} site status{state}",
        f"              {command} site switch Site_B --planned --reason 'to see it'{state}",
    ]


def _command() -> str:
    """How a person in this folder calls us: as short as the shell allows."""
    if shutil.which("stayline"):
        return "stayline"
    installed = Path(sys.executable).with_name("stayline")
    if not installed.exists():
        return f"{sys.executable} -m stayline.cli.main"
    return str(installed.relative_to(Path.cwd())) if installed.is_relative_to(Path.cwd()) else str(installed)


def _log_to_file(path: Path) -> None:
    """The lab's own log lines go to a file: the terminal belongs to the picture."""
    logging.basicConfig(filename=path, level=logging.INFO, format="%(message)s", force=True)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=path.open("a")),
        cache_logger_on_first_use=False,
    )
