"""One request of an operator's command line to a Solution Control Server, proven by the operator's certificate."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from stayline.control.host.plan import OPERATOR
from stayline.domain.errors import LinkLostError, StaylineError, refuse
from stayline.domain.objects import ApplicationType, ConfigObject
from stayline.lab.layout import read_layout
from stayline.link.messages.control import StepProgress
from stayline.link.messages.envelope import Hello
from stayline.link.peer import BaseHandler, Peer, read
from stayline.link.transport import Endpoint, connect

T = TypeVar("T")


class _Listener(BaseHandler):
    def __init__(self, progress: Callable[[StepProgress], None] | None) -> None:
        self._progress = progress

    def on_event(self, peer: Peer, name: str, payload: msgspec.Raw, channel: int, seq: int) -> None:
        if name == "site.progress" and self._progress is not None:
            self._progress(read(payload, StepProgress, name))


async def operator_request(
    state: Path,
    method: str,
    params: object,
    result: type[T],
    *,
    site: str = "",
    progress: Callable[[StepProgress], None] | None = None,
    timeout: float,
) -> T:
    """Ask the Solution Control Server of ``site`` (empty: any that answers). ``timeout`` in seconds.

    Raises StaylineError: no server answers, or the one asked refused.
    """
    layout = read_layout(state)
    servers = [
        (one, layout.site_of(one.name))
        for one in layout.applications(ApplicationType.SOLUTION_CONTROL_SERVER)
        if not site or layout.site_of(one.name) == site
    ]
    if not servers:
        raise refuse(
            "switch.site_unknown",
            f"There is no site {site!r}.",
            field="site",
            fix="see: stayline site status",
        )
    hello = Hello(application="operator", type=OPERATOR, instance=uuid.uuid4().hex)
    last: StaylineError | None = None
    for server, at in servers:
        endpoint = _endpoint(server, layout.sites[at].agent.host)
        try:
            peer = await connect(endpoint, hello, _Listener(progress), layout.operator, connect_timeout=2.0)
        except LinkLostError as error:
            last = error
            continue
        try:
            return await peer.request(method, params, result, timeout=timeout)
        finally:
            await peer.close()
    assert last is not None
    raise last


def _endpoint(server: ConfigObject, address: str) -> Endpoint:
    return Endpoint(address, server.ports["default"], application=server.name, local=5.0, remote=5.0)
