"""The fake UCS Proxies, Chat Servers and Stat Servers: enough of them that a Workspace works beside them."""

import time

import msgspec

from stayline.conformance.fake_link import FakeLink
from stayline.conformance.fake_server import Service
from stayline.domain.errors import refuse
from stayline.link.handlers import read
from stayline.link.messages import chat, contact
from stayline.link.messages.contact import Entry, EntryKind, Party
from stayline.link.messages.envelope import Frame


class ContactService(Service):
    """A UCS Proxy: every contact exists, no history."""

    def answer(self, link: FakeLink, frame: Frame) -> object:
        """Serve a request."""
        if frame.m == "contact.get":
            asked = read(frame.p, contact.GetContact, frame.m)
            return contact.Contact(id=asked.contact, tenant="Environment", attributes={"FirstName": "Ada"})
        if frame.m == "history.list":
            return contact.History([])
        if frame.m == "contact.update":
            change = read(frame.p, contact.UpdateContact, frame.m)
            return contact.Contact(
                id=change.contact,
                tenant="Environment",
                attributes={"FirstName": "Ada", **change.set},
                version=change.version + 1,
            )
        return super().answer(link, frame)


class ChatService(Service):
    """A Chat Server; ``transcripts`` are shared by all of them, as those of the real ones are in one database."""

    def __init__(self, transcripts: dict[str, list[Entry]]) -> None:
        self._transcripts = transcripts

    def answer(self, link: FakeLink, frame: Frame) -> object:
        """Serve a request."""
        if frame.m == "chat.join":
            join = read(frame.p, chat.Join, frame.m)
            entries = [one for one in self._entries(join.session) if one.seq > join.after]
            return chat.Joined(
                session=join.session,
                entries=entries,
                ended=False,
                customer="Ada",
                customer_present=True,
            )
        if frame.m == "chat.leave":
            return None
        if frame.m == "chat.send":
            send = read(frame.p, chat.Send, frame.m)
            return self._append(send.session, send.id, EntryKind.MESSAGE, send.text, link.user)
        if frame.m == "chat.end":
            session = str(msgspec.json.decode(frame.p).get("session", ""))
            return self._append(session, f"end {session}", EntryKind.ENDED, "", link.user)
        raise refuse("method.unknown", f"There is no {frame.m}.", field="m")

    def _entries(self, session: str) -> list[Entry]:
        return self._transcripts.setdefault(session, [])

    def _append(self, session: str, id: str, kind: EntryKind, text: str, user: str) -> chat.Sent:
        entries = self._entries(session)
        known = next((one for one in entries if one.id == id), None)
        if known is None:
            known = Entry(
                id=id,
                kind=kind,
                party=Party.AGENT,
                name=user,
                text=text,
                user=user,
                seq=len(entries) + 1,
                at=time.time(),
            )
            entries.append(known)
        return chat.Sent(seq=known.seq, at=known.at)
