"""An interaction changes hands: its chat follows, once, at every Chat Server."""

import asyncio
from pathlib import Path

import pytest

from stayline.domain.errors import RefusedError
from stayline.lab.customer import Customer
from stayline.link.handshake import Accepts
from stayline.link.messages import chat
from stayline.link.messages.envelope import Hello, Role
from stayline.link.messages.interaction import Done, GetOwner, OwnerChanged, Ownership
from stayline.link.peer import BaseHandler, Peer, Request
from stayline.link.transport import Listener
from tests.integration.conftest import Database
from tests.integration.servers.chat.rig import SITE, TYPES, Rig, eventually, running
from tests.integration.servers.chat.test_chat_server import Desk

pytestmark = pytest.mark.postgres


class Interactions(BaseHandler):
    """An Interaction Server that says what the test wants it to say."""

    async def on_request(self, peer: Peer, request: Request) -> object:
        if request.method == "interaction.owner":
            asked = request.read(GetOwner).interaction
            return owner(asked, "", 1, Ownership.QUEUED)
        return Done(seq=1, version=1)


def owner(session: str, agent: str, version: int, state: Ownership = Ownership.OWNED) -> OwnerChanged:
    return OwnerChanged(interaction=session, chat_session=session, agent=agent, version=version, state=state)


def scripted(rig: Rig) -> Listener:
    hello = Hello(
        application="Ixn_A_1",
        type=TYPES["Ixn_A_1"].value,
        instance="scripted",
        site=SITE,
        epoch=1,
        term=1,
        role=Role.PRIMARY,
    )
    return Listener(
        lambda: hello,
        lambda peer: Interactions(),
        rig.tls("Ixn_A_1"),
        host="127.0.0.1",
        port=rig.ports["Ixn_A_1"],
        accepts=Accepts(),
    )


def test_a_transfer_removes_one_agent_and_admits_the_other(tmp_path: Path, database: Database) -> None:
    rig = Rig(tmp_path, database.dsn)

    async def join(peer: Peer, session: str, user: str, version: int) -> chat.Joined:
        grant = rig.grant(session, user, version)
        return await peer.request("chat.join", chat.Join(session=session, grant=grant), chat.Joined)

    async def story() -> None:
        listener = scripted(rig)
        await listener.open()
        async with running(rig, "UCS_A_1", "Chat_A_1", "Chat_A_2"):
            await rig.ready("Chat_A_1", "Chat_A_2")
            ada = Customer(rig.web[:1], queue="chat.support", name="Ada", email="ada@example.org", text="Hi")
            await ada.open()
            await ada.until(lambda c: c.is_ready, 20)
            await eventually(lambda: len(listener.peers) == 2)
            first, second = Desk(), Desk()
            one = await rig.agent("Chat_A_2", "agent01", first)
            two = await rig.agent("Chat_A_1", "agent02", second)
            with pytest.raises(RefusedError) as caught:
                await one.request(
                    "chat.join",
                    chat.Join(session=ada.session, grant=rig.grant(ada.session, "agent02")),
                    chat.Joined,
                )
            assert caught.value.refusal.code == "chat.grant_foreign"
            await join(one, ada.session, "agent01", 5)
            # Heard late, made earlier: says nothing about the grant.
            for peer in listener.peers:
                peer.event("interaction.owner", owner(ada.session, "", 3, Ownership.QUEUED))
            await one.request("chat.send", chat.Send(session=ada.session, id="a", text="mine"), chat.Sent)
            assert first.removed == []
            for peer in listener.peers:
                peer.event("interaction.owner", owner(ada.session, "agent02", 8))
            await eventually(lambda: len(first.removed) == 1)
            await ada.until(lambda c: c.entries[-1].kind == "left")
            with pytest.raises(RefusedError) as caught:
                await join(one, ada.session, "agent01", 5)
            assert caught.value.refusal.code == "chat.not_owner"
            with pytest.raises(RefusedError) as caught:
                await one.request("chat.send", chat.Send(session=ada.session, id="b", text="x"), chat.Sent)
            assert caught.value.refusal.code == "chat.not_joined"
            joined = await join(two, ada.session, "agent02", 8)
            kinds = [entry.kind.value for entry in joined.entries]
            assert kinds == ["message", "joined", "message", "left", "joined"]
            await ada.until(lambda c: c.state is not None and c.state.agents == ["Agent02"])
            for peer in (one, two):
                await peer.close()
            await ada.close()
        await listener.close(drop=True)

    asyncio.run(story())
