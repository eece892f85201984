"""The two sites as a picture in the terminal: what the host agents say, drawn with Rich."""

import time
from collections.abc import Mapping, Sequence

from rich.columns import Columns
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


def draw(
    statuses: Mapping[str, HostStatus | None], headline: str, events: Sequence[str], width: int
) -> RenderableType:
    """The whole picture; ``width`` in columns decides whether the sites stand side by side."""
    active = active_site(statuses)
    panels = [_site(site, status, site == active) for site, status in statuses.items()]
    sites: RenderableType = Columns(panels, equal=True, expand=True) if width >= 120 else Group(*panels)
    lines = Text("\n".join(events) or "nothing happened yet", style="dim", no_wrap=True, overflow="ellipsis")
    return Group(Text.from_markup(headline), sites, Panel(lines, title="last events", border_style="dim"))


def _site(site: str, status: HostStatus | None, active: bool) -> Panel:
    title = f"[bold]{site}[/bold] · {'active' if active else 'passive'}"
    border = "green" if active else "blue"
    if status is None:
        return Panel(Text("the host agent does not answer", style="red"), title=title, border_style="red")
    table = Table.grid(padding=(0, 1), expand=True)
    for _ in range(3):
        table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_row("database", *_database(status.database))
    before = ""
    for process in sorted(status.processes, key=lambda one: _ORDER.index(_SHORT[one.app_type])):
        kind = _SHORT[process.app_type]
        table.add_row(
            Text(kind if kind != before else "", style="dim"),
            Text(process.application, style=_STATE_STYLE[process.state]),
            _say(process),
        )
        before = kind
    return Panel(table, title=title, border_style=border)


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
            Text(f"listens · {report.clients} clients") if report.listening else Text("closed", style="dim")
        )
    return Text(report.why or report.role, style="dim")
