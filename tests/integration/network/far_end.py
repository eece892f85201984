"""One end of a link in a network namespace: listens or calls, and prints what happens as JSON lines.

``far_end.py listen FOLDER HOST PORT`` and ``far_end.py call FOLDER HOST PORT LOCAL REMOTE``. Times are of the machine's
one monotonic clock. The caller asks a question every 50 ms on a standing link, and calls again when it is lost.
"""

import asyncio
import itertools
import json
import sys
import time
from pathlib import Path

from stayline.domain.errors import LinkLostError, StaylineError
from stayline.link.handshake import Accepts
from stayline.link.peer import BaseHandler, Peer, Request, unknown_method
from stayline.link.transport import Endpoint, Listener, connect
from tests.integration.link.material import Material, Number, server_hello

ASK_EVERY = 0.05
CALL_EVERY = 0.1


def say(event: str, **details: object) -> None:
    """One line for the test."""
    sys.stdout.write(json.dumps({"event": event, "at": time.monotonic(), **details}) + "\n")
    sys.stdout.flush()


class Said(BaseHandler):
    """Answers ``add`` and says how links come and go."""

    async def on_open(self, peer: Peer) -> None:
        """A link stands."""
        say("up", peer=peer.hello.application)

    async def on_request(self, peer: Peer, request: Request) -> object:
        """n + 1."""
        if request.method != "add":
            raise unknown_method(request.method)
        return Number(request.read(Number).n + 1)

    def on_closed(self, peer: Peer, why: str) -> None:
        """A link is gone."""
        say("lost", why=why, silent=peer.silent)


async def listen(material: Material, host: str, port: int) -> None:
    """Serve until killed."""
    listener = Listener(
        lambda: server_hello("S1"),
        lambda _peer: Said(),
        material.tls("S1"),
        host=host,
        port=port,
        accepts=Accepts(),
    )
    await listener.open()
    say("listening")
    await asyncio.Event().wait()


async def call(material: Material, host: str, port: int, local: float, remote: float) -> None:
    """Call, ask, call again, until killed."""
    endpoint = Endpoint(host, port, "S1", local=local, remote=remote)
    while True:
        try:
            peer = await connect(
                endpoint, server_hello("C1"), Said(), material.tls("C1"), connect_timeout=1.0
            )
        except StaylineError as error:
            say("failed", code=error.refusal.code)
            await asyncio.sleep(CALL_EVERY)
            continue
        await ask(peer)


async def ask(peer: Peer) -> None:
    """One question after the other, for as long as the link lives."""
    for number in itertools.count():
        if peer.is_closed:
            return
        try:
            answer = await peer.request("add", Number(number), Number, timeout=60.0)
        except LinkLostError:
            return
        say("answer", right=answer.n == number + 1)
        await asyncio.sleep(ASK_EVERY)


def main() -> None:
    """Entry point."""
    role, folder, host, port = sys.argv[1:5]
    material = Material(Path(folder))
    if role == "listen":
        asyncio.run(listen(material, host, int(port)))
    else:
        asyncio.run(call(material, host, int(port), *(float(text) for text in sys.argv[5:7])))


if __name__ == "__main__":
    main()
