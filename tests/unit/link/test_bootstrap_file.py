"""bootstrap.json is read with clear errors, and never seen half written."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from stayline.domain.errors import RefusedError
from stayline.link.bootstrap import Bootstrap, Node, load_bootstrap, save_bootstrap

SAMPLE = Bootstrap(
    site="Site_A",
    host="host_a",
    state="/s",
    configuration=[Node(application="Config_A", host="127.0.0.1", port=1)],
    certificates="/s/certificates",
    keys="/s/keys",
    log_dir="/s/log",
)


def test_written_and_read_back_by_folder_or_file(tmp_path: Path) -> None:
    save_bootstrap(tmp_path, SAMPLE)
    assert load_bootstrap(tmp_path) == SAMPLE
    assert load_bootstrap(tmp_path / "bootstrap.json") == SAMPLE
    assert (tmp_path / "bootstrap.json").stat().st_mode & 0o077 == 0
    assert [file.name for file in tmp_path.iterdir()] == ["bootstrap.json"]


def test_private_before_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bootstrap.part").write_bytes(b"left by a killed process")
    modes: list[int] = []
    encode = msgspec.json.format

    def watched(*arguments: Any, **named: Any) -> Any:
        modes.append((tmp_path / "bootstrap.part").stat().st_mode & 0o077)
        return encode(*arguments, **named)

    monkeypatch.setattr("stayline.link.bootstrap.msgspec.json.format", watched)
    save_bootstrap(tmp_path, SAMPLE)
    assert modes == [0]


def test_missing_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as caught:
        load_bootstrap(tmp_path)
    assert caught.value.refusal.code == "bootstrap.missing"
    assert "--state" in caught.value.refusal.fix


def test_malformed_names_the_field(tmp_path: Path) -> None:
    (tmp_path / "bootstrap.json").write_text('{"site": "A", "host": "h", "state": 7}')
    with pytest.raises(RefusedError) as caught:
        load_bootstrap(tmp_path)
    assert caught.value.refusal.code == "bootstrap.malformed"
    assert caught.value.refusal.field == "state"
