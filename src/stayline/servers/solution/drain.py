"""Whether a server may be emptied, where it runs, and over which time its clients leave. Pure."""

from collections.abc import Mapping

import msgspec

from stayline.domain.errors import refuse
from stayline.domain.objects import ApplicationType
from stayline.domain.options import nearest
from stayline.link.machine.setup_cost import DEFAULT_SECONDS, LEAST_DRAIN_SECONDS, spread_seconds
from stayline.link.messages.control import Drain, Process, ProcessState
from stayline.servers.solution.status import Seen

PROXIES = frozenset(
    {ApplicationType.INTERACTION_SERVER_PROXY.value, ApplicationType.CONTACT_SERVER_PROXY.value}
)
"""What can be emptied: their clients find another one of the same pool."""

LONGEST_WINDOW = 3_600.0
"""Seconds."""

MAX_WHY = 1_000
"""Characters of a reason."""


def planned_drain(order: Drain, seen: Mapping[str, Seen]) -> tuple[str, Drain]:
    """The site whose host agent is to be told, and what. Raises RefusedError: ``server.unknown``, ``drain.kind``,
    ``drain.window``, ``drain.why``, ``drain.last`` (nobody is left to take its clients)."""
    site, process = _found(order.application, seen)
    if process.app_type not in PROXIES:
        raise refuse(
            "drain.kind",
            f"{process.application} is a {process.app_type}: only proxies can be emptied.",
            field="application",
            fix="Stop it: the others of its kind take over.",
        )
    if not 0 <= order.window <= LONGEST_WINDOW:
        raise refuse(
            "drain.window", f"A window of {order.window:g} s.", field="window", fix="Give 0 to 3600 seconds."
        )
    if len(order.why) > MAX_WHY or len(order.by) > MAX_WHY:
        raise refuse("drain.why", f"More than {MAX_WHY} characters.", field="why", fix="Say it shorter.")
    if order.undo:
        return site, order
    others = _others(process, seen[site])
    listening = process.report is not None and process.report.listening
    if listening and not others:
        raise refuse(
            "drain.last",
            f"{process.application} is the last {process.app_type} of {site} that takes clients.",
            field="application",
            fix="Start another one, take one that is being emptied back (undrain), or switch the site.",
        )
    if order.window:
        return site, order
    clients = process.report.clients if process.report is not None else 0
    cost = max((_cost(one) for one in others), default=0.0) or DEFAULT_SECONDS
    window = max(LEAST_DRAIN_SECONDS, spread_seconds(clients, cost, len(others)))
    return site, msgspec.structs.replace(order, window=round(window, 3))


def _found(application: str, seen: Mapping[str, Seen]) -> tuple[str, Process]:
    known: list[str] = []
    for site, look in seen.items():
        for process in look.status.processes if look.status is not None else ():
            if process.application == application:
                return site, process
            known.append(process.application)
    near = nearest(application, known)
    raise refuse(
        "server.unknown",
        f"No host runs a server {application!r}.",
        field="application",
        fix=f"Did you mean '{near}'?" if near else "See: stayline server list",
    )


def _others(process: Process, look: Seen) -> list[Process]:
    """Those that its clients can go to."""
    return [
        one
        for one in (look.status.processes if look.status is not None else ())
        if one.app_type == process.app_type
        and one.application != process.application
        and one.state is ProcessState.RUNNING
        and one.report is not None
        and one.report.listening
        and not one.report.draining
    ]


def _cost(process: Process) -> float:
    return process.report.setup_seconds if process.report is not None else 0.0
