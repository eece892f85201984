"""``stayline config``: look at the configuration of a running centre, change it, check and load files."""

import asyncio
import getpass
import time
from dataclasses import asdict
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stayline.cli.configuration_access import fail, from_file, parse_file, with_configuration
from stayline.domain.configuration_check import Severity, findings
from stayline.domain.configuration_difference import difference
from stayline.domain.errors import refuse
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.domain.option_catalogue import CATALOGUE
from stayline.domain.options import nearest
from stayline.domain.topology import Configuration
from stayline.link.configuration import ConfigurationClient
from stayline.link.messages.configuration import Operation, OperationKind
from stayline.store.passwords import hash_password

app = typer.Typer(
    help="Objects and options of a running centre; checking and loading files.", no_args_is_help=True
)

State = Annotated[
    Path | None, typer.Option("--state", help="State folder (default: $STAYLINE_STATE, else .stayline here).")
]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the history.")]
Kind = Annotated[str, typer.Argument(help="Kind of object: Application, Person, 'Agent Group' ...")]

BATCH = 500
"""Operations in one change of ``load``."""


def _kind(text: str) -> ObjectType:
    for kind in ObjectType:
        if text.casefold().replace("_", " ").replace("-", " ") in (kind.casefold(), f"{kind.casefold()}s"):
            return kind
    near = nearest(text, ObjectType)
    fix = f"Did you mean '{near}'?" if near else "Kinds: " + ", ".join(ObjectType) + "."
    raise fail(refuse("config.unknown_type", f"There is no kind of object '{text}'.", fix=fix))


def _why(reason: str) -> str:
    return f"{reason or 'no reason given'} [{getpass.getuser()}]"


