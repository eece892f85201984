"""One client process of a storm: many lean agents on one event loop, each with links of its own."""

import asyncio
import contextlib
import os
import random as random_module
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from stayline.control.host.plan import OPERATOR
from stayline.domain.errors import StaylineError
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.lab.crowd_objects import CROWD_PASSWORD, crowd_name, crowd_place
from stayline.lab.layout import WORKSPACE_FOLDER, Layout, read_layout
from stayline.lab.storm_account import WORKSPACE, Account
from stayline.lab.storm_agent import StormAgent
from stayline.lab.storm_orders import MAX_LINE, TELL_EVERY, Counts, Do, StormOrder, StormState, Turned
from stayline.link.authority import TlsFiles
from stayline.link.bootstrap import load_bootstrap
from stayline.link.configuration import ConfigurationClient, configuration_endpoints
from stayline.link.configuration_link import ConfigurationLink
from stayline.link.configuration_requests import ConfigurationRequests
from stayline.link.machine.plan import AtStart, Link, Plan, plan_of, read_at_start
from stayline.link.messages.envelope import Hello
from stayline.link.tokens import Statement, TokenVerifier

PASSWORDS_AT_ONCE = 16
"""Passwords on their way to a Configuration Server from one process. The proxies' pace is their own business."""

CONFIGURATION_ADDP = 10.0
"""Seconds of silence on a client process's link to a Configuration Server. A Workspace answers its polls at once; this
loop is busy with a thousand of them when all lose their links."""

NICENESS = 5
"""In a centre the agents' machines take no time from the servers; here servers come first."""

_LOGIN_ATTEMPTS = 40
_RETRY_SECONDS = 0.5
_STATEMENTS = 16


class StormCrowd:
    """Agents ``first`` to ``first + count - 1`` of the lab in ``state``."""

    def __init__(self, state: Path, first: int, count: int) -> None:
        layout = read_layout(state)
        folder = layout.state / WORKSPACE_FOLDER
        bootstrap = load_bootstrap(folder)
        endpoints = configuration_endpoints(bootstrap)
        tls = TlsFiles(ca=Path(bootstrap.certificates) / "ca.pem")
        instance = uuid.uuid4().hex
        self._random = random_module.Random(first)
        # One copy of the configuration for all agents of the process, as an operator sees it: a person's own view has
        # no other persons in it.
        self._configuration = _operator_client(layout)
        self._logins = ConfigurationRequests(
            endpoints,
            lambda: Hello(application=WORKSPACE, type=ApplicationType.WORKSPACE, instance=instance),
            tls,
        )
        self._started: AtStart | None = None
        self._current = False
        self.verifier = _OnceVerifier.load(bootstrap.keys)
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._groups: dict[str, tuple[str, ...]] = {}
        self._told = StormState()
        self._turned: list[Turned] = []
        self._refusals: Counter[str] = Counter()
        self.counts = Counts()
        self._work: set[asyncio.Task[None]] = set()
        self.agents = [
            StormAgent(
                Account(number=number, user=crowd_name(number), place=crowd_place(number)),
                tls,
                random=random_module.Random(self._random.random()).random,
                crowd=self,
            )
            for number in range(first, first + count)
        ]

    # -- life

    async def start(self) -> None:
        """Read the configuration and follow it. Raises StaylineError when there is none."""
        await self._configuration.start()
        self._started = read_at_start(self._configuration.snapshot, WORKSPACE, self.agents[0].account.user)
        self._read()
        self._current = self._configuration.is_current
        self._configuration.changed.append(self._configured)
        self._configuration.on_link.append(self._linked)
        self._told.ready = True

    async def stop(self) -> None:
        """Hang up everything; sessions stay."""
        for task in self._work:
            task.cancel()
        if self._work:
            await asyncio.wait(self._work)
        await asyncio.gather(*(agent.hang_up() for agent in self.agents))
        await self._configuration.stop()

    # -- the configuration

    def _configured(self, _changed: list[ConfigObject]) -> None:
        self._read()
        self._tell_plans()

    def _tell_plans(self) -> None:
        self._current = self._configuration.is_current
        for agent in self.agents:
            agent.planned(self.plan(agent.account.user), self._current)

    def _linked(self, link: ConfigurationLink) -> None:
        if self._configuration.is_current == self._current:
            return
        if self._configuration.is_current:
            self._tell_plans()
            return
        self._current = False
        for agent in self.agents:
            agent.configuration_away(link.why)

    def _read(self) -> None:
        """Persons in the same groups have the same plan here: nothing is set on a person. Computed once for all."""
        self._plans.clear()
        groups: dict[str, tuple[str, ...]] = {}
        for group in self._configuration.snapshot.all(ObjectType.AGENT_GROUP):
            for member in group.members:
                groups[member] = (*groups.get(member, ()), group.name)
        self._groups = groups

    def plan(self, user: str) -> Plan:
        """What a person's Workspace may use now."""
        groups = self._groups.get(user, ())
        found = self._plans.get(groups)
        if found is None:
            found = _lean(plan_of(self._configuration.snapshot, WORKSPACE, user, self._started))
            self._plans[groups] = found
        return found

    # -- what agents tell

    def turned(self, agent: StormAgent) -> None:
        """An agent is whole, or not any more."""
        account = agent.account
        site = agent.site if agent.whole else ""
        self._turned.append(Turned(account.number, time.time(), site, agent.session))

    def refused(self, code: str) -> None:
        """A refusal was heard."""
        self._refusals[code] += 1

    # -- orders

    def order(self, order: StormOrder) -> None:
        """Begin to do it."""
        self._told.obeyed += 1
        some = self.agents[: order.count]
        at_once = order.at_once or 1
        if order.do is Do.MARK:
            self.counts = Counts()
        elif order.do is Do.LOGIN:
            self._do(self._each(self.agents, PASSWORDS_AT_ONCE, self._login))
        elif order.do is Do.HANG_UP:
            self._do(self._each(some, len(some), StormAgent.hang_up))
        elif order.do is Do.RESUME:
            self._do(self._each(some, at_once, self._begin))
        elif order.do is Do.ORIGINAL:
            self._do(self._each(self.agents, at_once, self._go_original))

    def _do(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._told.problem = repr(error)

    async def _each(
        self, agents: list[StormAgent], at_once: int, what: Callable[[StormAgent], Awaitable[None]]
    ) -> None:
        """For each agent, ``at_once`` at a time."""
        waiting = iter(agents)

        async def worker() -> None:
            for agent in waiting:
                await what(agent)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(agents))):
                group.create_task(worker())

    async def _login(self, agent: StormAgent) -> None:
        """The password, then the links: who has proven himself does not keep the next one waiting."""
        account = agent.account
        for attempt in range(_LOGIN_ATTEMPTS):
            try:
                logged_in = await self._logins.login(account.user, CROWD_PASSWORD)
            except StaylineError as error:
                if not error.refusal.retryable or attempt == _LOGIN_ATTEMPTS - 1:
                    raise
                self.refused(error.refusal.code)
                pause = error.refusal.retry_after or _RETRY_SECONDS
                await asyncio.sleep(pause * (1.0 + self._random.random()))
            else:
                account.token = logged_in.token
                agent.begin(self.plan(account.user), self._current)
                return

    async def _begin(self, agent: StormAgent) -> None:
        agent.begin(self.plan(agent.account.user), self._current)
        await agent.until_whole()

    async def _go_original(self, agent: StormAgent) -> None:
        await agent.go_original(self.plan(agent.account.user))
        await agent.until_whole()

    # -- telling

    def state(self) -> StormState:
        """What happened since the last line, with a look at everybody who waits."""
        now = time.time()
        for agent in self.agents:
            agent.look(now)
        told, self._turned = self._turned, []
        return msgspec.structs.replace(
            self._told, turned=told, counts=self.counts, refusals=dict(self._refusals)
        )


