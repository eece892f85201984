"""What a drill works with: a centre, agents and customers at work in it, and the clock of what was done when."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from stayline.control.host.plan import OPERATOR
from stayline.control.switch.steps import KEY, SECTION
from stayline.domain.errors import RefusedError, StaylineError, refuse
from stayline.domain.objects import ApplicationType
from stayline.lab.centre import Centre
from stayline.lab.drill_cut import Cable
from stayline.lab.drill_database import held, open_database
from stayline.lab.drill_load import LoadProcess
from stayline.lab.load import Order
from stayline.lab.switch_order import switch_site
from stayline.link.bootstrap import load_bootstrap
from stayline.link.configuration import ConfigurationClient, configuration_endpoints
from stayline.link.messages.envelope import Hello, Role

log = structlog.get_logger("stayline.drill")

SWITCH_SECONDS = 120.0
TALK_SECONDS = 60.0
SETTLE_SECONDS = 45.0
_LOOK = 0.05


@dataclass
class Strike:
    """Something was done at ``at`` (Unix seconds). ``link``/``victim``: only agents whose link was at that server
    are touched (empty: all agents). ``watched``: the link whose end is the notice (empty: any loss of controls)."""

    at: float
    link: str = ""
    victim: str = ""
    watched: str = ""


@dataclass
class Stage:
    """The running scene. ``fell_behind``: the replica was made to miss something; ``reported`` ids of what the
    returning site said that only it had. ``problems`` are sentences for the verdict; a drill goes on after one,
    because the checker's findings say more about it."""

    centre: Centre
    agents: LoadProcess
    customers: LoadProcess
    changed: asyncio.Event
    agent_count: int
    customer_count: int
    say: Callable[[str], None]
    cable: Cable | None = None
    strikes: list[Strike] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    reported: frozenset[str] = frozenset()
    fell_behind: bool = False
    _marks: int = 0
    _expected: int = 0

    @property
    def present(self) -> int:
        """Customers who have not left."""
        return self.customer_count - self.customers.state.left

    # -- waiting

    async def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until the loads' states fulfil a condition. Raises RefusedError ``drill.late`` naming ``what``."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self.changed.clear()
                    self.agents.check()
                    self.customers.check()
                    if condition():
                        return
                    await self.changed.wait()
        except TimeoutError:
            raise refuse("drill.late", f"{what} not within {seconds:g} s ({self.where()})") from None

    def where(self) -> str:
        """How agents and customers stand, in a sentence."""
        agents, customers = self.agents.state, self.customers.state
        return (
            f"of {self.agent_count} agents {agents.there} are logged in, {agents.whole} have full controls, "
            f"{agents.settled} have nothing on its way; {agents.chats} chats are owned; of {self.customer_count} "
            f"customers {customers.there} were started, {customers.whole} are connected, "
            f"{customers.settled} have nothing on its way, {customers.answered} were answered"
        )

    async def mark(self) -> None:
        """Let both sides count anew from now on."""
        self._marks += 1
        for load in (self.agents, self.customers):
            load.order(Order.MARK)
        await self.until(
            lambda: self.agents.state.marks == self.customers.state.marks == self._marks, 10.0, "marked"
        )

    async def talked(self) -> None:
        """Wait until every customer has asked something and was answered, from now on."""
        await self.mark()
        await self._or_problem(
            lambda: self.customers.state.answered >= self.present, TALK_SECONDS, "every customer was answered"
        )

    async def recovered(self, seconds: float, site: str = "") -> None:
        """Wait until everybody who was struck noticed, and everybody works again (at ``site``)."""
        expected = self._expected

        def back() -> bool:
            agents = self.agents.state
            here = not site or agents.sites == {site: self.agent_count}
            whole = agents.whole == self.agent_count and self.customers.state.whole == self.present
            return agents.noticed >= expected and whole and here

        began = time.monotonic()
        await self._or_problem(back, seconds, f"everybody works again{' at ' + site if site else ''}")
        self.say(f"everybody works again after {time.monotonic() - began:.1f} s")

    async def _or_problem(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        try:
            await self.until(condition, seconds, what)
        except RefusedError as error:
            if error.refusal.code != "drill.late":
                raise
            self.problems.append(error.refusal.reason)
            self.say(error.refusal.reason)

    async def settle(self) -> None:
        """Stop sending and wait until everything that was sent is on both sides and in the database."""
        for load in (self.customers, self.agents):
            load.order(Order.QUIET)
        site = await self.centre.active()
        conn = await open_database(self.centre.layout.sites[site].folder)
        try:
            deadline = time.monotonic() + SETTLE_SECONDS
            while not self._settled(total := await held(conn)):
                if time.monotonic() > deadline:
                    agents, customers = self.agents.state.held, self.customers.state.held
                    self.problems.append(
                        f"not settled within {SETTLE_SECONDS:g} s: the transcripts have {total} entries, agents "
                        f"hold {agents}, customers {customers}; {self.where()}"
                    )
                    return
                await asyncio.sleep(_LOOK)
        finally:
            await conn.close()

    def _settled(self, total: int) -> bool:
        agents, customers = self.agents.state, self.customers.state
        return (
            agents.settled == self.agent_count
            and customers.settled == self.present
            and agents.held == total
            # Who has left holds what there was then; the checker looks at the others one by one.
            and (customers.held == total or customers.left > 0)
        )

    # -- looking

    def busiest(self, link: str) -> str:
        """The server to which most agents' ``link`` is connected."""
        servers = self.agents.state.servers.get(link, {})
        if not servers:
            raise refuse("drill.nobody_there", f"No agent is connected to any {link}.")
        return max(servers, key=lambda server: servers[server])

    async def primary(self, kind: ApplicationType) -> str:
        """The primary of a pair of the active site."""
        status = await self.centre.status(await self.centre.active())
        for process in status.processes if status is not None else []:
            if (
                process.app_type == kind
                and process.report is not None
                and process.report.role == Role.PRIMARY
            ):
                return process.application
        raise refuse("drill.no_primary", f"No {kind} is primary.")

    async def option_is(self, site: str, seconds: float = 60.0) -> None:
        """Wait until the centre's configuration sends Workspaces to ``site``, as its operators see it."""
        boot = load_bootstrap(self.centre.layout.sites[site].folder)
        hello = Hello(application="operator", type=OPERATOR, instance=uuid.uuid4().hex)
        client = ConfigurationClient(
            configuration_endpoints(boot), lambda: hello, self.centre.layout.operator
        )
        await client.start(timeout=seconds)

        async def moved() -> bool:
            found = client.snapshot.applications(ApplicationType.WORKSPACE)
            return any(one.option(SECTION, KEY) == site for one in found)

        try:
            await self.watch(moved, seconds, f"the option names {site}")
        finally:
            await client.stop()

    # -- doing

    async def strike(
        self, action: Callable[[], object], *, link: str = "", victim: str = "", watched: str = ""
    ) -> Strike:
        """Do it, and note when and to whom."""
        await self.mark()
        servers = self.agents.state.servers
        self._expected = servers.get(link, {}).get(victim, 0) if victim else self.agent_count
        struck = Strike(time.time(), link, victim, watched)
        self.strikes.append(struck)
        action()
        self.say(f"struck {victim or 'everybody'} ({self._expected} agents)")
        return struck

    async def switch(self, target: str, *, forced: bool = False) -> None:
        """The operator's command, as an operator gives it. A failure is a problem of the drill."""
        began = time.monotonic()
        try:
            told = await switch_site(self.centre.layout.state, target, forced=forced, seconds=SWITCH_SECONDS)
        except RefusedError as error:
            self.problems.append(error.refusal.reason)
            return
        self.say(
            f"switch to {target} took {time.monotonic() - began:.1f} s: {told.agents_after} of {told.agents_before} "
            f"agents back, {told.seconds_without_service:.1f} s without service; {told.why or 'nothing lost'}"
        )

    async def watch(self, look: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
        """Wait until a look at the centre is satisfied; too late is a problem of the drill."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if await look():
                    return
            except StaylineError as error:
                log.info("look failed", why=error.refusal.reason)
            if time.monotonic() > deadline:
                self.problems.append(f"{what}: not within {seconds:g} s")
                return
            await asyncio.sleep(_LOOK)
