"""The shell that every server process has in common.

It reads the bootstrap file, follows the configuration, reports to the host agent every two seconds and on every
change, logs, and turns SIGTERM, SIGINT and the end of the lifeline into ``process.stopping``.
"""

import asyncio
import contextlib
import os
import random
import secrets
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog
from cryptography import x509
from cryptography.x509.oid import NameOID

from stayline.domain.errors import Refusal, StaylineError, refuse
from stayline.domain.objects import ObjectType
from stayline.domain.options import default_of
from stayline.link.authority import TlsFiles, tls_files
from stayline.link.bootstrap import Bootstrap, load_bootstrap
from stayline.link.configuration import ConfigurationClient, configuration_endpoints
from stayline.link.kept import KeptLink
from stayline.link.messages.control import Report
from stayline.link.messages.envelope import Hello, Identity, Role
from stayline.link.peer import BaseHandler, Peer, Request, unknown_method
from stayline.link.tokens import TokenVerifier
from stayline.link.transport import Endpoint
from stayline.servers.borrowed_copy import borrow_copy
from stayline.servers.logs import start_logging
from stayline.servers.persons import not_admitted

REPORT_SECONDS = 2.0
REPORT_PAUSE = 0.1
"""Changes that follow one another quicker than this are told in one report."""

HOST_AGENT_TIMEOUT = 2.0
"""ADDP seconds of the management link."""

LIFELINE_VARIABLE = "STAYLINE_LIFELINE_FD"
"""Environment variable with the number of an inherited pipe end: end of file there means that the lab is gone."""

