"""The Solution Control Server that runs a switch is killed in the middle of each step: the operator gives the same
command again, and it ends with one active site, the epoch one higher for each switch, everything on both sites."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from stayline.cli.operator_link import operator_request
from stayline.domain.errors import StaylineError
from stayline.domain.switchover import PLAN, Step
from stayline.lab.centre import Centre, living
from stayline.lab.layout import lay_out, remove
from stayline.link.messages.control import (
    CentreStatus,
    DatabaseRole,
    StepProgress,
    StepState,
    Switch,
    SwitchMode,
    SwitchSummary,
)

pytestmark = [pytest.mark.postgres, pytest.mark.drill, pytest.mark.timeout(300)]

SECONDS = 60.0


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for a lab; nothing of it lives on afterwards."""
    folder = tmp_path_factory.mktemp("interrupted") / "lab"
    layout = lay_out(folder, durable_setup=False)
    yield folder
    assert living(layout) == []
    remove(folder)


async def _command(state: Path, target: str, kill_in: Step | None, centre: Centre) -> SwitchSummary:
    """The operator's command; the server that runs it is killed as soon as it says that it acts in a step."""

    def progress(seen: StepProgress) -> None:
        if kill_in is not None and seen.step == kill_in.value and seen.state is not StepState.DONE:
            centre.kill(f"SCS_{target[-1]}")

    asked = Switch(target=target, mode=SwitchMode.PLANNED, reason="a test", by="pytest")
    return await operator_request(
        state, "site.switch", asked, SwitchSummary, site=target, progress=progress, timeout=SECONDS
    )


async def _again(state: Path, target: str, centre: Centre) -> SwitchSummary | None:
    """The same command until it is answered; None: all had been done, only the answer was lost."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await _command(state, target, None, centre)
            except StaylineError as error:
                if error.refusal.code == "switch.already":
                    return None
                if not error.refusal.retryable:
                    raise
                # The host agent starts the killed server again.
                await asyncio.sleep(0.05)


async def _ready(state: Path) -> CentreStatus:
    """Until nothing is left to warn of."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                seen = await operator_request(state, "site.status", None, CentreStatus, timeout=10.0)
            except StaylineError:
                seen = None
            if seen is not None and not seen.warnings:
                return seen
            await asyncio.sleep(0.1)


def test_a_switch_killed_in_any_step_is_ended_by_the_same_command(state: Path) -> None:
    async def scenario() -> None:
        layout = lay_out(state, durable_setup=False)
        async with Centre(layout) as centre:
            await centre.wait_ready(SECONDS)
            epoch, target = 1, "Site_B"
            for rule in PLAN:
                with pytest.raises(StaylineError):
                    await _command(state, target, rule.step, centre)
                summary = await _again(state, target, centre)
                epoch += 1
                seen = await _ready(state)
                assert (seen.active_site, seen.epoch, seen.option) == (target, epoch, target), rule.step
                roles = {
                    site.site: site.host.database.role
                    for site in seen.sites
                    if site.host is not None and site.host.database is not None
                }
                other = "Site_A" if target == "Site_B" else "Site_B"
                assert roles == {target: DatabaseRole.PRIMARY, other: DatabaseRole.REPLICA}, rule.step
                if summary is not None:
                    assert summary.epoch == epoch
                    assert summary.interactions_lost == 0
                target = other

    asyncio.run(scenario())
