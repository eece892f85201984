"""``stayline conformance``: what a Workspace has to do, in cases, and whether a client does it."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stayline.conformance.case import Case
    from stayline.conformance.play import CaseResult

app = typer.Typer(
    help="The rules of the connection logic as cases: read them, and judge a client by them.",
    no_args_is_help=True,
)

Only = Annotated[
    list[str] | None,
    typer.Option("--only", help="A case, a rule (4.2), a chapter or a file. Repeatable."),
]


@app.command("list")
def list_cases(only: Only = None) -> None:
    """One line for each case: its number, the rules it proves, what it is about."""
    for case in _cases(only):
        print(f"{case.id}  {', '.join(case.rules):12}  {case.title}")


@app.command()
def show(case: Annotated[str, typer.Argument(help="Number of the case, as in `list`.")]) -> None:
    """A case in full: what is given, the story, and the rules it proves."""
    from stayline.conformance.shown_case import lines_of

    for one in _cases([case]):
        print("\n".join(lines_of(one)))


@app.command()
def serve(
    case: Annotated[str, typer.Argument(help="Number of the case, as in `list`.")],
    state: Annotated[
        Path | None, typer.Option("--state", help="Folder for the client (default: a temporary one).")
    ] = None,
) -> None:
    """Play the servers of a case to a client that you start and end by hand, and judge it."""
    from stayline.conformance.case import find_cases, load_suite
    from stayline.conformance.credentials import Credentials
    from stayline.conformance.manual_client import ManualClient
    from stayline.conformance.play import Player
    from stayline.conformance.run import report

    wanted = find_cases(load_suite(), [case])[0]

    def say(line: str) -> None:
        print(line, flush=True)

    async def play(folder: Path) -> bool:
        player = Player(
            wanted,
            lambda desk: ManualClient(desk, say),
            Credentials(folder),
            folder,
            patience=float("inf"),
            narrate=say,
        )
        result = await player.play()
        say(report(result))
        return result.failed is None

    with tempfile.TemporaryDirectory(prefix="stayline-conformance-") as temporary:
        folder = state.absolute() if state is not None else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            good = asyncio.run(play(folder))
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
    raise typer.Exit(0 if good else 1)


@app.command()
def run(
    only: Only = None,
    command: Annotated[
        str, typer.Option("--command", help="Starts the client to judge; see docs, Certify a client.")
    ] = "",
    self_: Annotated[
        bool, typer.Option("--self", help="Judge our own: the pure machines, then the Workspace engine.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON line for each result, and one for all.")
    ] = False,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Cases played at a time.")] = 8,
    slack: Annotated[
        float, typer.Option(min=0.0, help="Seconds by which times may be off over sockets.")
    ] = 0.4,
) -> None:
    """Judge a client by the cases. Exit status 1 when one failed."""
    from stayline.conformance.client import CommandClient
    from stayline.conformance.pure_results import play_purely
    from stayline.conformance.run import run_over_sockets, sums
    from stayline.conformance.self_client import SelfClient

    if self_ is bool(command):
        raise typer.BadParameter("one of --command and --self is needed")
    _be_quiet()
    cases = _cases(only)

    def tell(result: "CaseResult") -> None:
        _tell(result, as_json=as_json)

    results: list[CaseResult] = play_purely(cases, tell) if self_ else []
    results += run_over_sockets(
        cases,
        SelfClient if self_ else lambda desk: CommandClient(command, desk),
        tell,
        parallel=parallel,
        slack=slack,
    )
    total = sums(cases, results)
    if as_json:
        print(json.dumps({"cases": total.cases, "passed": total.passed, "failed": total.failed}))
    else:
        unjudged = total.cases - total.passed - total.failed
        rest = f", {unjudged} not judged" if unjudged else ""
        print(f"{total.cases} cases: {total.passed} passed, {total.failed} failed{rest}")
    raise typer.Exit(1 if total.failed else 0)


@app.command()
def client() -> None:
    """Our Workspace without a user interface, as a client under test: prints a status line at each change."""
    from stayline.conformance.self_client import run_headless

    def write(line: bytes) -> None:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()

    asyncio.run(run_headless(write))


def _cases(only: list[str] | None) -> "list[Case]":
    from stayline.conformance.case import find_cases, load_suite

    return find_cases(load_suite(), only or [])


def _tell(result: "CaseResult", *, as_json: bool) -> None:
    from stayline.conformance.run import report, row

    print(json.dumps(row(result)) if as_json else report(result), flush=True)


def _be_quiet() -> None:
    """What the engines and servers under test log is not what is asked for here."""
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
