"""The state folder of a lab: certificates, keys, ports, one folder per site, and what a first start
provisions.

Laying it out is idempotent: what is there is kept (ports too, while they are still free), what is missing is
made.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import MappingProxyType

import msgspec

from stayline.control.host.plan import HostPlan, Provision
from stayline.control.host.run_file import write_durably
from stayline.control.postgres.config import create_passwords
from stayline.domain.errors import refuse
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.domain.topology import Configuration
from stayline.lab.crowd_objects import with_crowd
from stayline.lab.ports import choose_ports, is_free
from stayline.lab.sample import load_centre
from stayline.lab.site_folders import (
    DATABASE_PORT,
    HOST_PORT,
    WORKSPACE_FOLDER,
    SiteLayout,
    lay_site,
    lay_workspace,
    plan_of,
    site_layout,
)
from stayline.link.authority import (
    TlsFiles,
    client_context,
    create_authority,
    server_context,
    tls_files,
)
from stayline.link.messages.control import ReplicationMode
from stayline.link.tokens import SIGNING_KEY, create_signing_keys
from stayline.servers.chat.protection import customer_address
from stayline.store.passwords import hashes_of

__all__ = [
    "HOST_PORT",
    "LAB",
    "SHOP_PORT",
    "WORKSPACE_FOLDER",
    "WORKSPACE_PORT",
    "Laid",
    "Layout",
    "SiteLayout",
    "chat_addresses",
    "default_state",
    "lay_out",
    "locked",
    "read_layout",
    "remove",
]

FORMAT = 1
"""Version of the folder's arrangement; a folder of another one is refused."""

WORKSPACE_PORT, SHOP_PORT = "workspace", "shop"
"""Port ids of the lab itself: the Workspace's pages and the sample customer page."""

_LAB_STARTS = "100000"
"""Chats a minute that the lab's one address may start."""

LAB = "lab"
"""Whose ports the two above are, in :attr:`Laid.ports`."""


class Laid(msgspec.Struct, kw_only=True):
    """``layout.json``: what was laid out. ``ports`` of each application, host and of the lab: id ->
    number."""

    format: int = FORMAT
    ports: dict[str, dict[str, int]] = {}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A laid-out state folder. ``objects`` are the configuration objects with ports filled in."""

    state: Path
    sites: dict[str, SiteLayout]
    objects: list[ConfigObject]
    laid: Laid

    @property
    def first_site(self) -> str:
        """The site that makes the database."""
        return next(iter(self.sites))

    @property
    def operator(self) -> TlsFiles:
        """Certificate and key of the operator's command line."""
        return tls_files(self.sites[self.first_site].folder / "certificates", "operator")

    def applications(self, *types: ApplicationType) -> list[ConfigObject]:
        """The Application objects of these types (none given: of all)."""
        chosen = [one for one in self.objects if one.type is ObjectType.APPLICATION]
        return [one for one in chosen if not types or one.app_type in types]

    def application(self, name: str) -> ConfigObject:
        """One Application object. Raises RefusedError ``application.unknown``."""
        for one in self.applications():
            if one.name == name:
                return one
        raise refuse("application.unknown", f"There is no application {name!r} in this lab.", field="name")

    def site_of(self, name: str) -> str:
        """The site in which an application runs. Raises RefusedError ``application.unknown``."""
        host = self.application(name).host
        for site in self.sites.values():
            if site.host == host:
                return site.site
        raise refuse(
            "application.unknown", f"Application {name!r} runs on no host of this lab.", field="name"
        )

    def lab_port(self, port_id: str) -> int:
        """Port of the Workspace's pages or of the sample customer page."""
        return self.laid.ports[LAB][port_id]


def chat_addresses(layout: Layout) -> list[str]:
    """Base addresses of the customers' ports of all Chat Servers, those of the first site first."""
    configuration = Configuration(layout.objects)
    return [
        customer_address(configuration, one.name) for one in layout.applications(ApplicationType.CHAT_SERVER)
    ]


