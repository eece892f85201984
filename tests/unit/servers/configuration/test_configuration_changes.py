"""Operations of a change, judged."""

from pathlib import Path

import msgspec
import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.domain.provisioning import assign_ports, parse_provisioning
from stayline.link.messages.configuration import Operation, OperationKind
from stayline.servers.configuration.changes import check_persons, check_request, for_history, written_by
from stayline.store.configuration import Stored

SAMPLE = (Path(__file__).parents[4] / "examples" / "two-sites.toml").read_text(encoding="utf-8")
SECTION = "interaction-workspace"
SITE = "disaster-recovery.eservices-site"
TAG = "disaster-recovery.site"
HASH = "$argon2id$v=19$m=1$x$y"


@pytest.fixture(scope="module")
def stored() -> Stored:
    ports = iter(range(40_000, 41_000))
    objects = assign_ports(parse_provisioning(SAMPLE).objects, lambda *_: next(ports))
    hashed = [
        msgspec.structs.replace(o, password_hash=HASH) if o.type is ObjectType.PERSON else o for o in objects
    ]
    return Stored(1, "0-aa", {(str(o.type), o.name): o for o in hashed})


def option(op: OperationKind, name: str, key: str, value: str = "", type_: str = "Application") -> Operation:
    return Operation(op=op, type=type_, name=name, section=SECTION, key=key, value=value)


def put(obj: ConfigObject) -> Operation:
    return Operation(op=OperationKind.PUT, type=str(obj.type), name=obj.name, object=obj)


def delete(type_: str, name: str) -> Operation:
    return Operation(op=OperationKind.DELETE, type=type_, name=name)


def refused(stored: Stored, *operations: Operation) -> tuple[str, str]:
    with pytest.raises(RefusedError) as caught:
        written_by(operations, stored)
    return caught.value.refusal.code, caught.value.refusal.reason


def test_options_are_set_and_unset(stored: Stored) -> None:
    key = ("Application", "Workspace")
    moved = written_by([option(OperationKind.SET_OPTION, "Workspace", SITE, "Site_B")], stored)
    obj = moved[key]
    assert obj is not None
    assert list(moved) == [key]
    assert obj.option(SECTION, SITE) == "Site_B"
    cleared = written_by([option(OperationKind.DELETE_OPTION, "Workspace", SITE)], stored)[key]
    assert cleared is not None
    assert SITE not in cleared.options[SECTION]
    assert refused(stored, option(OperationKind.DELETE_OPTION, "Workspace", TAG))[0] == "option.not_set"


def test_what_ends_as_it_began_writes_nothing(stored: Stored) -> None:
    there = option(OperationKind.SET_OPTION, "Workspace", SITE, "Site_B")
    back = option(OperationKind.SET_OPTION, "Workspace", SITE, "Site_A")
    assert written_by([there, back], stored) == {}
    place = ConfigObject(type=ObjectType.PLACE, name="Place_77", tenant="Environment")
    assert written_by([put(place), delete("Place", "Place_77")], stored) == {}


def test_untagging_the_cluster_agents_are_sent_to_is_refused(stored: Stored) -> None:
    code, reason = refused(stored, option(OperationKind.DELETE_OPTION, "Cluster eService Site_A", TAG))
    assert code == "option.site_unknown"
    assert "Workspace" in reason
    # Together with the option it is consistent again.
    both = [
        option(OperationKind.DELETE_OPTION, "Cluster eService Site_A", TAG),
        option(OperationKind.SET_OPTION, "Workspace", SITE, "Site_B"),
    ]
    assert len(written_by(both, stored)) == 2


def test_deleting_what_is_used_names_its_users(stored: Stored) -> None:
    code, reason = refused(stored, delete("Capacity Rule", "Three chats"))
    assert code == "config.in_use"
    assert "Person 'agent01'" in reason
    assert refused(stored, delete("Application", "IxnProxy_A_1"))[0] == "config.in_use"
    assert written_by([delete("Queue", "chat.sales")], stored) == {("Queue", "chat.sales"): None}


def test_an_old_fault_does_not_block_another_change(stored: Stored) -> None:
    key = ("Person", "agent01")
    broken = msgspec.structs.replace(stored.objects[key], default_place="Gone")
    worse = Stored(1, "0-aa", {**stored.objects, key: broken})
    change = option(OperationKind.SET_OPTION, "IxnProxy_A_1", TAG, "Site_A")
    assert list(written_by([change], worse)) == [("Application", "IxnProxy_A_1")]
    renamed = msgspec.structs.replace(broken, display_name="A")
    assert refused(worse, put(renamed))[0] == "config.unknown_object"


def test_a_put_keeps_the_hash_nobody_sees(stored: Stored) -> None:
    key = ("Person", "agent01")
    shown = msgspec.structs.replace(stored.objects[key], password_hash="", display_name="New name")
    written = written_by([put(shown)], stored)[key]
    assert written is not None
    assert (written.display_name, written.password_hash) == ("New name", HASH)
    clear = msgspec.structs.replace(shown, password_hash="my password")
    assert refused(stored, put(clear))[0] == "config.password_hash"
    (kept,) = for_history([put(msgspec.structs.replace(shown, password_hash=HASH))])
    assert kept.object is not None
    assert kept.object.password_hash == "(set)"


def test_puts_that_make_no_sense(stored: Stored) -> None:
    chat = stored.objects["Application", "Chat_A_1"]
    other_type = msgspec.structs.replace(chat, app_type=ApplicationType.CONTACT_SERVER)
    assert refused(stored, put(other_type))[0] == "config.app_type"
    no_object = Operation(op=OperationKind.PUT, type="Place", name="Place_01")
    assert refused(stored, no_object)[0] == "config.operations"
    assert refused(stored, msgspec.structs.replace(put(chat), name="Chat_A_2"))[0] == "config.operations"
    field = msgspec.structs.replace(stored.objects["Place", "Place_01"], host="host_a")
    assert refused(stored, put(field))[0] == "config.field"
    same_port = msgspec.structs.replace(chat, ports=stored.objects["Application", "Chat_A_2"].ports)
    assert refused(stored, put(same_port))[0] == "config.port_used"
    assert refused(stored, delete("Plaice", "Place_01"))[0] == "config.unknown_type"
    code, _ = refused(stored, option(OperationKind.SET_OPTION, "Workspce", SITE, "Site_B"))
    assert code == "config.unknown_object"


def test_a_request_must_do_something_and_say_why() -> None:
    one = [delete("Place", "Place_01")]
    check_request(one, "because")
    for operations, reason in (([], "because"), (one * 501, "because"), (one, "  "), (one, "x" * 1001)):
        with pytest.raises(RefusedError):
            check_request(operations, reason)


def test_only_an_administrator_gives_out_roles_and_passwords(stored: Stored) -> None:
    person = stored.objects["Person", "agent01"]
    promoted = put(msgspec.structs.replace(person, roles=["administrator"]))
    for operation in (promoted, delete("Person", "agent01")):
        check_persons([operation], "olga", administrator=True)
        with pytest.raises(RefusedError) as caught:
            check_persons(
                [option(OperationKind.SET_OPTION, "Workspace", SITE), operation], "olga", administrator=False
            )
        assert caught.value.refusal.code == "config.forbidden"
    check_persons([option(OperationKind.SET_OPTION, "Workspace", SITE)], "olga", administrator=False)
