"""The step that moves the option: what it writes, that it may be done twice, and which way the change takes."""

import asyncio
from typing import Any, cast

import msgspec
import pytest

from stayline.control.switch import centre as centre_module
from stayline.control.switch.centre import LiveCentre
from stayline.control.switch.run import Run, Written
from stayline.control.switch.steps import KEY, SECTION, detect, option, proxies
from stayline.domain.errors import LinkLostError, Refusal, RefusedError, refuse
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.domain.switchover import Mode, Request
from stayline.link.messages.configuration import ChangeMade, Operation
from stayline.link.messages.control import HostStatus
from tests.unit.control.switch.test_spread import host, proxy

SPREAD = "disaster-recovery.eservices-spread-window"


def holder(kind: ObjectType, name: str, site: str) -> ConfigObject:
    """An object whose site option is set."""
    app_type = ApplicationType.WORKSPACE if kind is ObjectType.APPLICATION else None
    return ConfigObject(type=kind, name=name, app_type=app_type, options={SECTION: {KEY: site}})


class FakeCentre:
    """A configuration in memory; ``changes`` are those made."""

    def __init__(self, holders: list[ConfigObject], doors: list[ConfigObject] | None = None) -> None:
        self.holders = {found.name: found for found in holders}
        self.doors = doors or []
        self.changes: list[tuple[list[Operation], str, str]] = []

    def objects_with_site_option(self) -> list[tuple[ConfigObject, str]]:
        """As stored."""
        return [(found, found.options[SECTION][KEY]) for found in self.holders.values()]

    def applications(self, site: str, types: frozenset[ApplicationType]) -> list[ConfigObject]:
        """The doors."""
        return self.doors

    def address(self, application: str, port_id: str) -> tuple[str, int]:
        """Nobody listens there."""
        return "127.0.0.1", 1

    async def change(self, operations: list[Operation], reason: str, key: str) -> Written:
        """Make it."""
        self.changes.append((operations, reason, key))
        for one in operations:
            self.holders[one.name].options[SECTION][one.key] = one.value
        return Written(7, "")


class FakeHost:
    """A host agent with a fixed status."""

    name = "host"

    def __init__(self, status: HostStatus) -> None:
        self.found = status

    async def status(self) -> HostStatus:
        """As given."""
        return self.found

    async def start(self, applications: list[str], why: str) -> HostStatus:
        """Nothing to start."""
        return self.found


def run_of(centre: Any, old: HostStatus, new: HostStatus) -> Run:
    """A planned switch to Site_B."""
    request = Request(target="Site_B", mode=Mode.PLANNED, reason="test", by="op")
    hosts = {"Site_A": FakeHost(old), "Site_B": FakeHost(new)}
    return Run("p1", request, "Site_A", cast(Any, hosts), centre, say=lambda _: None)


TARGET = host(proxy("P1"), proxy("P2"))


def test_the_window_is_written_beside_the_site_on_each_object_in_one_change() -> None:
    centre = FakeCentre(
        [
            holder(ObjectType.APPLICATION, "Workspace", "Site_A"),
            holder(ObjectType.PERSON, "anna", "Site_A"),
            holder(ObjectType.PERSON, "there", "Site_B"),
            holder(ObjectType.PERSON, "unset", ""),
        ]
    )
    run = run_of(centre, host(), TARGET)
    run.facts = {"agents_before": "1000", "setup_seconds": "0.02"}
    outcome = asyncio.run(option(run))
    ((operations, reason, key),) = centre.changes
    assert {(one.name, one.key): one.value for one in operations} == {
        ("Workspace", KEY): "Site_B",
        ("Workspace", SPREAD): "12",
        ("anna", KEY): "Site_B",
        ("anna", SPREAD): "12",
    }
    assert (reason, key) == ("site switch to Site_B: test", "switch:p1:option")
    assert "1.2 x 1000 agents x 20.00 ms / 2 proxies" in outcome.evidence
    assert "revision 7" in outcome.evidence
    assert outcome.facts["spread"] == "12"


