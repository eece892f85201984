"""Chats over real sockets: durable, once, in order, whatever is killed."""

import asyncio
import signal
from pathlib import Path

import pytest

from stayline.domain.errors import RefusedError
from stayline.lab.customer import Customer
from stayline.link.messages import chat
from stayline.link.messages.contact import Append, Appended, Entry, EntryKind, Party
from stayline.link.messages.interaction import Done, Stop
from stayline.link.peer import BaseHandler, Peer, read
from tests.integration.conftest import Database
from tests.integration.servers.chat.rig import Rig, eventually, running

pytestmark = pytest.mark.postgres

CORE = ("UCS_A_1", "Ixn_A_1")
ALL = ("UCS_A_1", "UCS_A_2", "Ixn_A_1", "Chat_A_1", "Chat_A_2")


class Desk(BaseHandler):
    """An agent's Workspace, as far as these tests need one."""

    def __init__(self) -> None:
        self.entries: list[chat.Said] = []
        self.typing: list[str] = []
        self.presence: list[bool] = []
        self.removed: list[str] = []

    def on_event(self, peer: Peer, name: str, payload: object, channel: int, seq: int) -> None:
        if name == "chat.entry":
            self.entries.append(read(payload, chat.Said))  # type: ignore[arg-type]
        elif name == "chat.typing":
            self.typing.append(read(payload, chat.PartyTyping).name)  # type: ignore[arg-type]
        elif name == "chat.presence":
            self.presence.append(read(payload, chat.Presence).customer_present)  # type: ignore[arg-type]
        elif name == "chat.removed":
            self.removed.append(read(payload, chat.Removed).why)  # type: ignore[arg-type]

    @property
    def seqs(self) -> list[int]:
        return [said.entry.seq for said in self.entries]


def customer(servers: list[str], **changes: str) -> Customer:
    values = {"name": "Ada Byron", "email": "ada@example.org", "text": "Hello?", "queue": "chat.support"}
    values |= changes
    return Customer(
        servers,
        queue=values["queue"],
        name=values["name"],
        email=values["email"],
        text=values["text"],
    )


def test_a_chat_from_customer_to_agent_and_back(tmp_path: Path, database: Database) -> None:
    rig = Rig(tmp_path, database.dsn)

    async def story() -> None:
        async with running(rig, *CORE, "Chat_A_1", "Chat_A_2"):
            await rig.ready("Chat_A_1", "Chat_A_2")
            ada = customer(rig.web[:1])
            await ada.open()
            await ada.until(lambda c: c.texts == ["Hello?"], 20)
            [interaction] = await rig.rows("select * from interaction")
            assert interaction["id"] == ada.session
            assert (interaction["state"], interaction["queue"]) == ("queued", "chat.support")
            assert interaction["customer"] == "Ada Byron"
            # The agent is at the other Chat Server.
            desk = Desk()
            agent = await rig.agent("Chat_A_2", "agent01", desk)
            joined = await agent.request(
                "chat.join",
                chat.Join(session=ada.session, grant=rig.grant(ada.session, "agent01")),
                chat.Joined,
            )
            assert [entry.text for entry in joined.entries if entry.text] == ["Hello?"]
            assert joined.customer_present
            assert not joined.ended
            await ada.until(lambda c: c.state is not None and c.state.agents == ["Agent01"])
            sent = await agent.request(
                "chat.send", chat.Send(session=ada.session, id="m1", text="Good morning"), chat.Sent
            )
            again = await agent.request(
                "chat.send", chat.Send(session=ada.session, id="m1", text="Good morning"), chat.Sent
            )
            assert again.seq == sent.seq
            await ada.typing()
            await eventually(lambda: desk.typing == ["Ada Byron"])
            await ada.acked(await ada.send("My tent is torn <b>badly</b>"))
            await eventually(lambda: len(desk.entries) == 2)
            assert ada.texts == ["Hello?", "Good morning", "My tent is torn <b>badly</b>"]
            await agent.request("chat.end", chat.End(session=ada.session), chat.Sent)
            await ada.until(lambda c: c.ended)
            seqs = [entry.seq for entry in joined.entries] + desk.seqs
            await eventually(lambda: len([entry.seq for entry in joined.entries] + desk.seqs) == 5)
            assert sorted(set(seqs)) == seqs
            await agent.close()

    asyncio.run(story())


