"""The database node of one site: its process, from initdb to the last signal.

What moves mastership is next door (``promotion.py``, ``following.py``), as is what it tells (``status.py``).
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

import structlog

from stayline.control.postgres import following, promotion, roles
from stayline.control.postgres.account import Account, Location, choose_account, settle
from stayline.control.postgres.child import run_program
from stayline.control.postgres.config import (
    ADMIN_ROLE,
    APPLICATION_ROLE,
    DATABASE,
    REPLICATION_ROLE,
    PostgresConfig,
    Upstream,
)
from stayline.control.postgres.control_data import ControlData, parse_control_data
from stayline.control.postgres.programs import Programs, find_programs, sync_switches
from stayline.control.postgres.server import ServerProcess
from stayline.control.postgres.settings import (
    Files,
    remove_tree,
    write_auto_conf,
    write_marker,
    write_settings,
)
from stayline.control.postgres.status import read_status
from stayline.domain.errors import refuse
from stayline.domain.replication import Exposure
from stayline.link.messages.control import (
    DatabaseStatus,
    DemotionToken,
    FollowReport,
    Promote,
    ReplicationMode,
)
from stayline.store.database import LOST, Connection, connect, hang_up

_log = structlog.get_logger("postgres.node")


class PostgresNode:
    """One PostgreSQL server as a direct child (or adopted). Belongs to the event loop that made it.

    Operations that change the process are serialised; each may be called again after an interruption.
    ``on_exit`` callbacks get a sentence when the server ended without being asked to. ``mode`` is what the site's
    :class:`~stayline.control.postgres.keeper.ReplicationKeeper` keeps up; it only colours :meth:`status`.
    """

    def __init__(self, config: PostgresConfig) -> None:
        self.config = config
        self.mode = ReplicationMode.FOLLOW
        self.keeper_view: Callable[[], Exposure] | None = None
        self.on_exit: list[Callable[[str], None]] = []
        self.account: Account = choose_account()
        found = find_programs(config.bin_dir)
        self.location: Location = settle(config.directory, self.account, found)
        self.programs = Programs(Path(self.location.bin_dir), found.major)
        self.files = Files.of(self.location)
        self.busy = asyncio.Lock()
        log = config.log_dir / "postgresql.log"
        self._server = ServerProcess(config.site, self.files, self.account, log, self._ended_unasked)
        self._admin: Connection | None = None
        self._admin_lock = asyncio.Lock()

    # What it is

    @property
    def pid(self) -> int:
        """Pid of the running postmaster; 0: not running."""
        return self._server.pid

    @property
    def running(self) -> bool:
        """Whether the server process is alive."""
        return self.pid != 0

    @property
    def exists(self) -> bool:
        """Whether there is a database in the data folder."""
        return (self.files.data / "PG_VERSION").exists()

    @property
    def dsn(self) -> str:
        """DSN of the application role over the local Unix socket, for the services of this site."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        """As :attr:`dsn`, for another database of this server."""
        return self._dsn(APPLICATION_ROLE, self.config.passwords.application, database)

    async def control_data(self) -> ControlData:
        """What the data folder says about itself, whether the server runs or not."""
        return parse_control_data(await self.run("pg_controldata", str(self.files.data)))

    async def status(self) -> DatabaseStatus:
        """What this node is at this moment; never raises for a server that is down."""
        return await read_status(self)

    # Life

    async def init_primary(self) -> None:
        """Make a new, empty primary and start it; completes a set-up that was interrupted."""
        async with self.busy:
            if not self.exists:
                await self._initdb()
            await self.start_server()
            await roles.ensure(self)

    async def establish(self, reason: str, by: str) -> None:
        """First start of a centre: migrate, and give epoch 1 to this site if no site has one yet."""
        await roles.establish_by_dsn(self.dsn, self.config.site, reason, by)

    async def start(self) -> None:
        """Start the server as what its data folder says (or adopt the running one) and wait until it answers.

        Raises RefusedError ``database.not_there`` without a database, ``database.start_failed`` with the reason.
        """
        async with self.busy:
            await self.start_server()

    async def adopt(self) -> bool:
        """Take over a server that a former supervisor started. False: none is running in this data folder."""
        async with self.busy:
            return self._adopt()

    async def stop(self, mode: str = "fast") -> None:
        """Stop the server: ``smart``, ``fast`` or ``immediate``; harder after ``stop_timeout``. Idempotent."""
        async with self.busy:
            await self.stop_server(mode)

    async def kill(self) -> None:
        """SIGKILL the server and all its processes, as a power cut would; returns when none is left."""
        await self._close_admin(abrupt=True)
        await self._server.kill()

    def forget(self) -> None:
        """Leave the server running and stop watching it: another process will :meth:`adopt` it."""
        self._server.forget()
        if self._admin is not None:
            self._admin.terminate()
            self._admin = None

    async def wait_exit(self) -> str:
        """Wait until the server has ended; the sentence that says how."""
        return await self._server.wait_exit()

    # Mastership and replication

    async def clone_from(self, upstream: Upstream) -> None:
        """Become a replica of ``upstream`` by a base backup; what was here is moved aside. Starts and verifies it."""
        async with self.busy:
            await following.rebuild(self, upstream, timeout=60.0)

    async def demote(self, why: str) -> DemotionToken:
        """Stop the primary cleanly, make sure it never starts as one by itself, and prove where it ended."""
        async with self.busy:
            return await promotion.demote(self, why)

    async def reinstate(self, why: str) -> None:
        """Undo :meth:`demote`: start as primary again. The caller has made sure that no other site was promoted."""
        async with self.busy:
            await promotion.reinstate(self, why)

    async def promote(self, order: Promote) -> DatabaseStatus:
        """Make this replica the primary of ``order.epoch``; see :func:`promotion.promote` for refusals."""
        async with self.busy:
            await promotion.promote(self, order)
        return await self.status()

    async def follow(self, upstream: Upstream, timeout: float = 60.0) -> FollowReport:
        """Become (again) the replica of ``upstream``, rewinding or rebuilding when the histories diverged."""
        async with self.busy:
            return await following.follow(self, upstream, timeout)

    # For the modules next door

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[Connection]:
        """The node's own superuser connection, one user at a time. Raises RefusedError ``database.unreachable``."""
        async with self._admin_lock:
            if self._admin is None or self._admin.is_closed():
                self._admin = await self.admin_connect()
            try:
                yield self._admin
            except (*LOST, asyncio.CancelledError):
                self._admin.terminate()
                self._admin = None
                raise

    async def admin_connect(self, database: str = DATABASE) -> Connection:
        """A new superuser connection over the socket."""
        dsn = self._dsn(ADMIN_ROLE, self.config.passwords.admin, database)
        return await connect(dsn, f"stayline-node {self.config.site}", command_timeout=10.0)

    async def upstream_connect(self, upstream: Upstream) -> Connection:
        """A connection to the other site's node under the replication role, proven by this node's certificate."""
        context = ssl.create_default_context(cafile=str(self.config.tls.ca))
        context.load_cert_chain(self.config.tls.cert, self.config.tls.key)
        dsn = f"postgresql://{REPLICATION_ROLE}@{upstream.host}:{upstream.port}/{DATABASE}"
        return await connect(dsn, f"stayline-node {self.config.site}", timeout=3.0, ssl_context=context)

    async def run(self, program: str, *arguments: str, timeout: float = 120.0) -> str:
        """Run one of PostgreSQL's programs under the node's account; its standard output."""
        argv = [self.programs.path(program), *arguments]
        return await run_program(self.account, argv, cwd=self.files.root, timeout=timeout)

    def admin_dsn(self, run: Path) -> str:
        """The superuser's DSN for a server whose sockets are in ``run``."""
        return self._dsn(ADMIN_ROLE, self.config.passwords.admin, DATABASE, run)

    def prepare_files(self) -> None:
        """Write the settings and certificates that the programs need."""
        write_settings(self.config, self.files, self.account)

    def make_private_run(self) -> Path:
        """A folder for the sockets of a server that nobody but the node shall reach."""
        folder = self.files.run / "private"
        folder.mkdir(mode=0o700, exist_ok=True)
        self.account.give(folder)
        return folder

    def follow_stage(self) -> str:
        """How far an unfinished :meth:`follow` came; empty: there is none."""
        marker = self.files.root / "following"
        return marker.read_text() if marker.exists() else ""

    def set_follow_stage(self, stage: str) -> None:
        """Note how far :meth:`follow` has come, durably; empty: it is done."""
        write_marker(self.files.root / "following", stage, self.account)

    async def adopt_running(self) -> bool:
        """As :meth:`adopt`, for a caller that holds ``busy``."""
        return self._adopt()

    async def start_server(self, *extra: str) -> None:
        """As :meth:`start`, for a caller that holds ``busy``; ``extra`` are ``name=value`` settings that win."""
        if self.running or (not extra and self._adopt()):
            # Perhaps still recovering since an attempt that ran out of time.
            await self._server.until_ready(self.config.start_timeout)
            return
        if not self.exists:
            raise refuse(
                "database.not_there", f"There is no database in {self.files.data}.", fix="Create or clone it."
            )
        if not extra and (stage := self.follow_stage()):
            raise refuse(
                "database.half_followed",
                f"The database of {self.config.site} was interrupted while it was made a replica ({stage}).",
                fix="Let it follow the primary again.",
            )
        self.prepare_files()
        argv = [self.programs.path("postgres"), "-D", str(self.files.data)]
        for setting in (f"config_file={self.files.conf}", *extra):
            argv += ["-c", setting]
        await self._server.spawn(argv, self.config.start_timeout)
        _log.info(
            "database started",
            site=self.config.site,
            pid=self.pid,
            replica=self.files.standby_signal.exists(),
        )

    async def stop_server(self, mode: str = "fast") -> None:
        """As :meth:`stop`, for a caller that holds ``busy``."""
        if self._adopt():
            await self._close_admin()
            await self._server.stop(mode, self.config.stop_timeout)

    # Inside

    def _dsn(self, role: str, password: str, database: str, run: Path | None = None) -> str:
        host = quote(str(run or self.files.run), safe="/")
        return f"postgresql://{role}:{password}@/{database}?host={host}&port={self.config.port}"

    async def _initdb(self) -> None:
        fresh = self.files.root / "data.new"
        remove_tree(fresh)
        secret = self.files.root / "initdb.password"
        secret.touch(mode=0o600)
        secret.write_text(self.config.passwords.admin)
        self.account.give(secret)
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        try:
            await self.run(
                "initdb",
                f"--pgdata={fresh}",
                f"--username={ADMIN_ROLE}",
                f"--pwfile={secret}",
                "--auth=scram-sha-256",
                "--data-checksums",
                "--encoding=UTF8",
                *(locale if self.programs.major >= 17 else ("--locale=C.UTF-8",)),
                *sync_switches(self.programs.major, self.config.durable_setup),
            )
        finally:
            secret.unlink()
        fresh.rename(self.files.data)
        write_auto_conf(self.files, self.account, {})

    def _adopt(self) -> bool:
        # A server in the middle of a follow is isolated: it is nobody's database.
        return self.running or (not self.follow_stage() and self._server.adopt())

    def _ended_unasked(self, why: str) -> None:
        for callback in self.on_exit:
            callback(why)

    async def _close_admin(self, *, abrupt: bool = False) -> None:
        if self._admin is not None:
            connection, self._admin = self._admin, None
            if abrupt:
                connection.terminate()
            else:
                await hang_up(connection)
