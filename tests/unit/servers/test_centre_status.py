"""From two host statuses to one picture, and its warnings with the loudest first."""

import msgspec

from stayline.link.messages.control import (
    CentreStatus,
    DatabaseRole,
    DatabaseStatus,
    HostStatus,
    Process,
    ProcessState,
    ReplicationMode,
    Report,
)
from stayline.servers.solution.status import Seen, centre_status

NOW = 1000.0


def host(site: str, role: DatabaseRole, *, sessions: int = 0, **database: object) -> HostStatus:
    status = DatabaseStatus(role=role, mode=ReplicationMode.FOLLOW, site=site, epoch=3)
    report = Report(
        application=f"Ixn_{site}",
        type="Interaction Server",
        pid=1,
        instance="i",
        role="primary" if role is DatabaseRole.PRIMARY else "backup",
        epoch=3,
        term=1,
        listening=True,
        sessions=sessions,
        lost_sessions=1 if sessions else 0,
    )
    process = Process(
        application=f"Ixn_{site}",
        app_type="Interaction Server",
        state=ProcessState.RUNNING,
        pid=1,
        since=0.0,
        restarts=0,
        report=report,
    )
    return HostStatus(
        host=f"host_{site}",
        site=site,
        processes=[process],
        database=msgspec.structs.replace(status, **database),
        at=NOW,
    )


def look(a: Seen, b: Seen, option: str = "Site_A", unfinished: str = "", loss: str = "") -> CentreStatus:
    return centre_status({"Site_A": a, "Site_B": b}, option, unfinished, loss, NOW)


def seen(status: HostStatus) -> Seen:
    return Seen(status, NOW, "")


HEALTHY_A = seen(host("Site_A", DatabaseRole.PRIMARY, sessions=8, synchronous=True))
HEALTHY_B = seen(host("Site_B", DatabaseRole.REPLICA, streaming=True))


def test_a_healthy_centre_has_no_warning() -> None:
    status = look(HEALTHY_A, HEALTHY_B)
    assert status.active_site == "Site_A"
    assert status.epoch == 3
    assert status.agents == {"Site_A": 7, "Site_B": 0}
    assert status.warnings == []


def test_two_primaries_are_the_loudest_warning() -> None:
    status = look(
        HEALTHY_A, seen(host("Site_B", DatabaseRole.PRIMARY, epoch=4)), unfinished="A switch is running."
    )
    assert status.active_site == "Site_B"
    assert "Two primaries: Site_A (epoch 3) and Site_B (epoch 4)" in status.warnings[0]
    assert status.warnings[1] == "A switch is running."


def test_exposure_is_said_with_its_age_and_size() -> None:
    a = seen(
        host(
            "Site_A",
            DatabaseRole.PRIMARY,
            exposed_since=NOW - 7,
            exposed_bytes=4096,
            why="the replica is away",
        )
    )
    b = seen(host("Site_B", DatabaseRole.REPLICA, streaming=False, why="no route"))
    warnings = look(a, b).warnings
    assert any("Since 7 s" in one and "4096 bytes" in one for one in warnings)
    assert any("replica of Site_B does not follow: no route" in one for one in warnings)


def test_a_silent_host_is_not_active_whatever_it_said_before() -> None:
    old = Seen(host("Site_A", DatabaseRole.PRIMARY), NOW - 6, "")
    status = look(old, HEALTHY_B)
    assert status.active_site == ""
    assert status.warnings[0].startswith("No site is active")
    assert any("host of Site_A does not answer" in one for one in status.warnings)


def test_a_wrong_option_and_an_unread_loss_are_said() -> None:
    status = look(HEALTHY_A, HEALTHY_B, option="Site_B", loss="What Site_B had is not known.")
    assert "What Site_B had is not known." in status.warnings
    assert any("names Site_B, but Site_A is active" in one for one in status.warnings)