def test_an_end_before_an_answer_stops_the_interaction(tmp_path: Path, database: Database) -> None:
    rig = Rig(tmp_path, database.dsn)

    async def story() -> None:
        async with running(rig, *CORE, "Chat_A_1"):
            await rig.ready("Chat_A_1")
            ada = customer(rig.web[:1])
            await ada.open()
            await ada.until(lambda c: c.is_ready, 20)
            await ada.end()
            await ada.until(lambda c: c.ended)
            async with asyncio.timeout(15):
                while True:
                    [row] = await rig.rows("select state, online from interaction")
                    [held] = await rig.rows("select settled, ended_by from chat_session")
                    if row["state"] == "stopped" and held["settled"]:
                        break
                    await asyncio.sleep(0.05)
            assert held["ended_by"] == "customer"
            await ada.close()

    asyncio.run(story())


def test_the_contact_server_is_killed_while_everybody_writes(tmp_path: Path, database: Database) -> None:
    rig = Rig(tmp_path, database.dsn)

    async def story() -> None:
        async with running(rig, *ALL):
            await rig.ready("Chat_A_1", "Chat_A_2")
            ada, bob = customer(rig.web), customer(rig.web, name="Bob Ross", email="bob@example.org")
            people = [ada, bob]
            for person in people:
                await person.open()
            for person in people:
                await person.until(lambda c: c.is_ready, 20)
            desk = Desk()
            agent = await rig.agent("Chat_A_1", "agent01", desk)
            grant = rig.grant(ada.session, "agent01")
            joined = await agent.request(
                "chat.join", chat.Join(session=ada.session, grant=grant), chat.Joined
            )
            before = await rig.primary("contact")

            async def write(person: Customer) -> None:
                for number in range(60):
                    await person.send(f"m{number}")
                    await asyncio.sleep(0.02)

            writing = [asyncio.create_task(write(person)) for person in people]
            await eventually(lambda: all(len(person.texts) > 10 for person in people))
            assert not any(task.done() for task in writing)
            rig.kill(before)
            await asyncio.gather(*writing)
            for person in people:
                await person.until(lambda c: not c.outbox and len(c.texts) == 61, 20)
            assert await rig.primary("contact") != before
            for person in people:
                assert person.texts == ["Hello?", *(f"m{number}" for number in range(60))]
                rows = await rig.rows(
                    "select seq, text from chat_entry where session = $1 order by seq", person.session
                )
                assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
            held = [entry.seq for entry in joined.entries]
            await eventually(lambda: held + desk.seqs == list(range(1, 63)))
            for person in people:
                await person.close()
            await agent.close()

    asyncio.run(story())


def test_a_frozen_contact_server_is_replaced(tmp_path: Path, database: Database) -> None:
    rig = Rig(tmp_path, database.dsn)

    async def story() -> None:
        async with running(rig, *ALL):
            await rig.ready("Chat_A_1")
            ada = customer(rig.web)
            await ada.open()
            await ada.until(lambda c: c.is_ready, 20)
            before = await rig.primary("contact")
            rig.signal(before, signal.SIGSTOP)
            id_ = await ada.send("anybody there?")
            await ada.acked(id_, 15)
            assert await rig.primary("contact") != before
            rig.signal(before, signal.SIGCONT)
            await asyncio.to_thread(rig.processes[before].wait, 15)  # it found out and ended
            await ada.acked(await ada.send("still here"), 15)
            assert ada.texts == ["Hello?", "anybody there?", "still here"]
            await ada.close()

    asyncio.run(story())


