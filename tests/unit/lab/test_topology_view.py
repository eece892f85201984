"""The picture of both sites, on a wide and on a small terminal."""

import time

import pytest
from rich.console import Console

from stayline.lab.topology_view import draw
from stayline.link.messages.control import (
    DatabaseRole,
    DatabaseStatus,
    HostStatus,
    Process,
    ProcessState,
    ReplicationMode,
    Report,
)


def _process(name: str, kind: str, state: ProcessState, listening: bool, role: str = "active") -> Process:
    report = Report(
        application=name,
        type=kind,
        pid=1,
        instance="",
        role=role,
        epoch=1,
        term=3,
        listening=listening,
        clients=4,
    )
    return Process(application=name, app_type=kind, state=state, pid=1, since=0.0, restarts=0, report=report)


def _status(site: str, role: DatabaseRole, exposed: float = 0.0) -> HostStatus:
    letter = site[-1]
    up = role is DatabaseRole.PRIMARY
    processes = [
        _process(f"Config_{letter}", "Configuration Server", ProcessState.RUNNING, True),
        _process(f"Ixn_{letter}_1", "Interaction Server", ProcessState.RUNNING, up, "primary"),
        *(
            _process(f"IxnProxy_{letter}_{n}", "Interaction Server Proxy", ProcessState.RUNNING, up)
            for n in (1, 2, 3)
        ),
        _process(f"Chat_{letter}_1", "Chat Server", ProcessState.CRASHED, False),
    ]
    database = DatabaseStatus(
        role=role,
        mode=ReplicationMode.FOLLOW,
        site=site,
        epoch=2,
        synchronous=not exposed,
        streaming=not up,
        exposed_since=exposed,
        exposed_bytes=77 if exposed else 0,
    )
    return HostStatus(host=f"host_{letter}", site=site, processes=processes, database=database, at=0.0)


def _text(width: int, exposed: float = 0.0) -> str:
    statuses = {
        "Site_A": _status("Site_A", DatabaseRole.PRIMARY, exposed),
        "Site_B": _status("Site_B", DatabaseRole.REPLICA),
        "Site_C": None,
    }
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 - thrown away
    console.print(draw(statuses, "headline", ["12:00:00  something happened"], width))
    return console.export_text()


@pytest.mark.parametrize("width", [80, 200])
def test_both_sites_with_roles_and_events_are_shown(width: int) -> None:
    text = _text(width)
    for part in (
        "headline",
        "Site_A · active",
        "Site_B · passive",
        "primary · epoch 2",
        "something happened",
    ):
        assert part in text
    assert "the host agent does not answer" in text
    assert "crashed" in text


def test_a_wide_terminal_has_a_line_for_each_proxy_and_a_small_one_a_line_for_all() -> None:
    wide, small = _text(200), _text(80)
    assert "IxnProxy_A_2" in wide
    assert "IxnProxy_A_2" not in small
    assert "3 of 3 listen · 12 clients" in small
    assert len(small.splitlines()) < 40


def test_an_exposed_primary_is_loud() -> None:
    assert "EXPOSED" not in _text(200)
    assert "EXPOSED for" in _text(200, exposed=time.time() - 5)
