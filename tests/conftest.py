"""The order of a whole run: what is quick and pure first, whole sites last, so that a fault is seen early."""

from pathlib import Path

import pytest

ROOMS = ("unit", "property", "integration", "browser", "drills")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by room; inside a room the order stays as collected."""
    here = Path(__file__).parent

    def room(item: pytest.Item) -> int:
        name = item.path.relative_to(here).parts[0]
        return ROOMS.index(name) if name in ROOMS else len(ROOMS)

    items.sort(key=room)
