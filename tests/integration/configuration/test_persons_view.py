"""What a person's Workspace is told of the configuration, renewed tokens, and persons who are deleted."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.link.authority import tls_files
from stayline.link.configuration import ConfigurationClient
from stayline.link.messages.configuration import Changes, LoggedIn, Operation, OperationKind, Read, Renew
from stayline.link.messages.envelope import Hello
from stayline.link.peer import BaseHandler
from stayline.link.transport import Endpoint, connect
from tests.integration.configuration.harness import Desk, set_option, until
from tests.integration.conftest import Database

pytestmark = pytest.mark.postgres


def put(obj: ConfigObject) -> Operation:
    changed = msgspec.structs.replace(obj, revision=0)
    return Operation(op=OperationKind.PUT, type=str(obj.type), name=obj.name, object=changed)


def names(client: ConfigurationClient, kind: ObjectType) -> list[str]:
    return [o.name for o in client.snapshot.all(kind)]


def test_a_workspace_is_told_its_own_and_nothing_of_other_persons(database: Database, tmp_path: Path) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        async with desk.server("A"):
            gate, admin = desk.client(token=""), desk.client("SCS_A")
            agent = desk.client(token=(await gate.login("agent01", "stayline")).token)
            other = desk.client(token=(await gate.login("agent02", "stayline")).token)
            for client in (admin, agent, other):
                await client.start()
            assert names(agent, ObjectType.PERSON) == ["agent01"]
            assert names(agent, ObjectType.PLACE) == ["Place_01"]
            groups = [g.name for g in admin.snapshot.groups_of("agent01")]
            assert groups
            assert names(agent, ObjectType.AGENT_GROUP) == groups
            assert {tuple(g.members) for g in agent.snapshot.all(ObjectType.AGENT_GROUP)} == {("agent01",)}
            for kind in (ObjectType.APPLICATION, ObjectType.HOST, ObjectType.QUEUE, ObjectType.TENANT):
                assert names(agent, kind) == names(admin, kind), kind

            # The hierarchy is resolved from it as the servers resolve it.
            group = admin.snapshot.require(ObjectType.AGENT_GROUP, groups[0])
            await admin.change(
                [set_option("Site_B", name=group.name, type_="Agent Group")], "the group moves"
            )
            await until(lambda: agent.revision == 2, "told of the group")
            for client in (agent, admin):
                option = client.snapshot.effective_option(
                    "Workspace", "agent01", "interaction-workspace", "disaster-recovery.eservices-site"
                )
                assert option.value == "Site_B"

            # Out of the group, to another place: both are told, without a new link.
            group = admin.snapshot.require(ObjectType.AGENT_GROUP, group.name)
            less = msgspec.structs.replace(group, members=[m for m in group.members if m != "agent01"])
            person = admin.snapshot.require(ObjectType.PERSON, "agent01")
            moved = msgspec.structs.replace(person, default_place="Place_05")
            await admin.change([put(less), put(moved)], "sits elsewhere now")
            await until(lambda: names(agent, ObjectType.PLACE) == ["Place_05"], "told of the place")
            assert group.name not in names(agent, ObjectType.AGENT_GROUP)
            await until(lambda: other.revision == agent.revision, "the other one follows")
            assert names(other, ObjectType.PLACE) == ["Place_02"]
            for client in (admin, agent, other):
                await client.stop()

    asyncio.run(play())


def test_a_token_is_renewed_over_a_live_link_and_not_for_a_deleted_person(
    database: Database, tmp_path: Path
) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        async with desk.server("A"):
            gate, admin = desk.client(token=""), desk.client("SCS_A")
            first = await gate.login("agent01", "stayline")
            assert (first.identity.revision, first.identity.mark != "") == (1, True)
            agent = desk.client(token=first.token)
            await admin.start()
            await agent.start()
            assert agent.peer is not None
            person = admin.snapshot.require(ObjectType.PERSON, "agent01")
            await admin.change([put(msgspec.structs.replace(person, roles=["supervisor"]))], "promoted")
            renewed = await agent.renew()
            assert renewed.identity.roles == ["supervisor"]
            assert renewed.identity.expires >= first.identity.expires
            assert (await agent.peer.request("auth.renew", Renew(), LoggedIn)).identity.user == "agent01"
            other = await gate.login("agent02", "stayline")
            with pytest.raises(RefusedError) as caught:
                await agent.peer.request("auth.renew", Renew(token=other.token), LoggedIn)
            assert caught.value.refusal.code == "token.other_person"
            assert admin.peer is not None
            with pytest.raises(RefusedError) as caught:
                await admin.peer.request("auth.renew", Renew(), LoggedIn)
            assert caught.value.refusal.code == "auth.nobody"

            groups = [
                put(msgspec.structs.replace(g, members=[m for m in g.members if m != "agent01"]))
                for g in admin.snapshot.groups_of("agent01")
            ]
            gone = Operation(op=OperationKind.DELETE, type="Person", name="agent01")
            await admin.change([*groups, gone], "left the company")
            await until(lambda: not agent.link.up, "the link of the deleted agent is cut")
            for token in (first.token, renewed.token):
                hello = Hello(application="Workspace", type="Workspace", instance="late", token=token)
                endpoint = Endpoint("127.0.0.1", desk.ports["A"], "Config_A")
                tls = tls_files(desk.base / "Site_A" / "certificates")
                with pytest.raises(RefusedError) as caught:
                    await connect(endpoint, hello, BaseHandler(), tls)
                assert caught.value.refusal.code == "auth.disabled"
                assert "any more" in caught.value.refusal.reason
            for client in (admin, agent):
                await client.stop()

    asyncio.run(play())


def test_reads_and_renewals_do_not_wait_behind_password_checks(database: Database, tmp_path: Path) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        async with desk.server("A"):
            gate = desk.client(token="")
            agent = desk.client(token=(await gate.login("agent01", "stayline")).token)
            await agent.start()
            assert agent.peer is not None
            users = [f"agent{n:02}" for n in range(1, 13)] * 5
            logins = [asyncio.create_task(gate.login(user, "stayline")) for user in users]
            await asyncio.wait(logins, return_when=asyncio.FIRST_COMPLETED)
            assert (await agent.peer.request("config.read", Read(), Changes)).full
            assert (await agent.renew()).identity.user == "agent01"
            assert not all(task.done() for task in logins), (
                "the checks were over before the others were asked"
            )
            assert {(await task).identity.user for task in logins} == set(users)
            await agent.stop()

    asyncio.run(play())
