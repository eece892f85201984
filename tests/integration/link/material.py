"""What the tests of links need: certificates of a few applications, token keys, and two small handlers."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from stayline.domain.errors import refuse
from stayline.link.authority import TlsFiles, create_authority, issue, tls_files
from stayline.link.messages.envelope import Hello, Identity, Role
from stayline.link.peer import BaseHandler, Peer, Request, unknown_method
from stayline.link.tokens import TokenSigner, TokenVerifier, create_signing_keys

HOST = "127.0.0.1"


class Number(msgspec.Struct):
    """The payload of most test requests."""

    n: int


@dataclass
class Material:
    """Certificates and keys in one folder. Server names are ``S1``, ``S2``, ``C1``; type is ``Server``."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Material":
        """Create the authority, the certificates and the token keys."""
        create_authority(folder)
        for name in ("S1", "S2", "C1"):
            issue(folder, name, "Server", [HOST])
        create_signing_keys(folder)
        return cls(folder)

    def tls(self, name: str = "") -> TlsFiles:
        """Of a server, or (no name) of a person's application."""
        return tls_files(self.folder, name)

    def verifier(self) -> TokenVerifier:
        """Checks the tokens of :meth:`token`."""
        return TokenVerifier.load(self.folder)

    def token(self, user: str = "agent01", seconds: float = 60.0) -> str:
        """A token of a person, valid for ``seconds``."""
        identity = Identity(user=user, tenant="T", roles=["agent"], expires=time.time() + seconds)
        return TokenSigner.load(self.folder).sign_identity(identity)


def server_hello(name: str = "S1", **fields: object) -> Hello:
    """The hello of a server."""
    return msgspec.structs.replace(Hello(application=name, type="Server", instance=name), **fields)


def person_hello(token: str, **fields: object) -> Hello:
    """The hello of a person's application."""
    hello = Hello(application="Workspace", type="Workspace", instance="w", token=token)
    return msgspec.structs.replace(hello, **fields)


@dataclass
class Recorder(BaseHandler):
    """Answers ``add`` (n + 1), ``no`` (refuses), ``fault`` (raises), ``wait`` (until ``release``); records the rest."""

    opened: list[Peer] = field(default_factory=list)
    closed: list[tuple[Peer, str]] = field(default_factory=list)
    events: list[tuple[str, int]] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    role: Role = Role.PRIMARY

    async def on_open(self, peer: Peer) -> None:
        """Note it."""
        self.opened.append(peer)

    async def on_request(self, peer: Peer, request: Request) -> object:
        """See the class."""
        self.served.append(request.method)
        self.keys.append(request.key)
        if self.role is not Role.PRIMARY:
            raise refuse("core.not_primary", "Not primary.", retryable=True)
        match request.method:
            case "add":
                return Number(request.read(Number).n + 1)
            case "no":
                raise refuse("test.no", "No.", field="n")
            case "fault":
                raise ZeroDivisionError
            case "wait":
                await self.release.wait()
                return Number(0)
        raise unknown_method(request.method)

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        """Note it."""
        self.events.append((name, seq))

    def on_closed(self, peer: Peer, why: str) -> None:
        """Note it."""
        self.closed.append((peer, why))


async def until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Wait until ``condition()`` holds; fails naming ``what``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.005)
