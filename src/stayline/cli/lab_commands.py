"""``stayline lab``: two sites on one machine."""

from pathlib import Path
from typing import Annotated

import typer

from stayline.cli.drill_commands import drill, load
from stayline.cli.storm_commands import storm, storm_clients

app = typer.Typer(
    help="Two whole sites on this machine, to look at, to try out and to break.", no_args_is_help=True
)

State = Annotated[
    Path | None,
    typer.Option("--state", help="State folder (default: $STAYLINE_STATE, else .stayline here)."),
]


app.command()(drill)
app.command()(storm)
app.command(hidden=True)(load)
app.command(name="storm-clients", hidden=True)(storm_clients)


@app.command()
def up(
    state: State = None,
    agents: Annotated[int, typer.Option(min=0, help="Synthetic agents to run.")] = 0,
    customers: Annotated[int, typer.Option(min=0, help="Synthetic customers who keep chatting.")] = 0,
    replication: Annotated[
        str, typer.Option(help="What an acknowledged write means: follow, strict or async.")
    ] = "follow",
    config: Annotated[
        Path | None, typer.Option(help="A centre of your own (TOML); for a new state folder.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove the lab's data first.")] = False,
    alone: Annotated[
        bool, typer.Option("--alone", help="Start the first site even if the other one cannot be asked.")
    ] = False,
    database: Annotated[
        list[str] | None,
        typer.Option(
            help="SITE=DSN: use this PostgreSQL (you run it) instead of one of the lab's. Repeatable."
        ),
    ] = None,
) -> None:
    """Start both sites, show what happens, stop everything at Ctrl-C. The data is kept."""
    from stayline.domain.errors import refuse
    from stayline.lab.layout import default_state
    from stayline.lab.up import Wishes, lab_up
    from stayline.link.messages.control import ReplicationMode

    if replication not in list(ReplicationMode):
        known = ", ".join(ReplicationMode)
        raise refuse(
            "lab.replication", f"There is no replication mode {replication!r}.", fix=f"Use one of: {known}."
        )
    wishes = Wishes(
        state=state or default_state(),
        agents=agents,
        customers=customers,
        replication=ReplicationMode(replication),
        config=config,
        fresh=fresh,
        alone=alone,
        databases=_databases(database or []),
    )
    raise typer.Exit(lab_up(wishes))


def _databases(given: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        site, equals, dsn = one.partition("=")
        if not equals or not dsn.startswith(("postgresql://", "postgres://")):
            raise typer.BadParameter(
                f"{site!r} has no DSN; write SITE=postgresql://...", param_hint="--database"
            )
        found[site] = dsn
    return found


@app.command()
def crowd(
    state: State = None,
    agents: Annotated[int, typer.Option(min=0, help="Synthetic agents to run.")] = 0,
    customers: Annotated[int, typer.Option(min=0, help="Synthetic customers who keep chatting.")] = 0,
) -> None:
    """Let synthetic agents and customers chat in a lab that runs (`lab up --agents N` prepared the
    agents)."""
    import asyncio

    import uvloop

    from stayline.lab.crowd import run_crowd
    from stayline.lab.layout import default_state

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_crowd(state or default_state(), agents, customers))
