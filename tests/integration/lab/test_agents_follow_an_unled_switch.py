"""Two whole sites with agents at work: the site moves while both Configuration Servers are frozen, and every Workspace
follows the signed statement, also one that was started during the outage."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from stayline.cli.operator_link import operator_request
from stayline.lab.agent import Behaviour, SyntheticAgent
from stayline.lab.centre import Centre, living
from stayline.lab.crowd_objects import CROWD_PASSWORD, crowd_name, crowd_place
from stayline.lab.layout import WORKSPACE_FOLDER, Layout, lay_out, remove
from stayline.link.bootstrap import load_bootstrap
from stayline.link.messages.control import CentreStatus, Switch, SwitchMode, SwitchSummary
from stayline.workspace.engine import WorkspaceEngine
from stayline.workspace.settings import EngineSettings

pytestmark = [pytest.mark.postgres, pytest.mark.drill, pytest.mark.timeout(300)]

AGENTS = 4
CONFIGURATION_SERVERS = ("Config_A", "Config_B")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layout]:
    """A lab with some synthetic agents; nothing of it lives on afterwards."""
    folder = tmp_path_factory.mktemp("unled") / "lab"
    laid = lay_out(folder, agents=AGENTS, durable_setup=False)
    yield laid
    assert living(laid) == []
    remove(folder)


async def _until(holds: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def _frozen(centre: Centre) -> AsyncIterator[None]:
    for name in CONFIGURATION_SERVERS:
        centre.freeze(name)
    try:
        yield
    finally:
        for name in CONFIGURATION_SERVERS:
            centre.thaw(name)


async def _again(agent: SyntheticAgent, settings: EngineSettings) -> WorkspaceEngine:
    """The Workspace of an agent dies and is started again, while no Configuration Server answers."""
    await agent.stop()
    engine = WorkspaceEngine(replace(settings, user=agent.user))
    engine.trace = agent.facts.append
    assert await engine.restore()
    return engine


async def _play(layout: Layout, settings: EngineSettings) -> None:
    centre = Centre(layout)
    await centre.start()
    agents = [
        SyntheticAgent(
            settings,
            crowd_name(number),
            CROWD_PASSWORD,
            place=crowd_place(number),
            behaviour=Behaviour(finish_after=None),
        )
        for number in range(1, AGENTS + 1)
    ]
    engines = [agent.engine for agent in agents]
    try:
        await centre.wait_ready(90.0)
        for agent in agents:
            await agent.start()
        await _until(lambda: all(agent.whole for agent in agents), "everybody at work")
        assert {engine.status().choice.site for engine in engines} == {"Site_A"}
        async with _frozen(centre):
            await _until(lambda: not any(engine.status().configuration.current for engine in engines), "away")
            engines[-1] = await _again(agents[-1], settings)
            await _until(lambda: engines[-1].status().session.state == "confirmed", "restored from its files")
            assert engines[-1].status().configuration.from_disk_since > 0
            moved = time.time()
            asked = Switch(target="Site_B", mode=SwitchMode.PLANNED, reason="a test", by="pytest")
            done = await operator_request(
                layout.state, "site.switch", asked, SwitchSummary, site="Site_B", timeout=150.0
            )
            assert (done.target, done.epoch, done.done) == ("Site_B", 2, True)
            await _until(lambda: all(_works_at(engine, "Site_B") for engine in engines), "all at Site_B")
            for engine in engines:
                status = engine.status()
                assert status.choice.why == "signed statement of epoch 2"
                assert not status.configuration.current
                assert status.counted["forged"] == 0
        await _until(lambda: all(engine.status().configuration.current for engine in engines), "back")
        await _until(lambda: all(_by_option(engine) for engine in engines), "the option rules again")
        # What a thawed server knew when it was frozen is no reason to move anybody back.
        for agent in agents:
            sites = [fact["site"] for fact in agent.facts if _is_choice(fact) and fact["at"] >= moved]
            assert sites
            assert set(sites) == {"Site_B"}, f"{agent.user} was moved about: {sites}"
        found = await operator_request(layout.state, "site.status", None, CentreStatus, timeout=10.0)
        assert found.option == "Site_B"
    finally:
        await engines[-1].close()
        await asyncio.gather(*(agent.stop() for agent in agents))
        await centre.stop()


def _works_at(engine: WorkspaceEngine, site: str) -> bool:
    status = engine.status()
    links = [status.links[link] for link in ("interaction", "contact", "chat")]
    return status.session.state == "confirmed" and all(link.works and link.site == site for link in links)


def _by_option(engine: WorkspaceEngine) -> bool:
    return engine.status().choice.why == "option of Application Workspace" and _works_at(engine, "Site_B")


def _is_choice(fact: dict[str, object]) -> bool:
    return fact["fact"] == "status" and fact.get("part") == "choice"


def test_agents_follow_the_signed_statement_while_no_configuration_server_answers(
    layout: Layout, tmp_path: Path
) -> None:
    bootstrap = load_bootstrap(layout.state / WORKSPACE_FOLDER)
    settings = EngineSettings.from_bootstrap(bootstrap, state_dir=tmp_path / "agents")
    assert settings.verify is not None, "a Workspace that cannot check statements follows none"
    asyncio.run(_play(layout, settings))
