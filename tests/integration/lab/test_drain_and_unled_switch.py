"""Two whole sites: an operator empties a proxy, and moves the site while both Configuration Servers are frozen."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stayline.cli.operator_link import operator_request
from stayline.control.switch.journal import Event, Record
from stayline.domain.errors import RefusedError
from stayline.lab.centre import Centre, living
from stayline.lab.layout import lay_out, remove
from stayline.link.messages.control import (
    CentreStatus,
    Drain,
    Drained,
    Process,
    Report,
    StepProgress,
    StepState,
    Switch,
    SwitchMode,
    SwitchSummary,
)

pytestmark = [pytest.mark.postgres, pytest.mark.drill, pytest.mark.timeout(300)]

CONFIGURATION_SERVERS = ("Config_A", "Config_B")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for a lab; nothing of it lives on afterwards."""
    folder = tmp_path_factory.mktemp("drained") / "lab"
    layout = lay_out(folder, durable_setup=False)
    yield folder
    assert living(layout) == []
    remove(folder)


async def _status(state: Path) -> CentreStatus:
    return await operator_request(state, "site.status", None, CentreStatus, timeout=10.0)


def _process(status: CentreStatus, name: str) -> Process:
    return next(
        process
        for site in status.sites
        if site.host is not None
        for process in site.host.processes
        if process.application == name
    )


async def _until(state: Path, name: str, holds: Callable[[Report], bool]) -> None:
    """Until a server reports what is waited for."""
    deadline = time.monotonic() + 20.0
    while True:
        report = _process(await _status(state), name).report
        if report is not None and holds(report):
            return
        assert time.monotonic() < deadline, f"{name} reports {report}"
        await asyncio.sleep(0.05)


async def _order(state: Path, name: str, *, undo: bool = False) -> Drained:
    order = Drain(application=name, undo=undo, why="a test", by="pytest")
    return await operator_request(state, "server.drain", order, Drained, timeout=15.0)


async def _drains(state: Path, centre: Centre) -> None:
    assert not (await _order(state, "IxnProxy_A_1")).clients
    await _until(state, "IxnProxy_A_1", lambda report: report.draining and not report.listening)
    await _order(state, "IxnProxy_A_2")
    await _until(state, "IxnProxy_A_2", lambda report: not report.listening)
    with pytest.raises(RefusedError) as refused:
        await _order(state, "IxnProxy_A_3")
    assert refused.value.refusal.code == "drain.last"
    await _order(state, "IxnProxy_A_1", undo=True)
    await _until(state, "IxnProxy_A_1", lambda report: report.listening and not report.draining)
    # A new process takes clients: what was ordered ends with the one that it was said to.
    before = _process(await _status(state), "IxnProxy_A_2").pid
    centre.kill("IxnProxy_A_2")
    await _until(
        state,
        "IxnProxy_A_2",
        lambda report: report.pid != before and report.listening and not report.draining,
    )
    records = await operator_request(state, "site.history", None, list[Record], timeout=10.0)
    assert [one.event for one in records] == [Event.COMMAND] * 3
    assert "IxnProxy_A_1 is emptied within 1 s" in records[0].evidence
    assert (records[0].reason, records[0].by.split()[0]) == ("a test", "pytest")


async def _switch_unled(state: Path, centre: Centre) -> SwitchSummary:
    steps: dict[str, str] = {}

    def progress(seen: StepProgress) -> None:
        if seen.state is StepState.DONE:
            steps[seen.step] = seen.evidence

    asked = Switch(target="Site_B", mode=SwitchMode.PLANNED, reason="a test", by="pytest")
    for name in CONFIGURATION_SERVERS:
        centre.freeze(name)
    try:
        done = await operator_request(
            state, "site.switch", asked, SwitchSummary, site="Site_B", progress=progress, timeout=120.0
        )
    finally:
        for name in CONFIGURATION_SERVERS:
            centre.thaw(name)
    assert "no Configuration Server made it within 5 s" in steps["option"]
    assert "/ 2 proxies" in steps["option"], "the one that is emptied does not count"
    assert "IxnProxy_B_1 stays closed (it is being emptied)" in steps["proxies"]
    return done


def test_a_proxy_is_emptied_and_the_site_moves_without_a_configuration_server(state: Path) -> None:
    async def play() -> None:
        centre = Centre(lay_out(state, durable_setup=False))
        await centre.start()
        try:
            await centre.wait_ready(60.0)
            await _drains(state, centre)
            assert (await _order(state, "IxnProxy_B_1")).listening is False
            done = await _switch_unled(state, centre)
            assert (done.target, done.epoch, done.done) == ("Site_B", 2, True)
            deadline = time.monotonic() + 20.0
            while (found := await _status(state)).option != "Site_B":
                assert time.monotonic() < deadline, (
                    "the Configuration Servers tell what was written without them"
                )
                await asyncio.sleep(0.05)
            assert found.errors == []
            assert not _process(found, "IxnProxy_B_1").report.listening  # type: ignore[union-attr]
        finally:
            await centre.stop()

    asyncio.run(play())
