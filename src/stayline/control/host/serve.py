"""Becoming a host agent: fork the preloaded parent first, then run the agent's event loop."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import structlog
import uvloop

from stayline.control.host.agent import HostAgent
from stayline.control.host.forker import LIFELINE_VARIABLE, Forker
from stayline.control.host.plan import HostPlan, load_plan
from stayline.control.host.procinfo import become_subreaper
from stayline.domain.errors import refuse

PRELOAD = ("stayline.servers.registry:preload",)
"""What the preloaded parent imports for all servers (by name: this room knows no servers)."""

log = structlog.get_logger("stayline.host")


def serve_host(
    state: Path, host: str = "", *, alone: bool = False, start_logging: Callable[[str, str], object]
) -> None:
    """Run the host agent of the site folder ``state`` until SIGTERM, SIGINT or the end of its lifeline.

    ``host`` must be the name in the folder's plan when given. ``alone``: the other site's host agent need
    not answer for this one to go on as what it was. ``start_logging(folder, name)`` is called once the
    parent of the servers is forked. SIGUSR1 ends the agent only and leaves servers and database running for
    the next one to adopt.

    Raises RefusedError when the folder has no plan or it names another host.
    """
    folder = state.absolute()
    plan = load_plan(folder)
    if host and host != plan.host:
        raise refuse(
            "host.wrong_name", f"{folder} is the folder of host {plan.host}, not {host}.", field="host"
        )
    become_subreaper()
    # Before any event loop or thread exists: the parent of all servers is a copy of this process.
    forker = Forker(PRELOAD)
    try:
        start_logging(str(folder / "log"), plan.host)
        uvloop.run(_serve(plan, folder, forker, alone))
    finally:
        forker.close()


async def _serve(plan: HostPlan, folder: Path, forker: Forker, alone: bool) -> None:
    lifeline = int(os.environ.get(LIFELINE_VARIABLE, "-1"))
    agent = HostAgent(plan, folder, forker, alone=alone, lifeline=lifeline)
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        log.info("host agent stops", why=f"{number.name} received")
        agent.leave_running = number is signal.SIGUSR1
        agent.stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        loop.add_signal_handler(number, stop, number)
    await agent.run()
