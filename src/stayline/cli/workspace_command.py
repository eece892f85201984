"""``stayline workspace``: the agents' page, for one or many agents."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def workspace(
    state: Annotated[Path, typer.Option("--state", help="The site's folder (it holds bootstrap.json).")],
    port: Annotated[int, typer.Option("--port", help="TCP port; 0 lets the system choose one.")] = 8080,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on. Other than this machine's own only with TLS.")
    ] = "127.0.0.1",
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="PEM file of the certificate for TLS.", exists=True)
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="PEM file of its key.", exists=True)] = None,
    log_dir: Annotated[
        str,
        typer.Option("--log-dir", help="Folder of the log file; without it the log goes to the terminal."),
    ] = "",
) -> None:
    """Serve the agents' page: log in, take chats, go on through every failure."""
    import uvloop

    from stayline.servers.logs import start_logging
    from stayline.workspace.web.server import serve_workspace

    if (certificate is None) != (key is None):
        raise typer.BadParameter("--certificate and --key belong together")
    start_logging(log_dir, "workspace")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            serve_workspace(
                state.absolute(),
                host,
                port,
                certificate=certificate,
                key=key,
                told=lambda address: print(f"Workspace: {address}", flush=True),
            )
        )
