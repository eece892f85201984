"""What a running plan has at hand: both hosts, the configuration, its journal facts and a place to say how it goes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from stayline.domain.errors import RefusedError, StaylineError, refuse
from stayline.domain.objects import ApplicationType, ConfigObject
from stayline.domain.switchover import Mode, Request
from stayline.link.messages.configuration import Operation
from stayline.link.messages.control import (
    DemotionToken,
    FollowReport,
    HostStatus,
    Process,
    StepState,
)

CORE = frozenset({ApplicationType.INTERACTION_SERVER, ApplicationType.CONTACT_SERVER})
PROXIES = frozenset({ApplicationType.INTERACTION_SERVER_PROXY, ApplicationType.CONTACT_SERVER_PROXY})
FRONT = PROXIES | {ApplicationType.CHAT_SERVER}
"""Everything that listens for agents or customers."""

POLL = 0.1
"""Seconds between two looks at a condition that a step waits for."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Written:
    """A change of the configuration. ``how`` is empty, or a sentence when no Configuration Server made it."""

    revision: int
    how: str = ""


class Host(Protocol):
    """A host agent, seen from a plan. Every method raises ``StaylineError`` with the reason."""

    name: str

    async def status(self) -> HostStatus: ...
    async def start(self, applications: list[str], why: str) -> HostStatus: ...
    async def stop(self, applications: list[str], why: str) -> HostStatus: ...
    async def fence(self, why: str) -> HostStatus: ...
    async def demote(self, why: str) -> DemotionToken: ...
    async def promote(
        self, epoch: int, site: str, token: DemotionToken | None, *, forced: bool, reason: str, by: str
    ) -> None: ...
    async def follow(self, primary_host: str) -> FollowReport: ...


class Centre(Protocol):
    """The configuration, seen from a plan."""

    def applications(self, site: str, types: frozenset[ApplicationType]) -> list[ConfigObject]: ...
    def address(self, application: str, port_id: str) -> tuple[str, int]: ...
    def sites(self) -> list[str]: ...
    def host_of(self, site: str) -> str: ...
    def objects_with_site_option(self) -> list[tuple[ConfigObject, str]]: ...
    async def change(self, operations: list[Operation], reason: str, key: str) -> Written: ...


class Run:
    """One plan under way. ``facts`` survive an interruption (they are journalled with each finished step)."""

    def __init__(
        self,
        plan: str,
        request: Request,
        source: str,
        hosts: Mapping[str, Host],
        centre: Centre,
        say: Callable[[StepState], None],
    ) -> None:
        self.plan = plan
        self.request = request
        self.source = source
        self.target = request.target
        self.centre = centre
        self.say = say
        self.facts: dict[str, str] = {}
        self._hosts = hosts

    @property
    def forced(self) -> bool:
        """Whether the source site may be lost."""
        return self.request.mode is Mode.FORCED

    @property
    def old(self) -> Host:
        """Host agent of the site that is left."""
        return self._hosts[self.source]

    @property
    def new(self) -> Host:
        """Host agent of the site that is moved to."""
        return self._hosts[self.target]

    @property
    def epoch(self) -> int:
        """The epoch that the promotion gives to the new site."""
        return int(self.facts["epoch"])

    def names(self, site: str, types: frozenset[ApplicationType]) -> list[str]:
        """Names of a site's applications of some types, in the order of the configuration."""
        return [found.name for found in self.centre.applications(site, types)]

    async def until(
        self,
        look: Callable[[], Awaitable[T | None]],
        timeout: float,
        what: Callable[[], str],
        fix: str,
    ) -> T:
        """Look every :data:`POLL` s until something is found; after ``timeout`` s refuse, saying what was missing."""
        deadline = time.monotonic() + timeout
        while True:
            found = await look()
            if found is not None:
                return found
            if time.monotonic() >= deadline:
                raise refuse(
                    "switch.waited",
                    f"Waited {timeout:.0f} s: {what()}",
                    retryable=True,
                    retry_after=1.0,
                    fix=fix,
                )
            await asyncio.sleep(POLL)


async def status_or_none(host: Host) -> tuple[HostStatus | None, str]:
    """A host's status, or None and the reason why there is none."""
    try:
        return await host.status(), ""
    except StaylineError as error:
        return None, error.refusal.reason


def processes(status: HostStatus, types: frozenset[ApplicationType]) -> list[Process]:
    """The processes of some application types on a host."""
    return [found for found in status.processes if found.app_type in {kind.value for kind in types}]


async def answers(address: tuple[str, int], timeout: float = 1.0) -> bool:
    """Whether somebody accepts a TCP connection there. Refused, unreachable and silent all count as no."""
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(*address)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


__all__ = [
    "CORE",
    "FRONT",
    "PROXIES",
    "Centre",
    "Host",
    "RefusedError",
    "Run",
    "Written",
    "answers",
    "processes",
    "status_or_none",
]
