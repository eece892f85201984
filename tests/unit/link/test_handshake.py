"""Who may open a link to whom, rule by rule."""

import msgspec
import pytest

from stayline.link.handshake import Accepts, Certificate, check_listener, check_opener, stale
from stayline.link.messages.envelope import Hello, Role

PROXY = Hello(
    application="IxnProxy_A_1",
    type="Interaction Server Proxy",
    instance="p1",
    cluster="A",
    epoch=3,
    role=Role.ACTIVE,
)
CORE = Hello(application="Ixn_A_1", type="Interaction Server", instance="c1", epoch=3, role=Role.PRIMARY)
SERVER = Hello(application="Chat_A_1", type="Chat Server", instance="s1", expect="Ixn_A_1")
PERSON = Hello(application="Workspace", type="Workspace", instance="w1", expect="IxnProxy_A_1", token="a.b.c")
CERTIFIED = Certificate("Chat_A_1", "Chat Server")
PERSONS = Accepts(servers=frozenset(), persons=True)


def changed(hello: Hello, **fields: object) -> Hello:
    return msgspec.structs.replace(hello, **fields)


def test_the_right_server_is_let_in() -> None:
    assert check_opener(SERVER, CORE, CERTIFIED, Accepts()) is None


def test_the_right_person_is_let_in() -> None:
    wanted = changed(PERSON, expect_cluster="A")
    assert check_opener(wanted, PROXY, None, PERSONS) is None


@pytest.mark.parametrize(
    ("opener", "own", "certificate", "accepts", "code", "names"),
    [
        (changed(SERVER, version=9), CORE, CERTIFIED, Accepts(), "hello.version", ["9", "1", "Chat_A_1", "Ixn_A_1"]),
        (changed(PERSON, expect_site="B"), changed(PROXY, site="A"), None, PERSONS, "hello.site", ["site B", "site A"]),
        (changed(PERSON, expect_site="B"), PROXY, None, PERSONS, "hello.site", ["IxnProxy_A_1", "no site"]),
        (changed(SERVER, epoch=3), changed(CORE, epoch=0), CERTIFIED, Accepts(), "epoch.unknown", ["3", "Ixn_A_1"]),
        (changed(SERVER, role=Role.ACTIVE), CORE, CERTIFIED, Accepts(), "epoch.unknown", ["3", "Chat_A_1", "Ixn_A_1"]),
        (changed(SERVER, expect="Ixn_A_2"), CORE, CERTIFIED, Accepts(), "hello.application", ["Ixn_A_2", "Ixn_A_1"]),
        (changed(PERSON, expect_cluster="B"), PROXY, None, PERSONS, "hello.cluster", ["B", "A"]),
        (changed(SERVER, expect_cluster="B"), CORE, CERTIFIED, Accepts(), "hello.cluster", ["B", "no cluster"]),
        (SERVER, CORE, Certificate("Chat_A_2", "Chat Server"), Accepts(), "identity.certificate", ["A_1", "A_2"]),
        (SERVER, CORE, Certificate("Chat_A_1", "E-mail"), Accepts(), "identity.type", ["Chat Server", "E-mail"]),
        (changed(SERVER, token="x"), CORE, CERTIFIED, Accepts(), "identity.both", ["Chat_A_1"]),
        (changed(PERSON, expect=""), CORE, None, Accepts(), "identity.server_only", ["Workspace", "Ixn_A_1"]),
        (changed(PERSON, token=""), PROXY, None, PERSONS, "identity.missing", ["Workspace", "IxnProxy_A_1"]),
        (changed(SERVER, expect=""), PROXY, CERTIFIED, PERSONS, "hello.type", ["Chat_A_1", "nobody"]),
        (changed(SERVER, epoch=4), CORE, CERTIFIED, Accepts(), "epoch.stale", ["3", "4", "Ixn_A_1", "Chat_A_1"]),
        (changed(SERVER, epoch=2, role=Role.ACTIVE), CORE, CERTIFIED, Accepts(), "epoch.stale", ["2", "3"]),
    ],
)  # fmt: skip
def test_refusals_say_code_and_both_names(
    opener: Hello, own: Hello, certificate: Certificate | None, accepts: Accepts, code: str, names: list[str]
) -> None:
    refusal = check_opener(opener, own, certificate, accepts)
    assert refusal is not None
    assert refusal.code == code
    for name in names:
        assert name in refusal.reason


