"""The name of an installation stays the same over restarts."""

from pathlib import Path

from stayline.workspace.installation import FILE, installation_of


def test_the_same_folder_gives_the_same_name(tmp_path: Path) -> None:
    folder = tmp_path / "agents"
    first = installation_of(folder)
    assert len(first) == 32
    assert installation_of(folder) == first
    assert [path.name for path in folder.iterdir()] == [FILE]
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600


def test_another_folder_gives_another_name(tmp_path: Path) -> None:
    assert installation_of(tmp_path / "one") != installation_of(tmp_path / "two")


def test_without_a_folder_or_with_a_disk_that_refuses_each_start_is_another(tmp_path: Path) -> None:
    assert installation_of(None) != installation_of(None)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    assert len(installation_of(blocked)) == 32


def test_an_unreadable_name_is_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("not a name")
    name = installation_of(tmp_path)
    assert name != "not a name"
    assert installation_of(tmp_path) == name
