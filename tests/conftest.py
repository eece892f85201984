"""The order of a whole run, and what of it may run side by side.

What is quick and pure comes first and whole sites last, so that a fault is seen early. With several workers (`-n`) the
tests of one file stay together, because they share what is expensive to start; everything that starts whole sites,
browsers or networks forms one group, so that never two of those compete for the machine.
"""

from pathlib import Path

import pytest

ROOMS = ("unit", "property", "integration", "browser", "drills")

LARGE = frozenset(
    {
        "browser",
        "drills",
        "integration/lab",
        "integration/network",
        "integration/conformance",
        "integration/postgres",
    }
)
"""Rooms of which one test at a time runs."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort by room; inside a room the order stays as collected. Name the group of each test."""
    here = Path(__file__).parent

    def room(item: pytest.Item) -> int:
        name = item.path.relative_to(here).parts[0]
        return ROOMS.index(name) if name in ROOMS else len(ROOMS)

    items.sort(key=room)
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        parts = item.path.relative_to(here).parts
        large = LARGE & {parts[0], "/".join(parts[:2])}
        item.add_marker(pytest.mark.xdist_group("large" if large else "/".join(parts)))
