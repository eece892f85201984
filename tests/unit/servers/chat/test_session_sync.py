"""A held session is made complete by one task, however much comes while something is missing."""

import asyncio
from typing import Any, cast

from stayline.link.messages.contact import (
    ChatState,
    Entry,
    EntryAdded,
    EntryKind,
    Party,
    Signal,
    Subscribe,
    Transcript,
)
from stayline.link.pair import PairLink
from stayline.servers.chat.sessions import HeldSession, Sessions

STATE = ChatState(
    session="s",
    tenant="T",
    interaction="i",
    contact="c",
    customer="Ada",
    subject="",
    queue="q",
    ended=False,
    submitted=True,
    last_seq=0,
    created_at=1.0,
)


def entry(seq: int) -> Entry:
    return Entry(id=f"e{seq}", kind=EntryKind.MESSAGE, party=Party.AGENT, name="Bob", seq=seq)


class ContactServer:
    """Answers what is asked when ``may_answer``; ``asked`` is how often each session was asked for."""

    primary = None

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.answered = asyncio.Event()

    async def request(self, method: str, params: Subscribe, result: object, **_: Any) -> Transcript:
        assert method == "chat.subscribe"
        self.asked += 1
        found = [one for one in self.entries if one.seq > params.after]
        await self.may_answer.wait()
        self.answered.set()
        return Transcript(state=STATE, entries=found)


class Agent:
    """Looks at a session."""

    is_customer = False

    def __init__(self) -> None:
        self.news = asyncio.Event()

    def changed(self, session: HeldSession) -> None:
        self.news.set()

    def signalled(self, signal: Signal) -> None:
        """Nothing to do."""


async def _turns() -> None:
    """Let every task that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_many_entries_behind_a_gap_ask_once() -> None:
    async def scenario() -> None:
        contact, agent = ContactServer(), Agent()
        sessions = Sessions(cast(PairLink, contact))
        held = await sessions.watch("s", agent)
        contact.entries = [entry(seq) for seq in range(1, 41)]
        contact.may_answer.clear()
        for seq in range(2, 41):  # the first one is missing
            sessions.added(EntryAdded(session="s", entry=entry(seq)))
            await asyncio.sleep(0)
        await _turns()
        assert contact.asked == 2  # once to load it, once for the gap
        assert len(sessions._tasks) == 1
        contact.may_answer.set()
        await asyncio.wait_for(agent.news.wait(), 5)
        assert held.transcript.last == 40
        await _turns()
        assert contact.asked == 2
        await sessions.close()

    asyncio.run(scenario())


def test_a_new_primary_is_asked_even_while_the_one_before_answers() -> None:
    async def scenario() -> None:
        contact, agent = ContactServer(), Agent()
        sessions = Sessions(cast(PairLink, contact))
        await sessions.watch("s", agent)
        contact.may_answer.clear()
        sessions.resync()
        await _turns()
        assert contact.asked == 2
        sessions.resync()  # another takeover: the subscription under way may be with the one that is gone
        contact.answered.clear()
        contact.may_answer.set()
        async with asyncio.timeout(5):
            while contact.asked < 3:
                contact.answered.clear()
                await contact.answered.wait()
        await _turns()
        assert contact.asked == 3
        assert not sessions._tasks
        await sessions.close()

    asyncio.run(scenario())
