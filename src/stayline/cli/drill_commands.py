"""``stayline lab drill`` and, for its own use, ``stayline lab load``."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object in the last line.")]


def drill(
    name: Annotated[str, typer.Argument(help="proxy-kill, core-kill, core-freeze, chat-kill, relocate, ...")],
    agents: Annotated[int, typer.Option(min=1, help="Synthetic agents.")] = 12,
    customers: Annotated[int, typer.Option(min=0, help="Synthetic customers (0: two for each agent).")] = 0,
    pause: Annotated[float, typer.Option(min=0.5, help="Seconds between two messages of a customer.")] = 5.0,
    json: Json = False,
    state: Annotated[
        Path | None, typer.Option("--state", help="State folder, emptied first (default: a temporary one).")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the temporary folder with logs and history.")
    ] = False,
    replication: Annotated[
        str, typer.Option(help="What an acknowledged write means: follow, strict or async.")
    ] = "follow",
) -> None:
    """Break something in a fresh centre that is at work, and check every side's history. Status 0: passed."""
    import msgspec

    from stayline.domain.errors import refuse
    from stayline.lab.drill_run import Wishes, run_drill
    from stayline.lab.drills import DRILLS, described
    from stayline.link.messages.control import ReplicationMode

    if name not in DRILLS:
        raise refuse("drill.unknown", f"There is no drill {name!r}.", fix=f"Use one of: {', '.join(DRILLS)}.")
    if replication not in list(ReplicationMode):
        known = ", ".join(ReplicationMode)
        raise refuse(
            "lab.replication", f"There is no replication mode {replication!r}.", fix=f"Use one of: {known}."
        )
    wishes = Wishes(
        drill=DRILLS[name],
        agents=agents,
        customers=customers or 2 * agents,
        pause=pause,
        state=state,
        keep=keep,
        replication=ReplicationMode(replication),
    )

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    say(f"{name}: {described(wishes.drill)}")
    result = asyncio.run(run_drill(wishes, say))
    if json:
        typer.echo(msgspec.json.encode(result).decode())
    else:
        _show(result)
    raise typer.Exit(0 if result.passed else 1)


def _show(result: object) -> None:
    from rich.console import Console
    from rich.table import Table

    from stayline.lab.drill_report import Result

    assert isinstance(result, Result)
    console = Console()
    table = Table(
        "seconds", "p50", "p99", "max", title=f"{result.drill}, {result.agents} agents", title_justify="left"
    )
    for name in ("detection", "restricted", "restored"):
        spread = getattr(result.seconds, name)
        table.add_row(name, f"{spread.p50:.3f}", f"{spread.p99:.3f}", f"{spread.max:.3f}")
    console.print(table)
    found, said = result.interactions, result.messages
    console.print(
        f"interactions: {found.open} open, {found.lost} lost, {found.doubled} doubled, {found.two_owners} two owners\n"
        f"messages: {said.sent} sent, {said.lost} lost, {said.doubled} doubled, {said.out_of_order} out of order"
    )
    colour = "green" if result.passed else "red"
    console.print(f"[bold {colour}]{result.verdict}[/]: ", end="")
    console.print(result.why, markup=False, highlight=False)


def load(
    state: Annotated[Path, typer.Option("--state", help="State folder of the lab that runs.")],
    folder: Annotated[Path, typer.Option("--folder", help="Where the history is written.")],
    agents: Annotated[int, typer.Option(min=0, help="Synthetic agents.")] = 0,
    first: Annotated[int, typer.Option(min=1, help="Number of the first of them.")] = 1,
    customers: Annotated[int, typer.Option(min=0, help="Synthetic customers.")] = 0,
    pause: Annotated[float, typer.Option(help="Seconds between two messages of a customer.")] = 5.0,
    configuration: Annotated[
        list[str] | None, typer.Option(help="NAME=HOST:PORT of a Configuration Server for the agents.")
    ] = None,
) -> None:
    """Be a drill's agents, or its customers: a process of its own that obeys the drill."""
    import uvloop

    from stayline.lab.load import Load, run_load
    from stayline.lab.load_agents import AgentLoad
    from stayline.lab.load_customers import CustomerLoad
    from stayline.workspace.settings import ServerAddress

    # Standard output belongs to the drill; what is worth knowing goes to the log.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

    def address(text: str) -> ServerAddress:
        name, _, where = text.rpartition("=")
        host, _, port = where.rpartition(":")
        return ServerAddress(name, host, int(port))

    def make() -> Load:
        if agents:
            places = tuple(address(one) for one in configuration or [])
            return AgentLoad(state, folder, first, agents, places)
        return CustomerLoad(state, folder, customers, pause)

    async def work() -> None:
        await run_load(make())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
