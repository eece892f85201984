"""Emptying a proxy: its port closes, every client gets its own time to leave, and what happens to who stays."""

from pathlib import Path

import msgspec
import pytest

from stayline.domain.errors import RefusedError
from stayline.link.messages.control import Drain, Drained
from stayline.link.messages.envelope import EMPTY
from stayline.link.peer import Request
from stayline.servers.proxy import drain
from tests.integration.link.material import until
from tests.integration.servers.proxy.scripted_core import Bench, Client, bench
from tests.integration.servers.proxy.steps import login, primary, refused_port, run
from tests.integration.servers.proxy.test_proxy_admission import ONE, Opener, occupied


def order(b: Bench, **said: object) -> Drained:
    """The command as it comes from the host agent."""
    payload = msgspec.Raw(msgspec.json.encode(Drain(application="Proxy", **said)))  # type: ignore[arg-type]
    answer = b.process.commands["server.drain"](Request("server.drain", payload, "", 0))
    assert isinstance(answer, Drained)
    return answer


def slots(clients: list[Client]) -> list[float]:
    """What each was told."""
    return [float(str(one.named("server.leaving")[0]["slot"])) for one in clients]


def test_every_client_gets_a_slot_of_its_own_and_nobody_is_hung_up_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            clients = [await b.client(f"agent{number}") for number in range(20)]
            await login(clients[0])
            told = order(b, window=2.0, why="an upgrade")
            assert (told.clients, told.window) == (20, 2.0)
            await until(lambda: all(one.named("server.leaving") for one in clients), "told")
            found = sorted(slots(clients))
            assert all(place * 0.1 <= slot <= (place + 1) * 0.1 for place, slot in enumerate(found))
            assert slots(clients) != found, "in no order of arrival"
            assert all("an upgrade" in str(one.named("server.leaving")[0]["why"]) for one in clients)
            await until(lambda: not b.proxy.port.listener.is_open, "the port closes")
            assert await refused_port(b.port)
            report = b.proxy.report()
            assert (report.draining, report.listening, report.clients) == (True, False, 20)
            await login(clients[1])
            assert not any(one.closed_why for one in clients)
            for one in clients:
                await one.link.close()
            await until(lambda: order(b).clients == 0, "empty")

    run(scenario())


def test_repeating_it_tells_nobody_twice(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            anna = await b.client("anna")
            order(b, window=2.0)
            assert order(b, window=9.0).window == 2.0
            await until(lambda: anna.named("server.leaving"), "told")
            await login(anna)
            assert len(anna.named("server.leaving")) == 1

    run(scenario())


def test_without_a_window_it_is_at_least_a_second(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            await b.client("anna")
            assert order(b).window == 1.0

    run(scenario())


def test_who_does_not_leave_is_hung_up_on_politely_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "STRAGGLER_SECONDS", 0.3)

    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            anna = await b.client("anna")
            order(b, window=0.1)
            await until(lambda: anna.closed_why, "hung up on")
            assert anna.link.farewell is not None
            assert anna.link.farewell.code == "server.draining"
            assert anna.link.farewell.retryable

    run(scenario())


def test_it_stays_closed_through_a_failover_and_opens_when_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            anna = await b.client("anna")
            await login(anna)
            order(b, window=30.0)
            await until(lambda: not b.proxy.port.listener.is_open, "closed")
            b.cores[0].kill()
            await until(lambda: anna.named("core.away"), "told")
            b.cores[1].become(b.cores[0].hello.role.PRIMARY, 2)
            await until(lambda: anna.named("core.back"), "restored")
            assert await refused_port(b.port)
            told = order(b, undo=True, why="enough")
            assert (told.clients, told.window) == (1, 0.0)
            await until(lambda: b.proxy.port.listener.is_open, "open again")
            await login(await b.client("berta"))
            assert not b.proxy.report().draining

    run(scenario())


def test_undoing_what_was_not_done_is_harmless(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            assert order(b, undo=True).listening
            assert not await refused_port(b.port)

    run(scenario())


def test_a_passive_proxy_that_is_emptied_does_not_open_with_its_core(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await until(lambda: b.proxy.pair.connected_to == ["Core_1", "Core_2"], "both linked")
            assert order(b).clients == 0
            b.cores[0].become(b.cores[0].hello.role.PRIMARY, 1)
            await until(lambda: b.proxy.core.ready and b.proxy.port.wanted, "it would open")
            for _ in range(3):
                assert await refused_port(b.port)
            order(b, undo=True)
            await until(lambda: b.proxy.port.listener.is_open, "open")

    run(scenario())


def test_who_waits_at_the_door_is_sent_elsewhere(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, ONE) as b:
            await primary(b)
            asked = await occupied(b)
            anna = Opener(b, "anna")
            await until(lambda: anna.waits, "waits")
            order(b, window=1.0)
            with pytest.raises(RefusedError) as refused:
                await anna.inside()
            assert refused.value.refusal.code == "server.draining"
            assert (refused.value.refusal.retry_after or 0) > 1.0
            asked.cancel()

    run(scenario())


def test_an_order_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            with pytest.raises(RefusedError):
                b.process.commands["server.drain"](Request("server.drain", EMPTY, "", 0))
            assert not await refused_port(b.port)

    run(scenario())
