"""A server without a configuration of its own starts with its neighbours' newest one."""

import os
from pathlib import Path

from stayline.link.configuration_cache import Copy, confirmed_at, load_cache, save_cache
from stayline.servers.borrowed_copy import borrow_copy


def keep(path: Path, revision: int, mark: str) -> None:
    """A copy on disk."""
    save_cache(path, Copy(revision=revision, mark=mark, objects=[]))


def revision_of(path: Path) -> int:
    """What is on disk."""
    found = load_cache(path)
    assert found is not None
    return found.revision


def test_the_newest_of_the_folder_is_taken_with_its_age(tmp_path: Path) -> None:
    keep(tmp_path / "Proxy_1.json", 4, "1-a")
    keep(tmp_path / "Proxy_2.json", 6, "1-c")
    os.utime(tmp_path / "Proxy_2.json", (1_000.0, 1_000.0))
    own = tmp_path / "Ixn_B_1.json"
    borrow_copy(own)
    assert revision_of(own) == 6
    assert confirmed_at(own) == 1_000.0


def test_a_later_epoch_is_newer_than_a_higher_revision(tmp_path: Path) -> None:
    own = tmp_path / "Ixn_B_1.json"
    keep(own, 9, "1-a")
    keep(tmp_path / "Proxy_1.json", 7, "2-b")
    borrow_copy(own)
    assert revision_of(own) == 7


def test_an_own_copy_that_is_as_new_is_left_alone(tmp_path: Path) -> None:
    own = tmp_path / "Ixn_B_1.json"
    keep(own, 9, "1-a")
    os.utime(own, (1_000.0, 1_000.0))
    keep(tmp_path / "Proxy_1.json", 9, "1-a")
    borrow_copy(own)
    assert confirmed_at(own) == 1_000.0


def test_without_any_copy_or_folder_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "Broken.json").write_text("{")
    borrow_copy(tmp_path / "Ixn_B_1.json")
    borrow_copy(tmp_path / "no such folder" / "Ixn_B_1.json")
    assert not (tmp_path / "Ixn_B_1.json").exists()
