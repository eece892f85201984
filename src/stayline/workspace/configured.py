"""The Workspace's side of its configuration: who gives it, what of it is read when, and how old it may be."""

import uuid
from collections.abc import Callable

import structlog

from stayline.domain.errors import RefusedError
from stayline.domain.objects import ConfigObject
from stayline.domain.topology import WORKSPACE_SECTION, Configuration
from stayline.link.authority import TlsFiles
from stayline.link.configuration import ConfigurationClient, ConfigurationLink
from stayline.link.configuration_link import RECONNECT_RANGE, plain_pair, round_delays
from stayline.link.machine.plan import (
    LOSS_TIMEOUT,
    AtStart,
    PairPlan,
    Plan,
    plan_of,
    read_at_start,
    seconds_of,
)
from stayline.link.machine.pool import Node
from stayline.link.messages.configuration import LoggedIn
from stayline.link.messages.envelope import Hello
from stayline.link.transport import Endpoint
from stayline.workspace.settings import EngineSettings

log = structlog.get_logger(__name__)

ADDP_SECONDS = 2.0
"""Local and remote timeout of the link to a Configuration Server."""


class Configured:
    """``client`` follows the Configuration Servers; ``planned`` is told what the configuration says to ``user()``, and
    whether a server that is current says so; ``away`` that none is linked any more."""

    def __init__(
        self,
        settings: EngineSettings,
        hello: Callable[[], Hello],
        token: Callable[[], str],
        user: Callable[[], str],
        *,
        planned: Callable[[Plan, bool], None],
        away: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._user = user
        self._planned = planned
        self._away = away
        self._at_start: AtStart | None = None
        self._begun = False
        self._current = False
        endpoints = [
            Endpoint(
                host=address.host,
                port=address.port,
                application=address.application,
                local=ADDP_SECONDS,
                remote=ADDP_SECONDS,
            )
            for address in settings.configuration
        ]
        tls = TlsFiles(ca=settings.authority)
        self.client = ConfigurationClient(
            endpoints, hello, tls, None, token, clock=settings.clock, pair=self._pair
        )
        self.client.changed.append(self._changed)
        self.client.on_link.append(self._linked)

    # -- life

    async def login(self, user: str, password: str, source: str) -> LoggedIn:
        """Prove the password. Raises RefusedError, or LinkLostError when no Configuration Server answers."""
        return await self.client.login(user, password, source)

    async def start(self) -> None:
        """Have a configuration: a server's, or the copy on disk of this user. Raises LinkLostError."""
        folder, user = self._settings.state_dir, self._user()
        if folder is not None and user:
            name = f"configuration-{uuid.uuid5(uuid.NAMESPACE_OID, user).hex}.json"
            self.client.copy.path = folder / name
        await self.client.start()

    def begin(self) -> None:
        """Tell the plan from now on, the first time at once. Raises RefusedError when this Workspace application is
        not configured."""
        plan = self._plan()
        self._begun = True
        self._current = self.client.is_current
        self._planned(plan, self._current)

    async def stop(self) -> None:
        """Follow no more; what is known stays on the disk."""
        self._begun = False
        await self.client.stop()

    # -- following

    def _plan(self) -> Plan:
        configuration, user = self.client.snapshot, self._user()
        if self._at_start is None:
            self._at_start = read_at_start(configuration, self._settings.application, user)
        return plan_of(configuration, self._settings.application, user, self._at_start)

    def _changed(self, changed: list[ConfigObject]) -> None:
        self._tell()

    def _linked(self, link: ConfigurationLink) -> None:
        current = link.up and link.current
        if not self._begun or current is self._current:
            return
        self._current = current
        if current:
            # The whole chain is resolved again, whether or not anything has changed.
            self._tell()
        else:
            self._away(link.why if not link.up else f"{link.application} does not follow its database")

    def _tell(self) -> None:
        """What cannot be used (this very application is gone) leaves everything as it is: agents go on with what they
        had."""
        if not self._begun:
            return
        try:
            plan = self._plan()
        except RefusedError as error:
            log.error("workspace.configuration", agent=self._user(), why=error.refusal.reason)
        else:
            self._planned(plan, self._current)

    # -- its own servers

    def _pair(self, configuration: Configuration, nodes: tuple[Node, ...]) -> PairPlan:
        """Preferred and peer as the options said when this Workspace began."""
        application, user = self._settings.application, self._user()
        try:
            start = self._at_start or read_at_start(configuration, application, user)
        except RefusedError:
            return plain_pair(configuration, nodes)  # nothing is known yet, or this application is gone
        lost = configuration.effective_option(application, user, WORKSPACE_SECTION, LOSS_TIMEOUT).value
        return PairPlan(
            nodes=nodes,
            enabled=start.enabled,
            preferred=start.preferred,
            peer=start.peer,
            timeout=seconds_of(lost, LOSS_TIMEOUT)[0],
            needed=True,
            retry_delays=round_delays(configuration, nodes),
            reconnect_range=RECONNECT_RANGE,
        )
