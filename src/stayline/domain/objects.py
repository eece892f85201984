"""The configuration objects, as plain frozen values (design section 2, domain facts section 8)."""

import enum

import msgspec


class ObjectType(enum.StrEnum):
    """Kinds of configuration object."""

    TENANT = "Tenant"
    PERSON = "Person"
    AGENT_GROUP = "Agent Group"
    PLACE = "Place"
    APPLICATION = "Application"
    HOST = "Host"
    QUEUE = "Queue"
    CAPACITY_RULE = "Capacity Rule"


class ApplicationType(enum.StrEnum):
    """Kinds of Application object."""

    WORKSPACE = "Workspace"
    CLUSTER = "Application Cluster"
    INTERACTION_SERVER = "Interaction Server"
    INTERACTION_SERVER_PROXY = "Interaction Server Proxy"
    CONTACT_SERVER = "Contact Server"
    CONTACT_SERVER_PROXY = "Contact Server Proxy"
    CHAT_SERVER = "Chat Server"
    CONFIGURATION_SERVER = "Configuration Server"
    SOLUTION_CONTROL_SERVER = "Solution Control Server"
    STAT_SERVER = "Stat Server"


class TraceMode(enum.StrEnum):
    """ADDP trace of a connection."""

    OFF = "off"
    LOCAL = "local"
    REMOTE = "remote"
    BOTH = "both"


class Connection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry of an Application's connection list. Timeouts are ADDP seconds; 0: that side does not poll."""

    server: str
    port_id: str = "default"
    protocol: str = "addp"
    local_timeout: float = 0.0
    remote_timeout: float = 0.0
    trace_mode: TraceMode = TraceMode.OFF
    transport_parameters: dict[str, str] = {}
    application_parameters: dict[str, str] = {}


Options = dict[str, dict[str, str]]
"""section -> key -> value, as the annex of every object."""


class ConfigObject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Any configuration object: ``type`` says which of the fields below have a meaning.

    Application: ``app_type``, ``host``, ``ports`` (port id -> TCP port; "default" is the frame link, "http" the page
    of a Chat Server or Workspace), ``backup`` (name of the backup of a pair), ``reconnect_timeout`` (s),
    ``connections``. Host: ``address``, ``site``. Person: ``roles``, ``display_name``, ``default_place``,
    ``capacity_rule``, ``password_hash`` (never leaves the Configuration Server). Agent Group: ``members``.
    Queue: ``media``, ``groups`` (agent groups served; empty: everybody). Capacity Rule: ``capacity``
    (media -> number). ``revision`` is that of the last change of this object.
    """

    type: ObjectType
    name: str
    tenant: str = ""
    options: Options = {}
    revision: int = 0
    enabled: bool = True
    description: str = ""
    # Application
    app_type: ApplicationType | None = None
    host: str = ""
    ports: dict[str, int] = {}
    backup: str = ""
    reconnect_timeout: float = 0.0
    connections: list[Connection] = []
    # Host
    address: str = ""
    site: str = ""
    # Person
    roles: list[str] = []
    display_name: str = ""
    default_place: str = ""
    capacity_rule: str = ""
    password_hash: str = ""
    # Agent Group
    members: list[str] = []
    # Queue
    media: list[str] = []
    groups: list[str] = []
    # Capacity Rule
    capacity: dict[str, int] = {}

    def option(self, section: str, key: str, default: str = "") -> str:
        """The value of an option set on this very object, else ``default``."""
        return self.options.get(section, {}).get(key, default)
