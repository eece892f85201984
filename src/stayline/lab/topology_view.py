"""The two sites as a picture in the terminal: what the host agents say, drawn with Rich."""

import time
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stayline.domain.objects import ApplicationType
from stayline.lab.readiness import active_site
from stayline.link.messages.control import (
    DatabaseRole,
    DatabaseStatus,
    HostStatus,
    Process,
    ProcessState,
    ReplicationMode,
)

_SHORT = {
    ApplicationType.CONFIGURATION_SERVER.value: "configuration",
    ApplicationType.INTERACTION_SERVER.value: "core",
    ApplicationType.CONTACT_SERVER.value: "core",
    ApplicationType.INTERACTION_SERVER_PROXY.value: "proxy",
    ApplicationType.CONTACT_SERVER_PROXY.value: "proxy",
    ApplicationType.CHAT_SERVER.value: "chat",
    ApplicationType.SOLUTION_CONTROL_SERVER.value: "management",
}
_ORDER = ["configuration", "core", "proxy", "chat", "management"]
_STATE_STYLE = {
    ProcessState.RUNNING: "green",
    ProcessState.STARTING: "yellow",
    ProcessState.STOPPING: "yellow",
    ProcessState.STOPPED: "dim",
    ProcessState.CRASHED: "red",
}


WIDE = 55
"""Columns for each site from which they stand side by side, each server in a line of its own; below, servers of a
kind share a line, so that all sites fit on a small screen."""


def counted(number: int, what: str) -> str:
    """``1 client``, ``2 clients``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def draw(
    statuses: Mapping[str, HostStatus | None], headline: str, events: Sequence[str], width: int
) -> RenderableType:
    """The whole picture; ``width`` in columns decides whether the sites stand side by side."""
    active = active_site(statuses)
    wide = width >= WIDE * len(statuses)
    panels = [_site(site, status, site == active, wide) for site, status in statuses.items()]
    sites: RenderableType = Group(*panels)
    if wide:
        table = Table.grid(expand=True)
        for _ in panels:
            table.add_column(ratio=1)
        table.add_row(*panels)
        sites = table
    lines = Text("\n".join(events) or "nothing happened yet", style="dim", no_wrap=True, overflow="ellipsis")
    return Group(Text.from_markup(headline), sites, Panel(lines, title="last events", border_style="dim"))


def _site(site: str, status: HostStatus | None, active: bool, wide: bool) -> Panel:
    title = f"[bold]{site}[/bold] · {'active' if active else 'passive'}"
    border = "green" if active else "blue"
    if status is None:
        return Panel(Text("the host agent does not answer", style="red"), title=title, border_style="red")
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_row("database", *_database(status.database))
    before = ""
    for servers in _lines(status.processes, wide):
        kind = _SHORT[servers[0].app_type]
        table.add_row(Text(kind if kind != before else "", style="dim"), *_line(servers))
        before = kind
    return Panel(table, title=title, border_style=border)


def _lines(processes: Sequence[Process], wide: bool) -> list[list[Process]]:
    """The servers of each line: one, or on a small screen all proxies or Chat Servers of a type."""
    lines: list[list[Process]] = []
    for process in sorted(processes, key=lambda one: _ORDER.index(_SHORT[one.app_type])):
        joins = not wide and _SHORT[process.app_type] in ("proxy", "chat")
        if joins and lines and lines[-1][0].app_type == process.app_type:
            lines[-1].append(process)
        else:
            lines.append([process])
    return lines


def _line(servers: Sequence[Process]) -> tuple[Text, Text]:
    first = servers[0]
    if len(servers) == 1:
        return Text(first.application, style=_STATE_STYLE[first.state]), _say(first)
    reports = [one.report for one in servers if one.report is not None]
    open_ = sum(report.listening for report in reports)
    worst = next(
        (one.state for one in servers if one.state is not ProcessState.RUNNING), ProcessState.RUNNING
    )
    name = f"{first.application} … {servers[-1].application.rpartition('_')[2]}"
    clients = sum(report.clients for report in reports)
    said = f"{open_} of {len(servers)} listen · {counted(clients, 'client')}" if open_ else "closed"
    return Text(name, style=_STATE_STYLE[worst]), Text(said, style="" if open_ else "dim")


def _database(found: DatabaseStatus | None) -> tuple[Text, Text]:
    if found is None:
        return Text("unknown", style="red"), Text("")
    if found.role is DatabaseRole.PRIMARY:
        what = Text(f"primary · epoch {found.epoch}", style="green")
        if found.exposed_since:
            seconds = time.time() - found.exposed_since
            return what, Text(f"EXPOSED for {seconds:.0f} s, {found.exposed_bytes} bytes", style="bold red")
        waits = "waits for the replica" if found.synchronous else "does not wait"
        tone = "" if found.synchronous or found.mode is ReplicationMode.ASYNC else "yellow"
        return what, Text(f"{found.mode}: a commit {waits}", style=tone)
    if found.role is DatabaseRole.REPLICA:
        tone = "green" if found.streaming else "yellow"
        how = f"{found.lag_bytes} bytes behind" if found.streaming else (found.why or "does not follow")
        return Text(f"replica · epoch {found.epoch}", style=tone), Text(how)
    return Text(str(found.role), style="red"), Text(found.why)


def _say(process: Process) -> Text:
    report = process.report
    if process.state is not ProcessState.RUNNING or report is None:
        return Text(f"{process.state}{f' ({process.exit})' if process.exit else ''}", style="dim")
    kind = _SHORT[process.app_type]
    if kind == "core":
        counts = f" · {report.sessions} agents" if report.sessions else ""
        lost = f" ({report.lost_sessions} away)" if report.lost_sessions else ""
        open_ = sum(count for state, count in report.interactions.items() if state != "stopped")
        chats = f" · {open_} open" if open_ else ""
        term = f" · term {report.term}" if report.role == "primary" else ""
        return Text(f"{report.role}{term}{counts}{lost}{chats}")
    if kind in ("proxy", "chat"):
        return (
            Text(f"listens · {counted(report.clients, 'client')}")
            if report.listening
            else Text("closed", style="dim")
        )
    return Text(report.why or report.role, style="dim")
