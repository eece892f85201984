"""``stayline``: the one command. Sub-commands import what they need when they run, so that each starts
quickly."""

import importlib
import importlib.util
import sys

import typer

from stayline.cli.lab_commands import app as lab
from stayline.cli.serve_commands import host, serve
from stayline.domain.errors import StaylineError

app = typer.Typer(
    name="stayline",
    help="A contact centre in two data centres that goes on when a server, a proxy, a database or a site is lost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve)
app.command()(host)
app.add_typer(lab, name="lab")

_GROUPS = {"site": "stayline.cli.site_commands", "config": "stayline.cli.config_commands"}
"""Groups of commands that other parts bring."""

_COMMANDS = {"workspace": "stayline.cli.workspace_command"}
"""Single commands that other parts bring: ``app`` is a typer application with that one command."""


def _wire() -> None:
    """Add the other parts' commands, those only that this invocation may need: importing all costs a
    second."""
    wanted = sys.argv[1] if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else ""
    for name, module in (_GROUPS | _COMMANDS).items():
        if wanted in ("", name) and importlib.util.find_spec(module) is not None:
            app.add_typer(importlib.import_module(module).app, name=name)


def main() -> None:
    """Entry point. A refusal ends the command with its reason, what mends it, and status 1."""
    _wire()
    try:
        app()
    except StaylineError as error:
        refusal = error.refusal
        print(f"stayline: {refusal.reason}", file=sys.stderr)
        if refusal.fix:
            print(f"What helps: {refusal.fix}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
