"""After a site move everybody reads transcripts: that wave is spread too, but not what an agent waits for."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from stayline.link.messages.interaction import InteractionView, Ownership
from stayline.workspace.chat_worker import ChatContext
from stayline.workspace.chats import Chats
from stayline.workspace.saved import OutMessage


def nothing(*_: object, **__: object) -> None:
    """Nobody listens."""


def owned(number: str) -> InteractionView:
    return InteractionView(
        id=number,
        tenant="T",
        media="chat",
        state=Ownership.OWNED,
        version=1,
        queue="q",
        chat_session=f"session {number}",
        grant="",
    )


def test_transcripts_are_joined_spread_over_the_window_except_where_something_waits_to_be_sent() -> None:
    async def story() -> dict[str, float]:
        context = ChatContext(changed=nothing, saved=nothing, report=nothing, proven=nothing)
        chats = Chats(context, lambda: 0.0, lambda: 0.5)
        chats.restore([OutMessage(id="m", session="session 2", interaction="2", text="hello", at=0.0)])
        chats.follow([owned("1"), owned("2")], {})
        chats.spread(8.0)
        peer = cast(Any, SimpleNamespace(hello=SimpleNamespace(application="Chat_B_1"), is_closed=False))
        chats.link_up(peer)
        pauses = {session.interaction: session.pause for session in chats.sessions}
        chats.link_down("gone")
        chats.link_up(peer)
        assert all(session.pause == 0.0 for session in chats.sessions), "one wave, not every loss of a link"
        await chats.stop()
        return pauses

    assert asyncio.run(story()) == {"1": 4.0, "2": 0.0}
