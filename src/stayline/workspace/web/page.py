"""One open page: what it was sent, what it has chosen, and the stream that keeps it up to date.

There is no queue: a page remembers the model of each fragment it was sent, and when it can take more it is
sent whatever differs by then. So a slow page costs nothing but gets fewer, larger steps.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import tzinfo

from jinja2 import Environment

from stayline.link.messages.interaction import Ownership
from stayline.workspace.protocol import Workspace
from stayline.workspace.view import WorkspaceView
from stayline.workspace.web.fragments import Reader, as_event, as_message, as_partial, desk_models, render
from stayline.workspace.web.settings import WebSettings


class Page:
    """A page of one agent. ``chosen`` is the id of the interaction it shows (empty: none); it stays when
    that interaction leaves the desk, so that the page can say so."""

    def __init__(self, page: str, engine: Workspace, zone: tzinfo | None) -> None:
        self.id = page
        self.engine = engine
        self.zone = zone
        self.chosen = ""
        self.ended = False
        self.farewell = ""
        self._sent: dict[str, object] = {}
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._stream = 0
        self.listening = 0

    def choose(self, interaction: str) -> None:
        """Show this interaction."""
        self.chosen = interaction
        self.hurry()

    def hurry(self) -> None:
        """Push what changed without waiting for the next interval: its person did something."""
        self._urgent.set()
        self._wake.set()

    def choose_first(self, view: WorkspaceView) -> None:
        """Show the first owned interaction when nothing is chosen yet, one with unread messages before others."""
        if not self.chosen:
            owned = [card for card in view.interactions if card.state is Ownership.OWNED]
            unread = [card for card in owned if card.unread]
            self.chosen = next((card.id for card in unread or owned), "")

    def finish(self, interaction: str) -> None:
        """Its person has finished this interaction: go on with the next one. Never done when an interaction
        leaves the desk by itself, because what is being typed must not end up in another chat."""
        if self.chosen == interaction and self.engine.view.card(interaction) is None:
            self.chosen = ""
            self.choose_first(self.engine.view)

    def end(self, farewell: str = "") -> None:
        """Close the stream. ``farewell`` tells the page why it must not come back ("session", "pages"); empty:
        it comes back by itself."""
        self.ended = True
        self.farewell = farewell
        self.hurry()

    def changed(self, names: frozenset[str]) -> None:
        """The engine has a new view (its subscriber): the stream wakes up."""
        self._wake.set()

    def reader(self, settings: WebSettings) -> Reader:
        """For whom this page is rendered."""
        return Reader(settings.clock(), self.zone)

    def differences(self, environment: Environment, settings: WebSettings) -> str:
        """HTML of the fragments that differ from what the page has; remembers them as sent."""
        view = self.engine.view
        card = view.card(self.chosen)
        parts: list[str] = []
        for name, model in desk_models(view, self.chosen).items():
            if name in self._sent and self._sent[name] == model:
                continue
            self._sent[name] = model
            parts.append(as_partial(name, render(environment, name, model, card, self.reader(settings))))
        return "".join(parts)

    async def stream(self, environment: Environment, settings: WebSettings) -> AsyncIterator[bytes]:
        """Messages for as long as the page listens. A newer stream of the same page ends the older one.

        The event id carries what is chosen: a page that reconnects (also to a new process) brings it back.
        """
        self._stream += 1
        mine = self._stream
        self._sent.clear()
        self._wake.set()
        unsubscribe = self.engine.subscribe(self.changed)
        self.listening += 1
        try:
            yield as_event("beat", str(settings.clock()))
            while not self.ended and mine == self._stream:
                try:
                    async with asyncio.timeout(settings.beat):
                        await self._wake.wait()
                except TimeoutError:
                    yield as_event("beat", str(settings.clock()))
                    continue
                self._wake.clear()
                html = self.differences(environment, settings)
                if html:
                    yield as_message(html, self.chosen)
                await self._rest(settings.push_interval)
            if self.farewell:
                yield as_event("over", self.farewell)
        finally:
            self.listening -= 1
            unsubscribe()

    async def _rest(self, interval: float) -> None:
        """Gather changes for a moment, unless the person in front of the page asked for something."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await self._urgent.wait()
        self._urgent.clear()
