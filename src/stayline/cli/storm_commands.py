"""``stayline lab storm`` and, for its own use, ``stayline lab storm-clients``."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

if TYPE_CHECKING:
    from stayline.lab.storm import Storm

AGENTS_OF_A_PROCESS = 1_250
"""Agents of one client process, by default: with two links each it stays far below the limit of open files."""


def storm(
    agents: Annotated[int, typer.Option(min=2, max=20_000, help="Agents who move at once.")] = 5_000,
    processes: Annotated[
        int, typer.Option(min=0, max=32, help="Client processes (0: one for 1,250 agents, at least two).")
    ] = 0,
    cap: Annotated[
        float, typer.Option(min=0, help="Longest time for the original's constants (s); 0: do not play them.")
    ] = 180.0,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for storm.png and storm.html (default: the current one).")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON object in the last line.")
    ] = False,
    state: Annotated[
        Path | None, typer.Option("--state", help="State folder, emptied first (default: a temporary one).")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary folder with the logs.")] = False,
) -> None:
    """Let thousands of agents move to the other site at once, and measure when they are back. Status 0: all came back
    with their sessions, no set-up was wasted, and whoever waited knew until when."""
    import msgspec

    from stayline.lab.storm import Wishes, run_storm
    from stayline.lab.storm_picture import draw

    wishes = Wishes(
        agents=agents,
        processes=processes or max(2, -(-agents // AGENTS_OF_A_PROCESS)),
        cap=cap,
        state=state,
        keep=keep,
    )

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    played = asyncio.run(run_storm(wishes, say))
    for path in draw(pictures or Path.cwd(), played.curves, played.figures, played.detail):
        say(f"drawn: {path}")
    _show(played, error=json)
    if json:
        typer.echo(msgspec.json.encode(played.detail).decode())
        typer.echo(msgspec.json.encode(played.figures).decode())
    raise typer.Exit(0 if played.passed else 1)


def _show(played: "Storm", *, error: bool) -> None:
    """The curves and the verdict, beside the JSON lines on standard error."""
    from stayline.lab.storm_curve import lines

    for line in lines(played.curves):
        typer.echo(line, err=error)
    figures, detail = played.figures, played.detail
    typer.echo(
        f"{figures.logins_per_second:g} logins and {figures.resumes_per_second:g} resumes a second, "
        f"{figures.wasted_setups} set-ups wasted, window {detail.window:g} s, "
        f"{detail.outage_seconds:.1f} s from the first lost link to the last agent back",
        err=error,
    )
    typer.echo(detail.why, err=error)


def storm_clients(
    state: Annotated[Path, typer.Option("--state", help="State folder of the lab that runs.")],
    agents: Annotated[int, typer.Option(min=1, help="Agents of this process.")],
    first: Annotated[int, typer.Option(min=1, help="Number of the first of them.")] = 1,
) -> None:
    """Be agents of a storm: a process of its own that obeys the storm."""
    import uvloop

    from stayline.lab.storm_clients import run_storm_clients

    # Standard output belongs to the storm; what is worth knowing goes to the log.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_storm_clients(state, first, agents))
