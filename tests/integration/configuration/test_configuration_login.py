"""Logins over real TLS, and what a person may see and do."""

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.objects import ObjectType
from stayline.link.messages.configuration import Operation, OperationKind
from stayline.link.tokens import TokenVerifier
from tests.integration.configuration.harness import Desk, set_option, site_of, until
from tests.integration.conftest import Database

pytestmark = pytest.mark.postgres


def test_a_person_logs_in_and_sees_only_itself(database: Database, tmp_path: Path) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        async with desk.server("A"):
            nobody = desk.client(token="")
            answer = await nobody.login("agent01", "stayline")
            assert answer.identity.user == "agent01"
            assert answer.identity.display_name == "Alice Archer"
            left = answer.identity.expires - time.time()
            assert 11.9 * 3600 < left <= 12 * 3600
            verified = TokenVerifier.load(desk.base / "keys").identity(answer.token, time.time())
            assert verified == answer.identity
            agent = desk.client(token=answer.token)
            await agent.start()
            assert [p.name for p in agent.snapshot.all(ObjectType.PERSON)] == ["agent01"]
            assert agent.snapshot.require(ObjectType.PERSON, "agent01").password_hash == ""
            assert agent.snapshot.get(ObjectType.APPLICATION, "IxnProxy_A_1") is not None
            with pytest.raises(RefusedError) as caught:
                await agent.change([set_option("Site_B")], "an agent may not")
            assert caught.value.refusal.code == "config.forbidden"
            await agent.stop()
            server = desk.client()
            await server.start()
            persons = server.snapshot.all(ObjectType.PERSON)
            assert len(persons) == 13
            assert {p.password_hash for p in persons} == {""}
            await server.stop()

    asyncio.run(play())


def test_an_administrator_changes_and_a_disabled_agent_is_sent_away(
    database: Database, tmp_path: Path
) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        async with desk.server("A"):
            gate = desk.client(token="")
            admin = desk.client(token=(await gate.login("admin", "stayline")).token)
            agent = desk.client(token=(await gate.login("agent01", "stayline")).token)
            other = desk.client(token=(await gate.login("agent02", "stayline")).token)
            server = desk.client()
            for client in (admin, agent, other, server):
                await client.start()
            person = server.snapshot.require(ObjectType.PERSON, "agent01")
            off = msgspec.structs.replace(person, enabled=False, revision=0)
            put = Operation(op=OperationKind.PUT, type="Person", name="agent01", object=off)
            await admin.change([put, set_option("Site_B")], "left the company")
            await until(lambda: site_of(other) == "Site_B", "the others are told")
            assert other.snapshot.get(ObjectType.PERSON, "agent01") is None
            await until(lambda: not agent.link.up, "the link of the disabled agent is cut")
            with pytest.raises(RefusedError) as caught:
                await gate.login("agent01", "stayline")
            assert caught.value.refusal.code == "auth.failed"
            # The password survived a change by somebody who never saw its hash.
            on = msgspec.structs.replace(person, enabled=True, revision=0)
            await admin.change([msgspec.structs.replace(put, object=on)], "came back")
            assert (await gate.login("agent01", "stayline")).identity.user == "agent01"
            (newest, *_) = await admin.history(limit=1)
            assert newest.by == "admin"
            for client in (admin, agent, other, server):
                await client.stop()

    asyncio.run(play())


def test_wrong_passwords_are_all_the_same_and_throttled(database: Database, tmp_path: Path) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        async with desk.server("A"):
            gate = desk.client(token="")
            said = set()
            for user in ("agent01", "nobody"):
                for _ in range(5):
                    with pytest.raises(RefusedError) as caught:
                        await gate.login(user, "wrong")
                    said.add((caught.value.refusal.code, caught.value.refusal.reason))
            assert len(said) == 1
            with pytest.raises(RefusedError) as caught:
                await gate.login("agent01", "stayline")
            assert caught.value.refusal.code == "auth.throttled"
            assert 0 < (caught.value.refusal.retry_after or 0) <= 60
            assert (await gate.login("agent02", "stayline")).identity.user == "agent02"

    asyncio.run(play())


def test_an_operator_sets_options_and_makes_nobody_an_administrator(
    database: Database, tmp_path: Path
) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        async with desk.server("A"):
            gate = desk.client(token="")
            admin = desk.client(token=(await gate.login("admin", "stayline")).token)
            operator = desk.client(token=(await gate.login("agent02", "stayline")).token)
            server = desk.client()
            for client in (admin, operator, server):
                await client.start()
            person = server.snapshot.require(ObjectType.PERSON, "agent02")

            def put(*roles: str) -> Operation:
                changed = msgspec.structs.replace(person, roles=list(roles))
                return Operation(op=OperationKind.PUT, type="Person", name="agent02", object=changed)

            await admin.change([put("operator")], "looks after the servers")
            await operator.change([set_option("Site_B")], "an operator may")
            with pytest.raises(RefusedError) as caught:
                await operator.change([put("operator", "administrator")], "more, please")
            assert caught.value.refusal.code == "config.forbidden"
            for client in (admin, operator, server):
                await client.stop()

    asyncio.run(play())
