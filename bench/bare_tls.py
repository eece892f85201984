"""The least that a TLS server can do: ``bare_tls.py CERTIFICATE KEY PORT`` accepts, and sends back what it gets.

It is the physical limit beside which set-ups and memory of a proxy are measured: same library, same certificate.
"""

import asyncio
import ssl
import sys
from typing import cast

import uvloop


class Back(asyncio.Protocol):
    """Sends back."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)


async def serve(certificate: str, key: str, port: int) -> None:
    """Listen for ever."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    await asyncio.get_running_loop().create_server(Back, "127.0.0.1", port, ssl=context, backlog=2_048)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
