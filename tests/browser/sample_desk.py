"""Interactions and a whole working day, for tests and screenshots."""

import time

from stayline.link.messages.contact import EntryKind, Party
from stayline.link.messages.interaction import Ownership
from stayline.workspace.view import BannerKind, EntryState, EntryView, InteractionCard, NoticeView
from tests.browser.fake_engine import FakeEngine
from tests.browser.sample_contact import CONTACT, history


def offer(
    key: str = "o1", customer: str = "Jonas Weber", *, seconds: float = 24.0, media: str = "chat"
) -> InteractionCard:
    """An offer that stands for ``seconds``."""
    now = time.time()
    return InteractionCard(
        id=key,
        media=media,
        state=Ownership.OFFERED,
        version=2,
        customer=customer,
        subject="Router does not come back after the update",
        queue="chat.support",
        created_at=now - 41,
        offer_deadline=now + seconds,
    )


def owned(
    key: str = "i1", customer: str = "Maria Keller", *, subject: str = "Order 20733 arrived damaged"
) -> InteractionCard:
    """An owned chat without messages."""
    now = time.time()
    return InteractionCard(
        id=key,
        media="chat",
        state=Ownership.OWNED,
        version=3,
        customer=customer,
        subject=subject,
        queue="chat.support",
        created_at=now - 500,
        owned_at=now - 460,
        properties={
            "Subject": subject,
            "OrderNumber": "20733",
            "Product": "Desk lamp Linnea",
            "Language": "English",
        },
        contact_id="c1",
        chat_up=True,
    )


def joined(engine: FakeEngine, interaction: str) -> None:
    """Both sides have joined."""
    card = engine.card(interaction)
    at = time.time() - 455
    entry = EntryView(
        id=f"j-{interaction}",
        kind=EntryKind.JOINED,
        party=Party.AGENT,
        name=engine.view.display_name,
        text="",
        at=at,
        state=EntryState.SENT,
    )
    engine.edit(interaction, transcript=[entry, *card.transcript])


def fill(engine: FakeEngine) -> None:
    """A desk in the middle of a working day: four chats, one of them ended, one customer away."""
    now = time.time()
    engine.put(owned())
    joined(engine, "i1")
    talk = [
        (Party.CUSTOMER, "Hello, my desk lamp arrived today and the glass shade is broken.", 450),
        (Party.CUSTOMER, "I can send a photo if that helps.", 438),
        (Party.AGENT, "Good morning Maria, I am sorry to hear that. Let me look at your order.", 410),
        (
            Party.AGENT,
            "I see order 20733 from Tuesday. We can send a new shade, or refund the lamp. Which do you prefer?",
            380,
        ),
        (
            Party.CUSTOMER,
            "A new shade would be perfect, thank you! Is it the same address?\n\nI am at home on Thursday and Friday.",
            312,
        ),
        (Party.AGENT, "Yes, to Seestrasse 14. You will get it on Thursday before noon.", 260),
        (Party.CUSTOMER, "Great. And what do I do with the broken glass?", 95),
    ]
    for party, text, ago in talk:
        engine.say("i1", text, party=party, at=now - ago)
    engine.edit("i1", unread=0, contact=CONTACT, history=history(), customer_typing=True)
    engine.put(owned("i2", "Amara Okafor", subject="Cannot log in after password change"))
    engine.say("i2", "It still says my password is wrong, although I have just changed it.", at=now - 42)
    engine.say("i2", "Are you there?", at=now - 7)
    engine.put(owned("i3", "Bartholomew Featherstonehaugh-Cholmondeley", subject="Change of address"))
    engine.say("i3", "Thank you very much, that was quick.", at=now - 400)
    engine.say("i3", "You are welcome. Have a good day!", party=Party.AGENT, at=now - 390)
    engine.edit("i3", online=False, unread=0)
    engine.put(owned("i4", "Yuki Tanaka", subject="Where is my parcel?"))
    engine.say("i4", "One moment, I am looking for the number of the parcel.", at=now - 130)
    engine.edit("i4", customer_present=False, unread=0)


def notice(
    text: str = "The chat with Jonas Weber went back to its queue: the offer was not accepted in time.",
) -> NoticeView:
    """Something that happened."""
    return NoticeView(id="n1", kind=BannerKind.WARNING, text=text, at=time.time())
