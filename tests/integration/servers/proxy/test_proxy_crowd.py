"""One person with one good ticket and many links, at the door of a proxy: others get in all the same."""

import asyncio
from pathlib import Path

import pytest

from stayline.domain.errors import RefusedError
from stayline.servers.proxy.shares import LOGINS_OF_ONE, RESUMES_OF_ONE
from tests.integration.link.material import until
from tests.integration.servers.proxy.scripted_core import bench
from tests.integration.servers.proxy.steps import login, primary, run
from tests.integration.servers.proxy.test_proxy_admission import ONE, Opener, occupied, ticket


def test_one_ticket_shown_many_times_does_not_put_everybody_behind_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, ONE) as b:
            await primary(b)
            await occupied(b)
            again = ticket(b, "mallory")
            crowd = [Opener(b, "mallory", again) for _ in range(RESUMES_OF_ONE + 3)]
            await until(lambda: all(one.waits for one in crowd), "they wait")
            lanes = [one.waits[0].why for one in crowd]
            assert sum("resume" in why for why in lanes) == RESUMES_OF_ONE
            assert sum("login" in why for why in lanes) == 3
            honest = Opener(b, "anna", ticket(b, "anna"))
            await until(lambda: honest.waits, "waits")
            assert honest.waits[0].ahead == RESUMES_OF_ONE
            for one in (*crowd, honest):
                one.task.cancel()

    run(scenario())


def test_one_person_does_not_fill_the_lanes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, ONE) as b:
            await primary(b)
            await occupied(b)
            crowd = [Opener(b, "mallory") for _ in range(LOGINS_OF_ONE)]
            await until(lambda: all(one.waits for one in crowd), "they wait")
            with pytest.raises(RefusedError) as refused:
                await Opener(b, "mallory").inside()
            assert refused.value.refusal.code == "link.not_now"
            assert (refused.value.refusal.retry_after or 0.0) > 0.0
            assert b.proxy.report().waiting == LOGINS_OF_ONE
            honest = Opener(b, "anna")
            await until(lambda: honest.waits, "waits")
            for one in crowd:
                one.task.cancel()
            await until(lambda: b.proxy.report().waiting == 1, "they have left")
            later = Opener(b, "mallory")
            await until(lambda: later.waits, "and may come again")
            honest.task.cancel()
            later.task.cancel()

    run(scenario())


def test_who_is_set_up_gives_its_share_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, {"admission": {"login-rate": "1000"}}) as b:
            await primary(b)
            for _ in range(3 * LOGINS_OF_ONE):
                client = await Opener(b, "anna").inside()
                await login(client)
            assert b.proxy.report().clients == 3 * LOGINS_OF_ONE
            assert len(b.proxy.door.shares) == 0

    run(scenario())


def test_promises_made_to_one_person_do_not_put_others_off(tmp_path: Path) -> None:
    async def scenario() -> None:
        options = {"admission": {"set-ups": "1", "login-rate": "1", "longest-wait": "0.5"}}
        async with bench(tmp_path, options) as b:
            await primary(b)
            await occupied(b)
            times = []
            for number in range(6):
                opener = Opener(b, "mallory", instance=f"program {number}")
                with pytest.raises(RefusedError) as refused:
                    await opener.inside()
                times.append(refused.value.refusal.retry_after or 0.0)
            assert max(times) < 3.0, "every program of one person is promised the same slot"
            with pytest.raises(RefusedError) as refused:
                await Opener(b, "anna").inside()
            assert (refused.value.refusal.retry_after or 0.0) < 4.0

    run(scenario())


def test_a_port_that_closes_leaves_nobody_in_the_lanes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, ONE) as b:
            await primary(b)
            await occupied(b)
            anna = Opener(b, "anna")
            await until(lambda: anna.waits, "waits")
            await b.proxy.port.listener.close(drop=True)
            await asyncio.wait([anna.task])
            with pytest.raises(RefusedError):
                anna.task.result()
            await until(lambda: b.proxy.door.admission.waiting == 0, "forgotten", 1.0)

    run(scenario())
