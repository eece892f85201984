"""What an engine must be told before it can read its configuration."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class ServerAddress(NamedTuple):
    """Where a Configuration Server listens, and which one it must be."""

    application: str
    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Settings of one agent's engine.

    ``configuration``: Configuration Servers, the own site's first. ``authority``: PEM file of the certificate
    authority that all servers are verified against. ``application``: the Workspace Application object to run
    as. ``state_dir``: folder of the agents' files (token, ticket, drafts, outbox), None keeps nothing.
    ``durable``: flush what an agent sends to the disk before it is sent (survives loss of power, not only of
    the process). ``random`` gives numbers in [0, 1), ``clock`` Unix seconds. ``login_timeout`` (seconds)
    bounds the wait for the core in ``login``. ``request_timeout`` (seconds) is how long a caller waits for
    the answer to an action; the action itself is kept and repeated after that.
    """

    configuration: tuple[ServerAddress, ...]
    authority: Path
    application: str = "Workspace"
    site: str = ""
    state_dir: Path | None = None
    durable: bool = False
    random: Callable[[], float] = random.random
    clock: Callable[[], float] = time.time
    login_timeout: float = 20.0
    request_timeout: float = 15.0
