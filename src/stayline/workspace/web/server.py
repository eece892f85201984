"""The Workspace process: the web application in our own event loop, engines made from a site's state folder."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
import uvicorn

from stayline.domain.errors import refuse
from stayline.link import exposure
from stayline.link.bootstrap import Bootstrap, load_bootstrap
from stayline.workspace.web.app import create_app
from stayline.workspace.web.engines import EngineMaker
from stayline.workspace.web.settings import WebSettings

log = structlog.get_logger(__name__)

STOP_SECONDS = 2
"""How long requests under way may take when the process is told to stop."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: ours end the pages' streams first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the caller."""
        yield


def check_exposure(host: str, *, tls: bool) -> None:
    """Raises RefusedError ``workspace.exposed``: passwords are not taken over a network without TLS."""
    fix = "Listen on 127.0.0.1, or give --certificate and --key."
    exposure.check_exposure(host, tls=tls, what="this page", code="workspace.exposed", fix=fix)


def open_socket(host: str, port: int) -> socket.socket:
    """The listening socket (port 0: chosen by the system). Raises RefusedError when it cannot be had."""
    try:
        return socket.create_server((host, port), backlog=512, family=_family(host))
    except OSError as error:
        reason = f"Port {port} of {host} cannot be opened: {error.strerror or error}."
        raise refuse("workspace.port", reason, fix="Choose another one with --port.") from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def run_app(
    settings: WebSettings,
    listener: socket.socket,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
    stopping: asyncio.Event,
) -> None:
    """Serve until ``stopping`` is set; agent sessions stay open for the next start."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=STOP_SECONDS,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    server = _Server(config)

    async def stop() -> None:
        await stopping.wait()
        app.state.sessions.end_pages()
        server.should_exit = True

    async with asyncio.TaskGroup() as group:
        stopper = group.create_task(stop())
        await server.serve(sockets=[listener])
        stopper.cancel()


def web_settings(bootstrap: Bootstrap, port: int, host: str, *, secure: bool) -> WebSettings:
    """Settings of a Workspace process of the centre that ``bootstrap`` describes; state is in ``workspace/``."""
    maker = EngineMaker(bootstrap, Path(bootstrap.state) / "workspace")
    hosts = ("localhost", "127.0.0.1", "[::1]") if exposure.is_loopback(host) else ()
    return WebSettings(
        state_dir=maker.state,
        engine_factory=maker.engine,
        check_password=maker.check_password,
        secure=secure,
        hosts=hosts,
        cookie=f"stayline-workspace-{port}",
    )


async def serve_workspace(
    state_dir: Path,
    host: str,
    port: int,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
    told: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve the agents' page until SIGTERM or SIGINT.

    ``state_dir`` is the folder that holds ``bootstrap.json``; ``told`` gets the address once it is open. Raises
    RefusedError when there is no such file, the port is taken, the browser libraries are missing, or ``host`` is
    not of this machine and there is no TLS.
    """
    secure = certificate is not None
    check_exposure(host, tls=secure)
    bootstrap = load_bootstrap(state_dir)
    listener = open_socket(host, port)
    actual = listener.getsockname()[1]
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        settings = web_settings(bootstrap, actual, host, secure=secure)
        told(f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{actual}")
        log.info("workspace listens", host=host, port=actual, tls=secure, why="started")
        await run_app(settings, listener, certificate=certificate, key=key, stopping=stopping)
    finally:
        listener.close()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    log.info("workspace stops", why="told to stop")
