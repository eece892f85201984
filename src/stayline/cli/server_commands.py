"""``stayline server``: list, drain, undrain."""

import asyncio
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from stayline.cli.operator_link import operator_request
from stayline.cli.site_commands import State, fail, login_name, setup_cost
from stayline.domain.errors import StaylineError
from stayline.lab.layout import default_state
from stayline.link.messages.control import CentreStatus, Drain, Drained, Process

app = typer.Typer(help="The servers of both sites, and emptying one of them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The server, as stayline server list names it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the history.")]
By = Annotated[str, typer.Option("--by", help="Who decides (default: your login name).")]

STRAGGLERS = 15.0
"""Seconds after the window until a client that does not leave by itself is gone as well, and some room."""

LOOK = 0.5
"""Seconds between two looks at a server that is being emptied."""


@app.command("list")
def list_servers(state: State = None, json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Every server: whether it runs and listens, its clients, who waits at its door, what a set-up costs it."""
    try:
        found = asyncio.run(_status(state or default_state()))
    except StaylineError as error:
        raise fail(error) from error
    if json:
        for site in found.sites:
            for process in site.host.processes if site.host is not None else ():
                typer.echo(msgspec.json.encode(process).decode())
        return
    console = Console()
    table = Table(box=None, padding=(0, 1, 0, 1), header_style="dim")
    for column in ("site", "server", "state", "listens", "clients", "waiting", "set-up", "wasted"):
        table.add_column(column, no_wrap=True)
    for site in found.sites:
        for process in site.host.processes if site.host is not None else ():
            table.add_row(site.site, *_row(process))
    console.print(table)


def _row(process: Process) -> tuple[str, ...]:
    report = process.report
    if report is None:
        return (process.application, process.state.value, "", "", "", "", "")
    state = "draining" if report.draining else process.state.value
    return (
        process.application,
        state,
        "yes" if report.listening else "no",
        str(report.clients or ""),
        str(report.waiting or ""),
        setup_cost(report.setup_seconds),
        str(report.wasted or ""),
    )


@app.command()
def drain(
    name: Name,
    window: Annotated[
        float,
        typer.Option(
            "--window", min=0.0, help="Seconds in which clients leave (0: as others can take them)."
        ),
    ] = 0.0,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the last client has left.")] = False,
    reason: Reason = "",
    by: By = "",
    state: State = None,
) -> None:
    """Empty a proxy: it takes no new client, and each one it has leaves at its own time for another proxy."""
    order = Drain(application=name, window=window, why=reason, by=by or login_name())
    try:
        done = asyncio.run(_order(state or default_state(), order))
        typer.echo(f"{name} takes no new clients; {done.clients} leave within {done.window:.1f} s.")
        left = asyncio.run(_empty(state or default_state(), name, done.window)) if wait else 0
    except StaylineError as error:
        raise fail(error) from error
    if left:
        typer.echo(f"{left} clients are still linked to {name}.", err=True)
        raise typer.Exit(1)
    if wait:
        typer.echo(f"{name} is empty.")


@app.command()
def undrain(name: Name, reason: Reason = "", by: By = "", state: State = None) -> None:
    """Take clients again. (A server that is started again does so by itself.)"""
    order = Drain(application=name, undo=True, why=reason, by=by or login_name())
    try:
        done = asyncio.run(_order(state or default_state(), order))
    except StaylineError as error:
        raise fail(error) from error
    typer.echo(f"{name} is not being emptied any more; it has {done.clients} clients.")


async def _status(state: Path) -> CentreStatus:
    return await operator_request(state, "site.status", None, CentreStatus, timeout=10.0)


async def _order(state: Path, order: Drain) -> Drained:
    return await operator_request(state, "server.drain", order, Drained, timeout=15.0)


async def _empty(state: Path, name: str, window: float) -> int:
    """Wait until it has no clients; how many it has when they should all have left."""
    deadline = time.monotonic() + window + STRAGGLERS
    while True:
        found = await _status(state)
        clients = sum(
            process.report.clients
            for site in found.sites
            if site.host is not None
            for process in site.host.processes
            if process.application == name and process.report is not None
        )
        if not clients or time.monotonic() >= deadline:
            return clients
        await asyncio.sleep(LOOK)
