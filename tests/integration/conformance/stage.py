"""A fake site on a test's own terms: a case's centre, and links opened to it as a client does."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from stayline.conformance.case import Case, parse_cases
from stayline.conformance.credentials import Credentials
from stayline.conformance.fake_configuration import PASSWORD
from stayline.conformance.record import Record, Seen
from stayline.conformance.site import FakeSite
from stayline.link.authority import TlsFiles
from stayline.link.messages.configuration import LoggedIn, Login
from stayline.link.messages.envelope import Hello
from stayline.link.peer import BaseHandler, Peer
from stayline.link.transport import Endpoint, connect

CASE = """
chapter: test
cases:
  - id: T-1
    title: For a test
    rules: ["1.1"]
    from: ["a test"]
    given:
      clusters:
        - {name: Cluster_A, site: Site_A}
        - {name: Cluster_B, site: Site_B}
      active: [Site_A]
    story:
      - do: {start: {}}
      - see: {connected: {interaction: Cluster_A}}
"""


def sample_case() -> Case:
    """Two sites, one of them active."""
    return parse_cases(CASE, "test.yaml")[0]


class Ears(BaseHandler):
    """Keeps what a link told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.statements: list[str] = []

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        self.events.append((name, seq))

    def on_statement(self, peer: Peer, statement: str) -> None:
        self.statements.append(statement)


class Stage:
    """A fake site and a client of it."""

    def __init__(self, credentials: Credentials) -> None:
        self.record = Record(asyncio.get_running_loop().time)
        self.site = FakeSite(sample_case(), credentials, self.record)
        self.tls = TlsFiles(credentials.folder / "certificates" / "ca.pem")
        self.token = ""
        self.ears = Ears()

    def endpoint(self, name: str, **more: object) -> Endpoint:
        """Where a server listens, and whom to expect there."""
        server = self.site.servers[name]
        known = {"cluster": server.cluster, "site": server.site if server.cluster else "", **more}
        return Endpoint(host="127.0.0.1", port=server.port.number, application=name, **known)  # type: ignore[arg-type]

    async def link(self, name: str, *, hello_timeout: float = 2.0, **more: object) -> Peer:
        """A link to a server, as jane once :meth:`log_in` was called."""
        hello = Hello(application="Workspace", type="Workspace", instance="test", token=self.token)
        endpoint = self.endpoint(name, **more)
        return await connect(
            endpoint, hello, self.ears, self.tls, connect_timeout=1.0, hello_timeout=hello_timeout
        )

    async def log_in(self) -> None:
        """Get jane's token."""
        peer = await self.link("Config_A")
        answer = await peer.request("auth.login", Login(user="jane", password=PASSWORD), LoggedIn)
        self.token = answer.token
        await peer.close()

    def do(self, action: object) -> None:
        """Carry a step out."""
        self.site.carry_out(action, {"interaction": "IxnProxy_A_1"})  # type: ignore[arg-type]

    def seen(self, what: Seen, server: str) -> int:
        """How often something was seen at a server."""
        return sum(1 for one in self.record if one.what is what and one.server == server)

    async def until(self, true: Callable[[], object], what: str, timeout: float = 5.0) -> None:
        """Wait until something is true."""
        end = self.record.now + timeout
        while not true():
            assert self.record.now < end, f"not within {timeout} s: {what}\n" + "\n".join(
                self.record.timeline()
            )
            await asyncio.sleep(0.005)


def play(folder: Path, story: Callable[[Stage], Awaitable[None]]) -> None:
    """Play a story on a stage of its own; nothing of it may be left."""

    async def main() -> None:
        stage = Stage(Credentials(folder))
        stage.site.open()
        try:
            await stage.log_in()
            await story(stage)
        finally:
            await stage.site.close()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if left:
            _, pending = await asyncio.wait(left, timeout=3.0)
            assert not pending, f"tasks left: {pending}"

    asyncio.run(main())
