"""A grant outlives the ownership that it was given for: a Chat Server that heard nothing of it asks."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from stayline.lab.customer import Customer
from stayline.link.handshake import Accepts
from stayline.link.messages import chat
from stayline.link.messages.envelope import Hello, Role
from stayline.link.messages.interaction import Done, GetOwner, OwnerChanged, Ownership
from stayline.link.peer import BaseHandler, Peer, Request
from stayline.link.transport import Listener
from tests.integration.conftest import Database
from tests.integration.servers.chat.rig import SITE, TYPES, Rig, eventually, running

pytestmark = pytest.mark.postgres


class Interactions(BaseHandler):
    """Every interaction is agent02's since version 9; no event ever says so."""

    async def on_request(self, peer: Peer, request: Request) -> object:
        if request.method == "interaction.owner":
            asked = request.read(GetOwner).interaction
            return OwnerChanged(
                interaction=asked, chat_session=asked, agent="agent02", version=9, state=Ownership.OWNED
            )
        return Done(seq=1, version=1)


class Removals(BaseHandler):
    """A Workspace that notes from which sessions it was removed."""

    def __init__(self) -> None:
        self.removed: list[chat.Removed] = []

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        if name == "chat.removed":
            self.removed.append(msgspec.json.decode(payload, type=chat.Removed))


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


def test_who_gave_the_interaction_away_is_removed_and_the_owner_stays(
    tmp_path: Path, database: Database
) -> None:
    rig = Rig(tmp_path, database.dsn)

    async def join(user: str, version: int, session: str, handler: Removals) -> Peer:
        # At the Chat Server where the customer is not: there nobody else has asked.
        peer = await rig.agent("Chat_A_2", user, handler)
        grant = rig.grant(session, user, version)
        await peer.request("chat.join", chat.Join(session=session, grant=grant), chat.Joined)
        return peer

    async def story() -> None:
        listener = scripted(rig)
        await listener.open()
        async with running(rig, "UCS_A_1", "Chat_A_1", "Chat_A_2"):
            await rig.ready("Chat_A_1", "Chat_A_2")
            ada = Customer(rig.web[:1], queue="chat.support", name="Ada", email="ada@example.org", text="Hi")
            await ada.open()
            await ada.until(lambda c: c.is_ready, 20)
            await eventually(lambda: len(listener.peers) == 2)
            former, owner = Removals(), Removals()
            peers = [
                await join("agent01", 5, ada.session, former),
                await join("agent02", 9, ada.session, owner),
            ]
            await eventually(lambda: len(former.removed) == 1)
            await ada.until(lambda c: c.state is not None and c.state.agents == ["Agent02"])
            assert owner.removed == []
            for peer in peers:
                await peer.close()
            await ada.close()
        await listener.close(drop=True)

    asyncio.run(story())
