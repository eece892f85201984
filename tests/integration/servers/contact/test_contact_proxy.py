"""Agents reach contacts and transcripts through a real Contact Server Proxy, also after a failover."""

import asyncio
from pathlib import Path

import pytest

from stayline.domain.errors import RefusedError
from stayline.lab.customer import Customer
from stayline.link.messages.contact import (
    Append,
    Appended,
    Contact,
    Entry,
    EntryKind,
    GetContact,
    GetHistory,
    GetTranscript,
    History,
    Party,
    Transcript,
    UpdateContact,
)
from stayline.link.peer import BaseHandler, Peer
from tests.integration.conftest import Database
from tests.integration.servers.chat.rig import Rig, eventually, running

pytestmark = pytest.mark.postgres


class Notes(BaseHandler):
    """What a proxy says of its core."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def on_event(self, peer: Peer, name: str, payload: object, channel: int, seq: int) -> None:
        self.events.append(name)


def test_an_agent_reads_and_changes_a_contact_over_a_failover(tmp_path: Path, database: Database) -> None:
    rig = Rig(tmp_path, database.dsn)

    async def story() -> None:
        async with running(rig, "UCS_A_1", "UCS_A_2", "Ixn_A_1", "Chat_A_1", "UCS_Proxy_A_1"):
            await rig.ready("Chat_A_1")
            await rig.listening(rig.ports["UCS_Proxy_A_1"])
            ada = Customer(
                rig.web[:1], queue="chat.support", name="Ada B", email="ada@example.org", text="Hi"
            )
            await ada.open()
            await ada.until(lambda c: c.is_ready, 20)
            notes = Notes()
            desk = await rig.agent("UCS_Proxy_A_1", "agent01", notes)
            [row] = await rig.rows("select contact from chat_session")
            contact = await desk.request("contact.get", GetContact(row["contact"]), Contact)
            assert contact.attributes == {
                "EmailAddress": "ada@example.org",
                "FirstName": "Ada",
                "LastName": "B",
            }
            history = await desk.request("history.list", GetHistory(contact=contact.id), History)
            assert [item.chat_session for item in history.items] == [ada.session]
            entry = Entry(id="x", kind=EntryKind.MESSAGE, party=Party.AGENT, name="A", text="forged")
            with pytest.raises(RefusedError) as caught:
                await desk.request("chat.append", Append(session=ada.session, entry=entry), Appended, key="k")
            assert caught.value.refusal.code == "method.forbidden"
            rig.kill(await rig.primary("contact"))
            change = UpdateContact(contact=contact.id, version=contact.version, set={"LastName": "Byron"})
            changed = await desk.request("contact.update", change, Contact, key="change-1", timeout=20)
            assert (changed.version, changed.attributes["LastName"]) == (2, "Byron")
            assert await desk.request("contact.update", change, Contact, key="change-1") == changed
            transcript = await desk.request("transcript.get", GetTranscript(session=ada.session), Transcript)
            assert [item.text for item in transcript.entries] == ["Hi"]
            await eventually(lambda: notes.events == ["core.away", "core.back"])
            await desk.close()
            await ada.close()

    asyncio.run(story())
