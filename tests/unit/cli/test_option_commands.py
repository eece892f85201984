"""``stayline option explain`` and ``stayline config check`` on files."""

import json
from pathlib import Path

from typer.testing import CliRunner

from stayline.cli.config_commands import app as config_app
from stayline.cli.option_commands import app

SAMPLE = Path("examples/two-sites.toml")
runner = CliRunner()


def test_explain_says_value_supplier_and_what_was_overridden() -> None:
    result = runner.invoke(app, ["explain", "agent01", "warm-standby.retry-delay", "--file", str(SAMPLE)])
    assert result.exit_code == 0
    assert "warm-standby.retry-delay is '2', from Application 'Workspace'." in result.output
    assert "overrode the default: 10" in result.output


def test_explain_all_as_json() -> None:
    result = runner.invoke(app, ["explain", "agent01", "--json", "--file", str(SAMPLE)])
    rows = {row["option"]: row for row in json.loads(result.output)}
    assert rows["disaster-recovery.eservices-site"]["supplier"] == "Application 'Workspace'"
    assert rows["disaster-recovery.enabled"] | {"meaning": ""} == {
        "option": "disaster-recovery.enabled",
        "value": "false",
        "supplier": "the default",
        "overrode": [],
        "disagreeing": [],
        "targets": [],
        "effect": "at restart",
        "meaning": "",
    }


def test_explain_refuses_an_unknown_agent_with_the_nearest() -> None:
    result = runner.invoke(app, ["explain", "agent99", "--file", str(SAMPLE)])
    assert result.exit_code == 1
    assert "agent" in result.output


def test_check_of_a_file_says_what_single_objects_cannot_see(tmp_path: Path) -> None:
    good = runner.invoke(config_app, ["check", str(SAMPLE)])
    assert (good.exit_code, "good" in good.output) == (0, True)
    text = SAMPLE.read_text().replace("session-restore-timeout = 60", "session-restore-timeout = 600")
    bad = tmp_path / "bad.toml"
    bad.write_text(text)
    result = runner.invoke(config_app, ["check", str(bad)])
    assert result.exit_code == 1
    assert (
        "error: Application 'Workspace': interaction-workspace/eservices.session-restore-timeout"
        in result.output
    )
    found = json.loads(runner.invoke(config_app, ["check", str(bad), "--json"]).output)
    assert [one["code"] for one in found] == ["option.restore_timeout"]
