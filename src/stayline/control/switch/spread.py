"""Over which time Workspaces spread a site move: arithmetic from what the proxies measured. Pure."""

import msgspec

from stayline.control.switch.run import processes
from stayline.domain.objects import ApplicationType
from stayline.link.machine.setup_cost import DEFAULT_SECONDS, ROOM, spread_seconds
from stayline.link.messages.control import HostStatus, Process, ProcessState

SPREAD_OPTION = "disaster-recovery.eservices-spread-window"
"""Written beside the site option, on the same objects and in the same change."""

LEAST_SECONDS = 0.5
MOST_SECONDS = 120.0

_PROXIES = frozenset({ApplicationType.INTERACTION_SERVER_PROXY})


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """``seconds`` for ``agents`` at ``proxies`` of ``setup_seconds`` each; ``measured``: not the default cost."""

    seconds: float
    agents: int
    setup_seconds: float
    proxies: int
    measured: bool

    @property
    def value(self) -> str:
        """As the option has it."""
        return f"{self.seconds:.3f}".rstrip("0").rstrip(".")

    @property
    def arithmetic(self) -> str:
        """For the evidence of the step."""
        cost = f"{self.setup_seconds * 1000:.2f} ms{'' if self.measured else ' (not measured yet)'}"
        text = f"{ROOM:g} x {self.agents} agents x {cost} / {self.proxies} proxies"
        exact = spread_seconds(self.agents, self.setup_seconds, self.proxies)
        if not LEAST_SECONDS <= exact <= MOST_SECONDS:
            text += f" = {exact:.2f} s, within {LEAST_SECONDS:g} to {MOST_SECONDS:g} s"
        return f"spread over {self.value} s: {text}"


def setup_seconds(status: HostStatus | None) -> float:
    """What a set-up costs the dearest Interaction Server Proxy of a host that measured it; 0: none did."""
    return max((found.report.setup_seconds for found in _proxies(status) if found.report), default=0.0)


def spread_window(agents: int, before: float, target: HostStatus) -> Spread:
    """For ``agents`` who come from a site whose set-ups cost ``before`` seconds (0: not known) to ``target``.

    Every proxy that runs and is not being emptied counts: the step before has seen its port open, which its last report
    may not say yet.
    """
    measured = max(before, setup_seconds(target))
    cost = measured or DEFAULT_SECONDS
    taking = [
        found
        for found in _proxies(target)
        if found.state is ProcessState.RUNNING and (found.report is None or not found.report.draining)
    ]
    count = max(1, len(taking))
    seconds = min(max(spread_seconds(agents, cost, count), LEAST_SECONDS), MOST_SECONDS)
    return Spread(
        seconds=round(seconds, 3), agents=agents, setup_seconds=cost, proxies=count, measured=measured > 0
    )


def drained(status: HostStatus) -> set[str]:
    """Servers of a host that are being emptied: their ports stay closed."""
    return {
        found.application for found in status.processes if found.report is not None and found.report.draining
    }


def _proxies(status: HostStatus | None) -> list[Process]:
    return processes(status, _PROXIES) if status is not None else []