def test_done_again_after_a_crash_it_changes_nothing() -> None:
    centre = FakeCentre([holder(ObjectType.APPLICATION, "Workspace", "Site_A")])
    run = run_of(centre, host(), TARGET)
    run.facts = {"agents_before": "1000", "setup_seconds": "0.02"}
    first = asyncio.run(option(run))
    again = asyncio.run(option(run))
    assert len(centre.changes) == 1
    assert again.evidence == "the option names Site_B already"
    assert again.facts["spread"] == first.facts["spread"] == "12", "agents take that long all the same"


def test_who_comes_from_a_lost_site_is_counted_by_the_core_that_took_over() -> None:
    core = proxy("Ixn_B_1")
    assert core.report is not None
    report = msgspec.structs.replace(core.report, role="primary", sessions=900, lost_sessions=880)
    kind = ApplicationType.INTERACTION_SERVER.value
    core = msgspec.structs.replace(core, app_type=kind, report=report)
    centre = FakeCentre([holder(ObjectType.APPLICATION, "Workspace", "Site_A")])
    run = run_of(centre, host(), host(proxy("P1"), proxy("P2"), core))
    run.facts = {"agents_before": "0", "setup_seconds": "0.02"}
    outcome = asyncio.run(option(run))
    assert outcome.facts["spread"] == "10.8"
    assert "900 agents" in outcome.evidence


def test_the_cost_at_the_old_site_is_noted_while_its_proxies_run() -> None:
    run = run_of(FakeCentre([]), host(proxy("A1", setup_seconds=0.03)), TARGET)
    assert asyncio.run(detect(run)).facts["setup_seconds"] == "0.03"


def test_a_step_without_doors_says_which_proxy_must_be_taken_back() -> None:
    door = ConfigObject(
        type=ObjectType.APPLICATION,
        name="P1",
        app_type=ApplicationType.INTERACTION_SERVER_PROXY,
        ports={"default": 1},
    )
    run = run_of(FakeCentre([], [door]), host(), host(proxy("P1", draining=True, listening=False)))
    with pytest.raises(RefusedError) as refused:
        asyncio.run(proxies(run))
    assert refused.value.refusal.code == "switch.drained"
    assert "stayline server undrain P1" in refused.value.refusal.fix


class Client:
    """A configuration client that answers with ``answers``, the last one for ever."""

    def __init__(self, *answers: ChangeMade | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def change(self, operations: list[Operation], reason: str, *, key: str) -> ChangeMade:
        """The next answer."""
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


AWAY = LinkLostError(Refusal(code="config.unreachable", reason="Nobody answers.", retryable=True))


def change(client: Client, direct: list[str] | None, monkeypatch: pytest.MonkeyPatch) -> Written:
    """Make a change; ``direct`` notes the keys of those written directly."""
    monkeypatch.setattr(centre_module, "CHANGE_SECONDS", 0.3)
    monkeypatch.setattr(centre_module, "ASK_AGAIN_SECONDS", 0.01)

    async def directly(operations: list[Operation], reason: str, key: str) -> int:
        assert direct is not None
        direct.append(key)
        return 9

    live = LiveCentre(cast(Any, client), None if direct is None else directly)
    return asyncio.run(live.change([], "r", "k"))


def test_a_server_that_answers_makes_the_change(monkeypatch: pytest.MonkeyPatch) -> None:
    direct: list[str] = []
    assert change(Client(AWAY, AWAY, ChangeMade(5)), direct, monkeypatch) == Written(5, "")
    assert direct == []


def test_without_an_answer_it_is_written_directly_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    direct: list[str] = []
    client = Client(AWAY)
    written = change(client, direct, monkeypatch)
    assert written.revision == 9
    assert "into the database" in written.how
    assert direct == ["k"]
    assert client.asked > 1, "asked again until the time was over"


def test_a_judgement_of_the_change_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    direct: list[str] = []
    with pytest.raises(RefusedError):
        change(Client(refuse("option.value", "No.")), direct, monkeypatch)
    assert direct == []


def test_somebody_else_at_the_servers_port_is_no_judgement(monkeypatch: pytest.MonkeyPatch) -> None:
    direct: list[str] = []
    change(Client(refuse("hello.application", "Another server answered.")), direct, monkeypatch)
    assert direct == ["k"]


def test_without_a_database_at_hand_it_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RefusedError) as refused:
        change(Client(AWAY), None, monkeypatch)
    assert "Nobody answers." in refused.value.refusal.reason
