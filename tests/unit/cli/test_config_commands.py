"""``stayline config`` as far as it needs no running centre."""

from pathlib import Path

import msgspec
from typer.testing import CliRunner

from stayline.cli.config_commands import app
from stayline.domain.option_catalogue import CATALOGUE

SAMPLE = Path(__file__).parents[3] / "examples" / "two-sites.toml"


def test_check_says_good_or_every_fault(tmp_path: Path) -> None:
    runner = CliRunner()
    good = runner.invoke(app, ["check", str(SAMPLE)])
    assert good.exit_code == 0
    assert "31 Application" in good.stdout
    bad = tmp_path / "bad.toml"
    bad.write_text(SAMPLE.read_text().replace('type = "Chat Server"', 'type = "Chat Srver"'))
    result = runner.invoke(app, ["check", str(bad)])
    assert result.exit_code == 1
    assert result.stderr.count("Did you mean 'Chat Server'?") == 4
    assert f"{bad}:" in result.stderr
    missing = runner.invoke(app, ["check", str(tmp_path / "none.toml")])
    assert missing.exit_code == 1
    assert "cannot be read" in missing.stderr


def test_options_lists_the_catalogue() -> None:
    runner = CliRunner()
    listed = msgspec.json.decode(runner.invoke(app, ["options", "--json"]).stdout)
    assert len(listed) == len(CATALOGUE)
    one = msgspec.json.decode(runner.invoke(app, ["options", "addp", "--json"]).stdout)
    assert {o["key"] for o in one} == {"addp-timeout", "addp-remote-timeout", "addp-trace"}
    unknown = runner.invoke(app, ["options", "adp"])
    assert unknown.exit_code == 1
    assert "'addp'" in unknown.stderr


def test_a_command_without_a_centre_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["show", "--state", str(tmp_path)])
    assert result.exit_code == 1
    assert "There is no lab" in result.stderr
    kind = CliRunner().invoke(app, ["set", "Aplication", "W", "a/b", "1", "--state", str(tmp_path)])
    assert "Did you mean 'Application'?" in kind.stderr
    option = CliRunner().invoke(app, ["set", "Application", "W", "ab", "1", "--state", str(tmp_path)])
    assert "SECTION/KEY" in option.stderr
