"""At the door of a proxy, over real links: lanes, waiting, refusals with a time, and what is measured."""

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from stayline.domain.errors import LinkLostError, Refusal, RefusedError
from stayline.domain.objects import ApplicationType
from stayline.domain.topology import Configuration
from stayline.link.authority import tls_files
from stayline.link.door import ONLY_ASKED
from stayline.link.messages.contact import GetContact
from stayline.link.messages.envelope import Hello, Waiting
from stayline.link.messages.interaction import Done
from stayline.link.tokens import Ticket, TokenSigner
from stayline.link.transport import Endpoint, connect
from tests.integration.link.material import until
from tests.integration.servers.proxy.scripted_core import HOST, Bench, Client, bench
from tests.integration.servers.proxy.steps import login, primary, run

ONE = {"admission": {"set-ups": "1", "login-rate": "1000"}}


def ticket(b: Bench, agent: str, seconds: float = 600.0) -> str:
    """A ticket of this centre."""
    value = Ticket(
        session=f"session-{agent}",
        agent=agent,
        tenant="T",
        place="P",
        epoch=1,
        expires=time.time() + seconds,
    )
    return TokenSigner.load(b.folder).sign_ticket(value)


class Opener:
    """A client that may have to wait: ``waits`` are the frames that said so."""

    def __init__(
        self, b: Bench, user: str, ticket: str = "", hello_timeout: float = 10.0, instance: str = ""
    ) -> None:
        self.client = Client()
        self.waits: list[Waiting] = []
        hello = Hello(
            application="Workspace",
            type="Workspace",
            instance=instance or user,
            token=b.token(user),
            ticket=ticket,
        )
        self.task = asyncio.create_task(
            connect(
                Endpoint(HOST, b.port, "Proxy", local=1.0, remote=1.0),
                hello,
                self.client,
                tls_files(b.folder),
                on_wait=self.waits.append,
                hello_timeout=hello_timeout,
            )
        )

    async def inside(self) -> Client:
        """The client, once it is let in."""
        self.client.peer = await self.task
        return self.client


async def occupied(b: Bench) -> asyncio.Task[Done]:
    """The one place is taken by a login that the core does not answer; its request."""
    b.cores[0].hold.add("agent.login")
    first = await Opener(b, "first").inside()
    request = asyncio.create_task(login(first))
    await until(lambda: any(method == "agent.login" for _, method, _, _ in b.cores[0].requests), "asked")
    return request  # type: ignore[return-value]


def test_who_waits_is_told_how_long_and_resumes_come_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, ONE) as b:
            await primary(b)
            asked = await occupied(b)
            anna = Opener(b, "anna")
            await until(lambda: anna.waits, "anna waits")
            berta = Opener(b, "berta", ticket(b, "berta"))
            await until(lambda: berta.waits, "berta waits")
            assert berta.waits[0].seconds > 0
            assert berta.waits[0].ahead == 0, "ahead of the login that came before"
            assert "resume" in berta.waits[0].why
            assert b.proxy.report().waiting == 2
            asked.cancel()
            b.proxy.channels.get(1).peer.abort("the client dies")  # type: ignore[union-attr]
            b.cores[0].hold.clear()
            inside = await berta.inside()
            assert not anna.task.done()
            await login(inside)
            await login(await anna.inside())
            report = b.proxy.report()
            assert (report.waiting, report.wasted, report.clients) == (0, 1, 2)

    run(scenario())


def test_a_place_is_free_when_the_login_is_answered_not_before(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, ONE) as b:
            await primary(b)
            first = await Opener(b, "first").inside()
            second = Opener(b, "second")
            await until(lambda: second.waits, "told to wait")
            assert b.proxy.door.admission.running == 1
            await login(first)
            await second.inside()
            assert b.proxy.door.admission.finished_count == 1

    run(scenario())


def test_a_client_that_asks_nothing_does_not_keep_others_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, ONE) as b:
            await primary(b)
            await Opener(b, "silent").inside()
            second = Opener(b, "second")
            await until(lambda: second.waits, "told to wait")
            async with asyncio.timeout(3.0):
                await second.inside()
            assert b.proxy.report().wasted == 0

    run(scenario())


def test_who_came_for_the_statement_only_is_no_set_up_that_was_given_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, ONE) as b:
            await primary(b)
            asker = await Opener(b, "asker").inside()
            assert b.proxy.door.admission.running == 1
            assert asker.peer is not None
            await asker.peer.close(Refusal(code=ONLY_ASKED, reason="It asked who is master."))
            await until(lambda: b.proxy.door.admission.running == 0, "its place is free")
            assert b.proxy.report().wasted == 0
            hasty = await Opener(b, "hasty").inside()
            assert hasty.peer is not None
            await hasty.peer.close()
            await until(lambda: b.proxy.report().wasted == 1, "who just leaves is counted")

    run(scenario())