def default_state() -> Path:
    """``$STAYLINE_STATE``, else ``.stayline`` in the current folder; absolute."""
    return Path(os.environ.get("STAYLINE_STATE") or ".stayline").absolute()


def lay_out(
    state: Path,
    *,
    config: Path | None = None,
    agents: int = 0,
    replication: ReplicationMode = ReplicationMode.FOLLOW,
    fresh: bool = False,
    durable_setup: bool = True,
    databases: Mapping[str, str] = MappingProxyType({}),
    random: Random | None = None,
    adjust: Callable[[ConfigObject], ConfigObject] | None = None,
) -> Layout:
    """Make or complete the state folder.

    ``config`` a TOML file (None: the packaged sample centre); ``agents`` synthetic agents with places of
    their own; ``fresh`` removes what is there first; ``adjust`` may change each object of the centre before it is
    provisioned. Raises RefusedError, also when a lab runs in the folder.
    """
    state = state.absolute()
    if fresh:
        remove(state)
    state.mkdir(parents=True, exist_ok=True)
    sample = load_centre(config, state)
    centre = with_crowd(sample, agents)
    synthetic = {one.name for one in centre.objects} - {one.name for one in sample.objects}
    objects = [adjust(one) for one in centre.objects] if adjust is not None else centre.objects
    laid = _read_laid(state)
    hosts = [one for one in objects if one.type is ObjectType.HOST]
    _assign_ports(state, laid, hosts, objects, random or Random())
    objects = [_with_customers(_with_ports(one, laid), laid) for one in objects]
    authority = state / "authority"
    create_authority(authority)
    create_passwords(state / "authority" / "database-passwords.json")
    _create_keys(state / "authority")
    provision = state / "provision.json"
    # Hashes only: a clear password is in the operator's own file and nowhere else.
    hashes = hashes_of(centre.passwords)
    write_durably(
        provision, msgspec.json.encode(Provision(objects=objects, hashes=hashes, synthetic=synthetic))
    )
    sites: dict[str, SiteLayout] = {}
    for host in hosts:
        plan = plan_of(state, host, hosts, objects, laid.ports)
        plan = msgspec.structs.replace(
            plan,
            replication=replication,
            durable_setup=durable_setup,
            database_dsn=databases.get(host.site, ""),
        )
        sites[host.site] = lay_site(state, plan, objects)
    lay_workspace(state, next(iter(sites.values())))
    write_durably(state / "layout.json", msgspec.json.format(msgspec.json.encode(laid)))
    return Layout(state=state, sites=sites, objects=objects, laid=laid)


def read_layout(state: Path) -> Layout:
    """The layout of an existing state folder, without changing anything. Raises RefusedError
    ``lab.no_state``."""
    state = state.absolute()
    if not (state / "layout.json").exists():
        raise refuse("lab.no_state", f"There is no lab in {state}.", fix="Start one with `stayline lab up`.")
    laid = _read_laid(state)
    objects = msgspec.json.decode((state / "provision.json").read_bytes(), type=Provision).objects
    sites: dict[str, SiteLayout] = {}
    for host in (one for one in objects if one.type is ObjectType.HOST):
        folder = state / host.site
        plan = msgspec.json.decode((folder / "host.json").read_bytes(), type=HostPlan)
        sites[host.site] = site_layout(folder, plan)
    return Layout(state=state, sites=sites, objects=objects, laid=laid)


