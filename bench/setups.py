"""Set-ups and resumes per second at one Interaction Server Proxy, beside bare TLS handshakes.

The proxy, its core and the database are those of a real lab. A set-up is a new connection with a full TLS handshake,
the hello with a token and an agent login, answered after its commit. A resume hangs up and comes back with the ticket.
The limit is a server that does nothing but TLS 1.3 with the same certificate, visited by the same client library.
"""

import asyncio
import contextlib
import shutil
import ssl
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from bench.processes import ended, start
from bench.results import Result, compare
from stayline.lab.centre import Centre
from stayline.lab.crowd_objects import crowd_name, crowd_place
from stayline.lab.layout import Layout, lay_out
from stayline.link.authority import TlsFiles, tls_files
from stayline.link.messages.envelope import Hello, Identity
from stayline.link.messages.interaction import AgentLogin, AgentResume, MediaState, SessionOpened
from stayline.link.peer import BaseHandler, Peer
from stayline.link.tokens import TokenSigner
from stayline.link.transport import Endpoint, connect

PROXY = "IxnProxy_A_1"
AGENTS = 400
AT_ONCE = 16
ROUNDS = 3


class Visitor:
    """One agent who comes, goes and comes again."""

    def __init__(self, layout: Layout, number: int) -> None:
        site = layout.sites["Site_A"].folder
        self._user, self._place = crowd_name(number), crowd_place(number)
        identity = Identity(
            user=self._user, tenant="Environment", roles=["agent"], expires=time.time() + 3_600
        )
        self._hello = Hello(
            application="Workspace",
            type="Workspace",
            instance=uuid.uuid4().hex,
            token=TokenSigner.load(site / "keys").sign_identity(identity),
        )
        self._tls = TlsFiles(site / "certificates" / "ca.pem")
        self._endpoint = Endpoint("127.0.0.1", layout.application(PROXY).ports["default"], application=PROXY)
        self._peer: Peer | None = None
        self._ticket = ""

    async def log_in(self) -> None:
        """Connect and log in."""
        self._peer = await connect(self._endpoint, self._hello, BaseHandler(), self._tls)
        login = AgentLogin(place=self._place, media=[MediaState(media="chat", ready=False)])
        await self._opened("agent.login", login)

    async def resume(self) -> None:
        """Connect and resume."""
        hello = msgspec.structs.replace(self._hello, ticket=self._ticket)
        self._peer = await connect(self._endpoint, hello, BaseHandler(), self._tls)
        await self._opened("agent.resume", AgentResume(ticket=self._ticket, last_seq=0))

    async def _opened(self, method: str, params: object) -> None:
        assert self._peer is not None
        opened = await self._peer.request(method, params, SessionOpened, key=uuid.uuid4().hex, timeout=30)
        self._ticket = opened.ticket

    async def hang_up(self) -> None:
        """Leave without logging out."""
        if self._peer is not None:
            await self._peer.close()


async def rate(work: Sequence[Callable[[], Awaitable[None]]]) -> float:
    """How many per second with :data:`AT_ONCE` under way."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(what: Callable[[], Awaitable[None]]) -> None:
        async with gate:
            await what()

    began = time.perf_counter()
    await asyncio.gather(*(one(what) for what in work))
    return len(work) / (time.perf_counter() - began)


async def _bare(port: int, authority: Path) -> None:
    """One full handshake and a byte there and back."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(authority)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"x")
    await reader.readexactly(1)
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def _stage(folder: Path) -> AsyncIterator[tuple[Layout, int, Path]]:
    """A running lab with the agents, and a bare TLS server: the layout, its port, the authority."""
    layout = lay_out(folder, agents=AGENTS)
    site = layout.sites["Site_A"].folder
    tls = tls_files(site / "certificates", PROXY)
    port = layout.application("Ixn_B_1").ports["default"]  # the passive site's cores do not run
    async with Centre(layout) as centre, ended() as started:
        await centre.wait_ready()
        bare = (sys.executable, "-m", "bench.bare_tls", str(tls.cert), str(tls.key), str(port))
        started.append(await start(*bare, ready="ready"))
        yield layout, port, tls.ca


async def setups() -> list[Result]:
    """The figures, in turn with the limit."""
    folder = Path(tempfile.mkdtemp(prefix="stayline-bench-", dir="/var/tmp"))
    first, again, bare = [], [], []
    try:
        async with _stage(folder / "state") as (layout, port, authority):
            for _ in range(ROUNDS):
                visitors = [Visitor(layout, number) for number in range(1, AGENTS + 1)]
                first.append(await rate([visitor.log_in for visitor in visitors]))
                await asyncio.gather(*(visitor.hang_up() for visitor in visitors))
                again.append(await rate([visitor.resume for visitor in visitors]))
                await asyncio.gather(*(visitor.hang_up() for visitor in visitors))
                bare.append(await rate([lambda: _bare(port, authority)] * AGENTS))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    what = "bare full TLS 1.3 handshakes, same certificate"
    return [
        compare("setups", "set-ups/s", first, what, bare),
        compare("resumes", "resumes/s", again, what, bare),
    ]
