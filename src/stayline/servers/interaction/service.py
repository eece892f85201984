"""The Interaction Server as a core service: links in, term begin and end, reports."""

import asyncio
import time

import asyncpg
import msgspec
import structlog

from stayline.domain.errors import RefusedError, refuse
from stayline.domain.objects import ApplicationType
from stayline.link.messages.control import Report
from stayline.link.messages.interaction import ChannelClose, ChannelOpen, RestoreChannels
from stayline.link.peer import Peer, Request, read
from stayline.link.tokens import TokenSigner
from stayline.servers.core import CoreServer
from stayline.servers.interaction.batch import Item, Outcome, execute
from stayline.servers.interaction.channels import MEDIA_TYPES
from stayline.servers.interaction.ledger import TermOverError
from stayline.servers.interaction.mastership import Mastership
from stayline.servers.interaction.reader import Reader
from stayline.servers.interaction.rules import Rules
from stayline.servers.interaction.tenure import Tenure
from stayline.store.database import open_pool
from stayline.store.election import Term
from stayline.store.interaction import Write, Written
from stayline.store.interaction_state import RESULT_SECONDS, Loaded, Prove, Prune, Pruned, TakeOver
from stayline.store.writer import GroupWriter

READERS = 4
"""Connections for questions beside the writer."""

PRUNE_SECONDS = 60.0

PROXY = ApplicationType.INTERACTION_SERVER_PROXY.value

log = structlog.get_logger(__name__)


