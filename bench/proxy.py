"""Messages per second and latency through one Interaction Server Proxy, beside HAProxy in front of the same server,
and beside NATS carrying the same questions and answers.

HAProxy passes the bytes of the same TLS clients on (each client has its own connection to the server); the proxy ends
each client's link, checks its token and carries all on one. NATS ends TLS too and routes by subject.
"""

import asyncio
import contextlib
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
from nats.aio.client import Client

from bench import nats_peer
from bench.processes import ended, start
from bench.results import Result, compare
from stayline.domain.errors import LinkLostError
from stayline.domain.objects import ConfigObject
from stayline.lab.layout import Layout, lay_out
from stayline.link.authority import TlsFiles, tls_files
from stayline.link.configuration_cache import Copy, save_cache
from stayline.link.messages.envelope import Hello, Identity
from stayline.link.peer import SERVER_LIMITS, BaseHandler, Peer
from stayline.link.tokens import TokenSigner
from stayline.link.transport import Endpoint, connect

PROXY, CORE, BACKUP = "IxnProxy_A_1", "Ixn_A_1", "Ixn_A_2"
AGENTS = 200
ROUNDS = 3
SECONDS = 4.0
TEXT = "x" * 200


class Question(msgspec.Struct):
    """About as large as an agent's request."""

    interaction: str
    text: str


def _fast(one: ConfigObject) -> ConfigObject:
    """Agents do not ask 50 times a second; a benchmark does."""
    if one.name != PROXY:
        return one
    limits = {"request-rate": "100000", "request-burst": "100000"}
    return msgspec.structs.replace(one, options={**one.options, "limits": limits})


def _haproxy(folder: Path, port: int, server: int) -> Path:
    path = folder / "haproxy.cfg"
    path.write_text(
        "global\n  nbthread 1\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n"
        "  timeout client 60s\n  timeout server 60s\n"
        f"listen agents\n  bind 127.0.0.1:{port}\n  server core 127.0.0.1:{server}\n"
    )
    return path


async def _agents(layout: Layout, port: int, application: str) -> list[Peer]:
    folder = layout.sites["Site_A"].folder
    signer = TokenSigner.load(folder / "keys")
    tls = TlsFiles(folder / "certificates" / "ca.pem")
    endpoint = Endpoint("127.0.0.1", port, application=application)

    async def one(number: int) -> Peer:
        user = Identity(
            user=f"agent{number}", tenant="Environment", roles=["agent"], expires=time.time() + 600
        )
        hello = Hello(
            application="Workspace",
            type="Workspace",
            instance=uuid.uuid4().hex,
            token=signer.sign_identity(user),
        )
        while True:
            try:
                return await connect(endpoint, hello, BaseHandler(), tls, limits=SERVER_LIMITS)
            except LinkLostError as error:
                if error.refusal.code != "link.refused":
                    raise
                # The proxy opens its port when it has found its primary.
                await asyncio.sleep(0.05)

    peers: list[Peer] = []
    for first in range(0, AGENTS, 20):
        peers += await asyncio.gather(*(one(n) for n in range(first, first + 20)))
    return peers


async def _measure(askers: Sequence[Callable[[Question], Awaitable[None]]]) -> tuple[float, float, float]:
    """(messages per second, median, 99th percentile in ms) with one request of each agent under way."""
    taken: list[float] = []
    end = time.perf_counter() + SECONDS

    async def ask(asker: Callable[[Question], Awaitable[None]]) -> None:
        while (began := time.perf_counter()) < end:
            await asker(Question(interaction="i1", text=TEXT))
            taken.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(ask(asker) for asker in askers))
    rate = len(taken) / (time.perf_counter() - began)
    cuts = statistics.quantiles(taken, n=100)
    return rate, statistics.median(taken) * 1e3, cuts[98] * 1e3


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        sys.exit(f"bench: {name} is missing; install the package {package}, or choose a benchmark with ONLY=")
    return found


@dataclass(frozen=True)
class Ways:
    """The ways a question can go: ports of proxy and HAProxy, address of NATS."""

    layout: Layout
    haproxy: int
    nats: str


@contextlib.asynccontextmanager
async def _servers(folder: Path) -> AsyncIterator[Ways]:
    haproxy, nats_server = _program("haproxy", "haproxy"), _program("nats-server", "nats-server")
    layout = lay_out(folder)
    site = layout.sites["Site_A"]
    objects = [_fast(one) for one in layout.objects]
    save_cache(site.folder / "cache" / f"{PROXY}.json", Copy(revision=1, mark="bench", objects=objects))
    port = layout.application(CORE).ports["default"]
    front = layout.application(BACKUP).ports["default"]  # nobody else listens there
    nats_port = layout.application("Ixn_B_1").ports["default"]
    tls = tls_files(site.folder / "certificates", PROXY)
    assert tls.cert is not None
    assert tls.key is not None
    python, address = sys.executable, f"tls://127.0.0.1:{nats_port}"
    async with ended() as started:
        echo = (python, "-m", "bench.echo_core", str(site.folder), CORE, str(port))
        started.append(await start(*echo, ready="ready"))
        stayline = str(Path(python).with_name("stayline"))
        started.append(await start(stayline, "serve", PROXY, "--state", str(site.folder)))
        started.append(await start(haproxy, "-db", "-f", str(_haproxy(folder, front, port))))
        nats_file = nats_peer.settings(folder, nats_port, tls.cert, tls.key)
        started.append(await start(nats_server, "-c", str(nats_file)))
        answering = (python, "-m", "bench.nats_peer", "answer", address, str(tls.ca))
        started.append(await start(*answering, ready="ready"))
        yield Ways(layout, front, address)


async def _nats_clients(ways: Ways) -> list[Client]:
    authority = str(ways.layout.sites["Site_A"].folder / "certificates" / "ca.pem")
    return [await nats_peer.client(ways.nats, authority) for _ in range(AGENTS)]


async def _over_link(peer: Peer, question: Question) -> None:
    await peer.request("interaction.journal", question, Question)


async def proxy() -> list[Result]:
    """The figures, in turn with the references."""
    folder = Path(tempfile.mkdtemp(prefix="stayline-bench-"))
    try:
        async with _servers(folder / "state") as ways:
            layout = ways.layout
            through = await _agents(layout, layout.application(PROXY).ports["default"], PROXY)
            beside = await _agents(layout, ways.haproxy, CORE)
            bus = await _nats_clients(ways)
            ours, theirs, others = [], [], []
            for _ in range(ROUNDS):
                ours.append(await _measure([partial(_over_link, peer) for peer in through]))
                theirs.append(await _measure([partial(_over_link, peer) for peer in beside]))
                others.append(await _measure([partial(nats_peer.ask, client) for client in bus]))
            for peer in (*through, *beside):
                peer.abort("measured")
            await asyncio.gather(*(client.close() for client in bus))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    units = [("messages", "messages/s"), ("latency_p50", "ms"), ("latency_p99", "ms")]
    references = [
        ("", f"HAProxy, one thread, {AGENTS} agents", theirs),
        ("_nats", f"NATS, {AGENTS} clients", others),
    ]
    return [
        compare(
            f"proxy_{name}{suffix}", unit, [row[index] for row in ours], what, [row[index] for row in rows]
        )
        for suffix, what, rows in references
        for index, (name, unit) in enumerate(units)
    ]
