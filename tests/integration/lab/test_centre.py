"""Two whole sites as real processes: they get ready, survive what is done to them, and leave nothing
behind."""

import asyncio
import os
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator

import pytest

from stayline.control.host.procinfo import children
from stayline.domain.errors import RefusedError
from stayline.domain.objects import ApplicationType
from stayline.lab.centre import Centre, living
from stayline.lab.layout import lay_out, remove
from stayline.link.authority import tls_files
from stayline.link.messages.control import DatabaseRole, HostStatus, Process, ProcessState, StartStop
from stayline.link.messages.envelope import Hello
from stayline.link.peer import BaseHandler
from stayline.link.transport import Endpoint, connect

pytestmark = [pytest.mark.postgres, pytest.mark.drill]

READY = 60.0


class Lab:
    """A running centre together with the event loop it belongs to."""

    def __init__(self, runner: asyncio.Runner, centre: Centre) -> None:
        self.runner = runner
        self.centre = centre

    def run(self, body: Callable[[Centre], Awaitable[None]]) -> None:
        async def main() -> None:
            await body(self.centre)

        self.runner.run(main())


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    state = tmp_path_factory.mktemp("centre") / "lab"
    layout = lay_out(state, durable_setup=False)
    with asyncio.Runner() as runner:
        centre = Centre(layout)
        runner.run(centre.start())
        try:
            runner.run(centre.wait_ready(READY))
            yield Lab(runner, centre)
        finally:
            runner.run(centre.stop())
    assert living(layout) == []
    remove(state)


async def _until(condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    limit = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < limit, "the condition was not met in time"
        await asyncio.sleep(0.02)


def _process(status: HostStatus | None, name: str) -> Process:
    assert status is not None
    return next(one for one in status.processes if one.application == name)


def _accepts(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, 1.0):
            return True
    except ConnectionRefusedError:
        return False


def test_the_milestones_of_the_start_are_noted(lab: Lab) -> None:
    assert lab.centre.milestones["ready"] < READY
    assert (
        lab.centre.milestones["databases"] <= lab.centre.milestones["doors"] <= lab.centre.milestones["ready"]
    )


def test_passive_means_closed(lab: Lab) -> None:
    doors = (
        ApplicationType.INTERACTION_SERVER_PROXY,
        ApplicationType.CONTACT_SERVER_PROXY,
        ApplicationType.CHAT_SERVER,
    )

    async def body(centre: Centre) -> None:
        assert await centre.active() == "Site_A"
        for one in centre.layout.applications(*doors):
            for address in centre.addresses(one.name).values():
                assert _accepts(address) == (centre.layout.site_of(one.name) == "Site_A"), one.name

    lab.run(body)


def test_every_server_that_is_killed_comes_back(lab: Lab) -> None:
    async def body(centre: Centre) -> None:
        for name in ("IxnProxy_A_1", "Chat_A_1", "Config_B", "Ixn_A_1", "UCS_A_2"):
            before = centre.kill(name)

            async def back(name: str = name, before: int = before) -> bool:
                found = _process(await centre.status(centre.layout.site_of(name)), name)
                return found.state is ProcessState.RUNNING and found.pid not in (0, before)

            await _until(back)
        await centre.wait_ready(READY)

    lab.run(body)


def test_a_host_agent_that_dies_leaves_its_children_and_adopts_them(lab: Lab) -> None:
    names = ("IxnProxy_A_1", "Ixn_A_1", "Config_A")

    async def body(centre: Centre) -> None:
        before = {name: centre.pid(name) for name in names}
        database = centre.database_pid("Site_A")
        agent = centre.kill("host_a")

        async def restarted() -> bool:
            return centre.pid("host_a") not in (0, agent) and await centre.status("Site_A") is not None

        await _until(restarted)
        await centre.wait_ready(READY)
        assert {name: centre.pid(name) for name in names} == before
        assert centre.database_pid("Site_A") == database
        # adopted processes are looked after like own ones
        killed = centre.kill("IxnProxy_A_1")

        async def back() -> bool:
            return centre.pid("IxnProxy_A_1") not in (0, killed)

        await _until(back)
        await centre.wait_ready(READY)

    lab.run(body)


def test_what_is_stopped_on_command_stays_stopped(lab: Lab) -> None:
    async def body(centre: Centre) -> None:
        status = await centre.client("Site_A").stop(["Chat_A_2"], "a test")
        assert _process(status, "Chat_A_2").state is ProcessState.STOPPED
        agent = centre.kill("host_a")

        async def restarted() -> bool:
            return centre.pid("host_a") not in (0, agent) and await centre.status("Site_A") is not None

        await _until(restarted)
        assert _process(await centre.status("Site_A"), "Chat_A_2").state is ProcessState.STOPPED
        await centre.client("Site_A").start(["Chat_A_2"], "the test is over")
        await centre.wait_ready(READY)

    lab.run(body)


def test_only_an_operator_or_a_solution_control_server_may_command(lab: Lab) -> None:
    async def body(centre: Centre) -> None:
        site = centre.layout.sites["Site_A"]
        endpoint = Endpoint(site.agent.host, site.agent.port, application=site.agent.application)
        hello = Hello(
            application="Chat_A_1", type=ApplicationType.CHAT_SERVER.value, instance=uuid.uuid4().hex
        )
        tls = tls_files(site.folder / "certificates", "Chat_A_1")
        peer = await connect(endpoint, hello, BaseHandler(), tls)
        for method, params in (("host.stop", StartStop(applications=["Ixn_A_1"])), ("host.status", None)):
            with pytest.raises(RefusedError) as refused:
                await peer.request(method, params, HostStatus)
            assert refused.value.refusal.code == "host.not_allowed"
        await peer.close()

    lab.run(body)


def test_a_demotion_can_be_taken_back(lab: Lab) -> None:
    async def body(centre: Centre) -> None:
        client = centre.client("Site_A")
        token = await client.demote("a test")
        assert token.lsn
        status = await centre.status("Site_A")
        assert status is not None
        assert status.database is not None
        assert status.database.role is not DatabaseRole.PRIMARY
        await client.reinstate("the test is over")
        await centre.wait_ready(READY)
        assert await centre.active() == "Site_A"

    lab.run(body)


def test_a_lost_site_that_comes_back_follows_the_new_master(lab: Lab) -> None:
    """Runs last: afterwards Site_B is active."""

    async def body(centre: Centre) -> None:
        count = await centre.kill_site("Site_A")
        assert count > 15
        assert await centre.status("Site_A") is None
        assert not set(children(os.getpid())) & {centre.pid(name) for name in ("Ixn_A_1", "host_a")}
        await centre.client("Site_B").promote(2, "Site_B", None, forced=True, reason="a test", by="test")
        await centre.client("Site_B").start([], "a test")
        assert await centre.active() == "Site_B"
        await centre.restart_host("Site_A")
        await centre.wait_ready(READY)
        status = await centre.status("Site_A")
        assert status is not None
        assert status.database is not None
        assert (status.database.role, status.database.epoch) == (DatabaseRole.REPLICA, 2)
        running = [one.application for one in status.processes if one.state is ProcessState.RUNNING]
        assert "Ixn_A_1" not in running, "the core of a passive site must not run"
        assert "IxnProxy_A_1" in running

    lab.run(body)