@app.command()
def show(
    kind: Annotated[str, typer.Argument(help="Kind of object; none: all objects.")] = "",
    name: Annotated[str, typer.Argument(help="Name of the object; none: all of the kind.")] = "",
    state: State = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show objects, or one object with its options."""

    async def find(client: ConfigurationClient) -> list[ConfigObject]:
        if name:
            return [client.snapshot.require(_kind(kind), name)]
        return client.snapshot.all(_kind(kind)) if kind else client.snapshot.objects

    found = with_configuration(state, find)
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found[0] if name else found), indent=2).decode())
    elif name:
        _show_one(found[0])
    else:
        table = Table("Kind", "Name", "What", "Revision")
        for obj in found:
            what = obj.app_type or obj.site or obj.display_name or obj.description
            table.add_row(obj.type, escape(obj.name), escape(what), str(obj.revision))
        Console().print(table)


def _show_one(obj: ConfigObject) -> None:
    console = Console(soft_wrap=True)
    shown = msgspec.to_builtins(obj)
    options = shown.pop("options", {})
    for field, value in shown.items():
        console.print(f"{field} = {value}", markup=False, highlight=False)
    for section, values in options.items():
        console.print(f"\n[{section}]", markup=False, highlight=False)
        for key, value in values.items():
            console.print(f"{key} = {value}", markup=False, highlight=False)


@app.command(name="set")
def set_(
    kind: Kind,
    name: Annotated[str, typer.Argument(help="Name of the object.")],
    option: Annotated[str, typer.Argument(help="SECTION/KEY")],
    value: Annotated[str, typer.Argument(help="The value.")],
    reason: Reason = "",
    state: State = None,
) -> None:
    """Set an option of an object."""
    _option(state, OperationKind.SET_OPTION, kind, name, option, value, reason)


@app.command()
def unset(
    kind: Kind,
    name: Annotated[str, typer.Argument(help="Name of the object.")],
    option: Annotated[str, typer.Argument(help="SECTION/KEY")],
    reason: Reason = "",
    state: State = None,
) -> None:
    """Take an option off an object: a weaker object, or the default, supplies it then."""
    _option(state, OperationKind.DELETE_OPTION, kind, name, option, "", reason)


def _option(
    state: Path | None, op: OperationKind, kind: str, name: str, option: str, value: str, reason: str
) -> None:
    section, slash, key = option.partition("/")
    if not slash:
        raise fail(refuse("option.unknown", f"'{option}' is no option.", fix="Write SECTION/KEY."))
    operation = Operation(op=op, type=str(_kind(kind)), name=name, section=section, key=key, value=value)
    made = with_configuration(state, lambda client: client.change([operation], _why(reason)))
    typer.echo(f"revision {made.revision}")


@app.command()
def history(
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many changes.")] = 20,
    kind: Annotated[str, typer.Option("--kind", help="Only changes of this kind of object.")] = "",
    name: Annotated[str, typer.Option("--name", help="Only changes of this object.")] = "",
    state: State = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Who changed what, when and why; newest first."""
    wanted = str(_kind(kind)) if kind else ""
    records = with_configuration(state, lambda client: client.history(limit, wanted, name))
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(records), indent=2).decode())
        return
    table = Table("Revision", "When", "Who", "Why", "What")
    for record in records:
        when = datetime.fromtimestamp(record.at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        what = "\n".join(_in_words(op) for op in record.operations[:5])
        more = f"\n... {len(record.operations) - 5} more" if len(record.operations) > 5 else ""
        cells = (str(record.revision), when, record.by, record.reason, what + more)
        table.add_row(*(escape(cell) for cell in cells))
    Console().print(table)


def _in_words(op: Operation) -> str:
    where = f"{op.type} '{op.name}'"
    if op.op is OperationKind.SET_OPTION:
        return f"{where}: {op.section}/{op.key} = {op.value}"
    if op.op is OperationKind.DELETE_OPTION:
        return f"{where}: {op.section}/{op.key} unset"
    return f"{op.op} {where}"


@app.command()
def options(
    section: Annotated[str, typer.Argument(help="Only this section.")] = "",
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Every known option: where it may be set, its default, valid values and meaning."""
    chosen = [spec for spec in CATALOGUE if section in ("", spec.section)]
    if not chosen:
        near = nearest(section, {spec.section for spec in CATALOGUE})
        fix = (
            f"Did you mean '{near}'?"
            if near
            else "Known: " + ", ".join(sorted({s.section for s in CATALOGUE}))
        )
        raise fail(refuse("option.unknown_section", f"There is no option section '{section}'.", fix=fix))
    if json:
        rows = [
            {**asdict(s), "on": sorted(s.on), "high": s.high if isfinite(s.high) else None} for s in chosen
        ]
        typer.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
        return
    table = Table("Option", "Default", "Valid", "Set on", "Meaning")
    for spec in chosen:
        on = ", ".join(sorted(spec.on))
        table.add_row(f"{spec.section}/{spec.key}", spec.default, spec.expected(), on, spec.meaning)
    Console().print(table)


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="A TOML file, as examples/two-sites.toml; none: the running centre.")
    ] = None,
    state: State = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Check a file or the running centre without touching anything: every finding with object, key and fix.

    Ends with status 1 when there is an error (warnings alone: 0).
    """
    if file is not None:
        everything, where = from_file(file), str(file)
    else:
        everything, where = with_configuration(state, _snapshot), "the running centre"
    found = findings(everything)
    if json:
        typer.echo(
            msgspec.json.format(msgspec.json.encode([asdict(one) for one in found]), indent=2).decode()
        )
    else:
        for one in found:
            typer.echo(str(one))
        counts = {kind: len(everything.all(kind)) for kind in ObjectType}
        errors = sum(one.severity is Severity.ERROR for one in found)
        verdict = f"{errors} errors, {len(found) - errors} warnings" if found else "good"
        typer.echo(f"{where}: {verdict}: " + ", ".join(f"{n} {kind}" for kind, n in counts.items() if n))
    if any(one.severity is Severity.ERROR for one in found):
        raise typer.Exit(1)


async def _snapshot(client: ConfigurationClient) -> Configuration:
    return client.snapshot


@app.command()
def load(
    file: Annotated[Path, typer.Argument(help="A TOML file, as examples/two-sites.toml.")],
    prune: Annotated[
        bool, typer.Option("--prune", help="Also delete objects and options that the file does not have.")
    ] = False,
    passwords: Annotated[
        bool, typer.Option("--passwords", help="Set passwords of known persons too.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change.")] = False,
    reason: Reason = "",
    state: State = None,
) -> None:
    """Make a running centre say what a file says; agents stay at the site they are told to use."""
    parsed = parse_file(file)

    async def work(client: ConfigurationClient) -> str:
        known = {p.name for p in client.snapshot.all(ObjectType.PERSON)}
        chosen = {n: p for n, p in parsed.passwords.items() if passwords or n not in known}
        hashed = {clear: await asyncio.to_thread(hash_password, clear) for clear in set(chosen.values())}
        puts, gone = difference(
            client.snapshot, parsed.objects, {n: hashed[p] for n, p in chosen.items()}, prune=prune
        )
        operations = [
            Operation(op=OperationKind.PUT, type=str(o.type), name=o.name, object=o) for o in puts
        ] + [Operation(op=OperationKind.DELETE, type=type_, name=name) for type_, name in gone]
        if dry_run or not operations:
            return "\n".join(_in_words(op) for op in operations) or "nothing differs"
        if len(operations) > BATCH:
            return await _in_parts(client, operations, reason or f"loaded {file.name}")
        made = await client.change(operations, _why(reason or f"loaded {file.name}"))
        return f"revision {made.revision}: {len(puts)} put, {len(gone)} deleted"

    typer.echo(with_configuration(state, work))


async def _in_parts(client: ConfigurationClient, operations: list[Operation], reason: str) -> str:
    """More than one change can hold: objects in the order in which they refer to one another."""
    begun = time.monotonic()
    revision = 0
    for begin in range(0, len(operations), BATCH):
        part = operations[begin : begin + BATCH]
        revision = (await client.change(part, _why(f"{reason} (from operation {begin + 1})"))).revision
    return f"revision {revision}: {len(operations)} operations in {time.monotonic() - begun:.1f} s"
