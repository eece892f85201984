"""What commands share that work on the configuration of a running centre: a client, and how a refusal ends them."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import typer
from rich.console import Console

from stayline.control.host.plan import OPERATOR
from stayline.domain.errors import StaylineError, refuse
from stayline.domain.provisioning import Provisioned, ProvisioningError, parse_provisioning
from stayline.domain.topology import Configuration
from stayline.lab.layout import default_state, read_layout
from stayline.link.bootstrap import load_bootstrap
from stayline.link.configuration import ConfigurationClient, configuration_endpoints
from stayline.link.messages.envelope import Hello

T = TypeVar("T")


def _client(state: Path) -> ConfigurationClient:
    layout = read_layout(state)
    boot = load_bootstrap(layout.sites[layout.first_site].folder)
    hello = Hello(application="operator", type=OPERATOR, instance=uuid.uuid4().hex)
    return ConfigurationClient(configuration_endpoints(boot, 5.0, 5.0), lambda: hello, layout.operator)


def with_configuration(state: Path | None, work: Callable[[ConfigurationClient], Awaitable[T]]) -> T:
    """Run ``work`` with a client that knows the configuration; a refusal ends the command with status 1."""

    async def run() -> T:
        client = _client(state or default_state())
        try:
            await client.start(timeout=5.0)
            return await work(client)
        finally:
            await client.stop()

    try:
        return asyncio.run(run())
    except StaylineError as error:
        raise fail(error) from error


def fail(error: StaylineError) -> typer.Exit:
    """Say a refusal with what mends it; the exit to raise."""
    console = Console(stderr=True, soft_wrap=True)
    if isinstance(error, ProvisioningError):
        for fault in error.faults:
            console.print(str(fault), markup=False, highlight=False)
        return typer.Exit(1)
    console.print(f"{error.refusal.reason} ({error.refusal.code})", markup=False, highlight=False)
    if error.refusal.fix:
        console.print(f"What helps: {error.refusal.fix}", markup=False, highlight=False)
    return typer.Exit(1)


def parse_file(file: Path) -> Provisioned:
    """What a provisioning file says; its faults end the command with status 1."""
    try:
        return parse_provisioning(file.read_text(encoding="utf-8"), str(file))
    except UnicodeDecodeError as error:
        raise fail(refuse("provisioning.syntax", f"{file} is not UTF-8: {error.reason}.")) from error
    except OSError as error:
        raise fail(refuse("provisioning.missing", f"{file} cannot be read: {error.strerror}.")) from error
    except StaylineError as error:
        raise fail(error) from error


def from_file(file: Path) -> Configuration:
    """The configuration that a provisioning file describes; as :func:`parse_file`."""
    return Configuration(parse_file(file).objects)
