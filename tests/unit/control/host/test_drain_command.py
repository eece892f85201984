"""A host agent passes the order to empty a server on, over the link on which the server reports itself."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from stayline.control.host.service import HostService
from stayline.domain.errors import RefusedError
from stayline.link.messages.control import Drain, Drained, Report
from stayline.link.peer import Request

DONE = Drained(application="P1", clients=2, window=3.0, listening=False)
ORDER = Request("host.drain", msgspec.Raw(msgspec.json.encode(Drain(application="P1"))), "", 0)
REPORT = Report(
    application="P1", type="t", pid=1, instance="i", role="active", epoch=1, term=1, listening=True
)


class Link:
    """A link of an application; ``asked`` are the requests sent over it."""

    def __init__(self, application: str, type_: str) -> None:
        self.hello = SimpleNamespace(application=application, type=type_)
        self.is_closed = False
        self.asked: list[tuple[str, object]] = []

    async def request(self, method: str, params: object, result: object, *, timeout: float) -> object:
        """Answer as a proxy does."""
        self.asked.append((method, params))
        return DONE


class Operations:
    """Takes reports; anything else is not asked here."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def report(self, report: Report) -> None:
        """Note it."""
        self.reports.append(report)

    def __getattr__(self, name: str) -> object:
        return None


def service() -> HostService:
    """A host agent's handler."""
    return HostService(cast(Any, Operations()))


def reported(agent: HostService, link: Link) -> None:
    """A server says how it is."""
    agent.on_event(cast(Any, link), "server.report", msgspec.Raw(msgspec.json.encode(REPORT)), 0, 0)


def drain(agent: HostService, type_: str = "Solution Control Server") -> object:
    """The command."""
    return asyncio.run(agent.on_request(cast(Any, Link("SCS", type_)), ORDER))


def test_it_goes_to_the_server_that_reported_itself() -> None:
    agent, link = service(), Link("P1", "Interaction Server Proxy")
    reported(agent, link)
    assert drain(agent) == DONE
    assert link.asked == [("server.drain", Drain(application="P1"))]


def test_a_report_about_another_server_opens_no_way() -> None:
    agent, liar = service(), Link("P2", "Interaction Server Proxy")
    reported(agent, liar)
    with pytest.raises(RefusedError) as refused:
        drain(agent)
    assert refused.value.refusal.code == "process.not_linked"
    assert liar.asked == []


def test_a_link_that_is_gone_is_not_asked() -> None:
    agent, link = service(), Link("P1", "Interaction Server Proxy")
    reported(agent, link)
    agent.on_closed(cast(Any, link), "ended")
    with pytest.raises(RefusedError) as refused:
        drain(agent)
    assert refused.value.refusal.retryable


def test_the_end_of_an_old_link_does_not_forget_the_new_one() -> None:
    agent, old, new = service(), Link("P1", "p"), Link("P1", "p")
    reported(agent, old)
    reported(agent, new)
    agent.on_closed(cast(Any, old), "ended")
    assert drain(agent) == DONE
    assert new.asked


def test_a_server_may_not_command() -> None:
    agent, link = service(), Link("P1", "Interaction Server Proxy")
    reported(agent, link)
    with pytest.raises(RefusedError) as refused:
        drain(agent, "Chat Server")
    assert refused.value.refusal.code == "host.not_allowed"
    assert link.asked == []
