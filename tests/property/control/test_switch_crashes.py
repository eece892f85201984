"""Two modelled sites under the real plan engine: it is stopped at every journal write and every host call, and the
same command always ends in one active site, the target, with the epoch one higher."""

import asyncio
import time
from pathlib import Path

import pytest

from stayline.control.switch import run as run_module
from stayline.control.switch import steps as steps_module
from stayline.control.switch.engine import SwitchEngine
from stayline.control.switch.journal import Journal, Record
from stayline.control.switch.run import Written
from stayline.domain.errors import RefusedError, refuse
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.domain.switchover import Mode, Request
from stayline.link.messages.configuration import Operation
from stayline.link.messages.control import (
    DatabaseRole,
    DatabaseStatus,
    DemotionToken,
    FollowReport,
    HostStatus,
    Process,
    ProcessState,
    ReplicationMode,
    Report,
)

KINDS = [
    (ApplicationType.INTERACTION_SERVER, "Ixn"),
    (ApplicationType.CONTACT_SERVER, "UCS"),
    (ApplicationType.INTERACTION_SERVER_PROXY, "Proxy"),
    (ApplicationType.CHAT_SERVER, "Chat"),
]


class Crash(BaseException):
    """The Solution Control Server is killed here."""


class World:
    """Two sites as plain values. ``fuse`` counts down to a crash."""

    def __init__(self, fuse: int) -> None:
        self.fuse = fuse
        self.role = {"Site_A": DatabaseRole.PRIMARY, "Site_B": DatabaseRole.REPLICA}
        self.epoch = 1
        self.running = {"Site_A": {f"{name}_A" for _, name in KINDS}, "Site_B": set[str]()}
        self.option = "Site_A"
        self.lost: set[str] = set()
        self.demoted = False

    def burn(self) -> None:
        self.fuse -= 1
        if self.fuse == 0:
            raise Crash

    def apps(self, site: str, types: frozenset[ApplicationType]) -> list[ConfigObject]:
        return [
            ConfigObject(
                type=ObjectType.APPLICATION, name=f"{name}_{site[-1]}", app_type=kind, ports={"default": 1}
            )
            for kind, name in KINDS
            if kind in types
        ]

    def active(self) -> list[str]:
        return [
            site
            for site in self.role
            if self.role[site] is DatabaseRole.PRIMARY and self.running[site] and site not in self.lost
        ]


class ModelHost:
    """A host agent of the model."""

    def __init__(self, world: World, site: str) -> None:
        self.world, self.site, self.name = world, site, f"host_{site[-1]}"

    def _enter(self) -> None:
        if self.site in self.world.lost:
            raise refuse("link.refused", f"{self.name} does not answer.", retryable=True)
        self.world.burn()

    async def status(self) -> HostStatus:
        self._enter()
        return self._status()

    def _status(self) -> HostStatus:
        world = self.world
        primary = world.role[self.site] is DatabaseRole.PRIMARY
        processes = [
            Process(
                application=app.name,
                app_type=app.app_type.value if app.app_type else "",
                state=ProcessState.RUNNING,
                pid=1,
                since=0.0,
                restarts=0,
                report=Report(
                    application=app.name,
                    type="",
                    pid=1,
                    instance="",
                    role="primary" if primary else "backup",
                    epoch=world.epoch,
                    term=1,
                    listening=primary,
                    sessions=5,
                ),
            )
            for app in world.apps(self.site, frozenset(ApplicationType))
            if app.name in world.running[self.site]
        ]
        database = DatabaseStatus(
            role=world.role[self.site],
            mode=ReplicationMode.FOLLOW,
            site=self.site,
            epoch=world.epoch,
            streaming=world.role[self.site] is DatabaseRole.REPLICA and not world.lost,
            replica="streaming" if DatabaseRole.REPLICA in world.role.values() else "absent",
        )
        return HostStatus(
            host=self.name, site=self.site, processes=processes, database=database, at=time.time()
        )

    async def start(self, applications: list[str], why: str) -> HostStatus:
        self._enter()
        self.world.running[self.site] |= set(applications)
        self.world.burn()
        return self._status()

    async def stop(self, applications: list[str], why: str) -> HostStatus:
        self._enter()
        self.world.running[self.site] -= set(applications)
        self.world.burn()
        return self._status()

    async def fence(self, why: str) -> HostStatus:
        self._enter()
        self.world.running[self.site].clear()
        if self.world.role[self.site] is DatabaseRole.PRIMARY:
            self.world.role[self.site] = DatabaseRole.FENCED
        self.world.burn()
        return self._status()

    async def demote(self, why: str) -> DemotionToken:
        self._enter()
        assert not self.world.running[self.site], "demoted while servers ran"
        self.world.role[self.site] = DatabaseRole.DOWN
        self.world.burn()
        return DemotionToken(system_id="1", timeline=1, lsn="0/100")

    async def promote(
        self, epoch: int, site: str, token: DemotionToken | None, *, forced: bool, reason: str, by: str
    ) -> None:
        self._enter()
        world = self.world
        other = "Site_A" if self.site == "Site_B" else "Site_B"
        assert world.role[other] is not DatabaseRole.PRIMARY or other in world.lost, "two primaries"
        if world.role[self.site] is DatabaseRole.PRIMARY:
            assert epoch == world.epoch, "a repeated promotion took another epoch"
            return
        assert token is not None or forced
        assert epoch == world.epoch + 1
        world.role[self.site] = DatabaseRole.PRIMARY
        world.epoch = epoch
        world.burn()

    async def follow(self, primary_host: str) -> FollowReport:
        self._enter()
        self.world.role[self.site] = DatabaseRole.REPLICA
        self.world.burn()
        return FollowReport(rewound=False)


