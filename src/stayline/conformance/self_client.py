"""Our own Workspace engine as a client under test: inside the player's process, and as a command that prints status
lines, which is the sample of a client of its own process."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from stayline.conformance import client
from stayline.conformance.client import WAKE_UP, Desk
from stayline.conformance.status import ClientStatus, LinkStatus, read_line
from stayline.domain.errors import LinkLostError, RefusedError, refuse
from stayline.link.bootstrap import load_bootstrap
from stayline.workspace.engine import WorkspaceEngine
from stayline.workspace.settings import EngineSettings
from stayline.workspace.status import SessionState

LOOK_SECONDS = 0.02
"""How often the status is looked at; what changes and changes back between two looks is not told."""

AGAIN_SECONDS = 0.3
"""After this an agent whom nobody could let in tries again."""

LOGIN_SECONDS = 1.0
"""How long a login waits for its session before it goes on in the background."""

MEDIA = ("chat", "email")


class SelfClient:
    """One engine at a time. The wall clock of its machine can be moved on, as after a sleep."""

    abilities: frozenset[str] = frozenset({WAKE_UP})
    takes_time = False

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._slept = 0.0
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start an engine and log in, in the background."""
        self._running = asyncio.create_task(self._run(), name="client under test")

    async def stop(self) -> None:
        """Close the engine; its session stays in the core. Raises what went wrong in it."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    def wake_up(self, slept: float) -> None:
        """The wall clock has moved on, the monotonic one has not."""
        self._slept += slept

    def _wall(self) -> float:
        return time.time() + self._slept

    def _settings(self) -> EngineSettings:
        desk = self._desk
        settings = EngineSettings.from_bootstrap(
            load_bootstrap(desk.bootstrap), user=desk.user, state_dir=desk.state
        )
        return dataclasses.replace(settings, clock=self._wall, login_timeout=LOGIN_SECONDS)

    async def _run(self) -> None:
        while True:
            engine = WorkspaceEngine(self._settings())
            looking = asyncio.create_task(self._look(engine), name="status of the client under test")
            try:
                if await self._begin(engine):
                    await asyncio.Event().wait()
            finally:
                looking.cancel()
                await asyncio.wait([looking])
                await engine.close()
            await asyncio.sleep(AGAIN_SECONDS)

    async def _begin(self, engine: WorkspaceEngine) -> bool:
        """Log in; without any Configuration Server go on with what is on disk. False: try again."""
        desk = self._desk
        try:
            await engine.login(desk.user, desk.password, desk.place, MEDIA)
        except RefusedError as error:
            over = engine.status().session.state is SessionState.OVER
            return over or not error.refusal.retryable
        except LinkLostError:
            with contextlib.suppress(LinkLostError):
                return await engine.restore()
            return False
        return True

    async def _look(self, engine: WorkspaceEngine) -> None:
        """Tell each change of the status."""
        last: ClientStatus | None = None
        while True:
            status = self._shown(engine)
            if status != last:
                self._desk.tell(status)
                last = status
            await asyncio.sleep(LOOK_SECONDS)

    def _shown(self, engine: WorkspaceEngine) -> ClientStatus:
        """The engine's status as a line, its times on the player's clock."""
        status = read_line(msgspec.json.encode(engine.status()))
        if not self._slept:
            return status
        links = {name: self._shifted(link) for name, link in status.links.items()}
        return msgspec.structs.replace(status, links=links)

    def _shifted(self, link: LinkStatus) -> LinkStatus:
        until = link.until - self._slept if link.until else 0.0
        return msgspec.structs.replace(link, until=until)


def desk_of(environment: Mapping[str, str], tell: Callable[[ClientStatus], None]) -> Desk:
    """Where this process works, as its environment says. Raises RefusedError ``conformance.environment``."""
    names = (client.BOOTSTRAP, client.USER, client.PASSWORD, client.PLACE, client.STATE)
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise refuse(
            "conformance.environment",
            f"Not in the environment: {', '.join(missing)}.",
            fix="Start this by `stayline conformance run --command` or with those of `conformance serve`.",
        )
    return Desk(
        bootstrap=Path(environment[client.BOOTSTRAP]),
        user=environment[client.USER],
        password=environment[client.PASSWORD],
        place=environment[client.PLACE],
        state=Path(environment[client.STATE]),
        tell=tell,
        until_connected=_not_known,
    )


async def _not_known(wanted: bool) -> None:
    """Only who plays the servers knows."""


async def run_headless(write: Callable[[bytes], object]) -> None:
    """A Workspace without a user interface until SIGTERM or SIGINT; ``write`` gets each status line."""

    def tell(status: ClientStatus) -> None:
        write(msgspec.json.encode(status) + b"\n")

    headless = SelfClient(desk_of(os.environ, tell))
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await headless.start()
    await stopped.wait()
    await headless.stop()
