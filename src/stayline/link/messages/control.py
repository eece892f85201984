"""Requests and events of the management layer: host agents and the Solution Control Server."""

import enum

import msgspec

from stayline.domain import replication, switchover

ReplicationMode = replication.Mode
"""What an acknowledged write means (docs: reference/replication)."""

SwitchMode = switchover.Mode
"""The two verbs of a site switch."""


class Report(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Event ``server.report`` (server -> its host agent, at start, on change and every 2 s): how it is.

    ``listening`` whether its service port accepts connections; ``clients`` live client links (or channels);
    ``sessions`` agent sessions (Interaction Server: live + lost), ``why`` the last decision in one sentence.
    A proxy also says: ``setup_seconds`` of its time one set-up of a client costs, as measured lately (0: not yet),
    ``waiting`` openers held in its lanes, ``wasted`` set-ups begun and abandoned, ``forged`` bad tickets shown
    since its start, ``draining`` whether it is being emptied.
    """

    application: str
    type: str
    pid: int
    instance: str
    role: str
    epoch: int
    term: int
    listening: bool
    clients: int = 0
    sessions: int = 0
    lost_sessions: int = 0
    interactions: dict[str, int] = {}
    address: str = ""
    connected_to: list[str] = []
    why: str = ""
    at: float = 0.0
    setup_seconds: float = 0.0
    waiting: int = 0
    wasted: int = 0
    forged: int = 0
    draining: bool = False


class Drain(msgspec.Struct, kw_only=True):
    """``server.drain`` (host agent -> proxy, over its management link; Solution Control Server -> host agent as
    ``host.drain``) -> :class:`Drained`; idempotent. The port closes, each client gets a slot within ``window`` seconds
    (0: computed from what a set-up costs at the others) and leaves by itself. ``undo``: take clients again. An operator
    sends the same to a Solution Control Server (``server.drain``), with the name of who decided in ``by``."""

    application: str
    window: float = 0.0
    why: str = ""
    undo: bool = False
    by: str = ""


class Drained(msgspec.Struct, kw_only=True):
    """How a drain stands: ``clients`` left to go, ``window`` seconds that they were given."""

    application: str
    clients: int
    window: float
    listening: bool


class ProcessState(enum.StrEnum):
    """State of a supervised process."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    CRASHED = "crashed"


class Process(msgspec.Struct, kw_only=True):
    """One supervised application. ``since`` Unix seconds of the present state."""

    application: str
    app_type: str
    state: ProcessState
    pid: int
    since: float
    restarts: int
    exit: str = ""
    report: Report | None = None


class DatabaseRole(enum.StrEnum):
    """What the database node of a host is."""

    PRIMARY = "primary"
    REPLICA = "replica"
    DOWN = "down"
    FENCED = "fenced"


class DatabaseStatus(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The database node of one site.

    Primary: ``lsn`` written, ``replica`` streaming|absent, ``synchronous`` whether a commit now waits for the
    replica, ``exposed_since`` Unix seconds since when acknowledged writes are on this site only (0: not exposed),
    ``exposed_bytes`` of WAL. Replica: ``lsn`` replayed, ``lag_bytes`` received but not replayed, ``streaming``.
    """

    role: DatabaseRole
    mode: ReplicationMode
    site: str
    epoch: int = 0
    master_site: str = ""
    system_id: str = ""
    timeline: int = 0
    lsn: str = ""
    pid: int = 0
    replica: str = ""
    synchronous: bool = False
    exposed_since: float = 0.0
    exposed_bytes: int = 0
    streaming: bool = False
    lag_bytes: int = 0
    why: str = ""


class HostStatus(msgspec.Struct, kw_only=True):
    """``host.status`` -> this."""

    host: str
    site: str
    processes: list[Process]
    database: DatabaseStatus | None
    at: float


class StartStop(msgspec.Struct, kw_only=True):
    """``host.start`` / ``host.stop`` -> :class:`HostStatus`; idempotent. ``timeout`` s until a stop becomes a kill.
    A commanded stop is not a failure: the process is not restarted."""

    applications: list[str]
    timeout: float = 5.0
    why: str = ""


class DemotionToken(msgspec.Struct, kw_only=True):
    """Proof of where a cleanly stopped primary ended; the replica is promoted only when it has replayed to it."""

    system_id: str
    timeline: int
    lsn: str


class Demote(msgspec.Struct, kw_only=True):
    """``database.demote`` -> :class:`DemotionToken`: stops the primary cleanly and keeps it stopped."""

    why: str


class Promote(msgspec.Struct, kw_only=True):
    """``database.promote`` -> :class:`DatabaseStatus`: makes this site's replica the primary and writes the mastership
    row of ``epoch``. ``token`` None only when ``forced``. Repeating it with the same epoch is harmless."""

    epoch: int
    site: str
    token: DemotionToken | None
    forced: bool
    reason: str
    by: str
    timeout: float = 30.0


class Follow(msgspec.Struct, kw_only=True):
    """``database.follow`` -> :class:`FollowReport`: become replica of the other site's primary, rewinding if the
    histories diverged. Before the rewind, what was committed here and never reached the new primary is counted."""

    primary_host: str
    timeout: float = 60.0


class FollowReport(msgspec.Struct, kw_only=True):
    """``rewound`` whether pg_rewind was needed; what was on this node only, by kind, and the ids (bounded lists)."""

    rewound: bool
    rebuilt: bool = False
    lost_journal: int = 0
    lost_entries: int = 0
    lost_interactions: list[str] = []
    lost_messages: list[str] = []


class Fence(msgspec.Struct, kw_only=True):
    """``host.fence`` -> :class:`HostStatus`: stop every core, proxy and media server here and the database if
    primary."""

    why: str
    timeout: float = 5.0


class Switch(msgspec.Struct, kw_only=True):
    """``site.switch`` (to the Solution Control Server of the target site) -> :class:`SwitchSummary`, with events
    ``site.progress``. Called again after an interruption it continues the unfinished plan."""

    target: str
    mode: SwitchMode
    reason: str
    by: str


class StepState(enum.StrEnum):
    """State of a plan step."""

    PENDING = "pending"
    CHECKING = "checking"
    ACTING = "acting"
    VERIFYING = "verifying"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


class StepProgress(msgspec.Struct, kw_only=True):
    """Event ``site.progress``: step ``number`` of ``total`` is now in ``state``; ``evidence`` is what was seen."""

    plan: str
    number: int
    total: int
    step: str
    title: str
    state: StepState
    seconds: float = 0.0
    evidence: str = ""


class SwitchSummary(msgspec.Struct, kw_only=True):
    """How a switch ended. ``agents_before``/``agents_after`` sessions; ``seconds_without_service`` from the first
    closed port to the last restored session; ``interactions_lost`` -1 when not yet known (forced, old site unread)."""

    plan: str
    target: str
    mode: SwitchMode
    epoch: int
    done: bool
    steps: list[StepProgress]
    agents_before: int = 0
    agents_after: int = 0
    seconds_without_service: float = 0.0
    interactions_before: int = 0
    interactions_after: int = 0
    interactions_lost: int = 0
    why: str = ""


class SiteStatus(msgspec.Struct, kw_only=True):
    """One site as the Solution Control Server sees it. ``reachable`` false: ``why`` says what was tried."""

    site: str
    reachable: bool
    active: bool
    host: HostStatus | None
    why: str = ""


class CentreStatus(msgspec.Struct, kw_only=True):
    """``site.status`` -> this. ``option`` is the value of ``disaster-recovery.eservices-site`` of the Workspace
    application; ``warnings`` sentences, loudest first; ``errors`` what keeps agents from any server: a site option
    that no connected cluster carries."""

    active_site: str
    epoch: int
    option: str
    sites: list[SiteStatus]
    agents: dict[str, int]
    warnings: list[str]
    at: float
    errors: list[str] = []