class InteractionService:
    """What makes a core server an Interaction Server."""

    def __init__(self, core: CoreServer) -> None:
        self._core = core
        process = core.process
        self._rules = Rules(lambda: process.configuration.snapshot, process.name)
        self._signer = TokenSigner.load(process.bootstrap.keys)
        self._verifier = process.verifier()
        self._pool: asyncpg.Pool | None = None
        self._writer: GroupWriter[Item, Outcome] | None = None
        self._tenure: Tenure | None = None
        self._mastership: Mastership | None = None
        self._watching: list[asyncio.Task[None]] = []

    # -- the term --------------------------------------------------------------------------------------------

    async def begin(self, term: Term) -> None:
        """Load what is committed, mark every session as lost, arm the timers."""
        process = self._core.process
        self._pool = await open_pool(process.bootstrap.database_dsn, process.instance, READERS)
        dsn = process.bootstrap.database_dsn
        writer = self._writer = GroupWriter[Item, Outcome](dsn, term, execute, instance=process.instance)
        await writer.open()
        now = time.time()
        loaded = await writer.submit(TakeOver(term.epoch, term.term, now, now - self._rules.reoffer_delay))
        assert isinstance(loaded, Loaded)
        self._tenure = Tenure(
            loaded,
            _Commits(writer),
            Reader(self._pool),
            self._rules,
            self._signer,
            self._verifier,
            epoch=term.epoch,
            term=term.term,
            clock=time.time,
            lost=self._core.step_down,
            random=process.random.random,
        )
        self._mastership = Mastership(
            self._signer,
            process.bootstrap.site,
            term.epoch,
            prove=lambda: writer.submit(Prove()),
            proxies=lambda: [peer for peer in self._core.peers if peer.hello.type == PROXY],
            clock=time.time,
        )
        self._tenure.start()
        process.configuration.changed.append(self._configuration_changed)
        self._watching = [
            self._core.guard(asyncio.create_task(self._prune_for_ever(), name="prune")),
            self._core.guard(asyncio.create_task(self._watch_writer(writer), name="watch-writer")),
            self._core.guard(asyncio.create_task(self._mastership.renew_for_ever(), name="mastership")),
        ]

    async def end(self, why: str) -> None:
        """No longer primary: stop; what waits for a commit stays unanswered."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        self._mastership = None
        tenure, self._tenure = self._tenure, None
        if tenure is not None:
            await tenure.stop()
        if self._writer is not None:
            await self._writer.close()
        if self._pool is not None:
            self._pool.terminate()

    def describe(self, report: Report) -> Report:
        """Add sessions, interactions per state and channels."""
        if self._tenure is None:
            return report
        sessions, lost = self._tenure.session_counts()
        return msgspec.structs.replace(
            report,
            clients=len(self._tenure.channels),
            sessions=sessions,
            lost_sessions=lost,
            interactions=self._tenure.model.counts(),
        )

    # -- links -----------------------------------------------------------------------------------------------

    def on_open(self, peer: Peer) -> None:
        """A link stands while primary."""
        if self._tenure is not None:
            self._tenure.channels.link_opened(peer)
        if self._mastership is not None and peer.hello.type == PROXY:
            self._mastership.tell(peer)

    def on_closed(self, peer: Peer, why: str) -> None:
        """A link is gone, and with a proxy's all its channels: their sessions are lost from now on."""
        if self._tenure is None:
            return
        gone = self._tenure.channels.link_closed(peer)
        for channel in gone:
            self._tenure.sessions.channel_gone(channel)
        if gone:
            log.warning("proxy.lost", proxy=peer.hello.application, channels=len(gone), why=why)
            self._core.process.report_now()

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        """Proxies open and close their clients' channels."""
        if self._tenure is None or peer.hello.type != PROXY:
            return
        if name == "channel.open":
            opened = read(payload, ChannelOpen, name)
            self._tenure.channels.open(peer, channel, opened.identity, opened.application)
        elif name == "channel.close":
            read(payload, ChannelClose, name)
            gone = self._tenure.channels.close(peer, channel)
            if gone is not None:
                self._tenure.sessions.channel_gone(gone)

    async def on_request(self, peer: Peer, request: Request) -> object:
        """Serve a request; what the end of the term overtakes stays unanswered (it is repeated with its key)."""
        tenure = self._tenure
        assert tenure is not None  # the core lets requests in only after begin
        try:
            return await self._serve(tenure, peer, request)
        except TermOverError:
            await asyncio.shield(peer.closed)
            raise refuse("core.not_primary", "This server is no longer primary.", retryable=True) from None

    async def _serve(self, tenure: Tenure, peer: Peer, request: Request) -> object:
        kind = peer.hello.type
        if kind == PROXY and request.channel:
            return await tenure.agents.serve(tenure.channels.get(peer, request.channel), request)
        if kind == PROXY and request.method == "channels.restore":
            return await tenure.resumption.restore(peer, request.read(RestoreChannels))
        if request.method == "interaction.journal":
            return await tenure.journal.for_server(request)
        if kind in MEDIA_TYPES:
            return await tenure.media.serve(peer, request)
        if request.method == "interaction.owner":
            return await tenure.media.owner(request)
        raise refuse(
            "method.forbidden",
            f"{request.method} may not be called by {peer.hello.application} ({kind}).",
            field="m",
        )

    # -- the rest --------------------------------------------------------------------------------------------

    def _configuration_changed(self, objects: object) -> None:
        if self._tenure is not None:
            self._tenure.configuration_changed()

    async def _watch_writer(self, writer: GroupWriter[Item, Outcome]) -> None:
        await writer.fenced.wait()
        self._core.step_down(writer.why)

    async def _prune_for_ever(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_SECONDS)
            before = time.time() - RESULT_SECONDS
            if self._tenure is None or self._writer is None:
                return
            self._tenure.model.forget_results(before)
            try:
                await self._prune(self._writer, before)
            except RefusedError as error:
                # Busy: the next round prunes them. Fenced: the term is over.
                log.info("results.not_pruned", why=error.refusal.reason)

    async def _prune(self, writer: GroupWriter[Item, Outcome], before: float) -> None:
        """All that is old, a little at a time: a busy centre makes more of it in a minute than one statement takes."""
        item = Prune(before)
        while True:
            pruned = await writer.submit(item)
            if not isinstance(pruned, Pruned) or pruned.rows < item.limit:
                return


class _Commits:
    """The writer as the ledger sees it: transitions only."""

    def __init__(self, writer: GroupWriter[Item, Outcome]) -> None:
        self._writer = writer

    async def submit(self, item: Write) -> Written:
        """Commit; raises RefusedError."""
        outcome = await self._writer.submit(item)
        assert isinstance(outcome, Written)
        return outcome
