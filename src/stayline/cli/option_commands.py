"""``stayline option``: why an option has its value for an agent."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stayline.cli.configuration_access import fail, from_file, with_configuration
from stayline.domain.errors import StaylineError
from stayline.domain.option_explanation import Explanation, Supply, explain, explain_all
from stayline.domain.topology import Configuration
from stayline.link.configuration import ConfigurationClient

app = typer.Typer(help="Options as they are in force for an agent.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Options as they are in force for an agent."""


@app.command(name="explain")
def explain_(
    agent: Annotated[str, typer.Argument(help="Name of the person.")],
    option: Annotated[str, typer.Argument(help="Key of one Workspace option; none: all of them.")] = "",
    application: Annotated[
        str, typer.Option("--application", "-a", help="The Workspace application.")
    ] = "Workspace",
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A TOML file instead of the running centre.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="State folder (default: $STAYLINE_STATE, else .stayline here)."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say which value is in force, which object supplied it, and what it overrode.

    The order is default < Application < Tenant < Agent Groups < Person. Of several groups the last by name wins.
    """
    configuration = from_file(file) if file is not None else with_configuration(state, _snapshot)
    try:
        found = (
            [explain(configuration, application, agent, option)]
            if option
            else explain_all(configuration, application, agent)
        )
    except StaylineError as error:
        raise fail(error) from error
    if json:
        rows = [_as_json(one) for one in found]
        typer.echo(msgspec.json.format(msgspec.json.encode(rows[0] if option else rows), indent=2).decode())
    elif option:
        _one(found[0])
    else:
        table = Table("Option", "Value", "From", "Overrode", "Takes effect")
        for one in found:
            overrode = ", ".join(f"{_words(supply)}" for supply in one.overrode)
            cells = (one.spec.key, one.value, one.supplier, overrode, one.spec.takes_effect)
            table.add_row(*(escape(cell) for cell in cells))
        Console().print(table)


async def _snapshot(client: ConfigurationClient) -> Configuration:
    return client.snapshot


def _words(supply: Supply) -> str:
    return f"{supply.supplier}: {supply.value or '(empty)'}"


def _one(found: Explanation) -> None:
    lines = [found.sentence, *(f"  overrode {_words(supply)}" for supply in found.overrode)]
    lines += [f"  for links to {_words(supply)} outranks this" for supply in found.targets]
    lines += [f"Meaning: {found.spec.meaning}.", f"Valid: {found.spec.expected()}."]
    lines.append(f"A change takes effect {found.spec.takes_effect}.")
    typer.echo("\n".join(lines))


def _as_json(found: Explanation) -> dict[str, Any]:
    return {
        "option": found.spec.key,
        "value": found.value,
        "supplier": found.supplier,
        "overrode": [asdict(one) for one in found.overrode],
        "disagreeing": [asdict(one) for one in found.disagreeing],
        "targets": [asdict(one) for one in found.targets],
        "effect": found.spec.takes_effect,
        "meaning": found.spec.meaning,
    }
