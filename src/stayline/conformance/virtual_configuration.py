"""The client's link to its Configuration Servers in virtual time, and what it keeps on disk."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stayline.conformance.actions import ConfigurationState
from stayline.conformance.world import HOP
from stayline.domain.errors import Refusal
from stayline.domain.topology import TAG_OPTION, WORKSPACE_SECTION, Configuration
from stayline.link.configuration_link import RECONNECT_RANGE, ROUND_DELAYS
from stayline.link.machine import preferred, standby
from stayline.link.machine.plan import LOSS_TIMEOUT, PairPlan
from stayline.link.machine.pool import Node
from stayline.link.machine.preferred import PairDown, PairDue, PairPlanned, PairUp, PairWait, Use
from stayline.link.machine.standby import StandbyView, State
from stayline.link.machine.standby_events import (
    Assigned,
    Connect,
    Disconnect,
    Due,
    Failed,
    Lost,
    Opened,
    Proven,
    Stop,
    Wait,
    Woke,
)

if TYPE_CHECKING:
    from stayline.conformance.virtual_client import VirtualClient


@dataclass
class Disk:
    """What is kept from start to start: the configuration, the epoch under which it was read, the installation."""

    configuration: Configuration | None = None
    as_of: float = 0.0
    epoch: int = 0
    workspace: str = "installation-1"


class ConfigurationKeeper:
    """Keeps one link to the Configuration Servers of the bootstrap file; reads, and is told of changes."""

    def __init__(self, client: "VirtualClient") -> None:
        self.client = client
        self.view = StandbyView()
        self.current = False
        self._pair = preferred.PreferredView()
        self._connected = ""

    # -- life

    def start(self) -> None:
        """Connect."""
        self._tell_pair(PairPlanned(self._plan()))

    def stop(self) -> None:
        """Leave."""
        self._tell(Stop())

    def wake_up(self, patience: float) -> None:
        """This machine has slept."""
        self._tell(Woke())

    def _plan(self) -> PairPlan:
        """As the configuration known so far says."""
        client = self.client
        at_start = client.at_start
        known = client.disk.configuration
        nodes = tuple(
            Node(
                application=one.name,
                cluster="",
                site=_tag(known, one.name),
                host="",
                port=0,
            )
            for one in client.centre.given.configuration
        )
        primary = known.get("Application", nodes[0].application) if known is not None and nodes else None
        reconnect = primary.reconnect_timeout if primary is not None else 0.0
        plan = PairPlan(
            nodes=nodes,
            retry_delays=(reconnect,) if reconnect > 0 else ROUND_DELAYS,
            reconnect_range=RECONNECT_RANGE,
        )
        if at_start is None or not at_start.enabled or known is None:
            return plan
        timeout = known.effective_option("Workspace", client.centre_agent, WORKSPACE_SECTION, LOSS_TIMEOUT)
        return replace(
            plan,
            enabled=True,
            preferred=at_start.preferred,
            peer=at_start.peer,
            timeout=float(timeout.value),
        )

    # -- the machines

    def _tell_pair(self, event: preferred.PairEvent) -> None:
        client = self.client
        self._pair, actions = preferred.step(self._pair, event, client.now, client.chance)
        for action in actions:
            if isinstance(action, Use):
                self._tell(Assigned(action.assignment))
            elif isinstance(action, PairWait):
                number = action.number
                client.later(action.at, lambda number=number: self._tell_pair(PairDue(number)))  # type: ignore[misc]

    def _tell(self, event: standby.Event) -> None:
        client = self.client
        before = self.view.state
        self.view, actions = standby.step(self.view, event, client.now, client.chance)
        for action in actions:
            match action:
                case Connect(generation, node):
                    self._connect(generation, node)
                case Wait(generation, at):
                    client.later(at, lambda generation=generation: self._tell(Due(generation)))  # type: ignore[misc]
                case Disconnect():
                    self._left()
        if (before is State.UP) is not (self.view.state is State.UP):
            self._tell_pair(PairUp() if self.view.state is State.UP else PairDown())

    # -- the link

    def _connect(self, generation: int, node: Node) -> None:
        servers = self.client.configuration_servers
        servers.attempted(node.application)
        up = servers.answers(node.application)

        def answered() -> None:
            if up and servers.answers(node.application):
                self._opened(generation, node.application)
            else:
                self._tell(Failed(generation, f"{node.application} does not answer."))

        self.client.later(self.client.now + 2 * HOP, answered)

    def _opened(self, generation: int, name: str) -> None:
        self._tell(Opened(generation))
        if self.view.state is not State.UP or self.view.generation != generation:
            return
        self._connected = name
        self.client.configuration_servers.welcomed(name, self)
        self._tell(Proven(generation))
        self.read()

    def read(self) -> None:
        """Everything is read, at once and when something has changed."""
        if not self._connected:
            return
        servers = self.client.configuration_servers
        configuration, current = servers.read(self._connected)
        self.current = current
        self.client.planned(configuration, current=current)
        if not current:
            self.client.configuration_away(f"{self._connected} does not follow its database.")
        self._tell_pair(PairPlanned(self._plan()))

    def cut(self) -> None:
        """The server is gone."""
        name, self._connected = self._connected, ""
        self.current = False
        refusal = Refusal(code="link.lost", reason=f"{name} has closed its port.")
        self.client.configuration_away(refusal.reason)
        self._tell(Lost(self.view.generation, refusal.reason))

    def _left(self) -> None:
        name, self._connected = self._connected, ""
        if name:
            self.current = False
            self.client.configuration_servers.left(name)
            if self.client.running:
                self.client.configuration_away("The Configuration Server was left.")

    @property
    def connected(self) -> str:
        """The server linked (empty: none)."""
        return self._connected


@dataclass
class ConfigurationServers:
    """The Configuration Servers of a case. ``note(kind, server)`` records what they see."""

    truth: Callable[[], Configuration]
    note: Callable[[str, str], None]
    states: dict[str, ConfigurationState]
    keeper: ConfigurationKeeper | None = None
    stale: Configuration | None = None

    def answers(self, name: str) -> bool:
        """Whether it listens."""
        return self.states.get(name, ConfigurationState.AWAY) is not ConfigurationState.AWAY

    def attempted(self, name: str) -> None:
        """A client connects."""
        if self.answers(name):
            self.note("attempt", name)

    def welcomed(self, name: str, keeper: ConfigurationKeeper) -> None:
        """A client is let in."""
        self.note("welcomed", name)
        self.keeper = keeper

    def left(self, name: str) -> None:
        """The client has left."""
        self.note("closed", name)
        self.keeper = None

    def read(self, name: str) -> tuple[Configuration, bool]:
        """The configuration as this server knows it, and whether it is current."""
        if self.states[name] is ConfigurationState.STALE and self.stale is not None:
            return self.stale, False
        return self.truth(), True

    def become(self, name: str, state: ConfigurationState) -> None:
        """A server changes."""
        if state is ConfigurationState.STALE and self.stale is None:
            self.stale = self.truth()
        self.states[name] = state
        if not any(one is ConfigurationState.STALE for one in self.states.values()):
            self.stale = None
        keeper = self.keeper
        if keeper is None or keeper.connected != name:
            return
        if state is ConfigurationState.AWAY:
            self.note("reset", name)
            self.keeper = None
            keeper.cut()
        else:
            keeper.read()

    def changed(self) -> None:
        """The configuration has changed: who is linked is told."""
        if self.keeper is not None:
            self.keeper.read()


def _tag(configuration: Configuration | None, name: str) -> str:
    app = configuration.get("Application", name) if configuration is not None else None
    return app.option(WORKSPACE_SECTION, TAG_OPTION) if app is not None else ""
