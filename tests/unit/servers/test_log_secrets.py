"""Log lines are JSON, name their server, and hold neither secrets nor customers' words."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from stayline.servers.logs import SECRET_KEYS, start_logging, without_secrets


@pytest.fixture
def fresh_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_secret_values_are_blotted_out() -> None:
    event = dict.fromkeys(SECRET_KEYS, "hunter2") | {"event": "login", "user": "agent01"}
    clean = without_secrets(None, "info", event)
    assert "hunter2" not in clean.values()
    assert clean["user"] == "agent01"


@pytest.mark.usefixtures("fresh_logging")
def test_a_traceback_has_no_local_variables(tmp_path: Path) -> None:
    start_logging(str(tmp_path), "Chat_A_1")
    log = structlog.get_logger("test")
    words = "what the customer wrote"
    try:
        raise ValueError(len(words))
    except ValueError:
        log.exception("chat.failed", why="test", token="hunter2")
    text = (tmp_path / "Chat_A_1.log").read_text()
    line = json.loads(text.splitlines()[-1])
    assert (line["event"], line["application"], line["level"]) == ("chat.failed", "Chat_A_1", "error")
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert "what the customer wrote" not in text
    assert "hunter2" not in text


@pytest.mark.usefixtures("fresh_logging")
def test_logs_are_for_their_owner_only_also_after_being_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stayline.servers.logs.MAX_BYTES", 500)
    start_logging(str(tmp_path), "Chat_A_1")
    log = structlog.get_logger("test")
    for number in range(10):
        log.info("chat.open", number=number, why="a line of some length, so that the file is put aside")
    files = sorted(tmp_path.iterdir())
    assert len(files) > 1
    for file in files:
        assert file.stat().st_mode & 0o077 == 0, file