def test_who_would_wait_too_long_is_refused_with_a_time_behind_the_others(tmp_path: Path) -> None:
    async def scenario() -> None:
        options = {"admission": {"set-ups": "1", "login-rate": "1", "longest-wait": "1.5"}}
        async with bench(tmp_path, options) as b:
            await primary(b)
            await occupied(b)
            kept = Opener(b, "kept")
            await until(lambda: kept.waits, "told to wait")
            times = []
            for user in ("anna", "berta"):
                with pytest.raises(RefusedError) as refused:
                    await Opener(b, user).inside()
                assert refused.value.refusal.code == "link.not_now"
                assert refused.value.refusal.retryable
                times.append(refused.value.refusal.retry_after or 0.0)
            assert 1.5 < times[0] <= 2.6
            assert 0.4 <= times[1] - times[0] <= 1.6, "one second later, and a random half"
            kept.task.cancel()
            await until(lambda: b.proxy.report().waiting == 0, "the door knows that it has left")
            assert b.proxy.door.admission.abandoned == 1
            assert b.proxy.report().wasted == 0

    run(scenario())


@pytest.mark.parametrize("whose", ["another's", "nobody's", "expired"])
def test_a_bad_ticket_opens_the_lane_of_logins_only(tmp_path: Path, whose: str) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, ONE) as b:
            await primary(b)
            await occupied(b)
            bad = {
                "another's": ticket(b, "somebody"),
                "nobody's": ticket(b, "anna")[:-4] + "AAAA",
                "expired": ticket(b, "anna", -1.0),
            }[whose]
            anna = Opener(b, "anna", bad)
            await until(lambda: anna.waits, "waits")
            assert "login" in anna.waits[0].why
            assert b.proxy.report().forged == (0 if whose == "expired" else 1)
            anna.task.cancel()

    run(scenario())


def test_who_waits_is_refused_when_the_proxy_closes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, ONE) as b:
            await primary(b)
            await occupied(b)
            anna = Opener(b, "anna")
            await until(lambda: anna.waits, "waits")
            b.cores[0].leave()
            with pytest.raises(RefusedError) as refused:
                await anna.inside()
            assert refused.value.refusal.code == "core.leaving"
            assert refused.value.refusal.retry_after == 1.5
            assert b.proxy.door.admission.waiting == 0

    run(scenario())


def test_limits_are_read_live(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, ONE) as b:
            await primary(b)
            await occupied(b)
            anna = Opener(b, "anna")
            await until(lambda: anna.waits, "waits")
            before = b.process.configuration.snapshot.objects
            changed = [
                msgspec.structs.replace(one, options={"admission": {"set-ups": "2", "handshakes": "5"}})
                if one.name == "Proxy"
                else one
                for one in before
            ]
            b.process.configuration.copy.snapshot = Configuration(changed, 2)
            for callback in b.process.configuration.changed:
                callback([])
            await anna.inside()
            assert b.proxy.port.listener.handshakes == 5

    run(scenario())


def test_what_a_set_up_costs_is_measured_and_reported(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, {"admission": {"login-rate": "1000"}}) as b:
            await primary(b)
            assert b.proxy.report().setup_seconds == 0.0
            for number in range(10):
                await login(await Opener(b, f"agent{number}").inside())
            assert 0.0002 <= b.proxy.report().setup_seconds <= 0.05

    run(scenario())


def test_a_core_that_is_away_is_no_cost_of_the_proxy(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, {"admission": {"login-rate": "1000"}}) as b:
            await primary(b)
            anna = await Opener(b, "anna").inside()
            b.cores[0].hold.add("agent.login")
            asked = asyncio.create_task(login(anna))
            await until(lambda: b.cores[0].requests, "asked")
            b.cores[0].kill()
            await until(lambda: anna.named("core.away"), "told")
            await primary(b, 1, term=2)
            await asked
            admission = b.proxy.door.admission
            assert (admission.finished_count, admission.cost.samples) == (1, 0)

    run(scenario())


def test_a_contact_proxy_lets_in_many_who_ask_nothing_yet(tmp_path: Path) -> None:
    async def scenario() -> None:
        kind = ApplicationType.CONTACT_SERVER_PROXY
        async with bench(tmp_path, ONE, kind) as b:
            await primary(b)
            openers = [Opener(b, f"agent{number}", ticket(b, f"agent{number}")) for number in range(20)]
            async with asyncio.timeout(10.0):
                clients = [await one.inside() for one in openers]
            assert b.proxy.report().wasted == 0
            b.cores[0].hold.add("contact.get")
            asked = asyncio.create_task(
                clients[0].link.request("contact.get", GetContact(contact="c"), Done, timeout=0.2)
            )
            with pytest.raises(LinkLostError):
                await asked
            await Opener(b, "late", ticket(b, "late")).inside()

    run(scenario())