def test_the_chat_server_is_killed_and_the_page_reloaded(tmp_path: Path, database: Database) -> None:
    rig = Rig(tmp_path, database.dsn)

    async def story() -> None:
        async with running(rig, *CORE, "Chat_A_1", "Chat_A_2"):
            await rig.ready("Chat_A_1", "Chat_A_2")
            ada = customer(rig.web)
            await ada.open()
            await ada.until(lambda c: c.is_ready, 20)
            for round_ in range(2):
                serving = "Chat_A_1" if ada.server == rig.web[0] else "Chat_A_2"
                ids = [await ada.send(f"round {round_} message {number}") for number in range(5)]
                rig.kill(serving)
                for id_ in ids:
                    await ada.acked(id_, 15)
                rig.start(serving)
                await rig.ready(serving)
            shown = ada.texts
            await ada.reload()
            await ada.until(lambda c: c.texts == shown, 15)
            assert len(shown) == len(set(shown)) == 11
            assert not [fact for fact in ada.facts if fact.kind == "gap"]
            await ada.close()

    asyncio.run(story())


async def _settled(rig: Rig, session: str) -> str:
    """Wait until a chat has ended and the Interaction Server knows; by whom."""
    async with asyncio.timeout(15):
        while True:
            [row] = await rig.rows(
                "select ended, settled, ended_by from chat_session where session = $1", session
            )
            if row["ended"] and row["settled"]:
                return str(row["ended_by"])
            await asyncio.sleep(0.05)


def test_a_customer_who_stays_away_ends_the_chat(tmp_path: Path, database: Database) -> None:
    rig = Rig(tmp_path, database.dsn, flex_timeout="1")

    async def story() -> None:
        async with running(rig, *CORE, "Chat_A_1"):
            await rig.ready("Chat_A_1")
            ada = customer(rig.web[:1])
            await ada.open()
            await ada.until(lambda c: c.is_ready, 20)
            bob = customer(rig.web[:1], name="Bob Ross", email="bob@example.org")
            await bob.open()
            await bob.until(lambda c: c.is_ready, 20)
            await bob.close()
            assert await _settled(rig, bob.session) == "system"
            # Ada has been there for longer than Bob was away.
            [row] = await rig.rows("select ended from chat_session where session = $1", ada.session)
            assert not row["ended"]
            await ada.close()
            assert await _settled(rig, ada.session) == "system"
            interactions = await rig.rows("select state from interaction")
            assert [row["state"] for row in interactions] == ["stopped", "stopped"]

    asyncio.run(story())


def test_a_stopped_interaction_ends_its_chat(tmp_path: Path, database: Database) -> None:
    rig = Rig(tmp_path, database.dsn)

    async def story() -> None:
        async with running(rig, *CORE, "Chat_A_1"):
            await rig.ready("Chat_A_1")
            ada = customer(rig.web[:1])
            await ada.open()
            await ada.until(lambda c: c.is_ready, 20)
            other = await rig.link("Ixn_A_1", "Chat_A_2")
            stop = Stop(interaction=ada.session, reason="spam")
            await other.request("interaction.stop", stop, Done, key="stop-1")
            await ada.until(lambda c: c.ended)
            assert ada.entries[-1].party == "system"
            # Who is told so late that it writes again gets no further entry.
            late = await ask_for_refusal(rig, ada.session)
            assert late == "chat.ended"
            await other.close()

    asyncio.run(story())


async def ask_for_refusal(rig: Rig, session: str) -> str:
    """What a Chat Server is told that appends to a session that has ended."""
    link = await rig.link("UCS_A_1", "Chat_A_2")
    entry = Entry(id="late", kind=EntryKind.MESSAGE, party=Party.CUSTOMER, name="Ada", text="too late")
    try:
        with pytest.raises(RefusedError) as caught:
            await link.request("chat.append", Append(session=session, entry=entry), Appended, key="late")
    finally:
        await link.close()
    return caught.value.refusal.code
