"""Memory of one proxy for each idle client, beside a server that does nothing but TLS with as many connections."""

import asyncio
import resource
import shutil
import ssl
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil

from bench.processes import ended, start
from bench.results import Result, compare
from stayline.domain.errors import LinkLostError
from stayline.lab.layout import Layout, lay_out
from stayline.link.authority import TlsFiles, tls_files
from stayline.link.configuration_cache import Copy, save_cache
from stayline.link.messages.envelope import Hello, Identity
from stayline.link.peer import BaseHandler, Peer
from stayline.link.tokens import TokenSigner
from stayline.link.transport import Endpoint, connect

PROXY, CORE = "IxnProxy_A_1", "Ixn_A_1"
CLIENTS = 5_000
WARM = 200
"""Connections before the first look, so that code and buffers that are needed once do not count."""

AT_ONCE = 32


def _resident(process: asyncio.subprocess.Process) -> int:
    """Bytes of the process and its children."""
    root = psutil.Process(process.pid)
    return sum(int(one.memory_info().rss) for one in (root, *root.children(recursive=True)))


async def _client(layout: Layout, number: int) -> Peer:
    site = layout.sites["Site_A"].folder
    identity = Identity(
        user=f"agent{number}", tenant="Environment", roles=["agent"], expires=time.time() + 3_600
    )
    token = TokenSigner.load(site / "keys").sign_identity(identity)
    hello = Hello(application="Workspace", type="Workspace", instance=uuid.uuid4().hex, token=token)
    endpoint = Endpoint("127.0.0.1", layout.application(PROXY).ports["default"], application=PROXY)
    tls = TlsFiles(site / "certificates" / "ca.pem")
    while True:
        try:
            return await connect(endpoint, hello, BaseHandler(), tls, connect_timeout=30, hello_timeout=30)
        except LinkLostError as error:
            if error.refusal.code != "link.refused":
                raise
            await asyncio.sleep(0.05)  # the proxy opens its port when it has found its primary


async def _bare(port: int, context: ssl.SSLContext) -> asyncio.StreamWriter:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"x")
    await reader.readexactly(1)
    return writer


async def memory() -> list[Result]:
    """KiB a client, in the same run."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = Path(tempfile.mkdtemp(prefix="stayline-bench-"))
    try:
        ours, theirs = await _measure(folder / "state")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    what = f"a bare TLS server with {CLIENTS:,} connections"
    return [compare("memory_per_client", "KiB", [ours], what, [theirs])]


async def _measure(state: Path) -> tuple[float, float]:
    layout = lay_out(state)
    site = layout.sites["Site_A"].folder
    save_cache(site / "cache" / f"{PROXY}.json", Copy(revision=1, mark="bench", objects=layout.objects))
    core = layout.application(CORE).ports["default"]
    bare_port = layout.application("Ixn_B_1").ports["default"]
    tls = tls_files(site / "certificates", PROXY)
    stayline = str(Path(sys.executable).with_name("stayline"))
    async with ended() as started:
        echo = (sys.executable, "-m", "bench.echo_core", str(site), CORE, str(core))
        started.append(await start(*echo, ready="ready"))
        proxy = await start(stayline, "serve", PROXY, "--state", str(site))
        started.append(proxy)
        bare = (sys.executable, "-m", "bench.bare_tls", str(tls.cert), str(tls.key), str(bare_port))
        limit = await start(*bare, ready="ready")
        started.append(limit)
        peers = await _many(layout, 0, WARM)
        before = _resident(proxy)
        peers += await _many(layout, WARM, CLIENTS)
        ours = (_resident(proxy) - before) / (CLIENTS - WARM) / 1024
        for peer in peers:
            peer.abort("measured")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(tls.ca)
        writers = [await _bare(bare_port, context) for _ in range(WARM)]
        before = _resident(limit)
        writers += [await _bare(bare_port, context) for _ in range(CLIENTS - WARM)]
        theirs = (_resident(limit) - before) / (CLIENTS - WARM) / 1024
        for writer in writers:
            writer.transport.abort()
    return ours, theirs


async def _many(layout: Layout, first: int, last: int) -> list[Peer]:
    peers: list[Peer] = []
    for begin in range(first, last, AT_ONCE):
        end = min(begin + AT_ONCE, last)
        peers += await asyncio.gather(*(_client(layout, number) for number in range(begin, end)))
    return peers
