"""Which code a server becomes: one table from application type to the function that is its main.

Each entry is ``"module:function"`` of an ``async def main(process: ServerProcess) -> None`` that serves until
``process.stopping`` is set (or it has to end by itself). Modules are imported when needed; a parent that forks
servers imports all of them beforehand with :func:`preload`.
"""

import importlib
from collections.abc import Awaitable, Callable

import uvloop

from stayline.domain.errors import refuse
from stayline.domain.objects import ApplicationType
from stayline.link.authority import tls_files
from stayline.link.bootstrap import load_bootstrap
from stayline.servers.process import ServerProcess, certified_type, run_server

MAINS: dict[ApplicationType, str] = {
    ApplicationType.CONFIGURATION_SERVER: "stayline.servers.configuration:main",
    ApplicationType.INTERACTION_SERVER: "stayline.servers.interaction:main",
    ApplicationType.INTERACTION_SERVER_PROXY: "stayline.servers.proxy:main",
    ApplicationType.CONTACT_SERVER: "stayline.servers.contact:main",
    ApplicationType.CONTACT_SERVER_PROXY: "stayline.servers.proxy:main",
    ApplicationType.CHAT_SERVER: "stayline.servers.chat:main",
    ApplicationType.SOLUTION_CONTROL_SERVER: "stayline.servers.solution:main",
}

_WITHOUT_CONFIGURATION = frozenset({ApplicationType.CONFIGURATION_SERVER})
"""These do not wait for a Configuration Server: they are one."""


def load_main(app_type: str) -> Callable[[ServerProcess], Awaitable[None]]:
    """The main of an application type. Raises RefusedError ``server.type_unknown``."""
    try:
        path = MAINS[ApplicationType(app_type)]
    except (KeyError, ValueError):
        known = ", ".join(sorted(MAINS))
        reason = f"An application of type {app_type!r} is not a server."
        raise refuse("server.type_unknown", reason, fix=f"Servers are: {known}.") from None
    module, function = path.split(":")
    main: Callable[[ServerProcess], Awaitable[None]] = getattr(importlib.import_module(module), function)
    return main


def preload() -> None:
    """Import everything that any server needs."""
    for app_type in MAINS:
        load_main(app_type)


def run(name: str, state_dir: str) -> None:
    """Be the server ``name`` of the site whose folder is ``state_dir``, until it is stopped.

    Its type is in its certificate, so that it is known before any Configuration Server answers.
    """
    bootstrap = load_bootstrap(state_dir)
    app_type = certified_type(tls_files(bootstrap.certificates, name))
    main = load_main(app_type)
    needs = ApplicationType(app_type) not in _WITHOUT_CONFIGURATION
    uvloop.run(run_server(name, state_dir, main, needs_configuration=needs))
