"""``stayline site``: status, switch, history."""

import asyncio
import getpass
import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from stayline.cli.operator_link import operator_request
from stayline.control.switch.journal import Event, Record
from stayline.domain.errors import StaylineError
from stayline.lab.layout import default_state
from stayline.link.messages.control import (
    CentreStatus,
    DatabaseRole,
    DatabaseStatus,
    Report,
    SiteStatus,
    StepProgress,
    StepState,
    Switch,
    SwitchMode,
    SwitchSummary,
)

app = typer.Typer(help="Which site is active, and moving everybody to the other one.", no_args_is_help=True)

State = Annotated[
    Path | None,
    typer.Option("--state", help="State folder (default: $STAYLINE_STATE, else .stayline here)."),
]

SWITCH_SECONDS = 600.0
"""Longest wait for a switch; the plan itself goes on when the terminal gives up."""

MARKS = {StepState.DONE: "[green]✓", StepState.SKIPPED: "[yellow]-", StepState.FAILED: "[red]✗"}


def fail(error: StaylineError) -> typer.Exit:
    """Say a refusal and what helps; the exit to raise."""
    console = Console(stderr=True)
    refusal = error.refusal
    console.print(f"[red]{refusal.reason}[/red] [dim]({refusal.code})[/dim]")
    if refusal.fix:
        console.print(f"What helps: {refusal.fix}")
    elif refusal.retryable:
        after = f" in {refusal.retry_after:.0f} s" if refusal.retry_after else ""
        console.print(f"The same command may work{after}.")
    return typer.Exit(1)


