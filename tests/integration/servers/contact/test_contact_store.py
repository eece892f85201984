"""Contacts and transcripts on a real database."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import asyncpg
import pytest

from stayline.domain.errors import Refusal
from stayline.link.messages.contact import (
    Append,
    ChatState,
    Contact,
    CreateChat,
    Entry,
    EntryKind,
    GetHistory,
    GetTranscript,
    Identified,
    Identify,
    Party,
    UpdateContact,
)
from stayline.servers.contact.batch import Prune, Pruned, Settled, Submitted, store_batch
from stayline.store import transcript
from stayline.store.contact import Change, candidate, identify_contacts, read_contact, update_contact
from stayline.store.contact_history import read_history
from stayline.store.transcript import Stamp, Stored, append_entries, read_entries
from stayline.store.transcript_session import create_sessions, open_sessions, unsettled_sessions
from tests.integration.conftest import Database

pytestmark = pytest.mark.postgres

STAMP = Stamp(1, 1, 1_000.0)
T = TypeVar("T")
Conn = Any


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def with_connection(database: Database, use: Callable[[Conn], Awaitable[None]]) -> None:
    connection = await asyncpg.connect(database.dsn)
    try:
        await use(connection)
    finally:
        await connection.close()


def identify(email: str = "", phone: str = "", first: str = "", last: str = "") -> Identify:
    attributes = {"EmailAddress": email, "PhoneNumber": phone, "FirstName": first, "LastName": last}
    return Identify(tenant="T", media="chat", attributes=attributes)


def message(session: str, id_: str, text: str = "x", kind: EntryKind = EntryKind.MESSAGE) -> Append:
    entry = Entry(id=id_, kind=kind, party=Party.CUSTOMER, name="Ada", text=text)
    return Append(session=session, entry=entry)


def chat(session: str, secret: str = "h") -> CreateChat:
    return CreateChat(
        session=session,
        interaction=session,
        tenant="T",
        contact="c",
        customer="Ada",
        subject="s",
        queue="q",
        secret_hash=secret,
    )


def test_fifty_at_once_with_one_new_address_are_one_contact(database: Database) -> None:
    async def one(pool: asyncpg.Pool) -> Identified | Refusal:
        async with pool.acquire() as connection, connection.transaction():
            # Each looks first, in a transaction of its own: nothing but the unique key keeps them apart.
            one = candidate(identify("Ada@Example.ORG ", "+44 20 7946 0000"), uuid.uuid4().hex)
            [found] = await identify_contacts(connection, [one], STAMP)
            return found

    async def story() -> None:
        pool = await asyncpg.create_pool(database.dsn, min_size=10, max_size=25)
        try:
            found = await asyncio.gather(*(one(pool) for _ in range(50)))
            contacts = {item.contact.id for item in found if isinstance(item, Identified) and item.contact}
            assert len(contacts) == 1
            assert sum(isinstance(item, Identified) and item.created for item in found) == 1
            assert await pool.fetchval("select count(*) from contact") == 1
            assert await pool.fetchval("select count(*) from contact_identity") == 2
        finally:
            await pool.close()

    run(story())


def test_identification_tries_address_then_number_then_name(database: Database) -> None:
    async def story(connection: Conn) -> None:
        async def ask(request: Identify) -> Identified:
            [found] = await identify_contacts(connection, [candidate(request, uuid.uuid4().hex)], STAMP)
            assert isinstance(found, Identified)
            return found

        by_mail = await ask(identify("ada@example.org", "+44 20 1111"))
        by_phone = await ask(identify("other@example.org", "0044 (0)20 1111"))
        assert by_phone.contact == by_mail.contact
        assert (by_mail.created, by_phone.created, by_phone.matched) == (True, False, "PhoneNumber")
        named = await ask(identify(first="Grace", last="Hopper"))
        assert (await ask(identify(first=" grace", last="HOPPER "))).contact == named.contact
        # The same name with an address is another person, as far as anybody can know.
        assert (await ask(identify("grace@example.org", first="Grace", last="Hopper"))).created

    run(with_connection(database, story))


def test_a_change_is_guarded_by_version_and_repeatable_by_key(database: Database) -> None:
    async def story(connection: Conn) -> None:
        async def change(version: int, key: str, **values: str) -> Contact | Refusal:
            request = UpdateContact(contact="A", version=version, set=values)
            async with connection.transaction():
                return await update_contact(connection, Change(request, key, "T", "person/bob"), STAMP)

        items = [candidate(identify("a@example.org"), "A"), candidate(identify("b@example.org"), "B")]
        outcomes = await identify_contacts(connection, items, STAMP)
        assert [item.created for item in outcomes if isinstance(item, Identified)] == [True, True]
        changed = await change(1, "k1", LastName="Byron", EmailAddress="new@example.org")
        assert isinstance(changed, Contact)
        assert changed.version == 2
        assert await change(1, "k1", LastName="Byron", EmailAddress="new@example.org") == changed
        late = await change(1, "k2", LastName="Other")
        assert isinstance(late, Refusal)
        assert late.code == "contact.changed"
        taken = await change(2, "k3", EmailAddress="B@example.org", PhoneNumber="+49 30 123456")
        assert isinstance(taken, Refusal)
        assert (taken.code, taken.field) == ("contact.identity_taken", "EmailAddress")
        rows = await connection.fetch("select value from contact_identity where contact = 'A'")
        assert [row["value"] for row in rows] == ["new@example.org"]
        assert await read_contact(connection, "A", "T") == changed
        foreign = await read_contact(connection, "A", "other tenant")
        assert isinstance(foreign, Refusal)

    run(with_connection(database, story))


def test_an_answer_is_kept_beyond_the_next_change_and_for_its_caller_only(database: Database) -> None:
    async def story(connection: Conn) -> None:
        async def change(
            contact: str, version: int, key: str, scope: str, name: str, at: float = 1_000.0
        ) -> Contact | Refusal:
            request = UpdateContact(contact=contact, version=version, set={"LastName": name})
            async with connection.transaction():
                return await update_contact(
                    connection, Change(request, key, "T", scope), STAMP._replace(at=at)
                )

        items = [candidate(identify("a@example.org"), "A"), candidate(identify("b@example.org"), "B")]
        await identify_contacts(connection, items, STAMP)
        first = await change("A", 1, "k1", "person/bob", "Byron")
        assert isinstance(first, Contact)
        second = await change("A", 2, "k1", "person/eve", "Lovelace", at=2_000.0)  # her own k1
        assert isinstance(second, Contact)
        assert (second.version, second.attributes["LastName"]) == (3, "Lovelace")
        # Bob never saw his answer: what he asked was done, and is not done again.
        assert await change("A", 1, "k1", "person/bob", "Byron") == first
        assert await read_contact(connection, "A", "T") == second
        reused = await change("B", 1, "k1", "person/bob", "Byron")
        assert isinstance(reused, Refusal)
        assert reused.code == "request.key_reused"
        without = [await change("B", version, "", "person/bob", "X") for version in (1, 2)]
        assert [one.version for one in without if isinstance(one, Contact)] == [2, 3]
        [pruned] = await store_batch(connection, [Prune(1_500.0)], STAMP)
        assert pruned == Pruned(1)
        rows = await connection.fetch("select scope, key from contact_result")
        assert [tuple(row) for row in rows] == [("person/eve", "k1")]

    run(with_connection(database, story))


def test_entries_are_numbered_without_gaps_and_stored_once(database: Database) -> None:
    async def story(connection: Conn) -> None:
        await create_sessions(connection, [chat("s1"), chat("s2")], STAMP)
        batch = [
            message("s1", "a", "one"),
            message("s2", "a", "other"),
            message("s1", "b", "two"),
            message("s1", "a", "one"),
            message("nowhere", "a"),
        ]
        outcomes = await append_entries(connection, batch, STAMP)
        seqs = [item.answer.seq if isinstance(item, Stored) else item.code for item in outcomes]
        assert seqs == [1, 1, 2, 1, "chat.unknown"]
        assert [item.answer.duplicate for item in outcomes if isinstance(item, Stored)] == [
            False,
            False,
            False,
            True,
        ]
        [again, third] = await append_entries(
            connection, [message("s1", "b", "changed"), message("s1", "c")], STAMP._replace(at=2_000.0)
        )
        assert isinstance(again, Stored)
        assert again.answer.duplicate
        assert (again.answer.seq, again.answer.at) == (2, 1_000.0)
        assert isinstance(third, Stored)
        assert third.answer.seq == 3
        entries, more = await read_entries(connection, GetTranscript(session="s1", after=1, limit=1))
        assert [(entry.seq, entry.text) for entry in entries] == [(2, "two")]
        assert more

    run(with_connection(database, story))


def test_nothing_is_written_after_the_end_and_the_end_is_a_debt(database: Database) -> None:
    async def story(connection: Conn) -> None:
        await create_sessions(connection, [chat("s1"), chat("s2")], STAMP)
        batch = [
            message("s1", "a"),
            message("s1", "ended", kind=EntryKind.ENDED),
            message("s1", "late"),
        ]
        outcomes = await append_entries(connection, batch, STAMP)
        assert isinstance(outcomes[1], Stored)
        assert outcomes[1].ended
        assert isinstance(outcomes[2], Refusal)
        assert outcomes[2].code == "chat.ended"
        [second_end, later] = await append_entries(
            connection, [message("s1", "ended", kind=EntryKind.ENDED), message("s1", "later")], STAMP
        )
        assert isinstance(second_end, Stored)
        assert second_end.answer.duplicate
        assert not second_end.ended
        assert isinstance(later, Refusal)
        assert later.code == "chat.ended"
        assert await open_sessions(connection) == ["s2"]
        [owed] = await unsettled_sessions(connection)
        assert (owed.session, owed.ended_by, owed.last_seq) == ("s1", "customer", 2)
        await store_batch(connection, [Settled("s1")], STAMP)
        assert await unsettled_sessions(connection) == []
        # Submitted only now: it has to be settled again, the interaction did not exist before.
        [state] = await store_batch(connection, [Submitted("s1")], STAMP)
        assert isinstance(state, ChatState)
        assert state.submitted
        assert [item.session for item in await unsettled_sessions(connection)] == ["s1"]

    run(with_connection(database, story))


def test_a_session_is_created_once_and_by_one_page(database: Database) -> None:
    async def story(connection: Conn) -> None:
        [first] = await create_sessions(connection, [chat("s1")], STAMP)
        [again, foreign] = await create_sessions(connection, [chat("s1"), chat("s1", "other")], STAMP)
        assert again == first
        assert isinstance(foreign, Refusal)
        assert foreign.code == "chat.secret"

    run(with_connection(database, story))


def test_a_full_session_can_still_be_ended(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcript, "MAX_ENTRIES", 2)

    async def story(connection: Conn) -> None:
        await create_sessions(connection, [chat("s1")], STAMP)
        await append_entries(connection, [message("s1", "a"), message("s1", "b")], STAMP)
        [full, end] = await append_entries(
            connection, [message("s1", "c"), message("s1", "ended", kind=EntryKind.ENDED)], STAMP
        )
        assert isinstance(full, Refusal)
        assert full.code == "chat.full"
        assert isinstance(end, Stored)
        assert end.answer.seq == 3

    run(with_connection(database, story))


def test_history_is_newest_first_and_within_the_tenant(database: Database) -> None:
    async def story(connection: Conn) -> None:
        for number in range(3):
            await connection.execute(
                """insert into interaction (id, tenant, media, type, subtype, contact, state, queue, version,
                    epoch, term, created_at) values ($1, 'T', 'chat', 'I', 'N', 'c', 'queued', 'q', 1, 1, 1, $2)""",
                f"i{number}",
                float(number + 1),
            )
        page = await read_history(connection, GetHistory(contact="c", limit=2), "T")
        assert [item.interaction for item in page.items] == ["i2", "i1"]
        rest = await read_history(connection, GetHistory(contact="c", before=2.0), "T")
        assert [item.interaction for item in rest.items] == ["i0"]
        assert (await read_history(connection, GetHistory(contact="c"), "other")).items == []

    run(with_connection(database, story))