class _OnceVerifier(TokenVerifier):
    """Checks each statement of mastership once: the agents of one process all hear the same ones."""

    def __init__(self, pem: bytes) -> None:
        super().__init__(pem)
        self._known: dict[str, Statement] = {}

    def statement(self, token: str, now: float) -> Statement:
        """As the base; a good one is remembered until it expires."""
        known = self._known.get(token)
        if known is None or known.expires <= now:
            known = super().statement(token, now)
            self._known = {**dict(list(self._known.items())[-_STATEMENTS:]), token: known}
        return known


def _lean(plan: Plan) -> Plan:
    """The plan without chat: an agent of a storm has no chats."""
    clusters = tuple(
        replace(cluster, pools={link: pool for link, pool in cluster.pools.items() if link is not Link.CHAT})
        for cluster in plan.clusters
    )
    return replace(plan, clusters=clusters, statistics=None)


def _operator_client(layout: Layout) -> ConfigurationClient:
    """A configuration client with the operator's certificate: it sees everybody."""
    bootstrap = load_bootstrap(layout.sites[layout.first_site].folder)
    hello = Hello(application="operator", type=OPERATOR, instance=uuid.uuid4().hex)
    endpoints = configuration_endpoints(bootstrap, CONFIGURATION_ADDP, CONFIGURATION_ADDP)
    return ConfigurationClient(endpoints, lambda: hello, layout.operator)


async def run_storm_clients(state: Path, first: int, count: int) -> None:
    """Be a client process until told to finish, or the parent is gone."""
    os.nice(NICENESS)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    reader = asyncio.StreamReader(limit=MAX_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    crowd = StormCrowd(state, first, count)
    await crowd.start()
    obeying = asyncio.create_task(_obey(crowd, reader, stopping))
    encoder = msgspec.json.Encoder()
    try:
        while not stopping.is_set():
            sys.stdout.write(encoder.encode(crowd.state()).decode() + "\n")
            sys.stdout.flush()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL_EVERY):
                    await stopping.wait()
    finally:
        obeying.cancel()
        await asyncio.gather(obeying, return_exceptions=True)
        await crowd.stop()


async def _obey(crowd: StormCrowd, reader: asyncio.StreamReader, stopping: asyncio.Event) -> None:
    decoder = msgspec.json.Decoder(StormOrder)
    while line := await reader.readline():
        order = decoder.decode(line)
        if order.do is Do.FINISH:
            break
        crowd.order(order)
    stopping.set()
