"""What a host agent must know before anything runs: its applications, its database and its peer."""

from pathlib import Path

import msgspec

from stayline.domain.errors import refuse
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.link.messages.control import ReplicationMode

HOST_AGENT = "Host Agent"
"""Type of a host agent in hellos and certificates."""

OPERATOR = "Operator"
"""Type of the operator's command line in hellos and certificates."""

CORE = frozenset({ApplicationType.INTERACTION_SERVER, ApplicationType.CONTACT_SERVER})
"""Run on the active site only. Everything else runs on both; what must not be reached there does not
listen."""

START_ORDER = (
    ApplicationType.CONFIGURATION_SERVER,
    ApplicationType.CONTACT_SERVER,
    ApplicationType.INTERACTION_SERVER,
    ApplicationType.CONTACT_SERVER_PROXY,
    ApplicationType.INTERACTION_SERVER_PROXY,
    ApplicationType.CHAT_SERVER,
    ApplicationType.SOLUTION_CONTROL_SERVER,
)
"""Order of start; a stop goes through it backwards."""


class Provision(msgspec.Struct, kw_only=True):
    """The file with what a first start puts into the empty database: objects, and the encoded hash of each
    person's password (the file is readable by its owner only). ``synthetic`` names the objects that a lab may
    add to a configuration that exists already."""

    objects: list[ConfigObject]
    hashes: dict[str, str] = {}
    synthetic: set[str] = set()

    def with_hash(self, one: ConfigObject) -> ConfigObject:
        """The object as it is stored: a person with the hash."""
        if one.type is not ObjectType.PERSON or one.name not in self.hashes:
            return one
        return msgspec.structs.replace(one, password_hash=self.hashes[one.name])


class PlannedApplication(msgspec.Struct, frozen=True, kw_only=True):
    """A server that belongs to this host."""

    application: str
    app_type: ApplicationType


class PeerHost(msgspec.Struct, frozen=True, kw_only=True):
    """The other site's host agent, and where its database accepts the replication link."""

    host: str
    site: str
    address: str
    port: int
    database_port: int


class HostPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``host.json`` in the site's state folder.

    ``port`` of the host agent, ``database_port`` of the replication link. ``first``: this site makes the
    database when there is none anywhere. ``replication_away`` seconds until a primary in mode ``follow``
    goes on alone. ``provision`` file with the objects of the first start. ``passwords`` file with the
    database passwords, the same on both sites. ``bin_dir`` of PostgreSQL's programs (empty: from the
    package). ``database_dsn`` of an external database (empty: PostgreSQL runs here). ``lab``: both hosts are
    started together, so a primary whose peer does not answer may go on.
    """

    host: str
    site: str
    address: str
    port: int
    database_port: int
    applications: list[PlannedApplication]
    peer: PeerHost | None = None
    first: bool = False
    replication: ReplicationMode = ReplicationMode.FOLLOW
    replication_away: float = 2.0
    provision: str = ""
    passwords: str = ""
    bin_dir: str = ""
    database_dsn: str = ""
    durable_setup: bool = True
    lab: bool = False

    def in_order(self) -> list[PlannedApplication]:
        """The applications in starting order."""
        return sorted(self.applications, key=lambda one: START_ORDER.index(one.app_type))


def load_plan(site_folder: Path) -> HostPlan:
    """Read ``host.json``. Raises RefusedError ``host.plan_missing`` or ``host.plan_malformed``."""
    path = site_folder / "host.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=HostPlan)
    except FileNotFoundError as error:
        raise refuse(
            "host.plan_missing", f"There is no {path}.", fix="Give the state folder of a site (--state)."
        ) from error
    except msgspec.MsgspecError as error:
        raise refuse("host.plan_malformed", f"{path} cannot be read: {error}.") from error
