"""A customer and what was with her before."""

import time

from stayline.link.messages.contact import Contact, HistoryItem

CONTACT = Contact(
    id="c1",
    tenant="Environment",
    attributes={
        "FirstName": "Maria",
        "LastName": "Keller",
        "EmailAddress": "maria.keller@example.org",
        "PhoneNumber": "+41 44 555 01 23",
    },
)


def history() -> list[HistoryItem]:
    """Three earlier interactions."""
    now = time.time()
    rows = [
        ("h1", "chat", "Delivery to another address", "chat.sales", "Tomás Reyes", now - 3 * 86400, "solved"),
        (
            "h2",
            "email",
            "Invoice for order 20418",
            "email.support",
            "Nora Lindqvist",
            now - 19 * 86400,
            "solved",
        ),
        ("h3", "sms", "Reminder about the appointment", "sms.support", "", now - 210 * 86400, ""),
    ]
    return [
        HistoryItem(
            interaction=key,
            media=media,
            subject=subject,
            state="stopped",
            queue=queue,
            agent=agent,
            created_at=at,
            ended_at=at + 600,
            disposition=disposition,
            chat_session="",
        )
        for key, media, subject, queue, agent, at, disposition in rows
    ]
