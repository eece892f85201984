"""How long a page may stay that has no chat, and how many pages look at one."""

import asyncio
from typing import Any, cast

import pytest

from stayline.domain.errors import RefusedError, refuse
from stayline.link.messages.contact import ChatState, Signal
from stayline.link.pair import PairLink
from stayline.servers.chat import customers, protocol
from stayline.servers.chat.customers import CustomerConnection, Services
from stayline.servers.chat.sessions import MAX_PAGES, HeldSession, Sessions
from stayline.servers.chat.starts import StartLimit

RESUME = protocol.encode(protocol.Resume(session="a" * 24, secret="b" * 24))


class Page:
    """A page that resumes a chat that nobody knows."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.closed = asyncio.Event()

    async def receive(self) -> str | None:
        """Nothing after the first message, until hung up on."""
        if not self.said:
            self.said.append(RESUME)
            return RESUME
        await self.closed.wait()
        return None

    async def send(self, text: str) -> None:
        """Taken."""

    async def close(self, code: int, why: str) -> None:
        """Hung up on."""
        self.closed.set()


class Unknown:
    """No chat is known."""

    async def resume(self, session: str, secret: str) -> ChatState:
        raise refuse("chat.unknown", "There is no chat session.")


def services(beginning: Any) -> Services:
    return Services(
        sessions=cast(Sessions, None),
        beginning=beginning,
        max_text=lambda: 100,
        rate=lambda: 10.0,
        delayed=lambda: False,
        opened=lambda _: None,
        starts=StartLimit(),
        starts_per_minute=lambda: 10,
    )


def test_a_page_without_a_chat_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(customers, "HELLO_SECONDS", 0.05)

    async def play() -> None:
        page = Page()
        connection = CustomerConnection(page, services(Unknown()), "192.0.2.1")
        await asyncio.wait_for(connection.serve(), 5)
        assert page.said == [RESUME]
        assert page.closed.is_set()

    asyncio.run(play())


class Watcher:
    """Looks."""

    def __init__(self, *, is_customer: bool) -> None:
        self.is_customer = is_customer

    def changed(self, session: HeldSession) -> None:
        """Seen."""

    def signalled(self, signal: Signal) -> None:
        """Seen."""


class NoPrimary:
    """A link to nobody."""

    primary = None


def test_one_chat_is_shown_in_few_windows_and_agents_always_come_in() -> None:
    async def play() -> None:
        sessions = Sessions(cast(PairLink, NoPrimary()))
        first = Watcher(is_customer=True)
        held = sessions._held["s"] = HeldSession("s")  # as if it had been loaded
        held.loaded = True
        pages = [first, *(Watcher(is_customer=True) for _ in range(MAX_PAGES - 1))]
        for page in pages:
            await sessions.watch("s", page)
        with pytest.raises(RefusedError) as caught:
            await sessions.watch("s", Watcher(is_customer=True))
        assert caught.value.refusal.code == "chat.too_many_pages"
        await sessions.watch("s", Watcher(is_customer=False))
        sessions.leave(held, first)
        await sessions.watch("s", Watcher(is_customer=True))

    asyncio.run(play())
