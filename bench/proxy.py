"""Messages per second and latency through one Interaction Server Proxy, beside HAProxy in front of the same server.

Both carry the same frames of the same TLS clients to the same echo server. HAProxy passes bytes on (each client has
its own connection to the server); the proxy ends each client's link, checks its token and carries all on one.
"""

import asyncio
import contextlib
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from bench.results import Result, compare
from stayline.domain.errors import LinkLostError
from stayline.domain.objects import ConfigObject
from stayline.lab.layout import Layout, lay_out
from stayline.link.authority import TlsFiles
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


async def _start(*command: str, ready: str = "") -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    if ready:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            while ready not in (line := (await process.stdout.readline()).decode()):
                if not line:
                    raise RuntimeError(f"{command[0]} ended before it was ready")
    return process


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
    for start in range(0, AGENTS, 20):
        peers += await asyncio.gather(*(one(n) for n in range(start, start + 20)))
    return peers


async def _measure(peers: list[Peer]) -> tuple[float, float, float]:
    """(messages per second, median, 99th percentile in ms) with one request of each agent under way."""
    taken: list[float] = []
    end = time.perf_counter() + SECONDS

    async def ask(peer: Peer) -> None:
        while (began := time.perf_counter()) < end:
            question = Question(interaction="i1", text=TEXT)
            await peer.request("interaction.journal", question, Question)
            taken.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(ask(peer) for peer in peers))
    rate = len(taken) / (time.perf_counter() - began)
    cuts = statistics.quantiles(taken, n=100)
    return rate, statistics.median(taken) * 1e3, cuts[98] * 1e3


@contextlib.asynccontextmanager
async def _servers(folder: Path) -> AsyncIterator[tuple[Layout, int]]:
    layout = lay_out(folder)
    site = layout.sites["Site_A"]
    objects = [_fast(one) for one in layout.objects]
    save_cache(site.folder / "cache" / f"{PROXY}.json", Copy(revision=1, mark="bench", objects=objects))
    port = layout.application(CORE).ports["default"]
    front = layout.application(BACKUP).ports["default"]  # nobody else listens there
    haproxy = shutil.which("haproxy")
    if haproxy is None:
        sys.exit(
            "bench: HAProxy is missing; install the package haproxy, or choose another benchmark with ONLY="
        )
    started = []
    try:
        started.append(
            await _start(
                sys.executable, "-m", "bench.echo_core", str(site.folder), CORE, str(port), ready="ready"
            )
        )
        stayline = Path(sys.executable).with_name("stayline")
        started.append(await _start(str(stayline), "serve", PROXY, "--state", str(site.folder)))
        started.append(await _start(haproxy, "-db", "-f", str(_haproxy(folder, front, port))))
        yield layout, front
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        await asyncio.gather(*(process.wait() for process in started))


async def proxy() -> list[Result]:
    """The figures, in turn with the reference."""
    folder = Path(tempfile.mkdtemp(prefix="stayline-bench-"))
    try:
        async with _servers(folder / "state") as (layout, front):
            through = await _agents(layout, layout.application(PROXY).ports["default"], PROXY)
            beside = await _agents(layout, front, CORE)
            ours, theirs = [], []
            for _ in range(ROUNDS):
                ours.append(await _measure(through))
                theirs.append(await _measure(beside))
            for peer in (*through, *beside):
                peer.abort("measured")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    what = f"HAProxy, one thread, {AGENTS} agents"
    units = [("messages", "messages/s"), ("latency_p50", "ms"), ("latency_p99", "ms")]
    return [
        compare(f"proxy_{name}", unit, [row[index] for row in ours], what, [row[index] for row in theirs])
        for index, (name, unit) in enumerate(units)
    ]