_PROVIDER_FAULTS = (
    StaylineError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""How a report provider, which only reads what is in memory, can fail: an entry of the configuration that is gone, or
a fault of ours."""

_LIFELINE_SECONDS = 10.0
"""How long a process may take to stop in order after its lifeline ended."""


class _Commands(BaseHandler):
    """The server's side of the link to its host agent."""

    def __init__(self, commands: dict[str, Callable[[Request], object]]) -> None:
        self._commands = commands

    async def on_request(self, peer: Peer, request: Request) -> object:
        """A command of the host agent."""
        command = self._commands.get(request.method)
        if command is None:
            raise unknown_method(request.method)
        return command(request)


class ServerProcess:
    """One server process. ``instance`` is new with each start; ``epoch`` the highest that this process has seen.

    ``stopping`` is set when the process shall end in order; ``main`` returns soon after.
    """

    def __init__(self, name: str, state_dir: str | Path) -> None:
        self.name = name
        self.bootstrap: Bootstrap = load_bootstrap(state_dir)
        self.tls: TlsFiles = tls_files(self.bootstrap.certificates, name)
        self.app_type = certified_type(self.tls)
        self.instance = f"{name}-{os.getpid()}-{secrets.token_hex(3)}"
        self.epoch = 0
        self.random = random.Random()
        self.log: structlog.stdlib.BoundLogger = structlog.get_logger("stayline.server")
        self.stopping = asyncio.Event()
        self._copy_path = Path(self.bootstrap.state) / "cache" / f"{name}.json"
        self.configuration = ConfigurationClient(
            configuration_endpoints(self.bootstrap),
            self.hello,
            self.tls,
            self._copy_path,
        )
        self.commands: dict[str, Callable[[Request], object]] = {}
        """What the host agent may ask of this server: method -> answer. It raises RefusedError to refuse."""
        self._report: Callable[[], Report] = self.blank_report
        self._report_fault = ""
        self._pending_report = False
        self._reported = -REPORT_PAUSE
        self._agent = KeptLink(
            self._agent_endpoint,
            self.hello,
            _Commands(self.commands),
            self.tls,
            random=self.random,
            on_up=lambda _: self._send_report(),
        )

    def hello(self) -> Hello:
        """What this process says of itself on a link it opens (servers add their role on links they accept)."""
        return Hello(
            application=self.name,
            type=self.app_type,
            instance=self.instance,
            site=self.bootstrap.site,
            cluster=self._cluster(),
            epoch=self.epoch,
            role=Role.CLIENT,
        )

    def verifier(self) -> TokenVerifier:
        """Checks the tokens of this centre."""
        return TokenVerifier.load(self.bootstrap.keys)

    def admits(self, identity: Identity) -> Refusal | None:
        """Why a person with a good token is not let in: disabled or deleted since the token was signed."""
        known = self.configuration
        person = known.snapshot.get(ObjectType.PERSON, identity.user)
        return not_admitted(identity, person, known.mark, known.revision)

    def handshakes(self) -> int:
        """TLS handshakes that this server's listener makes at a time (option ``admission/handshakes``)."""
        own = self.configuration.snapshot.get(ObjectType.APPLICATION, self.name)
        value = own.option("admission", "handshakes") if own is not None else ""
        return int(value or default_of("admission", "handshakes"))

    def saw_epoch(self, epoch: int) -> None:
        """Note an epoch said by another server; it only grows."""
        self.epoch = max(self.epoch, epoch)

    def _cluster(self) -> str:
        """The cluster object that lists this application among its connections, empty when none does."""
        for cluster in self.configuration.snapshot.clusters():
            if any(connection.server == self.name for connection in cluster.connections):
                return cluster.name
        return ""

    # -- reports

    def blank_report(self) -> Report:
        """A report of a process that says nothing of itself yet."""
        return Report(
            application=self.name,
            type=self.app_type,
            pid=os.getpid(),
            instance=self.instance,
            role=Role.CLIENT.value,
            epoch=self.epoch,
            term=0,
            listening=False,
            why="starting",
        )

    def set_report(self, provider: Callable[[], Report]) -> None:
        """``provider()`` describes the server; pid, instance and time are filled in here."""
        self._report = provider
        self.report_now()

    def report_now(self) -> None:
        """Something changed: report it, together with what else changes within :data:`REPORT_PAUSE`."""
        if not self._pending_report:
            self._pending_report = True
            loop = asyncio.get_running_loop()
            loop.call_at(max(loop.time(), self._reported + REPORT_PAUSE), self._send_report)

    def _send_report(self) -> None:
        self._pending_report = False
        self._reported = asyncio.get_running_loop().time()
        peer = self._agent.peer
        if peer is None:
            return
        report = msgspec.structs.replace(
            self._described(), pid=os.getpid(), instance=self.instance, at=time.time()
        )
        peer.event("server.report", report)

    def _described(self) -> Report:
        """What the provider says. When it fails, a report that says so instead: silence would look like a process that
        is gone, and the last report would go on telling of a role that may be over."""
        try:
            report = self._report()
        except _PROVIDER_FAULTS as error:
            fault = f"its report cannot be made: {type(error).__name__}: {error}"
            if fault != self._report_fault:
                self.log.exception("server.report_failed", why=fault)
            self._report_fault = fault
            return msgspec.structs.replace(self.blank_report(), why=fault)
        self._report_fault = ""
        return report

    async def _report_for_ever(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            self._send_report()

    def _agent_endpoint(self) -> Endpoint | None:
        agent = self.bootstrap.host_agent
        if agent is None:
            return None
        timeout = HOST_AGENT_TIMEOUT
        return Endpoint(agent.host, agent.port, agent.application, local=timeout, remote=timeout)

    # -- life

    async def run(
        self, main: "Callable[[ServerProcess], Awaitable[None]]", *, needs_configuration: bool = True
    ) -> None:
        """Do everything around ``main`` and return when it does."""
        self._obey_signals()
        self._watch_lifeline()
        if self.bootstrap.host_agent is not None:
            self._agent.start()
        reports = asyncio.create_task(self._report_for_ever(), name="reports")
        try:
            if needs_configuration and not await self._configured():
                return
            self.log.info("server.started", type=self.app_type, instance=self.instance, pid=os.getpid())
            await main(self)
            self.log.info("server.ended", why="stopped on command" if self.stopping.is_set() else "done")
        finally:
            reports.cancel()
            self._send_report()
            await self.configuration.stop()
            await self._agent.stop()

    async def _configured(self) -> bool:
        """Wait for a configuration, for ever if need be; False when stopped meanwhile."""
        await asyncio.to_thread(borrow_copy, self._copy_path)
        stopped = asyncio.create_task(self.stopping.wait())
        try:
            while not self.stopping.is_set():
                start = asyncio.create_task(self.configuration.start())
                await asyncio.wait({start, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not start.done():
                    start.cancel()
                    await asyncio.gather(start, return_exceptions=True)
                    return False
                try:
                    start.result()
                except StaylineError as error:
                    self.log.warning("server.waits_for_configuration", why=error.refusal.reason)
                else:
                    return True
            return False
        finally:
            stopped.cancel()

    def _obey_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, f"{number.name} received")

    def _stop(self, why: str) -> None:
        if not self.stopping.is_set():
            self.log.info("server.stopping", why=why)
            self.stopping.set()

    def _watch_lifeline(self) -> None:
        text = os.environ.get(LIFELINE_VARIABLE, "")
        if not text:
            return
        loop = asyncio.get_running_loop()
        descriptor = int(text)

        def ended() -> None:
            with contextlib.suppress(BlockingIOError):
                if os.read(descriptor, 64):
                    return
                loop.remove_reader(descriptor)
                self._stop("the lifeline ended: whoever started the centre is gone")
                loop.call_later(_LIFELINE_SECONDS, os._exit, 1)

        os.set_blocking(descriptor, False)
        loop.add_reader(descriptor, ended)


def certified_type(tls: TlsFiles) -> str:
    """The application type that a server's own certificate names. Raises RefusedError ``bootstrap.certificate``."""
    try:
        certificate = x509.load_pem_x509_certificate(tls.cert.read_bytes() if tls.cert else b"")
        units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        return str(units[0].value)
    except (OSError, ValueError, IndexError) as error:
        reason = f"There is no usable certificate {tls.cert}: {error}."
        raise refuse("bootstrap.certificate", reason, fix="Is the application's name right?") from error


async def run_server(
    name: str,
    state_dir: str | Path,
    main: Callable[[ServerProcess], Awaitable[Any]],
    *,
    needs_configuration: bool = True,
) -> None:
    """Be the server ``name``: shell around ``main(process)``. Raises what main raises, after logging it."""
    process = ServerProcess(name, state_dir)
    start_logging(process.bootstrap.log_dir, name)
    try:
        await process.run(main, needs_configuration=needs_configuration)
    except Exception:  # whatever it is, the log of this server says it; it goes on to end the process
        process.log.exception("server.failed", why="an error nobody expected; the traceback tells where")
        raise
