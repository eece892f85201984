"""One site's folder in a lab's state folder: its plan, its bootstrap file, its certificates and keys."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stayline.control.host.plan import HOST_AGENT, OPERATOR, HostPlan, PeerHost, PlannedApplication
from stayline.control.host.run_file import write_durably
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.link.authority import CA_CERTIFICATE, issue
from stayline.link.bootstrap import Bootstrap, Node, save_bootstrap
from stayline.link.tokens import SIGNING_KEY, VERIFY_KEY

HOST_PORT, DATABASE_PORT = "agent", "database"
"""Port ids of a host: its agent, and the replication link of its database."""

WORKSPACE_FOLDER = "workspace"
"""Where in the state folder the Workspace's process has its files."""


@dataclass(frozen=True, kw_only=True)
class SiteLayout:
    """One site's folder and plan."""

    site: str
    host: str
    folder: Path
    plan: HostPlan
    agent: Node


def plan_of(
    state: Path,
    host: ConfigObject,
    hosts: Sequence[ConfigObject],
    objects: Sequence[ConfigObject],
    allotted: Mapping[str, Mapping[str, int]],
) -> HostPlan:
    """The plan of ``host``; ``allotted`` holds the ports of each host and application by id."""
    peers = [one for one in hosts if one.site != host.site]
    ports = allotted[host.name]
    peer = None
    if peers:
        other = allotted[peers[0].name]
        peer = PeerHost(
            host=peers[0].name,
            site=peers[0].site,
            address=peers[0].address,
            port=other[HOST_PORT],
            database_port=other[DATABASE_PORT],
        )
    return HostPlan(
        host=host.name,
        site=host.site,
        address=host.address,
        port=ports[HOST_PORT],
        database_port=ports[DATABASE_PORT],
        applications=[
            PlannedApplication(application=one.name, app_type=one.app_type)
            for one in objects
            if one.type is ObjectType.APPLICATION and one.host == host.name and one.app_type is not None
        ],
        peer=peer,
        first=host.name == hosts[0].name,
        provision=str(state / "provision.json"),
        passwords=str(state / "authority" / "database-passwords.json"),
        lab=True,
    )


def lay_site(state: Path, plan: HostPlan, objects: Sequence[ConfigObject]) -> SiteLayout:
    """Make or complete the folder of ``plan``'s site."""
    folder = state / plan.site
    for part in ("certificates", "keys", "database", "log", "journal", "run"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    _certificates(state, folder / "certificates", plan)
    for key in (SIGNING_KEY, VERIFY_KEY):
        if not (folder / "keys" / key).exists():
            # Never for a moment readable by others, as a copied file would be.
            write_durably(folder / "keys" / key, (state / "authority" / key).read_bytes())
    write_durably(folder / "host.json", msgspec.json.format(msgspec.json.encode(plan)))
    servers = [one for one in objects if one.app_type is ApplicationType.CONFIGURATION_SERVER]
    addresses = {one.name: one.address for one in objects if one.type is ObjectType.HOST}
    own_first = sorted(servers, key=lambda one: one.host != plan.host)
    layout = site_layout(folder, plan)
    try:
        dsn = msgspec.json.decode((folder / "bootstrap.json").read_bytes(), type=Bootstrap).database_dsn
    except (FileNotFoundError, msgspec.MsgspecError):
        dsn = ""
    save_bootstrap(
        folder,
        Bootstrap(
            site=plan.site,
            host=plan.host,
            state=str(folder),
            configuration=[
                Node(application=one.name, host=addresses[one.host], port=one.ports["default"])
                for one in own_first
            ],
            certificates=str(folder / "certificates"),
            keys=str(folder / "keys"),
            log_dir=str(folder / "log"),
            database_dsn=dsn,  # the host agent writes it once it knows where its database listens
            host_agent=layout.agent,
        ),
    )
    return layout


def lay_workspace(state: Path, site: SiteLayout) -> None:
    """The folder of the process that shows the agents' pages: it needs the Configuration Servers and the
    authority's certificate, and proves agents by their tokens, so it has no certificate of its own."""
    folder = state / WORKSPACE_FOLDER
    (folder / "certificates").mkdir(parents=True, exist_ok=True)
    shutil.copy(state / "authority" / CA_CERTIFICATE, folder / "certificates" / CA_CERTIFICATE)
    # The public half: by it statements of mastership are checked while no Configuration Server answers.
    shutil.copy(state / "authority" / VERIFY_KEY, folder / VERIFY_KEY)
    own = msgspec.json.decode((site.folder / "bootstrap.json").read_bytes(), type=Bootstrap)
    save_bootstrap(
        folder,
        msgspec.structs.replace(
            own,
            state=str(folder),
            certificates=str(folder / "certificates"),
            keys=str(folder),
            log_dir=str(folder / "log"),
            database_dsn="",
            host_agent=None,
        ),
    )


def _certificates(state: Path, folder: Path, plan: HostPlan) -> None:
    wanted = {one.application: str(one.app_type) for one in plan.applications}
    wanted |= {plan.host: HOST_AGENT, "operator": OPERATOR}
    names = sorted({plan.address, "127.0.0.1", "localhost"})
    for name, app_type in wanted.items():
        if not (folder / f"{name}.pem").exists() or not (folder / f"{name}.key").exists():
            issue(state / "authority", name, app_type, names, into=folder)
    if not (folder / CA_CERTIFICATE).exists():
        shutil.copy(state / "authority" / CA_CERTIFICATE, folder / CA_CERTIFICATE)


def site_layout(folder: Path, plan: HostPlan) -> SiteLayout:
    """A site folder that exists."""
    return SiteLayout(
        site=plan.site,
        host=plan.host,
        folder=folder,
        plan=plan,
        agent=Node(application=plan.host, host=plan.address, port=plan.port),
    )
