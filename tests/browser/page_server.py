"""The Workspace page on fake engines, in a thread of its own, for tests and screenshots."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from stayline.domain.errors import refuse
from stayline.workspace.web.server import open_socket, run_app
from stayline.workspace.web.settings import WebSettings
from tests.browser.fake_engine import FakeEngine

T = TypeVar("T")


class PageServer:
    """Start with ``start()``; ``engines`` by user. ``restorable``: what a new engine says to ``restore``."""

    def __init__(
        self, state: Path, *, port: int = 0, restorable: bool = False, beat: float = 5.0, stall: float = 20.0
    ) -> None:
        self.engines: dict[str, FakeEngine] = {}
        self.prepare: Callable[[FakeEngine], None] = lambda engine: None
        self.state = state
        self.ahead = 0.0
        self.restorable = restorable
        self.beat = beat
        self.stall = stall
        self._listener = open_socket("127.0.0.1", port)
        self.port: int = self._listener.getsockname()[1]
        self.loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.port}"

    def settings(self) -> WebSettings:
        """Settings with fake engines."""
        return WebSettings(
            state_dir=self.state,
            engine_factory=self._engine,
            check_password=self._check,
            beat=self.beat,
            stall_seconds=self.stall,
            clock=lambda: time.time() + self.ahead,
            hosts=("127.0.0.1", "localhost"),
            cookie=f"stayline-test-{self.port}",
        )

    def _engine(self, user: str) -> FakeEngine:
        engine = self.engines[user] = FakeEngine(user)
        engine.restorable = self.restorable
        self.prepare(engine)
        return engine

    async def _check(self, user: str, password: str, source: str) -> None:
        if password != "stayline":
            raise refuse("login.wrong", "The user name or the password is wrong.")

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(run_app(self.settings(), self._listener, stopping=self._stopping))
        self.loop.close()

    def start(self) -> "PageServer":
        """Serve."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop as SIGTERM would."""
        self.loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout=15)
        assert not self._thread.is_alive()
        self._listener.close()

    def do(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the server's loop and return its result."""

        async def run() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(timeout=10)
