"""What a lab changes in an existing configuration: its own things only."""

from stayline.control.host.lab_changes import differences
from stayline.control.host.plan import Provision
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType


def _chat(port: int, origins: str) -> ConfigObject:
    return ConfigObject(
        type=ObjectType.APPLICATION,
        name="Chat_A_1",
        app_type=ApplicationType.CHAT_SERVER,
        ports={"http": port},
        options={"settings": {"allowed-origins": origins, "message-rate": "10"}},
    )


def _person(name: str) -> ConfigObject:
    return ConfigObject(type=ObjectType.PERSON, name=name)


def _group(*members: str) -> ConfigObject:
    return ConfigObject(type=ObjectType.AGENT_GROUP, name="Support", members=list(members))


def _stored(*objects: ConfigObject) -> dict[tuple[str, str], ConfigObject]:
    return {(str(one.type), one.name): one for one in objects}


def test_nothing_differs_nothing_is_written() -> None:
    objects = [_chat(1, "http://127.0.0.1:9"), _person("agent01"), _group("agent01")]
    assert differences(_stored(*objects), Provision(objects=objects)) == {}


def test_a_moved_port_is_written_and_the_operators_options_stay() -> None:
    stored = _stored(_chat(1, "http://127.0.0.1:9, http://localhost:9"))
    found = differences(stored, Provision(objects=[_chat(2, "http://127.0.0.1:8, http://localhost:8")]))
    (changed,) = found.values()
    assert changed.ports == {"http": 2}
    assert changed.option("settings", "allowed-origins") == "http://127.0.0.1:8, http://localhost:8"
    assert changed.option("settings", "message-rate") == "10"


def test_origins_that_an_operator_set_are_left_alone() -> None:
    stored = _stored(_chat(1, "https://shop.example"))
    assert differences(stored, Provision(objects=[_chat(1, "http://127.0.0.1:8")])) == {}


def test_an_older_lab_lets_its_synthetic_customers_start_and_an_operators_limit_stays() -> None:
    laid, older, limited = (_chat(1, "*") for _ in range(3))
    laid.options["settings"]["max-starts-per-minute"] = "100000"
    limited.options["settings"]["max-starts-per-minute"] = "5"
    (changed,) = differences(_stored(older), Provision(objects=[laid])).values()
    assert changed.option("settings", "max-starts-per-minute") == "100000"
    assert changed.option("settings", "message-rate") == "10"
    assert differences(_stored(limited), Provision(objects=[laid])) == {}


def test_synthetic_agents_are_added_and_deleted_sample_agents_are_not() -> None:
    laid = Provision(
        objects=[_person("agent01"), _person("robot0001"), _group("agent01", "robot0001")],
        synthetic={"robot0001"},
    )
    found = differences(_stored(_group("boss")), laid)
    assert set(found) == {("Person", "robot0001"), ("Agent Group", "Support")}
    assert found["Agent Group", "Support"].members == ["boss", "robot0001"]
