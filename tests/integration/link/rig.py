"""How the tests of links open them: a listener, openers of both kinds, and a client that may say anything."""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import uvloop

from stayline.link.authority import client_context
from stayline.link.frames import FrameDecoder, encode_frame
from stayline.link.handshake import Accepts
from stayline.link.messages.envelope import Frame, Hello, Kind, Role
from stayline.link.peer import BaseHandler, Peer
from stayline.link.transport import Endpoint, Listener, connect
from tests.integration.link.material import (
    HOST,
    Material,
    Recorder,
    person_hello,
    server_hello,
)

ACCEPTS = Accepts(persons=True, person_methods=frozenset({"add", "wait"}))


def run(work: Coroutine[Any, Any, None]) -> None:
    uvloop.run(work)


@asynccontextmanager
async def listening(
    material: Material, handler: Recorder, hello: Hello | None = None, **settings: Any
) -> AsyncIterator[Listener]:
    own = hello or server_hello("S1", role=Role.PRIMARY, epoch=3, cluster="Pool")
    settings.setdefault("accepts", ACCEPTS)
    listener = Listener(
        lambda: own,
        lambda _: handler,
        material.tls(own.application),
        host=HOST,
        port=0,
        verify=material.verifier(),
        **settings,
    )
    await listener.open()
    try:
        yield listener
    finally:
        await listener.close(drop=True)


async def open_server(material: Material, listener: Listener, **settings: Any) -> Peer:
    settings.setdefault("handler", BaseHandler())
    hello = settings.pop("hello", server_hello("C1"))
    handler = settings.pop("handler")
    endpoint = Endpoint(HOST, listener.port, settings.pop("expect", "S1"), **settings)
    return await connect(endpoint, hello, handler, material.tls(hello.application))


async def open_person(
    material: Material, listener: Listener, token: str | None = None, **fields: Any
) -> Peer:
    cluster, poll = fields.pop("cluster", ""), fields.pop("poll", 0.0)
    endpoint = Endpoint(HOST, listener.port, "S1", cluster=cluster, local=poll)
    handler = fields.pop("handler", BaseHandler())
    settings = {key: fields.pop(key) for key in ("on_wait", "hello_timeout") if key in fields}
    hello = person_hello(material.token() if token is None else token, **fields)
    return await connect(endpoint, hello, handler, material.tls(), **settings)


class RawClient:
    """A client that may say anything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.decoder = FrameDecoder()
        self.frames: list[Frame] = []

    @classmethod
    async def open(cls, material: Material, port: int) -> "RawClient":
        context: ssl.SSLContext = client_context(material.tls())
        return cls(*await asyncio.open_connection(HOST, port, ssl=context))

    async def hello(self, material: Material, **fields: Any) -> None:
        hello = person_hello(material.token(), **fields)
        self.writer.write(encode_frame(Frame(Kind.HELLO, p=msgspec.Raw(msgspec.json.encode(hello)))))
        assert (await self.frame()).t is Kind.WELCOME

    async def frame(self) -> Frame:
        while not self.frames:
            data = await asyncio.wait_for(self.reader.read(65_536), 10)
            assert data, "closed instead of a frame"
            self.frames = self.decoder.feed(data)
        return self.frames.pop(0)

    async def is_closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(65_536), 10) == b""


def body(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text
