"""The server behind both the proxy and HAProxy: says that it is primary, answers every request with what it got."""

import asyncio
import sys
import uuid
from pathlib import Path

import uvloop

from stayline.domain.objects import ApplicationType
from stayline.link.authority import tls_files
from stayline.link.handshake import Accepts
from stayline.link.messages.envelope import Hello, Role
from stayline.link.peer import BaseHandler, Limits, Peer, Request
from stayline.link.tokens import TokenVerifier
from stayline.link.transport import Listener

FAST = Limits(in_flight=65_536, write_buffer=256 * 1024 * 1024, rate=0.0)


class Echo(BaseHandler):
    """Answers at once."""

    async def on_request(self, peer: Peer, request: Request) -> object:
        """The payload, untouched."""
        return request.payload


async def serve(folder: Path, name: str, port: int) -> None:
    """Listen as ``name`` for ever, for servers and for persons alike."""
    hello = Hello(
        application=name,
        type=ApplicationType.INTERACTION_SERVER.value,
        instance=uuid.uuid4().hex,
        site="Site_A",
        epoch=1,
        term=1,
        role=Role.PRIMARY,
    )
    listener = Listener(
        lambda: hello,
        lambda _: Echo(),
        tls_files(folder / "certificates", name),
        host="127.0.0.1",
        port=port,
        accepts=Accepts(persons=True),
        verify=TokenVerifier.load(folder / "keys"),
        person_limits=FAST,
        server_limits=FAST,
    )
    await listener.open()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