def test_anonymous_only_where_it_is_allowed() -> None:
    stranger = changed(PERSON, token="", expect="")
    assert check_opener(stranger, PROXY, None, Accepts(anonymous=True)) is None


@pytest.mark.parametrize(
    ("welcome", "certificate", "code"),
    [
        (changed(CORE, application="Ixn_A_2"), Certificate("Ixn_A_2", "Interaction Server"), "hello.application"),
        (CORE, Certificate("Ixn_A_2", "Interaction Server"), "identity.certificate"),
        (CORE, None, "identity.certificate"),
        (changed(CORE, version=2), Certificate("Ixn_A_1", "Interaction Server"), "hello.version"),
        (changed(CORE, epoch=1), Certificate("Ixn_A_1", "Interaction Server"), "epoch.stale"),
    ],
)  # fmt: skip
def test_what_the_opener_objects_to(welcome: Hello, certificate: Certificate | None, code: str) -> None:
    refusal = check_listener(welcome, changed(SERVER, epoch=2), certificate)
    assert refusal is not None
    assert refusal.code == code


def test_the_opener_objects_to_a_wrong_cluster() -> None:
    own = changed(PERSON, expect_cluster="B")
    refusal = check_listener(PROXY, own, Certificate("IxnProxy_A_1", "Interaction Server Proxy"))
    assert refusal is not None
    assert refusal.code == "hello.cluster"
    assert "A" in refusal.reason


def test_the_opener_objects_to_a_wrong_site_with_both_names() -> None:
    own = changed(PERSON, expect_site="Site_B")
    refusal = check_listener(
        changed(PROXY, site="Site_A"), own, Certificate("IxnProxy_A_1", "Interaction Server Proxy")
    )
    assert refusal is not None
    assert (refusal.code, refusal.field) == ("hello.site", "site")
    for name in ("Site_B", "Site_A", "Workspace", "IxnProxy_A_1"):
        assert name in refusal.reason


def test_the_right_site_is_no_objection() -> None:
    own = changed(PERSON, expect_site="Site_A", expect_cluster="A")
    there = changed(PROXY, site="Site_A")
    assert check_opener(own, there, None, PERSONS) is None
    assert check_listener(there, own, Certificate("IxnProxy_A_1", "Interaction Server Proxy")) is None


@pytest.mark.parametrize(("version", "older"), [(9, "Ixn_A_1"), (0, "Chat_A_1")])
def test_a_refused_version_names_the_side_to_upgrade(version: int, older: str) -> None:
    refusal = check_opener(changed(SERVER, version=version), CORE, CERTIFIED, Accepts())
    assert refusal is not None
    assert refusal.fix == f"Upgrade {older}, the older one."


@pytest.mark.parametrize(
    ("welcome", "own", "refused"),
    [
        (changed(PROXY, epoch=0), changed(PERSON, epoch=5), True),
        (changed(PROXY, epoch=0, role=Role.PASSIVE), changed(PERSON, epoch=5), False),
        (changed(PROXY, epoch=0), PERSON, False),
        (PROXY, PERSON, False),
    ],
)
def test_who_acts_without_an_epoch_is_refused_by_who_knows_one(
    welcome: Hello, own: Hello, refused: bool
) -> None:
    refusal = check_listener(welcome, own, Certificate("IxnProxy_A_1", "Interaction Server Proxy"))
    assert (refusal.code if refusal else "") == ("epoch.unknown" if refused else "")


@pytest.mark.parametrize(
    ("lower", "higher", "is_stale"),
    [
        (changed(CORE, epoch=1), changed(SERVER, epoch=2), True),
        (changed(CORE, epoch=1, role=Role.BACKUP), changed(SERVER, epoch=2), False),
        (changed(PERSON, epoch=1), CORE, False),
        (changed(CORE, epoch=0), changed(SERVER, epoch=2), False),
        (CORE, changed(SERVER, epoch=3), False),
    ],
)
def test_only_who_acts_under_a_known_lower_epoch_is_stale(
    lower: Hello, higher: Hello, is_stale: bool
) -> None:
    assert (stale(lower, higher) is not None) is is_stale
