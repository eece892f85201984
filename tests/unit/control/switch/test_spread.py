"""How long Workspaces spread a site move: the arithmetic, and where the numbers come from."""

import msgspec
import pytest

from stayline.control.switch.spread import drained, setup_seconds, spread_window
from stayline.link.messages.control import HostStatus, Process, ProcessState, Report


def proxy(name: str, **said: object) -> Process:
    """A running Interaction Server Proxy that reports this."""
    kind = str(said.pop("kind", "Interaction Server Proxy"))
    report = Report(
        application=name,
        type=kind,
        pid=1,
        instance="i",
        role="active",
        epoch=1,
        term=1,
        listening=bool(said.pop("listening", True)),
        **said,  # type: ignore[arg-type]
    )
    return Process(
        application=name,
        app_type=kind,
        state=ProcessState.RUNNING,
        pid=1,
        since=0.0,
        restarts=0,
        report=report,
    )


def host(*processes: Process) -> HostStatus:
    """A host with these."""
    return HostStatus(host="h", site="Site_B", processes=list(processes), database=None, at=0.0)


def test_it_is_one_and_a_fifth_of_what_the_set_ups_take() -> None:
    target = host(proxy("P1", setup_seconds=0.004), proxy("P2", setup_seconds=0.006))
    spread = spread_window(5_000, 0.005, target)
    assert spread.seconds == pytest.approx(1.2 * 5_000 * 0.006 / 2)
    assert spread.value == "18"
    assert spread.arithmetic == "spread over 18 s: 1.2 x 5000 agents x 6.00 ms / 2 proxies"


def test_the_dearer_of_both_sites_counts() -> None:
    target = host(proxy("P1", setup_seconds=0.002))
    assert spread_window(1_000, 0.01, target).setup_seconds == 0.01
    assert spread_window(1_000, 0.0, target).setup_seconds == 0.002


def test_without_a_measurement_ten_milliseconds_are_believed_and_said() -> None:
    spread = spread_window(1_000, 0.0, host(proxy("P1")))
    assert spread.seconds == pytest.approx(12.0)
    assert "10.00 ms (not measured yet)" in spread.arithmetic


def test_proxies_that_run_and_are_not_emptied_count() -> None:
    target = host(
        proxy("P1"),
        proxy("P2", listening=False),  # its port was open a moment ago: the report is older
        proxy("P3", draining=True),
        msgspec.structs.replace(proxy("P4"), state=ProcessState.CRASHED),
        proxy("U1", kind="Contact Server Proxy", setup_seconds=1.0),
    )
    spread = spread_window(1_000, 0.01, target)
    assert (spread.proxies, spread.setup_seconds) == (2, 0.01)
    assert drained(target) == {"P3"}


@pytest.mark.parametrize(("agents", "value"), [(0, "0.5"), (3, "0.5"), (100_000, "120")])
def test_it_has_bounds_and_says_when_they_count(agents: int, value: str) -> None:
    spread = spread_window(agents, 0.01, host(proxy("P1")))
    assert spread.value == value
    assert "within 0.5 to 120 s" in spread.arithmetic


def test_a_host_that_is_not_known_has_measured_nothing() -> None:
    assert setup_seconds(None) == 0.0
    assert setup_seconds(host()) == 0.0
