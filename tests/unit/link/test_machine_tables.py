"""The tables of the machines and the page that explains them say the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stayline.link.machine import session, site, standby

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "connection-logic.md"


def shown(states: list[str]) -> dict[tuple[str, str], str]:
    """(event, state) -> what the page says, of the table with these states."""
    head = "| What happens | " + " | ".join(states) + " |"
    lines = PAGE.read_text().splitlines()
    cells: dict[tuple[str, str], str] = {}
    for line in lines[lines.index(head) + 2 :]:
        if not line.startswith("|"):
            break
        event, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        cells |= {(event, state): cell for state, cell in zip(states, rest, strict=True)}
    return cells


@pytest.mark.parametrize(
    ("table", "states"),
    [
        (standby._TABLE, list(standby.State)),
        (site._TABLE, list(site.Phase)),
        (session._TABLE, list(session.State)),
    ],
)
def test_the_page_has_a_row_for_every_event_and_says_which_are_ignored(
    table: Mapping[tuple[Any, type], Any], states: list[Any]
) -> None:
    said = shown([str(state) for state in states])
    events = {kind.__name__ for _, kind in table}
    assert {event for event, _ in said} == events
    known = {(kind.__name__, str(state)) for state, kind in table}
    assert {cell for cell, text in said.items() if text != "-"} == known


def test_late_answers_of_the_site_are_the_ones_that_the_page_calls_late() -> None:
    said = shown([str(phase) for phase in site.Phase])
    late = {
        (kind.__name__, str(phase)) for (phase, kind), rule in site._TABLE.items() if rule is site._ignore
    }
    assert {cell for cell, text in said.items() if text == "late"} == late