class ModelCentre:
    """The configuration of the model."""

    def __init__(self, world: World) -> None:
        self.world = world

    def applications(self, site: str, types: frozenset[ApplicationType]) -> list[ConfigObject]:
        return self.world.apps(site, types)

    def address(self, application: str, port_id: str) -> tuple[str, int]:
        return application, 1

    def sites(self) -> list[str]:
        return ["Site_A", "Site_B"]

    def host_of(self, site: str) -> str:
        return f"host_{site[-1]}"

    def objects_with_site_option(self) -> list[tuple[ConfigObject, str]]:
        return [(ConfigObject(type=ObjectType.APPLICATION, name="Workspace"), self.world.option)]

    async def change(self, operations: list[Operation], reason: str, key: str) -> Written:
        self.world.burn()
        site = operations[0].value
        assert self.world.running[site], "the option was pointed to a site with closed doors"
        self.world.option = site
        self.world.burn()
        return Written(2)


class FusedJournal(Journal):
    """A journal whose process may die just before or just after a record is durable."""

    def __init__(self, path: Path, world: World) -> None:
        super().__init__(path)
        self._world = world

    def append(self, record: Record) -> Record:
        self._world.burn()
        written = super().append(record)
        self._world.burn()
        return written


@pytest.fixture(autouse=True)
def modelled_doors(monkeypatch: pytest.MonkeyPatch) -> dict[str, World]:
    """Doors of the model open where its servers run at a primary site."""
    current: dict[str, World] = {}

    async def answers(address: tuple[str, int], timeout: float = 1.0) -> bool:
        world = current["world"]
        site = f"Site_{address[0][-1]}"
        return site not in world.lost and address[0] in world.running[site] and site in world.active()

    monkeypatch.setattr(steps_module, "answers", answers)
    monkeypatch.setattr(run_module, "POLL", 0.0)
    return current


def switch_until_done(world: World, mode: Mode, path: Path, then: Mode | None = None) -> int:
    """Give the same command again after each crash (in mode ``then``, if given); returns how many it took."""
    for attempt in range(1, 4):
        engine = SwitchEngine(
            FusedJournal(path, world), {s: ModelHost(world, s) for s in world.role}, ModelCentre(world)
        )
        try:
            summary = asyncio.run(
                engine.switch(Request(target="Site_B", mode=mode, reason="r", by="o"), lambda _: None)
            )
        except Crash:
            mode = then or mode
            continue
        except RefusedError as error:
            # Killed between the last step and the answer: the site is there already.
            if error.refusal.code != "switch.already":
                raise
            return attempt
        assert summary.done
        return attempt
    raise AssertionError("the plan never ended")


def check(world: World) -> None:
    assert world.role["Site_B"] is DatabaseRole.PRIMARY
    assert world.epoch == 2
    assert world.option == "Site_B"
    assert world.active() == ["Site_B"]
    assert world.running["Site_B"] >= {f"{name}_B" for _, name in KINDS}


@pytest.mark.parametrize(("mode", "lost"), [(Mode.PLANNED, False), (Mode.FORCED, False), (Mode.FORCED, True)])
def test_killed_anywhere_the_same_command_ends_it(
    modelled_doors: dict[str, World], mode: Mode, lost: bool, tmp_path: Path
) -> None:
    crashes = 0
    for fuse in range(1, 200):
        world = World(fuse)
        if lost:
            world.lost.add("Site_A")
        modelled_doors["world"] = world
        attempts = switch_until_done(world, mode, tmp_path / f"{fuse}.jsonl")
        check(world)
        assert attempts <= 2
        if mode is Mode.PLANNED:
            assert world.role["Site_A"] is DatabaseRole.REPLICA
        if world.fuse > 0:
            # The fuse outlasted the plan: every earlier point has been tried.
            break
        crashes += 1
    assert world.fuse > 0
    assert crashes > 20


def test_killed_anywhere_a_planned_switch_may_be_ended_by_force(
    modelled_doors: dict[str, World], tmp_path: Path
) -> None:
    """The model's ``promote`` refuses to stand beside a primary that could have been stopped."""
    for fuse in range(1, 200):
        world = modelled_doors["world"] = World(fuse)
        switch_until_done(world, Mode.PLANNED, tmp_path / f"{fuse}.jsonl", Mode.FORCED)
        check(world)
        assert world.role["Site_A"] is DatabaseRole.REPLICA
        if world.fuse > 0:
            break
    assert fuse > 20
    assert world.fuse > 0


def test_a_planned_switch_that_cannot_close_the_old_doors_is_taken_back(
    modelled_doors: dict[str, World], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(0)
    modelled_doors["world"] = world

    async def stuck(address: tuple[str, int], timeout: float = 1.0) -> bool:
        return address[0] == "Proxy_A"

    async def at_once(*_: object, **__: object) -> None:
        raise refuse("switch.waited", "Proxy_A of Site_A still accepts connections.", retryable=True)

    monkeypatch.setattr(steps_module, "answers", stuck)
    monkeypatch.setattr(run_module.Run, "until", at_once)
    journal = Journal(tmp_path / "j")
    engine = SwitchEngine(journal, {s: ModelHost(world, s) for s in world.role}, ModelCentre(world))
    with pytest.raises(RefusedError, match="Proxy_A"):
        asyncio.run(
            engine.switch(Request(target="Site_B", mode=Mode.PLANNED, reason="r", by="o"), lambda _: None)
        )
    assert world.active() == ["Site_A"]
    assert world.running["Site_A"] == {f"{name}_A" for _, name in KINDS}
    assert journal.unfinished() is None
