"""``stayline serve`` and ``stayline host``: what an init system or a host agent starts."""

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Option("--state", help="The site's folder (it holds bootstrap.json).")]


def serve(
    name: Annotated[str, typer.Argument(help="Name of the Application object.")], state: Folder
) -> None:
    """Become the server NAME of the configuration."""
    from stayline.servers.registry import run

    run(name, str(state.absolute()))


def host(
    name: Annotated[str, typer.Argument(help="Name of the Host object.")],
    state: Folder,
    alone: Annotated[
        bool,
        typer.Option(
            "--alone",
            help="Go on as primary although the other site does not answer: only when it certainly is not primary.",
        ),
    ] = False,
) -> None:
    """Run the host agent of host NAME: its database, its servers, and what an operator commands."""
    from stayline.control.host.serve import serve_host
    from stayline.servers.logs import start_logging

    serve_host(state, name, alone=alone, start_logging=start_logging)