@app.command()
def status(state: State = None, json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Which site is active, epoch, databases, who runs and listens, how many agents are where."""
    folder = state or default_state()
    try:
        found = asyncio.run(operator_request(folder, "site.status", None, CentreStatus, timeout=10.0))
    except StaylineError as error:
        raise fail(error) from error
    if json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    show(found, Console())


def show(found: CentreStatus, console: Console) -> None:
    """Print a status for a person."""
    active = found.active_site or "none"
    console.print(
        f"Active site [bold]{active}[/bold] · epoch {found.epoch} · "
        f"disaster-recovery.eservices-site = {found.option or '(not set)'}"
    )
    for error in found.errors:
        console.print(f"[red]✗ {error}[/red]")
    for warning in found.warnings:
        console.print(f"[yellow]! {warning}[/yellow]")
    for site in found.sites:
        _show_site(site, found, console)


def _show_site(site: SiteStatus, found: CentreStatus, console: Console) -> None:
    state = "[green]active[/green]" if site.active else "passive"
    if not site.reachable:
        state = f"[red]does not answer: {site.why}[/red]"
    agents = found.agents.get(site.site, 0)
    console.print(f"\n[bold]{site.site}[/bold] {state}, {agents} agent{'' if agents == 1 else 's'}")
    if site.host is None:
        return
    if site.host.database is not None:
        console.print(f"  {_database(site.host.database)}")
    table = Table(box=None, padding=(0, 1, 0, 1), header_style="dim", expand=True)
    for column in ("application", "pid", "state", "role", "term", "listens", "clients"):
        table.add_column(column, no_wrap=True)
    table.add_column("why", style="dim", no_wrap=True, overflow="ellipsis", ratio=1)
    for process in site.host.processes:
        report = process.report
        table.add_row(
            process.application,
            str(process.pid or ""),
            "draining" if report is not None and report.draining else process.state.value,
            "" if report is None else report.role,
            "" if report is None or not report.term else str(report.term),
            "" if report is None else "yes" if report.listening else "no",
            "" if report is None or not report.clients else str(report.clients),
            process.exit if report is None else _why(report),
        )
    console.print(table)


def _why(report: Report) -> str:
    """Who waits at its door and what a set-up costs it, where there is something to say, then its own reason."""
    waiting = f"{report.waiting} wait" if report.waiting else ""
    cost = f"set-up {setup_cost(report.setup_seconds)}" if report.setup_seconds else ""
    return "; ".join(part for part in (waiting, cost, report.why) if part)


def setup_cost(seconds: float) -> str:
    """What the set-up of a client costs a proxy, for a person; empty when it was not measured yet."""
    return f"{seconds * 1000:.1f} ms" if seconds else ""


PROMISES = {
    "follow": "an acknowledged write is on both sites while the replica follows",
    "strict": "an acknowledged write is always on both sites; without the replica writes stop",
    "async": "an acknowledged write may be on this site only",
}


def _database(database: DatabaseStatus) -> str:
    """One line on a database node: what it is, what an acknowledgement is worth now and by promise."""
    text = f"PostgreSQL {database.role.value}, epoch {database.epoch}. {database.why}"
    if database.role is DatabaseRole.PRIMARY:
        text += f" [dim]Mode {database.mode.value}: {PROMISES[database.mode.value]}.[/dim]"
    elif database.role is DatabaseRole.REPLICA:
        text += f" [dim]{'Streaming' if database.streaming else 'Not streaming'}.[/dim]"
    return text


@app.command()
def switch(
    site: Annotated[str, typer.Argument(help="The site to move to.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the switch for ever.")],
    planned: Annotated[bool, typer.Option("--planned", help="Both sites work: nothing is lost.")] = False,
    forced: Annotated[bool, typer.Option("--forced", help="The other site is lost.")] = False,
    by: Annotated[str, typer.Option("--by", help="Who decides (default: your login name).")] = "",
    state: State = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Move everybody to another site. Run again after an interruption, it continues."""
    if planned == forced:
        typer.echo("Say either --planned (both sites work) or --forced (the other site is lost).", err=True)
        raise typer.Exit(2)
    mode = SwitchMode.PLANNED if planned else SwitchMode.FORCED
    asked = Switch(target=site, mode=mode, reason=reason, by=by or login_name())
    console = Console(stderr=json)

    def progress(step: StepProgress) -> None:
        if step.state in MARKS:
            console.print(
                f"{MARKS[step.state]}[/] {step.number:2}/{step.total} {step.title} "
                f"[dim]{step.seconds:6.2f} s[/dim]  {step.evidence}"
            )

    try:
        done = asyncio.run(
            operator_request(
                state or default_state(),
                "site.switch",
                asked,
                SwitchSummary,
                site=site,
                progress=progress,
                timeout=SWITCH_SECONDS,
            )
        )
    except StaylineError as error:
        raise fail(error) from error
    if json:
        typer.echo(msgspec.json.encode(done).decode())
        return
    _summary(done, console)


def login_name() -> str:
    """Who is at the terminal."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _summary(done: SwitchSummary, console: Console) -> None:
    lost = "not known yet" if done.interactions_lost < 0 else str(done.interactions_lost)
    console.print(
        f"\n[bold]{done.target} is active[/bold], epoch {done.epoch}. "
        f"Agents: {done.agents_after} of {done.agents_before} are back; "
        f"{done.seconds_without_service:.1f} s without service; "
        f"open interactions {done.interactions_before} before, {done.interactions_after} after; lost: {lost}."
    )
    if done.why:
        console.print(f"[dim]{done.why}[/dim]")


@app.command()
def history(state: State = None, json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """The journal of switches, as the reachable Solution Control Server has it."""
    try:
        records = asyncio.run(
            operator_request(state or default_state(), "site.history", None, list[Record], timeout=10.0)
        )
    except StaylineError as error:
        raise fail(error) from error
    if json:
        for record in records:
            typer.echo(msgspec.json.encode(record).decode())
        return
    console = Console()
    for record in records:
        if record.event is Event.BEGUN:
            console.print(
                f"[bold]{_clock(record.at)}  {record.source} → {record.target}[/bold]  "
                f"{record.mode.value if record.mode else ''}, by {record.by}: {record.reason}"
            )
            continue
        if record.event is Event.COMMAND:
            reason = f": {record.reason}" if record.reason else ""
            console.print(f"[bold]{_clock(record.at)}  {record.evidence}[/bold]  by {record.by}{reason}")
            continue
        step = record.step.value if record.step is not None else "the plan"
        after = f" ({record.seconds:.2f} s)" if record.seconds else ""
        text = f": {record.evidence}" if record.evidence else ""
        console.print(f"  {_clock(record.at)}  {step} {record.event.value}{after}{text}")


def _clock(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
