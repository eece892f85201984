"""``stayline``: the one command. A group of commands is imported when it is asked for, so that each starts quickly."""

import importlib
import logging
import sys

import structlog
import typer

from stayline.cli.serve_commands import host, serve
from stayline.domain.errors import StaylineError

GROUPS = {
    "lab": "stayline.cli.lab_commands",
    "site": "stayline.cli.site_commands",
    "server": "stayline.cli.server_commands",
    "config": "stayline.cli.config_commands",
    "option": "stayline.cli.option_commands",
    "workspace": "stayline.cli.workspace_command",
    "conformance": "stayline.cli.conformance_commands",
}
"""Name of a group -> module whose ``app`` is its typer application. Importing all of them takes a second."""


def build(wanted: str = "") -> typer.Typer:
    """The application with the commands that ``wanted`` (the first word of the command line) may need; with all of
    them when it is none of the groups."""
    app = typer.Typer(
        name="stayline",
        help="A contact centre in two data centres that goes on when a server, a database or a site is lost.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.command()(serve)
    app.command()(host)
    quick = wanted in (*GROUPS, "serve", "host")
    for name, module in GROUPS.items():
        if name == wanted or not quick:
            app.add_typer(importlib.import_module(module).app, name=name)
    return app


def main() -> None:
    """Entry point. A refusal ends the command with its reason, what mends it, and status 1."""
    # Servers send their log to files once they run; a person at a terminal wants the answer and what went wrong.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        build(sys.argv[1] if len(sys.argv) > 1 else "")()
    except StaylineError as error:
        refusal = error.refusal
        print(f"stayline: {refusal.reason}", file=sys.stderr)
        if refusal.fix:
            print(f"What helps: {refusal.fix}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
