"""NATS as a peer of the proxy: the same questions as requests over one NATS server, answered by one responder.

``nats_peer.py answer ADDRESS AUTHORITY`` is that responder, in a process of its own as the echo server behind the proxy
is. Clients and responder use the NATS project's own Python library, so its cost is in the figures, as the cost of our
link is in ours.
"""

import asyncio
import ssl
import sys
from pathlib import Path

import msgspec
import nats
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

SUBJECT = "interaction.journal"


def settings(folder: Path, port: int, certificate: Path, key: Path) -> Path:
    """A configuration file for ``nats-server``: TLS to clients, nothing else."""
    path = folder / "nats.conf"
    path.write_text(
        f"host: 127.0.0.1\nport: {port}\n"
        f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}\n'
        f'pid_file: "{folder / "nats.pid"}"\n'
    )
    return path


async def client(address: str, authority: str) -> Client:
    """One connection, waiting for the server for a while."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(authority)
    async with asyncio.timeout(15):
        while True:
            try:
                return await nats.connect(address, tls=context, tls_hostname="127.0.0.1", connect_timeout=2)
            except (OSError, nats.errors.NoServersError):
                await asyncio.sleep(0.05)


async def answer(address: str, authority: str) -> None:
    """Answer every question with what it said, for ever."""
    connection = await client(address, authority)

    async def back(message: Msg) -> None:
        await message.respond(message.data)

    await connection.subscribe(SUBJECT, cb=back, pending_msgs_limit=1_000_000)
    await connection.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


async def ask(connection: Client, question: msgspec.Struct) -> None:
    """One question and its answer."""
    await connection.request(SUBJECT, msgspec.json.encode(question), timeout=30)


if __name__ == "__main__":
    uvloop.run(answer(sys.argv[2], sys.argv[3]))
