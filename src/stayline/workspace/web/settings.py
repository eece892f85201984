"""What the web application must be told: where state is kept, how an engine is made, how pages behave."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from stayline.workspace.protocol import Workspace

EngineFactory = Callable[[str], Workspace]
"""User name -> an engine for that user, neither logged in nor restored yet."""

PasswordCheck = Callable[[str, str, str], Awaitable[None]]
"""(user, password, browser's address): returns when right, raises RefusedError when wrong, LinkLostError when nobody
answered."""


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """Settings of one Workspace process.

    ``state_dir`` keeps the cookie key and the list of open sessions. ``push_interval`` (seconds) is the least
    time between two pushes to one page; ``beat`` (seconds) the time between signs of life on a quiet page;
    ``session_seconds`` how long a login lasts without any open page; ``cookie_seconds`` the longest a cookie is
    good for; ``stall_seconds`` how long a page may read nothing before it is dropped (it reconnects by itself).
    ``max_logins``: logins under way at a time. ``secure`` when the page is served by TLS. ``hosts`` are
    the host names accepted (empty: any). ``cookie`` tells two processes on one host apart, because browsers
    share cookies between ports. ``clock`` gives Unix seconds.
    """

    state_dir: Path
    engine_factory: EngineFactory
    check_password: PasswordCheck
    push_interval: float = 0.1
    beat: float = 5.0
    session_seconds: float = 12 * 3600.0
    cookie_seconds: float = 7 * 86400.0
    stall_seconds: float = 20.0
    max_sessions: int = 500
    max_logins: int = 16
    max_pages_per_session: int = 8
    secure: bool = False
    hosts: tuple[str, ...] = ()
    cookie: str = "stayline-workspace"
    clock: Callable[[], float] = time.time
