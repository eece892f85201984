"""``stayline server``: what an operator reads, and the exit status."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stayline.cli import server_commands
from stayline.cli.server_commands import app
from stayline.domain.errors import refuse
from stayline.link.messages.control import CentreStatus, Drain, Drained, SiteStatus
from tests.unit.control.switch.test_spread import host, proxy


class Centre:
    """Answers the operator's requests; ``orders`` are those for a server, ``clients`` left at each look."""

    def __init__(self, clients: list[int]) -> None:
        self.clients = clients
        self.orders: list[Drain] = []
        self.refused = False

    async def __call__(self, state: Path, method: str, params: Any, result: Any, **_: Any) -> Any:
        """As ``operator_request``."""
        if method == "server.drain":
            if self.refused:
                raise refuse("drain.last", "It is the last one.", fix="Start another one.")
            self.orders.append(params)
            return Drained(application=params.application, clients=3, window=1.5, listening=False)
        left = self.clients.pop(0) if len(self.clients) > 1 else self.clients[0]
        known = host(
            proxy("P1", clients=left, draining=True, listening=False),
            proxy("P2", clients=40, waiting=7, wasted=2, setup_seconds=0.0042),
        )
        site = SiteStatus(site="Site_B", reachable=True, active=True, host=known)
        return CentreStatus(
            active_site="Site_B", epoch=1, option="", sites=[site], agents={}, warnings=[], at=0.0
        )


def command(centre: Centre, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    """Exit status and everything printed."""
    monkeypatch.setattr(server_commands, "operator_request", centre)
    monkeypatch.setattr(server_commands, "LOOK", 0.001)
    monkeypatch.setattr(server_commands, "STRAGGLERS", -1.4)
    ended = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    return ended.exit_code, ended.output


def test_the_list_shows_doors_queues_and_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = command(Centre([3]), monkeypatch, "list")
    assert status == 0
    first, second = (next(line for line in text.splitlines() if name in line) for name in ("P1", "P2"))
    assert first.split() == ["Site_B", "P1", "draining", "no", "3"]
    assert second.split() == ["Site_B", "P2", "running", "yes", "40", "7", "4.2", "ms", "2"]


def test_a_drain_says_who_decides_and_waits_for_the_last_client(monkeypatch: pytest.MonkeyPatch) -> None:
    centre = Centre([3, 1, 0])
    status, text = command(centre, monkeypatch, "drain", "P1", "--wait", "--reason", "update", "--by", "me")
    assert status == 0
    assert "3 leave within 1.5 s" in text
    assert "P1 is empty." in text
    assert centre.orders == [Drain(application="P1", why="update", by="me")]


def test_clients_that_stay_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = command(Centre([2]), monkeypatch, "drain", "P1", "--wait", "--window", "5")
    assert status == 1
    assert "2 clients are still linked to P1." in text


def test_a_refusal_is_said_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    centre = Centre([0])
    centre.refused = True
    status, text = command(centre, monkeypatch, "drain", "P1")
    assert status == 1
    assert "It is the last one." in text
    assert "Start another one." in text


def test_undrain_is_the_same_order_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    centre = Centre([0])
    status, _ = command(centre, monkeypatch, "undrain", "P1", "--by", "me")
    assert status == 0
    assert centre.orders == [Drain(application="P1", undo=True, by="me")]
