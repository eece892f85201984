"""What an engine must be told before it can read its configuration."""

import random as random_module
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import structlog

from stayline.link.bootstrap import Bootstrap
from stayline.link.tokens import VERIFY_KEY, TokenVerifier

log = structlog.get_logger(__name__)


class ServerAddress(NamedTuple):
    """Where a Configuration Server listens, and which one it must be."""

    application: str
    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Settings of one agent's engine.

    ``user``: whose file ``restore`` looks for. ``configuration``: Configuration Servers, the own site's
    first. ``authority``: PEM file of the certificate authority that all servers are verified against.
    ``application``: the Workspace Application object to run as. ``state_dir``: folder of the agents' files
    (token, ticket, drafts, outbox), None keeps nothing. ``durable``: flush what an agent sends to the disk
    before it is sent (survives loss of power, not only of the process). ``random`` gives numbers in [0, 1),
    ``clock`` Unix seconds. ``login_timeout`` (seconds) bounds the wait for the core in ``login``.
    ``request_timeout`` (seconds) is how long a caller waits for the answer to an action; the action itself is
    kept and repeated after that. ``verify``: PEM file of the key by which statements of mastership are checked (None:
    none is believed). ``setups``: links of this engine being set up at a time. ``workspace_id`` names this
    installation (empty: kept in ``state_dir``). ``monotonic`` gives seconds that do not pass while the machine
    sleeps.
    """

    configuration: tuple[ServerAddress, ...]
    authority: Path
    user: str = ""
    application: str = "Workspace"
    site: str = ""
    state_dir: Path | None = None
    durable: bool = False
    random: Callable[[], float] = random_module.random
    clock: Callable[[], float] = time.time
    login_timeout: float = 20.0
    request_timeout: float = 15.0
    verify: Path | None = None
    setups: int = 2
    workspace_id: str = ""
    monotonic: Callable[[], float] = time.monotonic

    def verifier(self) -> TokenVerifier | None:
        """What checks statements of mastership; None: none is believed."""
        if self.verify is None:
            return None
        try:
            return TokenVerifier(self.verify.read_bytes())
        except (OSError, ValueError) as error:
            log.error("workspace.verify", file=str(self.verify), why=f"No statement is believed: {error}")
            return None

    @classmethod
    def from_bootstrap(
        cls, bootstrap: Bootstrap, *, user: str = "", state_dir: Path | None = None
    ) -> "EngineSettings":
        """Settings for a Workspace on a host that has a bootstrap file; ``state_dir`` as in the class."""
        return cls(
            configuration=tuple(
                ServerAddress(node.application, node.host, node.port) for node in bootstrap.configuration
            ),
            authority=Path(bootstrap.certificates) / "ca.pem",
            user=user,
            site=bootstrap.site,
            state_dir=state_dir,
            verify=_verify_key(bootstrap),
        )


def _verify_key(bootstrap: Bootstrap) -> Path | None:
    """The public half only; a host that was never given it believes no statement."""
    key = Path(bootstrap.keys) / VERIFY_KEY
    return key if key.is_file() else None