def remove(state: Path) -> None:
    """Remove a lab's state folder with everything in it. Refuses a folder that is not one, or in use."""
    if not state.exists() or not any(state.iterdir()):
        return
    if not (state / "layout.json").exists():
        raise refuse(
            "lab.not_a_state_folder",
            f"{state} has no layout.json, so it is not a lab's state folder: nothing was removed.",
            fix="Name another folder with --state, or empty this one yourself.",
        )
    with locked(state):
        for folder in state.glob("*/database/location.json"):
            # The database may live elsewhere (an account that cannot enter this folder): see
            # control/postgres.
            location = msgspec.json.decode(folder.read_bytes())
            for key in ("root", "run"):
                shutil.rmtree(location.get(key, ""), ignore_errors=True)
        shutil.rmtree(state)
    # The next lab here gets another authority under the same paths: no context may remember this one's files.
    client_context.cache_clear()
    server_context.cache_clear()


class locked:
    """Hold a lab's state folder for one process. Raises RefusedError ``lab.in_use``."""

    def __init__(self, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self._path = state / "lab.lock"
        self._file = -1

    def __enter__(self) -> "locked":
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise refuse(
                "lab.in_use",
                f"Another lab runs in {self._path.parent}.",
                fix="Stop it with Ctrl-C, or name another folder with --state.",
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def _read_laid(state: Path) -> Laid:
    path = state / "layout.json"
    try:
        laid = msgspec.json.decode(path.read_bytes(), type=Laid)
    except FileNotFoundError:
        return Laid()
    except msgspec.MsgspecError as error:
        raise refuse(
            "lab.layout_malformed", f"{path} cannot be read: {error}.", fix="Start with --fresh."
        ) from error
    if laid.format != FORMAT:
        raise refuse(
            "lab.layout_format",
            f"{state} was laid out by another release (format {laid.format}, this one writes {FORMAT}).",
            fix="Start with --fresh, or with that release.",
        )
    return laid


def _assign_ports(
    state: Path, laid: Laid, hosts: Sequence[ConfigObject], objects: Sequence[ConfigObject], random: Random
) -> None:
    """Keep every port that is still free; choose the others."""
    wanted: dict[str, dict[str, int]] = {host.name: {HOST_PORT: 0, DATABASE_PORT: 0} for host in hosts}
    wanted[LAB] = {WORKSPACE_PORT: 0, SHOP_PORT: 0}
    for one in objects:
        if one.type is ObjectType.APPLICATION and one.host:
            wanted[one.name] = dict(one.ports)
    missing: list[tuple[str, str]] = []
    for name, ports in wanted.items():
        for port_id, given in ports.items():
            port = given or laid.ports.get(name, {}).get(port_id, 0)
            ports[port_id] = port
            if not port or (not given and not is_free(port)):
                missing.append((name, port_id))
    keep = [port for ports in wanted.values() for port in ports.values() if port]
    chosen = choose_ports(state, len(missing), random, keep=keep)
    for (name, port_id), port in zip(missing, chosen, strict=True):
        wanted[name][port_id] = port
    laid.ports = wanted


def _with_ports(one: ConfigObject, laid: Laid) -> ConfigObject:
    # Hosts too: a Solution Control Server finds the other site's host agent in the configuration.
    if one.type in (ObjectType.APPLICATION, ObjectType.HOST) and one.name in laid.ports:
        return msgspec.structs.replace(one, ports=laid.ports[one.name])
    return one


def _with_customers(one: ConfigObject, laid: Laid) -> ConfigObject:
    """Let the lab's sample customer page and its synthetic customers talk to every Chat Server: what the file does
    not say is set. All of the lab's customers come from one address."""
    if one.app_type is not ApplicationType.CHAT_SERVER:
        return one
    port = laid.ports[LAB][SHOP_PORT]
    wanted = {
        "allowed-origins": f"http://127.0.0.1:{port}, http://localhost:{port}",
        "max-starts-per-minute": _LAB_STARTS,
    }
    missing = {key: value for key, value in wanted.items() if not one.option("settings", key)}
    settings = one.options.get("settings", {}) | missing
    return msgspec.structs.replace(one, options={**one.options, "settings": settings})


def _create_keys(folder: Path) -> None:
    if not (folder / SIGNING_KEY).exists():
        create_signing_keys(folder)
