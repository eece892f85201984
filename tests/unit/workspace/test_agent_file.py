"""The agent's file: whole or not at all, for its owner only."""

from pathlib import Path

import msgspec
import pytest

from stayline.workspace.saved import AgentFile, KeptRequest, OutMessage, SavedState

STATE = SavedState(
    user="agent01",
    token="secret",
    drafts={"i": "half a"},
    outbox=[OutMessage(id="m", session="s", interaction="i", text="t", at=1.0)],
    requests=[
        KeptRequest(key="k", method="x", params=msgspec.Raw(b'{"a":1}'), interaction="i", label="l", at=1.0)
    ],
)


@pytest.mark.parametrize("durable", [False, True])
def test_what_is_saved_is_loaded(tmp_path: Path, durable: bool) -> None:
    AgentFile(tmp_path / "new", "agent01", durable).save(STATE)
    loaded = AgentFile(tmp_path / "new", "agent01").load()
    assert loaded is not None
    assert msgspec.json.encode(loaded) == msgspec.json.encode(STATE)


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    AgentFile(tmp_path, "agent01").save(STATE)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o077 == 0


def test_a_damaged_file_is_no_state(tmp_path: Path) -> None:
    AgentFile(tmp_path, "agent01").save(STATE)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b'{"user": "agent01", "drafts": [')
    assert AgentFile(tmp_path, "agent01").load() is None


def test_names_cannot_leave_the_folder_or_meet(tmp_path: Path) -> None:
    for user in ("../agent01", "agent/01", "agent01", "Agent01", "a b"):
        AgentFile(tmp_path / "in", user).save(SavedState(user=user))
    assert sorted(tmp_path.iterdir()) == [tmp_path / "in"]
    assert len(list((tmp_path / "in").iterdir())) == 5


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    file = AgentFile(None, "agent01")
    file.save(STATE)
    assert file.load() is None
    file.remove()


def test_removed_is_gone(tmp_path: Path) -> None:
    file = AgentFile(tmp_path, "agent01")
    file.save(STATE)
    file.remove()
    assert file.load() is None
    file.remove()
